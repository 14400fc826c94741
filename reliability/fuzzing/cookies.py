"""Cookies of sign-in: altered, of others, of other purposes, of what has ended, and well signed with other contents.

Whoever has the secret of a deployment can sign anything. So what is signed counts for what it says: a session that
stands is whose it is, and all else is nobody's, and no fault of the server.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final
from unittest.mock import patch

import httpx2 as httpx
from itsdangerous import Signer, TimestampSigner
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from reliability.fuzzing import spoil
from reliability.fuzzing.surface import TAKEN, Attempt, Finding, Surface
from reliability.fuzzing.visitors import AUTH_SECRET, Place, Places, Visitor, outcome, places, said
from yugen.auth import crypto, hashing
from yugen.auth.documents import Session
from yugen.functions.context import MutationCtx

SESSION: Final = "yugen-session"
OTHERS: Final = (
    *("yugen-device", "yugen-oauth", "yugen-known", "yugen-page", "yugen-signing-up", "yugen-impersonator"),
    *("yugen-invitation", "yugen-passkey-sign-in", "yugen-passkey-sign-up", "yugen-passkey-registration"),
)

STANDING: Final = ("ada", "bob")
"""Those who are signed in."""

ENDED: Final = ("gone", "half", "over", "banned")
"""Who has signed out, is to show a second factor, was there too long ago, and may not be there."""

KEYS: Final = ("right", "another", "none", "swapped", "timed", "sha1")
"""How a cookie is signed: the last two as it may once have been, or as other frameworks do it."""

GETS: Final = (
    *("/session", "/session", "/session", "/token", "/methods", "/account", "/sign-in", "/confirm", "/second-factor"),
    *("/invitation", "/totp", "/callback/plain?state=x&code=y", "/verify-email", "/link", "/nothing"),
)
POSTS: Final = (
    *("/token", "/sign-out", "/profile", "/sign-in/anonymous", "/delete-account", "/api-keys", "/ways/remove"),
    *("/sign-in/oauth/plain", "/link/oauth/plain", "/unlink/oauth/plain", "/admin/stop-impersonating"),
    *("/admin/impersonate", "/sign-in/password", "/sign-up/password", "/sign-in/code", "/verify/code"),
    *("/passkeys/options", "/passkeys", "/sign-in/passkey", "/sign-up/passkey", "/sign-up/passkey/options"),
    *("/totp/enable", "/totp/confirm", "/second-factor/totp", "/second-factor/backup-code", "/send-verification"),
    *("/change-email", "/confirm-email", "/reauthenticate"),
)
FIELDS: Final = {
    "name": "N",
    "email": "eve@example.com",
    "password": "correct horse battery",
    "code": "123456",
    "token": "x",
    "user": "⟨bob.user⟩",
    "way": "⟨bob.user⟩",
    "scopes": [],
    "id": "x",
    "response": {},
}

_PLACEHOLDER: Final = re.compile("⟨([a-z]+)(?:\\.([a-z]+))?⟩")


class People:
    """Those whose cookies there are.

    Attributes:
        place: where they are.
        texts: what can stand in a cookie, by whose it is and what it is; a token by whose it is alone.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.texts: dict[tuple[str, str], str] = {}

    async def come(self) -> None:
        """Has all of them sign in, and some be gone again."""
        for name in (*STANDING, *ENDED):
            visitor = self.place.visitor()
            signed_in = await visitor.sign_in()
            mark = f"mark-of-{name}"
            await visitor.ask("/profile", "POST", json={"name": mark})
            answered = (await visitor.ask("/token", "POST", json={})).json()
            self.texts |= {
                (name, "token"): visitor.token,
                (name, "digest"): crypto.digest(visitor.token),
                (name, "user"): signed_in["user"],
                (name, "session"): signed_in["session"],
                (name, "mark"): mark,
                (name, "jwt"): answered["token"],
            }
            if name == "gone":
                await visitor.ask("/sign-out", "POST", json={})
        await self.place.app.run(self._end)

    async def _end(self, ctx: MutationCtx) -> None:
        await ctx.db.patch(self.texts["half", "session"], state="pending")
        await ctx.db.patch(self.texts["over", "session"], expires=ctx.now - 1)
        await ctx.db.patch(self.texts["banned", "user"], banned=None)

    def filled(self, text: str) -> str:
        """A text with what stands for its placeholders: `⟨ada⟩` for a token, `⟨ada.user⟩` for an id, and so on."""
        return _PLACEHOLDER.sub(lambda found: self.texts.get((found[1], found[2] or "token"), ""), text)

    def owner(self, token: str) -> str | None:
        """Whose a token is."""
        return next((name for (name, what), text in self.texts.items() if what == "token" and text == token), None)

    async def rows(self) -> dict[str, str]:
        """What is stored of each of them."""

        async def read(ctx: MutationCtx) -> dict[str, str]:
            found = {}
            for name in STANDING:
                user, session = (
                    await ctx.db.get(self.texts[name, "user"]),
                    await ctx.db.get(self.texts[name, "session"]),
                )
                own = ctx.db.query(Session).with_index(Session.by_user, user=self.texts[name, "user"])
                found[name] = repr((user, session, len(await own.collect())))
            return found

        return await self.place.app.run(read)


