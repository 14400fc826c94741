"""Providers where people sign in, in this process: what they answer, and what they may answer instead."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import random
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import httpx2 as httpx

from reliability.fuzzing import spoil
from reliability.fuzzing.visitors import CLIENT_ID, PROVIDERS
from yugen import fetch
from yugen.testing import START

PUBLIC: Final = "93.184.216.34"
"""Where every name leads that does not lead inside."""

ISSUERS: Final = {
    "acme": "https://acme.example",
    "wary": "https://wary.example",
    "google": "https://accounts.google.com",
    "microsoft": "https://login.microsoftonline.com/{tenantid}/v2.0",
    "apple": "https://appleid.apple.com",
}
"""What those call themselves that speak OpenID Connect."""

TENANT: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""One of Microsoft's."""

NOW: Final = int(START.timestamp())
"""What time it is, in seconds since the epoch."""

PAGES: Final = ("discovery", "keys", "token", "told", "emails")
HOWS: Final = ("endless", "packed", "breaks", "redirects", "500", "404", "html", "empty")
"""What a provider may do other than answer; it may also stall."""

_PIECE: Final = 1 << 16
_BODY_BYTES_MAX: Final = fetch.SIZE_MAX + 2 * _PIECE
_INSIDE: Final = ("https://inside.example/x", "http://169.254.169.254/x", "http://127.0.0.1:3210/", "https://[::1]/")


