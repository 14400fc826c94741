"""Identity providers for tests: real keys, tokens signed with them, and a web server to publish them."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64encode

from yugen.functions.providers import JwtProvider, OidcProvider

Algorithm = Literal["RS256", "ES256", "EdDSA"]

AUDIENCE = "the-app"
SECONDS = 3600
"""How long tokens are good."""


@dataclass(frozen=True)
class SigningKey:
    """A pair of keys under a name."""

    kid: str
    algorithm: Algorithm
    key: Key

    @property
    def public(self) -> dict[str, Any]:
        """The public half as a key set holds it."""
        return dict(self.key.as_dict(private=False, kid=self.kid, alg=self.algorithm, use="sig"))


@cache
def signing_key(algorithm: Algorithm = "RS256", number: int = 0) -> SigningKey:
    """One key for each algorithm and number, since they take their time to make."""
    key: Key
    match algorithm:
        case "RS256":
            key = RSAKey.generate_key(2048)
        case "ES256":
            key = ECKey.generate_key("P-256")
        case "EdDSA":
            key = OKPKey.generate_key("Ed25519")
    return SigningKey(f"{algorithm}-{number}", algorithm, key)


def sign(claims: Mapping[str, Any], key: SigningKey, header: Mapping[str, Any] | None = None) -> str:
    """A token of these claims, whatever they are.

    Args:
        claims: what it says; None leaves one out.
        key: what signs it, by its own algorithm.
        header: what the header has more or otherwise; None leaves a field out.
    """
    head = {"typ": "JWT", "alg": key.algorithm, "kid": key.kid, **(header or {})}
    signed = b".".join(encoded({k: v for k, v in part.items() if v is not None}) for part in (head, claims))
    return b".".join([signed, urlsafe_b64encode(JWSRegistry.algorithms[key.algorithm].sign(signed, key.key))]).decode()


def encoded(part: object) -> bytes:
    """A part of a token."""
    return urlsafe_b64encode(json.dumps(part).encode())


@dataclass
class Page:
    """What a web server answers to one address."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


class Web:
    """A web server on this machine that answers what it is told to; made by `web`.

    Attributes:
        url: its address.
        pages: what it has, by path.
        requests: the paths it was asked for, in their order.
        hosts: who it was taken for each time.
        reachable: while it is not, connections break.
        gate: while it is not set, answers wait.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl_context = ssl_context
        self._talking: set[asyncio.Task[None]] = set()
        self.pages: dict[str, Page] = {}
        self.requests: list[str] = []
        self.hosts: list[str] = []
        self.reachable = True
        self.gate = asyncio.Event()
        self.gate.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._ssl_context)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if self._ssl_context else ''}://127.0.0.1:{self.port}"

    async def close(self) -> None:
        self._server.close()
        for task in self._talking:
            task.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talking.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self._talking.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.reachable:
            return
        request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = request.split(" ")[1]
        self.requests.append(path)
        self.hosts.append(request.lower().partition("\r\nhost: ")[2].partition("\r\n")[0])
        await self.gate.wait()
        page = self.pages.get(path, Page(b"{}", 404))
        headers = {**page.headers, "Content-Length": str(len(page.body)), "Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {page.status} Whatever\r\n{head}\r\n".encode() + page.body)
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def web(ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    """Runs a web server on a free port of 127.0.0.1."""
    server = Web(ssl_context)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


class Issuer:
    """An identity provider; made by `issuing`.

    Attributes:
        web: where it publishes its keys.
        key: what it signs with.
    """

    def __init__(self, web: Web, algorithm: Algorithm) -> None:
        self.web = web
        self.key = signing_key(algorithm)
        self.publish(self.key)

    @property
    def url(self) -> str:
        """What it calls itself."""
        return self.web.url

    def oidc(self, audience: str = AUDIENCE) -> OidcProvider:
        """How an app trusts it as an OpenID provider."""
        return OidcProvider(issuer=self.url, audience=audience)

    def jwt(self, audience: str | None = AUDIENCE) -> JwtProvider:
        """How an app trusts its key set."""
        assert self.key.algorithm != "EdDSA"
        return JwtProvider(issuer=self.url, audience=audience, jwks=f"{self.url}/jwks", algorithm=self.key.algorithm)

    def auth_py(self) -> str:
        """The text of an `auth.py` that trusts it."""
        return f"from yugen import OidcProvider\n\nproviders = [{self.oidc()!r}]\n"

    def publish(self, *keys: SigningKey, max_age: int | None = None) -> None:
        """Makes these its keys, for all who ask again."""
        discovery = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
        for path, document in (
            ("/.well-known/openid-configuration", discovery),
            ("/jwks", {"keys": [key.public for key in keys]}),
        ):
            page = Page(json.dumps(document).encode())
            if max_age is not None:
                page.headers["Cache-Control"] = f"public, max-age={max_age}"
            self.web.pages[path] = page

    def rotate(self, number: int = 1) -> None:
        """Signs with another key from now on, and publishes no other."""
        self.key = signing_key(self.key.algorithm, number)
        self.publish(self.key)

    def claims(self, **claims: Any) -> dict[str, Any]:
        """What a good token of this moment says, with these claims more or otherwise; None leaves one out."""
        now = int(time.time())
        return {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + SECONDS, **claims}

    def token(self, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token of this moment, with these claims more or otherwise; None leaves one out."""
        return sign(self.claims(**claims), self.key, header)


@asynccontextmanager
async def issuing(algorithm: Algorithm = "RS256") -> AsyncIterator[Issuer]:
    """Runs an identity provider on this machine.

    async with issuing() as issuer:
        app = write_app(tmp_path, auth=issuer.auth_py(), ...)
        client.set_auth(issuer.token(sub="ada", email="ada@id.example"))
        issuer.rotate()               # new keys
        issuer.web.reachable = False  # no keys
    """
    async with web() as server:
        yield Issuer(server, algorithm)
