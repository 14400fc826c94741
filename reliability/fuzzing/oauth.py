"""What comes back from a provider where people sign in: its documents, its tokens, and the browser that it sends back.

The provider is in this process, behind what decides where requests may go. It answers with what is right or spoiled, late,
without an end, or not at all. Whoever is signed in by that is looked at anew, from what the provider has said.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import random
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2 as httpx

from reliability.fuzzing import spoil
from reliability.fuzzing.surface import TAKEN, Attempt, Finding, Surface
from reliability.fuzzing.tokens import Issuers
from reliability.fuzzing.visitors import CLIENT_ID, PROVIDERS, Place, Places, Visitor, outcome, places
from yugen import fetch
from yugen.auth import Auth, OAuth, oauth, users
from yugen.auth.documents import Account, Session
from yugen.functions.context import MutationCtx
from yugen.functions.extensions import extension_of
from yugen.testing import START

SECONDS_MAX: Final = 0.3
"""How long a document may take here, so that those that never come do not take long."""

ASKING_SECONDS: Final = 1.0
"""How long all that a provider is asked may take together."""

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

PAGES: Final = ("discovery", "keys", "token", "told", "emails")
HOWS: Final = ("stalls", "endless", "packed", "breaks", "redirects", "500", "404", "html", "empty")
"""What a provider may do other than answer."""

_NOW: Final = int(START.timestamp())
_TENANT: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
_PIECE: Final = 1 << 16
_INSIDE: Final = ("https://inside.example/x", "http://169.254.169.254/latest", "http://127.0.0.1:3210/", "https://[::1]/")


class _Endless(httpx.AsyncByteStream):
    """A body that has no end."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        while True:
            size += _PIECE
            if size > fetch.SIZE_MAX + 2 * _PIECE:
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


async def _resolve(host: str, port: int) -> list[str]:
    """Where names lead."""
    if host == "inside.example":
        return ["10.1.2.3"]
    if host == "localhost":
        return ["127.0.0.1"]
    return [host.strip("[]")] if re.fullmatch(r"[0-9.]+|\[?[0-9a-f:]+\]?", host) else [PUBLIC]


class Attempts:
    """Has people come back from providers.

    Args:
        places: where to.
        provider: all that is outside.
    """

    def __init__(self, places: Places, provider: Provider) -> None:
        self._places = places
        self._provider = provider
        self._issuers = Issuers()
        self._count = 0

    async def attempt(self, given: Any) -> str:
        """Sends somebody to a provider and has them come back. Nobody is signed in by it unless all is right."""
        place = await self._places.next()
        self._count += 1
        journey = Journey(place, self._provider, self._issuers, given, self._count)
        async with asyncio.timeout(ASKING_SECONDS + 3):
            return await journey.travel()


