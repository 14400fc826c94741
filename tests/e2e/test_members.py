"""Signing in to `examples/members`, in Chromium: the ready-made pages, and React with either client.

What a user does first is done without scripts; what pages show live, with `convex/react` and with Yugen's own hooks.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyotp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from reliability.serving import ROOT, Server, serving
from tests.auth.providers import ENVIRONMENT
from tests.chromium import Window, chromium, empty_window
from tests.cli.calling import done_there
from tests.conformance.site import Wire
from tests.oidc_provider import OidcProvider, providing
from yugen.server.tokens import LEEWAY_SECONDS

pytestmark = pytest.mark.browser
in_module = pytest.mark.asyncio(loop_scope="module")

MEMBERS = ROOT / "examples/members"
BIN = ROOT / "node_modules/.bin"
PASSWORD = "correct horse battery staple"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def browser(running_browser: Browser) -> AsyncIterator[Browser]:
    yield running_browser
    for context in running_browser.contexts:
        await context.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, with its page for either client, bundled as a user's tools would."""
    folder = tmp_path_factory.mktemp("members")
    for part in ("app", "public"):
        shutil.copytree(MEMBERS / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    html = (MEMBERS / "react/index.html").read_text()
    for source, name in (("official", "index"), ("own", "own")):
        (folder / f"public/{name}.html").write_text(html.replace("/react.js", f"/{source}.js"))
        bundle = (BIN / "esbuild", MEMBERS / f"react/{source}.tsx", "--bundle", "--format=esm", "--jsx=automatic")
        subprocess.run([*bundle, f"--outfile={folder}/public/{source}.js", "--log-level=warning"], check=True)
    return folder


@asynccontextmanager
async def members(folder: Path, data: Path) -> AsyncIterator[Server]:
    async with serving(folder / "app", data) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def server(folder: Path, tmp_path: Path) -> AsyncIterator[Server]:
    async with members(folder, tmp_path / "data") as server:
        yield server


def site(server: Server) -> str:
    """Its address by a name, which passkeys are bound to."""
    return f"http://localhost:{server.port}"


async def mailed(server: Server, page: str, *, since: int = 0) -> str:
    """The link of the newest mail to a page, which development shows in its log."""
    found = await server.printed(rf"(http://127\.0\.0\.1:\d+/auth/{page}\?\S+)", since=since)
    return found[1].replace("http://127.0.0.1", "http://localhost")


async def sign_up(browser: Browser, server: Server, email: str = "ada@example.com") -> None:
    """Somebody signs up in a browser of theirs, which is closed then."""
    opened = await empty_window(browser)
    page = opened.page
    since = len(server.lines)
    await page.goto(f"{site(server)}/auth/sign-up")
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_role("status")).to_contain_text("mail")
    await page.goto(await mailed(server, "verify", since=since))
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.locator("#who")).to_have_text(email)
    await page.context.close()


async def sign_in(page: Page, email: str = "ada@example.com") -> None:
    """By the form of the app's own page."""
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def at_home(browser: Browser, server: Server, path: str = "/") -> Window:
    """A device of its own, on which somebody signs in with a password."""
    opened = await empty_window(browser)
    await opened.page.goto(f"{site(server)}{path}")
    await sign_in(opened.page)
    await expect(opened.page.locator("#who")).to_have_text("ada@example.com")
    return opened


async def write(page: Page, text: str) -> None:
    await page.get_by_label("Note").fill(text)
    await page.get_by_label("Note").press("Enter")


