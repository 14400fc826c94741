"""Signing in at another provider, with a real server: by a client that follows redirects, and in Chromium."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from reliability.serving import Server, serving
from tests.apps import write_app
from tests.auth.providers import ENVIRONMENT
from tests.chromium import chromium, window
from tests.cli.calling import done_there
from tests.oidc_provider import OidcProvider, providing

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTH = """
    from yugen import ActionCtx, action
    from yugen.auth import Auth, apple, oidc

    formed = apple(client_secret="APPLE_CLIENT_SECRET")
    formed.issuer = "ISSUER"
    type(formed).secret_of = lambda self, ctx: self.variable(ctx, self.client_secret)

    auth = Auth(oidc("acme", issuer="ISSUER", trust_email=True, keep_tokens=True), formed)


    @action
    async def token(ctx: ActionCtx) -> str:
        identity = await ctx.auth.get_user_identity()
        return await auth.provider_token(ctx, identity.subject, "acme")
"""

PAGE = """
    <!doctype html>
    <title>Members</title>
    <p id="who"></p>
    <form method="post" action="/auth/sign-in/oauth/acme">
      <input type="hidden" name="redirect" value="/?welcome">
      <button>Acme</button>
    </form>
    <form method="post" action="/auth/sign-in/oauth/apple"><button>Apple</button></form>
    <a href="/auth/sign-in/oauth/acme?redirect=/%3Flinked">A link</a>
    <script>
      fetch("/auth/session").then((response) => response.json()).then((session) => {
        document.getElementById("who").textContent = session.user?.name ?? "nobody";
      });
    </script>
"""


@dataclass
class Place:
    """A server whose users sign in at a provider, which is another site to browsers."""

    server: Server
    provider: OidcProvider


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@asynccontextmanager
async def opened(folder: Path, *options: str) -> AsyncIterator[Place]:
    """Runs both, with options for the server."""
    async with providing("localhost") as provider:
        app = write_app(folder, auth=AUTH.replace("ISSUER", provider.url))
        public = app.parent / "public"
        public.mkdir()
        (public / "index.html").write_text(PAGE)
        async with serving(app, folder / "data", *options) as server:
            for name in ("ACME_CLIENT_ID", "ACME_CLIENT_SECRET", "APPLE_CLIENT_ID", "APPLE_CLIENT_SECRET"):
                where = ("--url", server.url, "--data", folder / "data")
                await done_there("env", "set", name, *where, stdin=ENVIRONMENT[name])
            yield Place(server, provider)


@pytest_asyncio.fixture(loop_scope="module")
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with opened(tmp_path) as made:
        yield made


async def test_over_tls_the_cookie_is_one_that_no_neighbour_can_plant(tmp_path: Path) -> None:
    async with opened(tmp_path, "--url", "https://api.example.com") as place:
        async with httpx.AsyncClient(base_url=place.server.url) as client:
            response = await client.post("/auth/sign-in/oauth/acme", json={})
        asked = httpx.URL(response.json()["url"]).params["redirect_uri"]
        assert asked == "https://api.example.com/auth/callback/acme"
        cookie = response.headers["set-cookie"]
        assert cookie.startswith("__Host-yugen-oauth=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
        assert "Domain" not in cookie


async def test_a_client_that_follows_redirects_comes_back_signed_in(place: Place) -> None:
    server = place.server
    async with httpx.AsyncClient(base_url=server.url, follow_redirects=True, headers={"Origin": server.url}) as client:
        response = await client.post("/auth/sign-in/oauth/acme", data={"redirect": "/auth/session"})
        assert response.json()["user"]["email"] == "ada@example.com"
        assert [each.status_code for each in response.history] == [303, 303, 303]
        token = (await client.post("/auth/token")).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        asked = {"path": "auth:token", "args": {}, "format": "json"}
        answer = (await client.post("/api/action", json=asked, headers=headers)).json()
        assert answer["value"] in place.provider.tokens
    for secret in (token, *place.provider.tokens, *place.provider.codes, ENVIRONMENT["ACME_CLIENT_SECRET"]):
        assert not any(secret in line for line in server.lines)


async def test_attack_the_host_that_a_request_names_changes_nothing(place: Place) -> None:
    origin = {"Origin": place.server.url}
    async with httpx.AsyncClient(base_url=place.server.url, headers=origin) as client:
        for headers in ({"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}, {"Forwarded": "host=evil"}):
            url = (await client.post("/auth/sign-in/oauth/acme", json={}, headers=headers)).json()["url"]
            asked = httpx.URL(url).params["redirect_uri"]
            assert asked == f"{place.server.url}/auth/callback/acme"


@pytest.mark.browser
@pytest.mark.parametrize("way", ["Acme", "Apple"])
async def test_somebody_signs_in_in_chromium_whichever_way_the_provider_answers(
    browser: Browser, place: Place, way: str
) -> None:
    place.provider.asks = True
    visitor = await window(browser, place.server.url)
    page = visitor.page
    await expect(page.locator("#who")).to_have_text("nobody")
    await page.get_by_role("button", name=way).click()
    await page.get_by_role("button", name="Go on as Ada Lovelace").click()
    # Apple tells the name but once, and in its own way, which this provider does not.
    await expect(page.locator("#who")).to_have_text("Ada Lovelace" if way == "Acme" else "nobody")
    assert page.url == f"{place.server.url}/" + ("?welcome" if way == "Acme" else "")
    session = await page.evaluate("fetch('/auth/session').then((response) => response.json())")
    assert session["user"]["email"] == "ada@example.com"
    assert await page.evaluate("document.cookie") == ""
    assert [each for each in visitor.complaints if "Failed to load resource" not in each] == []  # icons of pages


@pytest.mark.browser
async def test_a_link_of_a_page_of_ours_goes_there_and_one_of_another_site_does_not(
    browser: Browser, place: Place
) -> None:
    page = (await window(browser, place.server.url)).page
    await page.get_by_role("link", name="A link").click()
    await expect(page.locator("#who")).to_have_text("Ada Lovelace")
    # Pages of `localhost` itself are trusted while somebody works on the app.
    evil = place.provider.url.replace("localhost", "evil.localhost")
    page = (await window(browser, evil)).page
    for attack in ("<form method=post action=URL><button>Win</button></form>", "<a href=URL><button>Win</button></a>"):
        await page.goto(evil)
        await page.set_content(attack.replace("URL", f"{place.server.url}/auth/sign-in/oauth/acme"))
        await page.get_by_role("button").click()
        await expect(page.locator("body")).to_contain_text(re.compile("not trusted|Start from a page of this"))
    await page.goto(place.server.url)
    await expect(page.locator("#who")).to_have_text("nobody")


@pytest.mark.browser
async def test_attack_what_a_provider_says_of_an_error_runs_nowhere(browser: Browser, place: Place) -> None:
    script = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    place.provider.answer = {"code": None, "error": script, "error_description": script}
    visitor = await window(browser, place.server.url)
    await visitor.page.get_by_role("button", name="Acme").click()
    await expect(visitor.page.locator("body")).to_contain_text(re.compile("has not let you sign in"))
    assert "owned" not in await visitor.page.title()
    assert "onerror" not in await visitor.page.content()
