"""Who signs in to an app in memory, each with a browser of their own; what may not come back to any of them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2 as httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reliability import jar
from reliability.fuzzing.surface import Finding
from reliability.fuzzing.world import SECRET, Complaints
from yugen.auth import crypto
from yugen.testing import TestApp

CLIENT_ID: Final = "the-app"
PROVIDERS: Final = ("acme", "wary", "plain", "google", "microsoft", "github", "discord", "apple")
AUTH_SECRET: Final = f"{SECRET}, of sign-in"
ORIGIN: Final = "http://127.0.0.1:3210"

VISITS_MAX: Final = 300
"""After so many inputs there is another app: what is written down in memory stays there."""

_APP: Final = Path(__file__).parent / "signing_in"
_SESSION: Final = "yugen-session"


def _environment() -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        crypto.SECRET_VARIABLE: AUTH_SECRET,
        **{f"{name.upper()}_CLIENT_ID": CLIENT_ID for name in PROVIDERS},
        **{f"{name.upper()}_CLIENT_SECRET": SECRET for name in PROVIDERS},
        "APPLE_TEAM_ID": "TEAM",
        "APPLE_KEY_ID": "KEY",
        "APPLE_PRIVATE_KEY": key.decode(),
    }


class Visitor:
    """Somebody's browser.

    Args:
        place: where they go.
        address: from where they come.

    Attributes:
        jar: their cookies.
    """

    def __init__(self, place: Place, address: str) -> None:
        self._place = place
        self._address = address
        self.jar: dict[str, str] = {}

    async def ask(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """The response at a path below `/auth`; what it sets is kept.

        Raises:
            Finding: it is none that there may be.
        """
        headers = {"Origin": ORIGIN, **options.pop("headers", {})}
        if self.jar and "Cookie" not in headers:
            headers["Cookie"] = jar.header(self.jar)
        response = await self._place.ask(f"/auth{path}", method, self._address, headers, options)
        jar.keep(self.jar, response)
        return response

    async def user(self) -> dict[str, Any] | None:
        """Who is signed in here."""
        found: dict[str, Any] | None = (await self.ask("/session")).json()["user"]
        return found

    async def sign_in(self) -> dict[str, Any]:
        """Signs in as a new user who has said nothing of themselves."""
        signed_in: dict[str, Any] = (await self.ask("/sign-in/anonymous", "POST", json={})).json()
        return signed_in

    @property
    def token(self) -> str:
        """What stands for their session."""
        token = crypto.unsign(AUTH_SECRET, f"cookie {_SESSION}", self.jar[_SESSION])
        assert token is not None
        return token


class Place:
    """An app in memory where people sign in.

    Args:
        app: the app.
        log: hears what is logged.
    """

    def __init__(self, app: TestApp, log: Complaints) -> None:
        self.app = app
        self._log = log
        self._numbers = itertools.count(1)

    def visitor(self) -> Visitor:
        """A browser that nobody has used, at an address that nobody has come from."""
        number = next(self._numbers)
        return Visitor(self, f"8.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")

    async def ask(
        self, path: str, method: str, address: str, headers: dict[str, Any], options: dict[str, Any]
    ) -> httpx.Response:
        """A response, judged.

        Raises:
            Finding: it is a fault of the server, something is logged as one, or it gives away a secret.
        """
        try:
            response = await self.app.fetch(path, method=method, address=address, headers=headers, **options)
        except UnicodeEncodeError as error:
            raise Finding(f"its headers cannot be written: {error}") from None
        if complaints := self._log.take():
            raise Finding("it is logged: " + "\n".join(complaints))
        if response.status_code >= 500 and _code(response) != "ProviderUnavailable":
            raise Finding(f"{response.status_code}: {response.text[:300]}")
        for mark in (SECRET, "Traceback (most recent", 'File "/'):
            if mark in response.text or mark in str(response.headers):
                raise Finding(f"{mark!r} comes back: {response.text[:500]}")
        return response


def said(response: httpx.Response) -> dict[str, Any]:
    """What an answer says, if it is an object of JSON; else an empty one."""
    if not response.headers.get("content-type", "").startswith("application/json") or not response.content:
        return {}
    given = response.json()
    return given if isinstance(given, dict) else {}


def _code(response: httpx.Response) -> str | None:
    """By which error something is refused."""
    return said(response).get("code")


def outcome(response: httpx.Response) -> str:
    """What has become of a request, in a word."""
    code = _code(response)
    return f"{response.status_code} {code}" if code else str(response.status_code)


class Places:
    """One app after the other."""

    def __init__(self, log: Complaints) -> None:
        self._log = log
        self._visits = 0
        self._app: TestApp | None = None
        self._place: Place | None = None
        self._environment = _environment()

    async def next(self) -> Place:
        """Where to go next: mostly where one was before."""
        if self._place is None or self._visits % VISITS_MAX == 0:
            await self.close()
            self._app = TestApp(_APP, environment=self._environment)
            await self._app.__aenter__()
            self._place = Place(self._app, self._log)
        self._visits += 1
        self._log.take()  # of what was given up
        return self._place

    async def close(self) -> None:
        """Ends the last one."""
        if self._app is not None:
            await self._app.__aexit__(None, None, None)
            self._app = None


@asynccontextmanager
async def places() -> AsyncIterator[Places]:
    """Opens places to go to, and closes them."""
    with Complaints.heard() as log:
        made = Places(log)
        try:
            yield made
        finally:
            await made.close()