def claims_of(token: str) -> dict[str, Any]:
    """What a token says."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


WATCH = """() => {
    window.seen = [];
    const look = () => {
        const now = document.querySelector("#who") ? "in" : document.querySelector("h1") ? "out" : "loading";
        if (window.seen.at(-1) !== now) window.seen.push(now);
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true });
    look();
}"""
"""Notes what a page shows from here on: somebody who is signed in, nobody, or that it does not know yet."""


@pytest.mark.parametrize("path", ["/", "/own.html"], ids=["official", "own"])
@in_module
async def test_from_signing_up_to_being_signed_out_elsewhere(browser: Browser, server: Server, path: str) -> None:
    opened = await empty_window(browser)
    page = opened.page
    await page.goto(f"{site(server)}{path}")
    await page.get_by_role("link", name="Create an account").click()
    await page.get_by_label("Name").fill("Ada")
    await page.get_by_label("Email").fill("ada@example.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_role("heading")).to_have_text("Confirm your address")
    link = await mailed(server, "verify")
    await page.goto(link)
    assert "token" not in page.url
    await page.get_by_role("button", name="Confirm").click()
    await page.wait_for_url(f"{site(server)}/")
    await page.goto(f"{site(server)}{path}")
    await expect(page.locator("#who")).to_have_text("ada@example.com")
    await write(page, "tea")
    await expect(page.locator("li")).to_have_text(["tea"])

    # Another device sees the same, live.
    second = await at_home(browser, server, path)
    await expect(second.page.locator("li")).to_have_text(["tea"])
    await write(second.page, "milk")
    await expect(page.locator("li")).to_have_text(["milk", "tea"])
    # Somebody else sees nothing of it.
    await sign_up(browser, server, "bob@example.com")

    # The second signs the first out, which loses what it shows at once, by push.
    await page.evaluate(WATCH)
    await second.page.goto(f"{site(server)}/auth/account")
    row = second.page.get_by_role("listitem").filter(has=second.page.get_by_role("button", name="Sign out"))
    await expect(row).to_have_count(1)
    await row.get_by_role("button").click()
    await expect(second.page.get_by_role("status")).to_have_text("That device is signed out.")
    await expect(page.get_by_role("heading", name="Members")).to_be_visible()
    await expect(page.locator("li")).to_have_count(0)
    assert await page.evaluate("seen.includes('out')")
    await second.page.goto(f"{site(server)}{path}")
    await expect(second.page.locator("li")).to_have_text(["milk", "tea"])
    assert [each for each in opened.complaints if "401" not in each] == []


@pytest.mark.parametrize("path", ["/", "/own.html"], ids=["official", "own"])
@in_module
async def test_signing_out_in_one_tab_signs_out_in_all(browser: Browser, server: Server, path: str) -> None:
    await sign_up(browser, server)
    opened = await at_home(browser, server, path)
    other = await opened.page.context.new_page()
    await other.goto(f"{site(server)}{path}")
    await expect(other.locator("#who")).to_have_text("ada@example.com")
    await opened.page.get_by_role("button", name="Sign out").click()
    for page in (opened.page, other):
        await expect(page.get_by_role("heading", name="Members")).to_be_visible()
    await sign_in(other)
    await expect(opened.page.locator("#who")).to_have_text("ada@example.com")


@pytest.mark.parametrize("path", ["/", "/own.html"], ids=["official", "own"])
@in_module
async def test_a_laptop_that_sleeps_over_the_end_of_its_token(
    browser: Browser, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Tokens are good for seconds here; the machine is away for longer, and nobody sees themselves signed out."""
    monkeypatch.setenv("MEMBERS_TOKEN_SECONDS", "3")
    async with members(folder, tmp_path / "data") as server:
        await sign_up(browser, server)
        page = (await empty_window(browser)).page
        wire = Wire(page)
        await page.goto(f"{site(server)}{path}")
        await sign_in(page)
        await write(page, "before")
        await expect(page.locator("li")).to_have_text(["before"])
        await page.evaluate(WATCH)
        await page.context.set_offline(True)
        await server.kill()
        # By then no server takes the newest token any more.
        ends = max(claims_of(each["value"])["exp"] for each in wire.of_type("Authenticate") if "value" in each)
        await page.wait_for_function(
            "ends => Date.now() > ends", arg=(ends + LEEWAY_SECONDS + 1) * 1000, timeout=60_000
        )
        await server.start()
        await page.context.set_offline(False)
        await page.evaluate("window.dispatchEvent(new Event('online'))")
        await write(page, "after")
        await expect(page.locator("li")).to_have_text(["after", "before"])
        assert await page.evaluate("seen") == ["in"]
        assert wire.of_type("AuthError")  # the server was asked with the old one, and refused it