class Attempts:
    """Tries cookies, one after the other.

    Args:
        places: where.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._people: People | None = None

    async def people(self) -> People:
        """Those who are there now."""
        place = await self._places.next()
        if self._people is None or self._people.place is not place:
            self._people = People(place)
            await self._people.come()
        return self._people

    async def attempt(self, given: Any) -> str:
        """Sends a request with cookies. What comes back, and what has changed, concerns only those whose they are."""
        people = await self.people()
        values = [(cookie["name"], _value(people, cookie)) for cookie in given["cookies"]]
        headers: dict[str, Any] = dict(given["headers"])
        sent = "; ".join(f"{name}={value}" for name, value in values)
        if values:
            headers["Cookie"] = sent.encode("utf-8", "surrogatepass").replace(b"\r", b"").replace(b"\n", b"")
        if given.get("bearer") is not None:
            headers["Authorization"] = f"Bearer {people.filled(given['bearer'])}"
        owner, is_sure = _owner(people, given)
        before = await people.rows()
        visitor = people.place.visitor()
        response = await visitor.ask(given["path"], given["method"], headers=headers, **_body(people, given))
        _check_marks(people, owner, sent, response)
        after = await people.rows()
        others = [name for name in STANDING if name != owner and before[name] != after[name]]
        if others:
            raise Finding(f"it has changed something of {others}, and was sent by {owner}")
        if owner in STANDING and before[owner] != after[owner]:
            self._people = None  # who has signed out, or gone, comes again
        stands = owner if owner in STANDING else None
        who = _told(people, response)
        if who not in (None, stands):
            raise Finding(f"whoever sends it is {who} and not {stands}")
        if given["path"] == "/session" and given["method"] == "GET" and is_sure and who != stands:
            raise Finding(f"whoever sends it is {who}, though it is {stands}")
        await _check_kept(people, stands, visitor)
        return f"{TAKEN}, as {'somebody' if who else 'nobody'}" if response.status_code < 400 else outcome(response)


def _value(people: People, cookie: Any) -> str:
    """What a cookie holds."""
    text, purpose = people.filled(cookie["text"]), cookie["purpose"]
    if cookie.get("sealed") is not None:
        text = crypto.seal(AUTH_SECRET, cookie["sealed"], json.loads(text))
    derived = crypto._derived(AUTH_SECRET, purpose)
    text = text.encode(errors="replace").decode()
    match cookie["key"]:
        case "right":
            value = crypto.sign(AUTH_SECRET, purpose, text)
        case "another":
            value = crypto.sign("another", purpose, text)
        case "swapped":
            other = crypto.sign(AUTH_SECRET, purpose, people.filled("⟨bob⟩"))
            value = f"{text}.{other.rpartition('.')[2]}"
        case "timed":
            value = TimestampSigner(derived, salt=purpose).sign(text).decode()
        case "sha1":
            value = Signer(derived, salt=purpose).sign(text).decode()
        case _:
            value = text
    if cookie.get("spoil") is not None:
        value = spoil.corrupt(random.Random(str(cookie["spoil"])), value, among=0x7F)
    return str(value)


def _owner(people: People, given: Any) -> tuple[str | None, bool]:
    """Whose session is shown, if any is; and whether it must be taken for that."""
    if given.get("bearer") is not None:
        return people.owner(people.filled(given["bearer"]).strip()), True
    shown = [cookie for cookie in given["cookies"] if cookie["name"] == SESSION]
    if not shown:
        return None, True
    last = shown[-1]
    # The signature of what Bob's cookie holds is right for that.
    by_key = last["key"] == "right" or (last["key"] == "swapped" and last["text"] == "⟨bob⟩")
    is_signed = by_key and last["purpose"] == f"cookie {SESSION}" and last.get("sealed") is None
    owner = people.owner(people.filled(last["text"])) if is_signed else None
    return owner, all(cookie.get("spoil") is None for cookie in given["cookies"])


def _body(people: People, given: Any) -> dict[str, Any]:
    if given["method"] != "POST":
        return {}
    fields = json.loads(people.filled(json.dumps(FIELDS, ensure_ascii=False)))
    return {"data": {name: str(value) for name, value in fields.items()}} if given.get("form") else {"json": fields}


def _check_marks(people: People, owner: str | None, sent: str, response: httpx.Response) -> None:
    """Whether there is something of somebody else in what came back, and not only because it was sent."""
    text = f"{response.headers} {response.text}"
    for (name, what), mark in people.texts.items():
        # Ids of users and sessions are no secrets.
        if name != owner and what in ("token", "digest", "mark", "jwt") and mark in text and mark not in sent:
            raise Finding(f"the {what} of {name} comes back: {response.text[:300]}")


def _told(people: People, response: httpx.Response) -> str | None:
    """Who an answer says that one is."""
    answer = said(response)
    user, token = answer.get("user"), answer.get("token")
    found = user.get("id") if isinstance(user, dict) else None
    if isinstance(token, str) and token.count(".") == 2:
        payload = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
    names = {text: name for (name, what), text in people.texts.items() if what == "user"}
    marks = (name for (name, what), text in people.texts.items() if what == "mark" and text in response.text)
    return names.get(str(found)) or next(marks, None)


async def _check_kept(people: People, owner: str | None, visitor: Visitor) -> None:
    """Whether the cookies that came back make nobody of who sent the request."""
    if SESSION in visitor.jar:
        user = await visitor.user()
        found = None if user is None else user["id"]
        who = next((name for (name, what), text in people.texts.items() if what == "user" and text == found), None)
        if who not in (None, owner):
            raise Finding(f"it was given a cookie of {who}")


_CONTENTS: Final = (
    *("", "x", ".", "..", "a.b.c", "\0", "é☃", "\u2028", "x" * 20_000, '"', "\\073", "a b", "null", "true", "[]", "{}"),
    *("⟨ada.digest⟩", "⟨ada.user⟩", "⟨ada.session⟩", "⟨ada.jwt⟩", "⟨ada⟩⟨bob⟩", "⟨ada⟩.⟨bob⟩", " ⟨ada⟩ ", "⟨ada⟩\0"),
    *("e30=", "W10=", "bnVsbA==", "e30", "eyJwYWdlIjogInNpZ24taW4iLCAibm90aWNlIjogIlx1ZDgwMCJ9", "W1tbW1tb" * 3000),
    *("eyJwYWdlIjogInNpZ24taW4iLCAicmVkaXJlY3QiOiAiamF2YXNjcmlwdDp4In0=", "eyJwYWdlIjoic2lnbi1pbiIsIm5vdGljZSI6Wzdd"),
)
_SEALED: Final = ("{}", "[]", "null", '{"challenge": 7, "expires": 9e15}', '{"challenge": "x", "expires": "x"}', '"x"')


def _cookie(dice: random.Random) -> Any:
    name = spoil.mostly(dice, SESSION, OTHERS, 0.6)
    cookie: dict[str, Any] = {
        "name": name,
        "text": spoil.mostly(dice, f"⟨{dice.choice(STANDING)}⟩", [f"⟨{ended}⟩" for ended in ENDED], 0.7),
        "purpose": spoil.mostly(dice, f"cookie {name}", (f"cookie {dice.choice(OTHERS)}", "cookie", "", "digest"), 0.9),
        "key": spoil.mostly(dice, "right", KEYS, 0.7),
    }
    if dice.random() < (0.25 if name == SESSION else 0.7):
        cookie["text"] = dice.choice(_CONTENTS)
    if "passkey" in name and dice.random() < 0.7:
        cookie |= {"text": dice.choice(_SEALED), "sealed": f"passkey {name.removeprefix('yugen-passkey-')}"}
    if dice.random() < 0.2:
        cookie["spoil"] = dice.randrange(1 << 30)
    return cookie


def _made(dice: random.Random) -> Any:
    method = spoil.mostly(dice, "GET", ("POST", "HEAD", "OPTIONS"), 0.55)
    path = dice.choice(POSTS if method == "POST" else GETS)
    headers = {} if dice.random() < 0.7 else {"Accept": "text/html"}
    if dice.random() < 0.15:
        headers["Yugen-Client"] = "token"
    return {
        "method": method,
        "path": path,
        "headers": headers,
        "cookies": [_cookie(dice) for _ in range(dice.choice((0, 1, 1, 1, 2, 3)))],
        "bearer": dice.choice(("⟨ada⟩", "⟨gone⟩", "⟨half⟩", "x", "", "⟨ada.digest⟩")) if dice.random() < 0.1 else None,
        "form": dice.random() < 0.3,
    }


@asynccontextmanager
async def _opened() -> AsyncIterator[Attempt]:
    # What passwords cost is not what is looked for here.
    cheap = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    with patch.object(hashing, "hasher", lambda: cheap), patch.object(hashing, "NOBODYS", cheap.hash("nobody's")):
        async with places() as found:
            yield partial(Attempts.attempt, Attempts(found))


SURFACES: Final = (
    Surface("cookies", _made, _opened, "Cookies of sign-in: who signs in by one is whose it is, or nobody.", 40),
)