class Journey:
    """One way to a provider and back.

    Args:
        place: the app.
        provider: all that is outside.
        issuers: the keys of providers.
        given: what is spoiled.
        number: no other one has it.
    """

    def __init__(self, place: Place, provider: Provider, issuers: Issuers, given: Any, number: int) -> None:
        self._place = place
        self._provider = provider
        self._issuers = issuers
        self._given = given
        self._name: str = given["provider"]
        self._known = {"subject": f"s{number}", "email": f"ada{number}@example.com", "access": f"access-{number}"}
        self._number = number
        self._texts: dict[str, str] = {}
        self._back: dict[str, str] = {}
        self._right_state = ""

    async def travel(self) -> str:
        """As of `Attempts.attempt`."""
        self._provider.texts = self._provider.hows = {}
        self._provider.complaints.clear()
        self._provider.asked.clear()
        victim = await self._place.app.run(self._meet_victim)
        visitor = self._place.visitor()
        if self._given["way"] != "sign-in":
            await visitor.sign_in()
        before, accounts = await visitor.user(), await self._place.app.run(_newest)
        self._fill({})
        way = "link" if self._given["way"] == "link" else "sign-in"
        response = await visitor.ask(f"/{way}/oauth/{self._name}", "POST", json={"redirect": "/home"})
        if response.status_code != 200:
            self._check_asking()
            return f"at the start {outcome(response)}"
        asked = dict(parse_qsl(urlsplit(response.json()["url"]).query))
        self._provider.challenge, self._right_state = asked["code_challenge"], asked["state"]
        self._fill(asked)
        browser = await self._browser(visitor)
        response = await self._come_back(browser)
        self._check_asking()
        if browser is not visitor:
            before = None
        who, newest = await browser.user(), await self._place.app.run(_newest)
        if before == who and newest == accounts:
            await self._check_untouched(victim)
            return outcome(response)
        if wrong := self._wrong(browser is visitor):
            raise Finding(f"somebody is signed in in spite of {', '.join(wrong)}: {who}")
        await self._check_whose(victim, before, who, is_new=newest != accounts)
        if self._given["twice"]:
            again = await self._come_back(browser)
            if "InvalidState" not in outcome(again):
                raise Finding(f"one comes back twice: {outcome(again)}")
        return f"{TAKEN}, {self._given['way']}"

    def _fill(self, asked: Mapping[str, str]) -> None:
        """Writes into what the provider says what only those know who are on this journey."""
        half = hashlib.sha256(self._known["access"].encode()).digest()[:16]
        known = {
            **self._known,
            **self._issuers.numbers,
            "EMAIL": self._known["email"].upper(),
            "nonce": asked.get("nonce", ""),
            "hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
            "state": asked.get("state", ""),
        }
        texts = {name: _filled(text, known, self._number) for name, text in self._given["texts"].items()}
        known["id"] = self._issuers.token(texts["header"], texts["claims"], self._given["sign"])
        self._texts = {name: _filled(text, known, self._number) for name, text in texts.items()}
        self._texts |= {"id": known["id"], "nonce": known["nonce"]}
        self._back = {name: _filled(text, known, self._number) for name, text in self._given["back"]}
        self._provider.texts, self._provider.hows = self._texts, self._given["hows"]

    async def _browser(self, visitor: Visitor) -> Visitor:
        """Who comes back: who has left, or another one, who may have left for somewhere as well."""
        if self._given["browser"] == "own":
            return visitor
        other = self._place.visitor()
        if self._given["browser"] == "other":
            await other.ask("/sign-in/oauth/plain", "POST", json={})
        return other

    async def _come_back(self, browser: Visitor) -> httpx.Response:
        path = f"/callback/{self._name}"
        if self._name != "apple" or self._given["browser"] == "bare":
            return await browser.ask(f"{path}?{urlencode(self._back, errors='replace')}")
        form = {name: text.encode(errors="replace").decode() for name, text in self._back.items()}
        posted = await self._place.visitor().ask(path, "POST", data=form, headers={"Origin": "https://appleid.apple.com"})
        if posted.status_code != 303:
            return posted
        target = urlsplit(posted.headers["location"])
        return await browser.ask(f"{target.path.removeprefix('/auth')}?{target.query}")

    def _check_asking(self) -> None:
        if self._provider.complaints:
            raise Finding(", ".join(self._provider.complaints))

    # Whose address it is ----------------------------------------------------------------------------------------------

    async def _meet_victim(self, ctx: MutationCtx) -> str:
        """Has somebody be here already with the address that the provider names, as they have shown or not."""
        auth = extension_of(ctx, Auth)
        part = auth.part(self._name)
        assert isinstance(part, OAuth)
        part._documents = None  # what others have published is of no use to this one
        verified = self._given["victim"] == "verified"
        made = await users.create(ctx, auth, email=self._known["email"], verified=verified, method="before")
        return made.id

    async def _check_untouched(self, victim: str) -> None:
        async def read(ctx: MutationCtx) -> tuple[Any, int, int]:
            sessions = ctx.db.query(Session).with_index(Session.by_user, user=victim)
            accounts = ctx.db.query(Account).with_index(Account.by_user, user=victim)
            return await ctx.db.get(victim), len(await sessions.collect()), len(await accounts.collect())

        user, sessions, accounts = await self._place.app.run(read)
        if sessions or accounts or user.email_verified != (self._given["victim"] == "verified"):
            raise Finding(f"nobody is signed in, and yet somebody's account is another: {user} {sessions} {accounts}")

    async def _check_whose(self, victim: str, before: Any, who: Any, *, is_new: bool) -> None:
        """Whether an account is theirs who have come: by what the provider calls them, or by a verified address."""
        if who is None:
            raise Finding("there is another account, and nobody is signed in")
        if is_new and before is not None and who["id"] not in (before["id"], victim):
            raise Finding(f"{before} has become {who}")

        async def read(ctx: MutationCtx) -> list[str]:
            own = ctx.db.query(Account).with_index(Account.by_user, user=who["id"], provider=self._name)
            return [account.subject for account in await own.collect()]

        subjects = await self._place.app.run(read)
        subject, email, verified = self._said()
        if subjects != [subject]:
            raise Finding(f"{who} is {subjects}, and the provider says {subject!r}")
        is_shown = verified and self._name != "wary"
        if who["id"] == victim and not (is_shown and str(email).strip().lower() == self._known["email"]):
            raise Finding(f"an account is taken over by the address {email!r}, which nobody has shown to be theirs")
        if is_new and (who["email"] is not None or who["emailVerified"]) and not is_shown:
            raise Finding(f"{who} has an address that nobody has shown to be theirs")

    def _said(self) -> tuple[str, Any, bool]:
        """What the provider calls somebody, their address, and whether it says that it is theirs."""
        claims, told = (_object(self._texts[name]) for name in ("claims", "told"))
        if self._name in ("plain", "github", "discord"):
            claims = {}
        said = {**told, **claims} if self._name not in ("github", "apple") else claims or told
        email = said.get("email")
        verified = said.get("email_verified") in (True, "true")
        match self._name:
            case "github":
                emails = json.loads(self._texts["emails"]) if _is_json(self._texts["emails"]) else []
                rows = [each for each in emails if isinstance(each, dict)] if isinstance(emails, list) else []
                first = next((each for each in rows if each.get("primary") is True), {})
                return str(told.get("id")), first.get("email"), first.get("verified") is True
            case "discord":
                return str(told.get("id")), email, told.get("verified") is True
            case "microsoft":
                return str(said.get("sub")), email, said.get("xms_edov") in (True, "true", 1, "1")
        return str(said.get("sub")), email, verified

    # Whether all is right ---------------------------------------------------------------------------------------------

    def _wrong(self, is_own: bool) -> list[str]:
        """What is not right about a way back, read anew from all that was said."""
        token, back = _object(self._texts["token"]), self._back
        wrong = {
            "another browser": not is_own,
            "the state": back.get("state") != self._right_state,
            "the code": not back.get("code") or "error" in back,
            "the access token": not isinstance(token.get("access_token"), str) or not token["access_token"],
            "the kind of token": str(token.get("token_type", "bearer")).lower() != "bearer",
            "an error in the tokens": "error" in token,
            "what did not come": any(page in self._given["hows"] for page in self._provider.asked),
        }
        if self._name in ISSUERS:
            wrong |= self._wrong_by_openid(token)
        return [what for what, is_so in wrong.items() if is_so]

    def _wrong_by_openid(self, token: Mapping[str, Any]) -> dict[str, bool]:
        document, keys = _object(self._texts["discovery"]), _object(self._texts["keys"])
        header, claims, sign = _object(self._texts["header"]), _object(self._texts["claims"]), self._given["sign"]
        published = document.get("id_token_signing_alg_values_supported", ["RS256"])
        published = published if isinstance(published, list) else ["RS256"]
        own = next((key for key in self._issuers.key_set["keys"] if _algorithm(key) == sign), None)
        audience = claims.get("aud")
        several = isinstance(audience, list) and audience != [CLIENT_ID]
        given = self._back.get("iss")
        return {
            "the issuer of the document": str(document.get("issuer")).rstrip("/") != ISSUERS[self._name],
            "the ID token": token.get("id_token") != self._texts["id"],
            "the algorithm": header.get("alg") != sign or sign not in published or own is None,
            "crit": "crit" in header or "b64" in header,
            "the key": own is None or not _has_key(keys, own, header.get("kid")),
            "the issuer": not self._is_issuer(claims.get("iss")),
            "the audience": CLIENT_ID not in (audience if isinstance(audience, list) else [audience]),
            "for whom it is": several and claims.get("azp") != CLIENT_ID,
            "another for whom it is": claims.get("azp") not in (None, "", CLIENT_ID, 0, False, [], {}),
            "its end": not _is_number(claims.get("exp")) or claims["exp"] < _NOW - 60,
            "its beginning": bool(claims.get("nbf")) and (not _is_number(claims["nbf"]) or claims["nbf"] > _NOW + 60),
            "its time": not _is_number(claims.get("iat")),
            "the nonce": claims.get("nonce") != self._texts["nonce"],
            "the subject": not isinstance(claims.get("sub"), str) or not 0 < len(claims["sub"]) <= 255,
            "whose answer it is": given is not None and not self._is_issuer(given),
            "that it does not say": given is None
            and document.get("authorization_response_iss_parameter_supported") is True,
        }

    def _is_issuer(self, issuer: object) -> bool:
        own = ISSUERS[self._name]
        if self._name == "microsoft":
            return issuer in (own.replace("{tenantid}", _TENANT), own)
        return issuer == own or (self._name == "google" and issuer == "accounts.google.com")