@in_module
async def test_a_passkey(browser: Browser, server: Server) -> None:
    await sign_up(browser, server)
    opened = await at_home(browser, server)
    page = opened.page
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    authenticator = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    await page.goto(f"{site(server)}/auth/account")
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_role("button", name=re.compile("^Remove the passkey"))).to_be_visible()
    held = await devtools.send("WebAuthn.getCredentials", {"authenticatorId": authenticator["authenticatorId"]})
    assert len(held["credentials"]) == 1

    await page.get_by_role("button", name="Sign out", exact=True).click()
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.locator("#who")).to_have_text("ada@example.com")

    # And by the client of the app's own page.
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.locator("#who")).to_have_text("ada@example.com")
    # Who does not want to is told so, and can go on.
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_visible()
    await devtools.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": authenticator["authenticatorId"]})
    await page.goto(f"{site(server)}/auth/sign-in")
    await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options | {"isUserVerified": False}})
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("alert")).to_have_text(re.compile("No passkey was shown"))


@in_module
async def test_a_second_factor(browser: Browser, server: Server) -> None:
    await sign_up(browser, server)
    opened = await at_home(browser, server)
    page = opened.page
    await page.goto(f"{site(server)}/auth/account")
    await page.get_by_role("button", name="Set it up").click()
    await expect(page.get_by_role("img")).to_be_visible()
    assert await page.get_by_role("img").evaluate("image => image.naturalWidth > 0")
    phone = pyotp.TOTP(await page.locator("input[name=secret]").get_attribute("value") or "")
    await page.get_by_label("Code").fill(phone.now())
    await page.get_by_role("button", name="Turn it on").click()
    codes = (await page.locator("pre").inner_text()).split()
    assert len(codes) == 10

    other = (await empty_window(browser)).page
    await other.goto(f"{site(server)}/")
    await sign_in(other)
    await expect(other.get_by_role("heading")).to_have_text("One more step")
    await other.goto(f"{site(server)}/")  # does not get around it
    await expect(other.get_by_role("heading", name="Members")).to_be_visible()
    await other.goto(f"{site(server)}/auth/second-factor")
    await other.get_by_text("Take a backup code").click()
    await other.get_by_label("Backup code").fill(codes[3])
    await other.get_by_role("button", name="Go on").last.click()
    await expect(other.locator("#who")).to_have_text("ada@example.com")


@pytest_asyncio.fixture(loop_scope="module")
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OidcProvider]:
    async with providing("localhost") as provider:
        monkeypatch.setenv("MEMBERS_ISSUER", provider.url)
        yield provider


@in_module
async def test_another_provider(browser: Browser, provider: OidcProvider, server: Server, tmp_path: Path) -> None:
    where = ("--url", server.url, "--data", tmp_path / "data")
    for name in ("CLIENT_ID", "CLIENT_SECRET"):
        await done_there("env", "set", f"COMPANY_{name}", *where, stdin=ENVIRONMENT[f"ACME_{name}"])
    page = (await empty_window(browser)).page
    await page.goto(f"{server.url}/")
    await page.get_by_role("link", name="all ways to sign in").click()
    provider.asks = True
    await page.get_by_role("button", name=re.compile("Go on with")).click()
    await page.get_by_role("button", name="Go on as Ada Lovelace").click()
    await expect(page.locator("#who")).to_have_text("Ada Lovelace")
    assert page.url == f"{server.url}/"
    await write(page, "from elsewhere")
    await expect(page.locator("li")).to_have_text(["from elsewhere"])