class _Endless(httpx.AsyncByteStream):
    """A body that has no end."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        while True:
            size += _PIECE
            if size > _BODY_BYTES_MAX:
                self._provider.complain("it reads on and on")
                return
            yield b" " * _PIECE


class Provider(httpx.AsyncBaseTransport):
    """All that is outside: the providers, and whoever else they name.

    Attributes:
        texts: what they answer, by page.
        hows: what they do instead.
        challenge: of PKCE, by which a code was asked for.
        asked: the pages that were asked for.
        complaints: what is wrong with how they are asked.
    """

    def __init__(self) -> None:
        self.texts: Mapping[str, str] = {}
        self.hows: Mapping[str, str] = {}
        self.challenge = ""
        self.asked: list[str] = []
        self.complaints: list[str] = []

    def complain(self, what: str) -> None:
        """Says what is wrong."""
        self.complaints.append(what)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme != "https" or request.url.host != PUBLIC:
            self.complain(f"it asks {request.url}")
        page = _page(request)
        self.asked.append(page)
        if page == "token":
            fields = dict(parse_qsl((await request.aread()).decode()))
            verifier = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
            if base64.urlsafe_b64encode(verifier).decode().rstrip("=") != self.challenge:
                self.complain("it changes a code for tokens that was not asked for by it")
        return await self._answer(page)

    async def _answer(self, page: str) -> httpx.Response:
        text = self.texts[page].encode("utf-8", "surrogatepass")
        headers = {"Content-Type": "application/json"}
        match self.hows.get(page):
            case "stalls":
                await asyncio.Event().wait()
            case "breaks":
                raise httpx.ReadError("it breaks")
            case "endless":
                return httpx.Response(200, headers=headers, stream=_Endless(self))
            case "packed":
                return _response(200, gzip.compress(text), headers | {"Content-Encoding": "gzip"})
            case "redirects":
                return _response(302, b"", {"Location": "https://elsewhere.example/token"})
            case "500" | "404" as status:
                return _response(int(status), text, headers)
            case "html":
                return _response(200, b"<p>Good day</p>", {"Content-Type": "text/html"})
            case "empty":
                return _response(200, b"", headers)
        return _response(200, text, headers)


class _Body(httpx.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


def _response(status: int, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return httpx.Response(status, headers=headers, stream=_Body(body))


def _page(request: httpx.Request) -> str:
    """What a request asks for."""
    path = request.url.path
    if request.method == "POST":
        return "token"
    if path.endswith("/openid-configuration"):
        return "discovery"
    return {"keys": "keys", "emails": "emails"}.get(path.rpartition("/")[2], "told")


async def resolve(host: str, port: int) -> list[str]:
    """Where names lead."""
    if host == "inside.example":
        return ["10.1.2.3"]
    if host == "localhost":
        return ["127.0.0.1"]
    return [host.strip("[]")] if re.fullmatch(r"[0-9.]+|\[?[0-9a-f:]+\]?", host) else [PUBLIC]


def right(name: str) -> dict[str, Any]:
    """What a provider says that is in order."""
    issuer = ISSUERS.get(name, f"https://{name}.example")
    origin = "/".join(issuer.split("/")[:3])
    claims = {
        "iss": issuer.replace("{tenantid}", TENANT),
        "aud": CLIENT_ID,
        "sub": "%subject%",
        "iat": NOW,
        "exp": NOW + 300,
        "nonce": "%nonce%",
        "at_hash": "%hash%",
        "name": "Ada",
        "email": "%email%",
        "email_verified": True,
        "xms_edov": True,
    }
    return {
        "discovery": {
            "issuer": issuer,
            "authorization_endpoint": f"{origin}/authorize",
            "token_endpoint": f"{origin}/token",
            "userinfo_endpoint": f"{origin}/told",
            "jwks_uri": f"{origin}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "EdDSA"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        },
        "keys": {
            "keys": [
                {"kty": "RSA", "n": "%rsa n%", "e": "AQAB", "kid": "rsa", "alg": "RS256", "use": "sig"},
                {"kty": "EC", "crv": "P-256", "x": "%ec x%", "y": "%ec y%", "kid": "ec"},
                {"kty": "OKP", "crv": "Ed25519", "x": "%ed x%", "kid": "ed"},
            ]
        },
        "token": {"access_token": "%access%", "token_type": "Bearer", "expires_in": 3600, "id_token": "%id%"},
        "header": {"alg": "RS256", "kid": "rsa", "typ": "JWT"},
        "claims": claims,
        "told": {
            "sub": "%subject%",
            "id": "%number%" if name == "github" else "%subject%",
            "email": "%email%",
            "email_verified": True,
            "verified": True,
            "name": "Ada",
            "avatar": "a",
        },
        "emails": [{"email": "%email%", "primary": True, "verified": True}],
    }


_CHANGES: Final[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
    "discovery": {
        **dict.fromkeys(("token_endpoint", "jwks_uri", "userinfo_endpoint"), _INSIDE),
        "authorization_endpoint": ("javascript:x", "http://a.example", "//a", "é", 7),
        "issuer": ("https://evil.example", "", 7, None, "https://acme.example/"),
        "authorization_response_iss_parameter_supported": (True, "true", 1),
        "id_token_signing_alg_values_supported": (["none"], ["HS256"], [], "RS256", [7]),
        "token_endpoint_auth_methods_supported": ([], ["none"], "x", [["x"]]),
    },
    "token": {
        "expires_in": ("x", [1], {}, -1, 1e300, 10**400, None, True, "9" * 5000, "", 1.5),
        "expires_at": ("x", [1], {}, 1e300, "9" * 5000),
        "token_type": ("mac", "", None, 7, "bearer", "BEARER"),
        "access_token": ("", 7, None, "a\r\nb", "é", "x" * 100_000),
        "id_token": ("", 7, None, "a.b.c", "x" * 100_000, "%id%x", "%id%.x"),
        "error": ("<b>", [], {}, 7, None),
    },
    "header": {
        "kid": (None, 7, "x", "ed", "../../x", ""),
        "alg": ("none", "HS256", None, "EdDSA", "ES256", ["RS256"]),
        "crit": ([], ["x"]),
    },
    "claims": {
        "nonce": ("", None, "x", ["%nonce%"]),
        "aud": (["the-app"], ["the-app", "x"], "x", [], {}, "the-app ", None),
        "azp": ("the-app", "x", 7, ["the-app"]),
        "exp": (NOW - 90, "x", True, 1e400, None, -1, 10**400, float("nan")),
        "iat": ("x", None, NOW + 9999, 10**400, True),
        "nbf": (NOW + 999, "x", True, []),
        "iss": ("https://evil.example", None, 7, "accounts.google.com", "%subject%"),
        "sub": ("", 7, None, "x" * 256, "é" * 240 + "%subject%", "\ud800", "a\0%subject%", []),
        "email": (None, 7, "", "x", " %EMAIL%", "%email% ", "a@b.example", "%email%\0", ["%email%"]),
        "email_verified": (False, "true", "false", 1, None, [True], "True"),
        "xms_edov": (False, None, "1", 1, "true", 2),
        "at_hash": ("x", ["x"], 7, "", "é"),
        "picture": ("javascript:x", "https://a.example/" + "x" * 9000, 7),
        "name": ("\u202e", "x" * 9000, 7, "\ud800", "a\0b", {}),
    },
    "told": {
        "sub": ("%subject%x", None, 7, "", "\ud800"),
        "id": (None, True, -1, 1.5, "%subject%x", "", {}, 10**400),
        "email": (None, "a@b.example", 7),
        "email_verified": (False, "true", 1, None),
        "verified": (False, "true", 1, None),
        "avatar": ("\ud800", 7, "../x", None),
    },
}
"""What stands in the place of what is right; what is None may be missing."""

_EMAILS: Final = ({"verified": False}, {"primary": 1}, {"verified": "true"}, {"email": 7})
_OFTEN: Final = ("claims", "told", "token", "discovery", "header", "keys", "emails")
_BACK: Final[Mapping[str, tuple[str | None, ...]]] = {
    "state": (None, "", "x", "%state%x", "\ud800", "x" * 9000),
    "code": (None, "", "x" * 9000, "\ud800\0", "a b&c=d"),
    "iss": ("https://evil.example", "", "x" * 9000),
    "error": ("access_denied", "<b>", ""),
    "error_description": ("a\nb",),
    "user": ("{", '{"name": {"firstName": ["x"]}}', "[" * 3000, '{"name": {"firstName": "Eve"}}'),
    "x": ("y",),
}
_SIGNS: Final = ("EdDSA", "ES256", "other key", "none", "hmac of the key", "hmac of nothing", "empty")


def made(dice: random.Random) -> Any:
    """A way to a provider and back, on which things may be otherwise than they should."""
    name = spoil.mostly(dice, "acme", PROVIDERS, 0.3)
    parts = right(name)
    sign = spoil.mostly(dice, "RS256", _SIGNS)
    if sign in ("EdDSA", "ES256"):
        parts["header"] |= {"alg": sign, "kid": {"EdDSA": "ed", "ES256": "ec"}[sign]}
    if dice.random() < 0.25:
        parts["claims"] = {field: value for field, value in parts["claims"].items() if "email" not in field}
    while dice.random() < 0.5:
        part = dice.choice(list(_CHANGES))
        field = dice.choice(list(_CHANGES[part]))
        parts[part][field] = dice.choice(_CHANGES[part][field])
        if parts[part][field] is None and dice.random() < 0.7:
            del parts[part][field]
    if dice.random() < 0.15:
        parts["emails"][0] |= dice.choice(_EMAILS)
    texts = {part: json.dumps(value) for part, value in parts.items()}
    if dice.random() < 0.25:
        part = dice.choice(_OFTEN)
        texts[part] = spoil.hostile(dice, parts[part])
    back: dict[str, str | None] = {"state": "%state%", "code": "c"}
    if name in ISSUERS and dice.random() < 0.5:
        back["iss"] = ISSUERS[name].replace("{tenantid}", TENANT)
    while dice.random() < 0.15:
        field = dice.choice(list(_BACK))
        back[field] = dice.choice(_BACK[field])
    hows = {dice.choice(PAGES): spoil.mostly(dice, dice.choice(HOWS), ("stalls",), 0.97)} if dice.random() < 0.1 else {}
    return {
        "provider": name,
        "way": spoil.mostly(dice, "sign-in", ("link", "upgrade"), 0.7),
        "victim": dice.choice(("verified", "unverified")),
        "browser": spoil.mostly(dice, "own", ("other", "none", "bare"), 0.92),
        "twice": dice.random() < 0.1,
        "texts": texts,
        "hows": hows,
        "back": [[field, text] for field, text in back.items() if text is not None],
        "sign": sign,
    }
