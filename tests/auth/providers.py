"""An app with sign-in at a provider that runs beside it, and browsers that go there and come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.auth.browser import Browser
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, providing
from yugen.auth import Auth, OAuth
from yugen.auth.documents import Account
from yugen.functions.extensions import extension_of
from yugen.testing import TestApp

APP = Path(__file__).parent / "oauth_app"
BASE = "http://127.0.0.1:3210"
PROVIDERS = ("acme", "other", "closed", "plain", "apple")

_KEY = ec.generate_private_key(ec.SECP256R1())
APPLE_KEY = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

ENVIRONMENT = {
    **{f"{name.upper()}_CLIENT_ID": CLIENT_ID for name in PROVIDERS},
    **{f"{name.upper()}_CLIENT_SECRET": CLIENT_SECRET for name in PROVIDERS},
    "APPLE_TEAM_ID": "TEAM",
    "APPLE_KEY_ID": "KEY",
    "APPLE_PRIVATE_KEY": APPLE_KEY.replace("\n", "\\n"),
}


@dataclass
class World:
    """The app, and the provider that all its parts take for theirs.

    Attributes:
        app: the app.
        auth: what it has in `auth.py`.
        provider: the provider.
    """

    app: TestApp
    auth: Auth
    provider: OidcProvider

    def browser(self) -> Browser:
        """A browser nobody has used."""
        return Browser(self.app, BASE)

    def part(self, name: str) -> OAuth:
        """A provider as the app has it."""
        found = self.auth.part(name)
        assert isinstance(found, OAuth)
        return found

    def at(self, name: str, provider: OidcProvider) -> None:
        """Has a part take a provider for its own."""
        part = self.part(name)
        part._documents = None
        if part.issuer is None:
            part.authorize_url, part.token_url = f"{provider.url}/authorize", f"{provider.url}/token"
            part.userinfo_url = f"{provider.url}/userinfo"
        else:
            part.issuer = provider.url
        provider.now = lambda: self.app._now_ns / 1e9

    async def accounts(self) -> list[Account]:
        """All accounts but those by name."""
        found = await self.app.run(lambda ctx: ctx.db.query(Account).collect())
        return [each for each in found if each.provider != "by-name"]

    async def users(self) -> list[Any]:
        """All users."""
        return await self.app.run(lambda ctx: ctx.db.query(self.auth.user).collect())


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Runs the app with a provider."""
    async with providing() as provider, TestApp(APP, environment=ENVIRONMENT) as app:

        async def find(ctx: Any) -> Auth:
            return extension_of(ctx, Auth)

        made = World(app, await app.run(find), provider)
        for name in PROVIDERS:
            made.at(name, provider)
        yield made


async def leave(browser: Browser, name: str = "acme", way: str = "sign-in", **fields: Any) -> str:
    """Starts, and gives the address that the browser is sent to."""
    response = await browser.post(f"/{way}/oauth/{name}", **fields)
    assert response.status_code == 200, response.text
    url: str = response.json()["url"]
    return url


async def consent(url: str) -> str:
    """Agrees at the provider, and gives where it sends the browser: a path below `/auth`."""
    async with httpx.AsyncClient() as client:
        response = await client.get(url)
    assert response.status_code == 303, response.text
    location = response.headers["location"]
    assert location.startswith(f"{BASE}/auth/")
    return str(location.removeprefix(f"{BASE}/auth"))


async def travel(browser: Browser, name: str = "acme", way: str = "sign-in", **fields: Any) -> httpx.Response:
    """Goes there and comes back."""
    return await browser.ask(await consent(await leave(browser, name, way, **fields)))


async def user_of(browser: Browser) -> dict[str, Any] | None:
    """Who is signed in."""
    found: dict[str, Any] | None = (await browser.ask("/session")).json()["user"]
    return found


def query_of(url: str) -> dict[str, str]:
    """The fields of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