@in_module
async def test_all_of_it_without_scripts(browser: Browser, server: Server) -> None:
    context = await browser.new_context(java_script_enabled=False, locale="en-GB")
    context.set_default_timeout(10_000)
    page = await context.new_page()
    await page.goto(f"{site(server)}/auth/sign-in")
    await expect(page.get_by_text("Your notes are yours, and nobody else sees them.")).to_be_visible()
    await page.get_by_role("link", name="Create an account").click()
    await page.get_by_label("Email").fill("ada@example.com")
    await page.get_by_label("Password").fill("12345678")
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_label("Password")).to_be_focused()
    await expect(page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("Email")).to_have_value("ada@example.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_role("status")).to_contain_text("mail")
    await page.goto(await mailed(server, "verify"))
    await page.get_by_role("button", name="Confirm").click()

    await page.goto(f"{site(server)}/auth/account")
    await page.get_by_label("Name").fill("Ada <script>")
    await page.get_by_role("button", name="Save the name").click()
    await expect(page.get_by_label("Name")).to_have_value("Ada <script>")
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await expect(page.get_by_role("status")).to_have_text("You are signed out.")

    await page.get_by_label("Email").fill("ada@example.com")
    await page.get_by_label("Password").fill("something else")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.locator(".error, .alert").first).to_be_visible()
    await page.get_by_role("link", name="Forgotten your password?").click()
    await page.get_by_label("Email").fill("ada@example.com")
    since = len(server.lines)
    await page.get_by_role("button", name="Send mail").click()
    await page.goto(await mailed(server, "reset", since=since))
    assert "token" not in page.url
    await page.get_by_label("New password").fill(f"{PASSWORD}, again")
    await page.get_by_role("button", name="Save the password").click()
    await expect(page.get_by_role("status")).to_have_text("You have a new password. Sign in with it.")
    await page.get_by_label("Email").fill("ada@example.com")
    await page.get_by_label("Password").fill(f"{PASSWORD}, again")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.goto(f"{site(server)}/auth/account")
    await page.get_by_text("Delete my account").first.click()
    await page.get_by_role("button", name="Delete my account").click()
    await expect(page.get_by_role("status")).to_have_text("Your account is deleted.")


@in_module
async def test_a_page_without_react(browser: Browser, server: Server) -> None:
    await sign_up(browser, server)
    page = (await at_home(browser, server)).page
    await write(page, "tea")
    await page.goto(f"{site(server)}/plain.html")
    await expect(page.locator("#who")).to_have_text("ada@example.com")
    await expect(page.locator("li")).to_have_text(["tea"])
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.locator("#who")).to_have_text("nobody")
    await expect(page.locator("li")).to_have_count(0)
    await page.get_by_role("link", name="Sign in").click()
    await sign_in(page)
    await page.wait_for_url(f"{site(server)}/plain.html")
    await expect(page.locator("li")).to_have_text(["tea"])


@in_module
async def test_no_other_site_frames_a_page(browser: Browser, server: Server, folder: Path) -> None:
    page = (await empty_window(browser)).page
    (folder / "public/framing.html").write_text(f"<iframe src='{site(server)}/auth/sign-in'></iframe>")
    async with page.expect_event("requestfailed") as refused:
        await page.goto(f"{server.url}/framing.html")  # of another origin, that of the number
    assert (await refused.value).failure == "net::ERR_BLOCKED_BY_RESPONSE"


def test_what_the_example_shows_compiles(tmp_path: Path) -> None:
    shutil.copytree(MEMBERS / "react", tmp_path / "react")
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    options = (
        "--noEmit --strict --jsx react-jsx --module esnext --moduleResolution bundler --target es2022 --skipLibCheck"
    )
    command = [str(BIN / "tsc"), *options.split(), "--lib", "es2022,dom", "react/official.tsx", "react/own.tsx"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