async def _newest(ctx: MutationCtx) -> str | None:
    """The account at a provider that was made last."""
    found = await ctx.db.query(Account).order("desc").first()
    return None if found is None else found.id


def _filled(text: str, known: Mapping[str, str], number: int) -> str:
    text = text.replace('"%number%"', str(number))
    for name, value in known.items():
        text = text.replace(f"%{name}%", value)
    return text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _object(text: str) -> dict[str, Any]:
    """The object that a text holds; an empty one if it holds none."""
    value = json.loads(text) if _is_json(text) else None
    return value if isinstance(value, dict) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _algorithm(key: Mapping[str, str]) -> str:
    return {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[key["kty"]]


def _has_key(keys: Mapping[str, Any], own: Mapping[str, str], kid: object) -> bool:
    """Whether a key is published by the name that a token has for it."""
    published = keys.get("keys")
    for key in published if isinstance(published, list) else ():
        if isinstance(key, dict) and all(key.get(part) == own.get(part) for part in ("kty", "n", "x", "y")):
            return kid is None or key.get("kid") == kid
    return False


# What is made ---------------------------------------------------------------------------------------------------------


def _right(name: str) -> dict[str, Any]:
    """What a provider says that is in order."""
    issuer = ISSUERS.get(name, f"https://{name}.example")
    origin = "/".join(issuer.split("/")[:3])
    claims = {
        "iss": issuer.replace("{tenantid}", _TENANT),
        "aud": CLIENT_ID,
        "sub": "%subject%",
        "iat": _NOW,
        "exp": _NOW + 300,
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


_CHANGES: Final[tuple[tuple[str, str, Any], ...]] = (
    *(("discovery", field, target) for field in ("token_endpoint", "jwks_uri", "userinfo_endpoint") for target in _INSIDE),
    *(("discovery", "authorization_endpoint", target) for target in ("javascript:x", "http://a.example", "//a", "é", 7)),
    *(("discovery", "issuer", issuer) for issuer in ("https://evil.example", "", 7, None, "https://acme.example/")),
    *(("discovery", "authorization_response_iss_parameter_supported", value) for value in (True, "true", 1)),
    *(("discovery", "id_token_signing_alg_values_supported", value) for value in (["none"], ["HS256"], [], "RS256", [7])),
    *(("discovery", "token_endpoint_auth_methods_supported", value) for value in ([], ["none"], "x", [["x"]])),
    *(("token", "expires_in", value) for value in ("x", [1], {}, -1, 1e300, 10**400, None, True, "9" * 5000, "", 1.5)),
    *(("token", "expires_at", value) for value in ("x", [1], {}, 1e300, "9" * 5000)),
    *(("token", "token_type", value) for value in ("mac", "", None, 7, "bearer", "BEARER")),
    *(("token", "access_token", value) for value in ("", 7, None, "a\r\nb", "é", "x" * 100_000)),
    *(("token", "id_token", value) for value in ("", 7, None, "a.b.c", "x" * 100_000, "%id%x", "%id%.x")),
    *(("token", "error", value) for value in ("<b>", [], {}, 7, None)),
    *(("claims", "nonce", value) for value in ("", None, "x", ["%nonce%"])),
    *(("claims", "aud", value) for value in (["the-app"], ["the-app", "x"], "x", [], {}, "the-app ", None)),
    *(("claims", "azp", value) for value in ("the-app", "x", 7, ["the-app"])),
    *(("claims", "exp", value) for value in (_NOW - 90, "x", True, 1e400, None, -1, 10**400, float("nan"))),
    *(("claims", "iat", value) for value in ("x", None, _NOW + 9999, 10**400, True)),
    *(("claims", "nbf", value) for value in (_NOW + 999, "x", True, [])),
    *(("claims", "iss", value) for value in ("https://evil.example", None, 7, "accounts.google.com", "%subject%")),
    *(("claims", "sub", value) for value in ("", 7, None, "x" * 256, "é" * 240 + "%subject%", "\ud800", "a\0%subject%", [])),
    *(("claims", "email_verified", value) for value in (False, "true", "false", 1, None, [True], "True")),
    *(("claims", "email", value) for value in (None, 7, "", "x", " %EMAIL%", "%email% ", "a@b.example", "%email%\0", ["%email%"])),
    *(("claims", "xms_edov", value) for value in (False, None, "1", 1, "true", 2)),
    *(("claims", "at_hash", value) for value in ("x", ["x"], 7, "", "é")),
    *(("claims", "picture", value) for value in ("javascript:x", "https://a.example/" + "x" * 9000, 7)),
    *(("claims", "name", value) for value in ("\u202e", "x" * 9000, 7, "\ud800", "a\0b", {})),
    *(("header", "kid", value) for value in (None, 7, "x", "ed", "../../x", "")),
    *(("header", "alg", value) for value in ("none", "HS256", None, "EdDSA", "ES256", ["RS256"])),
    *(("header", "crit", value) for value in ([], ["x"])),
    *(("told", "sub", value) for value in ("x", None, 7, "")),
    *(("told", "id", value) for value in (None, True, -1, 1.5, "1", "", {}, 10**400)),
    *(("told", "email_verified", value) for value in (False, "true", 1, None)),
    *(("told", "verified", value) for value in (False, "true", 1, None)),
)
_OFTEN: Final = ("claims", "told", "token", "discovery", "header", "keys", "emails")
_BACKS: Final = (
    *(("state", None), ("state", ""), ("state", "x"), ("state", "%state%x"), ("state", "\ud800"), ("state", "x" * 9000)),
    *(("code", None), ("code", ""), ("code", "x" * 9000), ("code", "\ud800\0"), ("code", "a b&c=d")),
    *(("iss", "https://evil.example"), ("iss", ""), ("iss", "x" * 9000), ("error", "access_denied"), ("error", "<b>")),
    *(("error", ""), ("error_description", "a\nb"), ("user", "{"), ("user", '{"name": {"firstName": ["x"]}}'), ("x", "y")),
    *(("user", "[" * 3000), ("user", '{"name": {"firstName": "Eve"}, "email": "eve@example.com"}')),
)


def _made(dice: random.Random) -> Any:
    name = spoil.mostly(dice, "acme", PROVIDERS, 0.3)
    parts = _right(name)
    sign = spoil.mostly(dice, "RS256", ("EdDSA", "ES256", "other key", "none", "hmac of the key", "hmac of nothing", "empty"))
    if sign in ("EdDSA", "ES256"):
        parts["header"] |= {"alg": sign, "kid": {"EdDSA": "ed", "ES256": "ec"}[sign]}
    if dice.random() < 0.25:
        parts["claims"] = {field: value for field, value in parts["claims"].items() if "email" not in field}
    while dice.random() < 0.5:
        part, field, value = dice.choice(_CHANGES)
        parts[part][field] = value
        if value is None and dice.random() < 0.7:
            del parts[part][field]
    if dice.random() < 0.15 and parts["emails"]:
        parts["emails"][0] |= dice.choice(({"verified": False}, {"primary": 1}, {"verified": "true"}, {"email": 7}))
    texts = {part: json.dumps(value) for part, value in parts.items()}
    if dice.random() < 0.25:
        part = dice.choice(_OFTEN)
        texts[part] = spoil.hostile(dice, parts[part])
    back: dict[str, str | None] = {"state": "%state%", "code": "c"}
    if name in ISSUERS and dice.random() < 0.5:
        back["iss"] = ISSUERS[name].replace("{tenantid}", _TENANT)
    while dice.random() < 0.15:
        field, text = dice.choice(_BACKS)
        back[field] = text
    return {
        "provider": name,
        "way": spoil.mostly(dice, "sign-in", ("link", "upgrade"), 0.7),
        "victim": dice.choice(("verified", "unverified")),
        "browser": spoil.mostly(dice, "own", ("other", "none", "bare"), 0.92),
        "twice": dice.random() < 0.1,
        "texts": texts,
        "hows": {dice.choice(PAGES): spoil.mostly(dice, dice.choice(HOWS[1:]), HOWS[:1], 0.97)} if dice.random() < 0.1 else {},
        "back": [[field, text] for field, text in back.items() if text is not None],
        "sign": sign,
    }


@asynccontextmanager
async def _opened() -> AsyncIterator[Attempt]:
    provider = Provider()

    class Outward(fetch.Outward):
        """What decides where requests may go, with our provider behind it instead of the internet."""

        def __init__(self, configured: str, **_: Any) -> None:
            super().__init__(configured, resolve=_resolve)
            self._inner: Any = provider

    with (
        patch.object(fetch, "Outward", Outward),
        patch.object(fetch, "SECONDS_MAX", SECONDS_MAX),
        patch.object(oauth, "ASKING_SECONDS", ASKING_SECONDS),
    ):
        async with places() as found:
            yield partial(Attempts.attempt, Attempts(found, provider))


SURFACES: Final = (
    Surface("oauth", _made, _opened, "Providers: nobody is signed in unless all is right, and nobody as another.", 30),
)
