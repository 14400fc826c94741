"""The example of docs/oauth.md, at providers that run beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from reliability.serving import ROOT
from tests.auth.browser import Browser
from tests.auth.providers import consent, leave, travel, user_of
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider, providing
from yugen import MutationCtx
from yugen.auth import Auth, OAuth
from yugen.functions.extensions import extension_of
from yugen.testing import TestApp

APP = ROOT / "examples/profile/app"
NAMES = ("GOOGLE", "GITHUB", "ACME", "FORGE")
BASE = "http://127.0.0.1:3210"


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    async with providing() as made:
        yield made


@pytest_asyncio.fixture
async def t(provider: OidcProvider) -> AsyncIterator[TestApp]:
    variables = {f"{name}_CLIENT_ID": CLIENT_ID for name in NAMES}
    variables |= {f"{name}_CLIENT_SECRET": CLIENT_SECRET for name in NAMES}
    async with TestApp(APP, environment=variables) as t:
        provider.now = lambda: t._now_ns / 1e9

        async def point_at_provider(ctx: MutationCtx) -> None:
            for part in extension_of(ctx, Auth).parts:
                if isinstance(part, OAuth) and part.issuer is not None:
                    part.issuer, part._documents = provider.url, None
                elif isinstance(part, OAuth):
                    part.authorize_url, part.token_url = f"{provider.url}/authorize", f"{provider.url}/token"
                    part.userinfo_url = f"{provider.url}/user"

        await t.run(point_at_provider)
        yield t


async def test_people_sign_in_with_google_and_acme_as_one(t: TestApp) -> None:
    shown = []
    for name in ("google", "acme"):
        browser = Browser(t, BASE)
        await travel(browser, name)
        shown.append(await user_of(browser))
    assert shown[0] == shown[1]
    assert shown[0] is not None


async def test_a_provider_with_names_of_its_own(t: TestApp, provider: OidcProvider) -> None:
    provider.api["/user"] = {"id": 7, "email": "ada@example.com", "confirmed_at": "2026-01-01", "username": "ada"}
    browser = Browser(t, BASE)
    await travel(browser, "forge")
    user = await user_of(browser)
    assert user is not None
    assert (user["name"], user["email"], user["emailVerified"]) == ("ada", "ada@example.com", True)


async def test_an_action_asks_github_in_the_name_of_who_calls(t: TestApp, provider: OidcProvider) -> None:
    provider.api = {
        "/user": {"id": 7, "login": "ada"},
        "/user/emails": [],
        "/user/repos": [{"full_name": "ada/engine"}],
    }
    t._loaded.functions["repositories:names"].function.handler.__globals__["API"] = provider.url
    browser = Browser(t, BASE)
    await browser.ask(await consent(await leave(browser, "github")))
    assert await (await browser.caller()).action("repositories:names") == ["ada/engine"]
