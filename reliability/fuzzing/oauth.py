"""What comes back from a provider where people sign in: its documents, its tokens, and the browser that it sends.

The provider is in this process, behind what decides where requests may go. It answers with what is right or spoiled,
late, without an end, or not at all. Whoever is signed in by that is looked at anew, from what the provider has said.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2 as httpx

from reliability.fuzzing.providers import ISSUERS, NOW, TENANT, Provider, made, resolve
from reliability.fuzzing.surface import TAKEN, Attempt, Finding, Surface
from reliability.fuzzing.tokens import Issuers
from reliability.fuzzing.visitors import CLIENT_ID, Place, Places, Visitor, outcome, places
from yugen import fetch
from yugen.auth import Auth, OAuth, oauth, users
from yugen.auth.documents import Account, Session
from yugen.functions.context import MutationCtx
from yugen.functions.extensions import extension_of

SECONDS_MAX: Final = 0.3
"""How long a document may take here, so that those that never come do not take long."""

ASKING_SECONDS: Final = 1.0
"""How long all that a provider is asked may take together."""


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
        posted = await self._place.visitor().ask(
            path, "POST", data=form, headers={"Origin": "https://appleid.apple.com"}
        )
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
            "its end": not _is_number(claims.get("exp")) or claims["exp"] < NOW - 60,
            "its beginning": bool(claims.get("nbf")) and (not _is_number(claims["nbf"]) or claims["nbf"] > NOW + 60),
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
            return issuer in (own.replace("{tenantid}", TENANT), own)
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


@asynccontextmanager
async def _opened() -> AsyncIterator[Attempt]:
    provider = Provider()

    class Outward(fetch.Outward):
        """What decides where requests may go, with our provider behind it instead of the internet."""

        def __init__(self, configured: str, **_: Any) -> None:
            super().__init__(configured, resolve=resolve)
            self._inner: Any = provider

    with (
        patch.object(fetch, "Outward", Outward),
        patch.object(fetch, "SECONDS_MAX", SECONDS_MAX),
        patch.object(oauth, "ASKING_SECONDS", ASKING_SECONDS),
    ):
        async with places() as found:
            yield partial(Attempts.attempt, Attempts(found, provider))


SURFACES: Final = (
    Surface("oauth", made, _opened, "Providers: nobody is signed in unless all is right, and nobody as another.", 30),
)
