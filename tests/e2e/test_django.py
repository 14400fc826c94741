"""examples/django under each server: its users, whom Yugen knows by tokens of the site and by calls of its views."""

from __future__ import annotations

import asyncio
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
from playwright.async_api import Browser, expect

from reliability.serving import ROOT, SECONDS_MAX
from tests.chromium import Window, chromium, window
from tests.outer import SERVERS, Outer, example, outside
from yugen_client import AsyncClient, FunctionError

APP = "website.asgi:application"
PEOPLE = ("ada", "bob")
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site with its two users."""
    site = example("django", tmp_path_factory.mktemp("prepared"))
    shutil.copy(ROOT / "node_modules/convex/dist/browser.bundle.js", site / "website/convex.js")
    manage(site, "migrate")
    for name in PEOPLE:
        manage(site, "createsuperuser", "--noinput", "--username", name, "--email", f"{name}@helpdesk.example")
    return site


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    return shutil.copytree(prepared, tmp_path / "site")


def manage(site: Path, *command: str) -> None:
    environment = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    subprocess.run([sys.executable, "manage.py", *command], cwd=site, env=environment, check=True, capture_output=True)


@asynccontextmanager
async def signed_in(site: Outer, name: str) -> AsyncIterator[httpx.AsyncClient]:
    """A visitor who has signed in."""
    async with httpx.AsyncClient(base_url=site.url, follow_redirects=True) as visitor:
        form = csrf_token((await visitor.get("/login")).text)
        done = await visitor.post("/login", data={"username": name, "password": PASSWORD, "csrfmiddlewaretoken": form})
        assert done.status_code == 200
        assert name in done.text
        yield visitor


def csrf_token(page: str) -> str:
    [token] = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page))
    return str(token)


async def submit(visitor: httpx.AsyncClient, text: str) -> httpx.Response:
    form = csrf_token((await visitor.get("/")).text)
    return await visitor.post("/submit", data={"text": text, "csrfmiddlewaretoken": form})


@pytest.mark.parametrize("server", SERVERS)
async def test_users_of_the_site_are_users_of_yugen(folder: Path, server: str) -> None:
    async with (
        asyncio.timeout(2 * SECONDS_MAX),
        outside(folder, APP, server=server) as site,
        signed_in(site, "ada") as ada,
        signed_in(site, "bob") as bob,
    ):

        async def token() -> str:
            return str((await ada.get("/token")).json()["token"])

        async with AsyncClient(f"{site.url}/yugen", auth=token) as live:
            mine = live.subscribe("tickets:mine")
            assert await anext(mine) == []
            assert (await submit(bob, "of Bob's")).status_code == 200
            assert (await submit(ada, "The printer")).status_code == 200
            [ticket] = await anext(mine)
            assert (ticket["text"], ticket["by"]) == ("The printer", "ada")
            await live.mutation("tickets:submit", {"text": "The screen"})
            assert (await ada.get("/mine")).json() == {"tickets": ["The printer", "The screen"]}
            assert (await bob.get("/mine")).json() == {"tickets": ["of Bob's"]}


async def test_nobody_is_nobody(folder: Path) -> None:
    async with outside(folder, APP) as site, asyncio.timeout(SECONDS_MAX):
        async with httpx.AsyncClient(base_url=site.url) as http:
            assert (await http.get("/token")).json() == {"token": None}
            assert (await http.get("/mine")).status_code == 403
            form = csrf_token((await http.get("/login")).text)
            refused = await http.post("/submit", data={"text": "?", "csrfmiddlewaretoken": form})
            assert (refused.status_code, refused.text) == (403, "Sign in first.")
            assert (await http.get("/nowhere")).status_code == 404
        async with AsyncClient(f"{site.url}/yugen") as live:
            with pytest.raises(FunctionError) as raised:
                await live.query("tickets:mine")
            assert raised.value.data == "Sign in first."
    assert stat.S_IMODE((folder / "signing_key.pem").stat().st_mode) == 0o600


async def sign_in(browser: Browser, url: str, name: str) -> Window:
    opened = await window(browser, f"{url}/login")
    await opened.page.get_by_label("Username").fill(name)
    await opened.page.get_by_label("Password").fill(PASSWORD)
    await opened.page.get_by_role("button", name="Sign in").click()
    await expect(opened.page.get_by_role("heading")).to_have_text(name)
    return opened


@pytest.mark.browser
async def test_the_page(folder: Path) -> None:
    async with outside(folder, APP) as site, chromium() as browser:
        ada, ada_elsewhere, bob = [await sign_in(browser, site.url, name) for name in ("ada", "ada", "bob")]
        await ada.page.get_by_placeholder("What is wrong?").fill("The printer")
        await ada.page.get_by_role("button", name="Send").click()
        for opened in (ada, ada_elsewhere):
            await expect(opened.page.locator("li")).to_have_text(["The printer"])
        await expect(bob.page.locator("li")).to_have_count(0)
        assert [*ada.complaints, *ada_elsewhere.complaints, *bob.complaints] == []
