"""A provider where people sign in, for tests: OpenID Connect and plain OAuth 2.0 over a real socket, or ill behaved."""

from __future__ import annotations

import asyncio
import base64
import html
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import uvicorn
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core.util import create_half_hash
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.issuer import SigningKey, sign, signing_key

CLIENT_ID = "the-app"
CLIENT_SECRET = "a secret of the app: 50%+"
ADA = {"sub": "ada-1", "name": "Ada Lovelace", "email": "ada@example.com", "email_verified": True}


@dataclass
class Code:
    """What a code was given for."""

    params: dict[str, str]
    user: dict[str, Any]
    used: bool = False


@dataclass
class OidcProvider:
    """The provider; made by `providing`. What is to be otherwise is set on it.

    Attributes:
        url: its address, which is its issuer.
        user: who is signed in there: the claims.
        key: what it signs with.
        keys: the public keys that it publishes, as a key set holds them; those of `key` by default.
        change: changes the claims of an ID token.
        forge: makes the ID token itself, of the claims.
        discovery: what its discovery document has more or otherwise; None leaves a field out.
        answer: what it sends people back with, more or otherwise; None leaves a field out.
        checks_pkce: whether a code is good only for who has its verifier.
        names_itself: whether it sends `iss` back (RFC 9207).
        asks: whether people see a page first, on which they agree.
        userinfo: what it tells of somebody otherwise than in the ID token.
        in_token: the claims of the user that the ID token has; None for all.
        is_secret: whether what an app shows is its secret.
        token_answer: answers at the token endpoint instead.
        lasts: seconds for which an access token is good.
        api: more that it tells those who have a token, by path.
        requests: the paths and fields of the requests to it.
        gate: while it is not set, requests to the token endpoint wait.
        now: seconds since the epoch.
    """

    url: str = ""
    user: dict[str, Any] = field(default_factory=lambda: dict(ADA))
    key: SigningKey = field(default_factory=signing_key)
    keys: list[dict[str, Any]] | None = None
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
    forge: Callable[[dict[str, Any]], str] | None = None
    discovery: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, str | None] = field(default_factory=dict)
    checks_pkce: bool = True
    names_itself: bool = True
    asks: bool = False
    userinfo: dict[str, Any] = field(default_factory=dict)
    in_token: tuple[str, ...] | None = None
    is_secret: Callable[[str], bool] = lambda secret: secret == CLIENT_SECRET
    token_answer: Callable[[], Response] | None = None
    lasts: int | None = 3600
    api: dict[str, Any] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    now: Callable[[], float] = time.time
    codes: dict[str, Code] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    refresh_tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    redirect_uris: set[str] = field(default_factory=set)

    def asked(self, path: str) -> list[dict[str, str]]:
        """The fields of the requests to a path."""
        return [fields for asked, fields in self.requests if asked == path]

    def app(self) -> Starlette:
        """It as an ASGI app."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/jwks", self._jwks),
                Route("/authorize", self._authorize, methods=["GET", "POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/{path:path}", self._api),
            ]
        )

    async def _discovery(self, request: Request) -> Response:
        self.requests.append((request.url.path, {}))
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": self.names_itself,
            **self.discovery,
        }
        return JSONResponse({name: value for name, value in document.items() if value is not None})

    async def _jwks(self, request: Request) -> Response:
        self.requests.append((request.url.path, {}))
        return JSONResponse({"keys": [self.key.public] if self.keys is None else self.keys})

    async def _authorize(self, request: Request) -> Response:
        params = dict(request.query_params)
        self.requests.append((request.url.path, params))
        assert params["client_id"] == CLIENT_ID
        assert params["response_type"] == "code"
        if self.redirect_uris and params["redirect_uri"] not in self.redirect_uris:
            return HTMLResponse("<p>This app is not registered so.</p>", 400)
        if self.asks and request.method == "GET":
            name = html.escape(self.user["name"])
            return HTMLResponse(f"<form method=post><button>Go on as {name}</button></form>")
        code = secrets.token_urlsafe()
        self.codes[code] = Code(params, dict(self.user))
        fields: dict[str, str | None] = {"code": code, "state": params.get("state")}
        if self.names_itself:
            fields["iss"] = self.url
        given = {name: value for name, value in {**fields, **self.answer}.items() if value is not None}
        if params.get("response_mode") == "form_post":
            inputs = "".join(f'<input name="{name}" value="{html.escape(value)}">' for name, value in given.items())
            form = f'<form method=post action="{html.escape(params["redirect_uri"])}">{inputs}</form>'
            return HTMLResponse(f"{form}<script>document.forms[0].submit()</script>")
        return RedirectResponse(f"{params['redirect_uri']}?{urlencode(given)}", 303)

    async def _token(self, request: Request) -> Response:
        fields = dict(parse_qsl((await request.body()).decode()))
        self.requests.append((request.url.path, fields))
        await self.gate.wait()
        if self.token_answer is not None:
            return self.token_answer()
        if not self._is_client(request, fields):
            return JSONResponse({"error": "invalid_client"}, 401)
        if fields["grant_type"] == "refresh_token":
            user = self.refresh_tokens.pop(fields["refresh_token"], None)
            if user is None:
                # Somebody has used it before: whoever it was, all that came of it ends (RFC 9700, 4.14.2).
                self.refresh_tokens.clear()
                return JSONResponse({"error": "invalid_grant"}, 400)
            return JSONResponse(self._tokens(user))
        code = self.codes.get(fields["code"])
        if code is None or code.used or fields["redirect_uri"] != code.params["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        challenge = create_s256_code_challenge(fields.get("code_verifier", ""))
        if self.checks_pkce and challenge != code.params.get("code_challenge"):
            return JSONResponse({"error": "invalid_grant", "error_description": "PKCE <b>failed</b>"}, 400)
        code.used = True
        given = self._tokens(code.user)
        if "openid" in code.params.get("scope", "").split():
            given["id_token"] = self._id_token(code, given["access_token"])
        return JSONResponse(given)

    def _is_client(self, request: Request, fields: dict[str, str]) -> bool:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            client, _, secret = base64.b64decode(credentials).decode().partition(":")
            # RFC 6749, 2.3.1 has both encoded as in a form, and many do without.
            known = self.is_secret(secret) or self.is_secret(unquote_plus(secret))
            return CLIENT_ID in (client, unquote_plus(client)) and known
        return fields.get("client_id") == CLIENT_ID and self.is_secret(fields.get("client_secret", ""))

    def _tokens(self, user: dict[str, Any]) -> dict[str, Any]:
        access, refresh = secrets.token_urlsafe(), secrets.token_urlsafe()
        self.tokens[access] = user
        self.refresh_tokens[refresh] = user
        given = {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": self.lasts}
        return {name: value for name, value in given.items() if value is not None}

    def _id_token(self, code: Code, access_token: str) -> str:
        now = int(self.now())
        shown = {name: value for name, value in code.user.items() if self.in_token is None or name in self.in_token}
        claims = {
            **shown,
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": code.params.get("nonce"),
            "at_hash": create_half_hash(access_token, self.key.algorithm).decode(),
        }
        claims = self.change(claims)
        return sign(claims, self.key) if self.forge is None else self.forge(claims)

    async def _api(self, request: Request) -> Response:
        self.requests.append((request.url.path, {}))
        user = self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if user is None:
            return JSONResponse({"error": "invalid_token"}, 401)
        if request.url.path == "/userinfo":
            return JSONResponse({**user, **self.userinfo})
        if request.url.path not in self.api:
            return JSONResponse({}, 404)
        return JSONResponse(self.api[request.url.path])


@asynccontextmanager
async def providing(host: str = "127.0.0.1") -> AsyncIterator[OidcProvider]:
    """Runs a provider on a free port of this machine, which calls itself by the name `host`."""
    provider = OidcProvider()
    provider.gate.set()
    config = uvicorn.Config(provider.app(), host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off")
    server = _Server(config)
    sock = config.bind_socket()
    provider.url = f"http://{host}:{sock.getsockname()[1]}"
    serving = asyncio.create_task(server._serve(sockets=[sock]))
    try:
        await server.ready.wait()
        yield provider
    finally:
        server.should_exit = True
        await serving
        sock.close()


class _Server(uvicorn.Server):
    """A server that says when it is ready, and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()
