"""The chat example as people meet it: its page in Chromium, a Python program beside it, a real server below."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from reliability.serving import ROOT, Server, serving
from tests.chromium import Window, chromium, window
from yugen_client import AsyncClient

APP = ROOT / "examples/chat/app"

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with serving(APP, tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def channel(server: Server, request: pytest.FixtureRequest) -> str:
    """The address of a channel that no other test talks in."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[-32:].strip("-")
    async with AsyncClient(server.url) as client:
        await client.mutation("channels:create", {"name": name})
    return f"{server.url}/#/{name}"


async def joined(browser: Browser, url: str, name: str, *, width: int = 1280) -> Window:
    """A window whose visitor has given a name."""
    opened = await window(browser, url, width=width)
    await opened.page.get_by_test_id("name-input").fill(name)
    await opened.page.get_by_test_id("join-button").click()
    await expect(opened.page.get_by_test_id("composer")).to_be_focused()
    return opened


async def say(page: Page, body: str) -> None:
    await page.get_by_test_id("composer").fill(body)
    await page.get_by_test_id("composer").press("Enter")


async def expect_messages(page: Page, *bodies: str) -> None:
    """Exactly these, in this order, none of them still on its way."""
    await expect(page.locator("[data-testid=message] .body")).to_have_text(bodies)
    await expect(page.locator(".sending, .failed")).to_have_count(0)


async def test_two_windows_and_a_program_see_each_other(browser: Browser, tmp_path: Path) -> None:
    async with serving(APP, tmp_path) as server:
        ada, bo = [await joined(browser, server.url, name) for name in ("Ada", "Bo")]
        for opened in (ada, bo):
            await expect(opened.page.get_by_role("heading", name="general")).to_be_visible()
            await expect(opened.page.get_by_test_id("empty-state")).to_contain_text("The first words are yours.")
            await expect(opened.page.locator("#people li")).to_have_count(2)

        await say(ada.page, "hello from Ada")
        await expect_messages(bo.page, "hello from Ada")
        await say(bo.page, "hello from Bo")
        await expect_messages(ada.page, "hello from Ada", "hello from Bo")
        await expect(ada.page.get_by_test_id("empty-state")).to_be_hidden()

        async with AsyncClient(server.url) as client:
            messages = client.subscribe("messages:list", {"channel": "general"})
            assert [message["body"] for message in await anext(messages)] == ["hello from Ada", "hello from Bo"]
            me = await client.mutation("people:join", {"name": "Program"})
            await client.mutation("messages:send", {"channel": "general", "author": me, "body": "hello from Python"})
            for opened in (ada, bo):
                await expect_messages(opened.page, "hello from Ada", "hello from Bo", "hello from Python")
                await expect(opened.page.locator(".author")).to_have_text(["Ada", "Bo", "Program"])
            await say(ada.page, "and back")
            async for shown in messages:
                if shown[-1]["body"] == "and back":
                    break

        await bo.page.reload()
        await expect_messages(bo.page, "hello from Ada", "hello from Bo", "hello from Python", "and back")
        assert ada.complaints == bo.complaints == []


async def test_channels(browser: Browser, channel: str) -> None:
    ada, bo = [await joined(browser, channel, name) for name in ("Ada", "Bo")]
    name, error = ada.page.get_by_test_id("new-channel-name"), ada.page.locator("#channel-error")

    await ada.page.get_by_test_id("create-channel").click()
    await expect(error).to_have_text("Give the channel a name.")
    await name.fill("What?")
    await name.press("Enter")
    await expect(error).to_have_text("Use up to 32 lowercase letters, digits and hyphens, like design-reviews.")
    await name.fill("Channels")
    await name.press("Enter")
    await expect(error).to_have_text("There is a channel called channels already.")
    await expect(name).to_be_focused()

    await name.fill("Design reviews")
    await ada.page.get_by_label("Topic of the new channel").fill("What is on the table")
    await name.press("Enter")
    await expect(error).to_be_empty()
    await expect(ada.page.get_by_role("heading", name="design-reviews")).to_be_visible()
    await expect(ada.page.get_by_text("What is on the table")).to_be_visible()
    await expect(ada.page.get_by_test_id("composer")).to_be_focused()
    await say(ada.page, "first draft")

    await expect(bo.page.get_by_test_id("empty-state")).to_be_visible()
    link = bo.page.get_by_role("link", name="design-reviews")
    await link.click()
    await expect_messages(bo.page, "first draft")
    await expect(link).to_have_attribute("aria-current", "page")
    assert ada.complaints == bo.complaints == []


async def test_names(browser: Browser, channel: str) -> None:
    ada = await window(browser, channel)
    await ada.page.get_by_test_id("join-button").click()
    await expect(ada.page.locator("#join-error")).to_have_text("Please tell us your name.")
    await expect(ada.page.get_by_test_id("name-input")).to_be_focused()
    await ada.page.get_by_test_id("name-input").fill("  Ada  ")
    await ada.page.get_by_test_id("join-button").click()
    await say(ada.page, "hello")
    await ada.page.get_by_role("button", name="Change name").click()
    await ada.page.get_by_test_id("name-input").fill("Ada Lovelace")
    await ada.page.get_by_test_id("join-button").click()
    await say(ada.page, "again")
    await expect_messages(ada.page, "hello", "again")
    await expect(ada.page.locator(".author")).to_have_text(["Ada", "Ada Lovelace"])
    assert ada.complaints == []


async def test_keyboard_alone(browser: Browser, channel: str) -> None:
    page = (await window(browser, channel)).page
    keyboard, composer = page.keyboard, page.get_by_test_id("composer")
    await expect(page.get_by_test_id("name-input")).to_be_focused()
    await keyboard.type("Ada")
    await keyboard.press("Enter")
    await expect(composer).to_be_focused()
    await keyboard.type("one line")
    await keyboard.press("Shift+Enter")
    await keyboard.type("and another")
    await keyboard.press("Enter")
    await expect_messages(page, "one line\nand another")

    # Backwards from the composer: the messages, the name, the new channel's button, topic and name.
    for _ in range(5):
        await keyboard.press("Shift+Tab")
    await expect(page.get_by_test_id("new-channel-name")).to_be_focused()
    await keyboard.type("keyboard-aside")
    await keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="keyboard-aside")).to_be_visible()
    await expect(composer).to_be_focused()
    await keyboard.type("draft")
    await keyboard.press("Alt+ArrowUp")
    await expect(page.get_by_role("heading", name="keyboard-alone")).to_be_visible()
    await expect(composer).to_have_value("")
    await keyboard.press("Alt+ArrowDown")
    await expect(page.get_by_role("heading", name="keyboard-aside")).to_be_visible()
    await expect(composer).to_have_value("draft")

    await page.get_by_role("link", name="keyboard-aside").focus()
    await keyboard.press("ArrowUp")
    await keyboard.press("Enter")
    await expect_messages(page, "one line\nand another")
    await keyboard.press("Shift+Tab")
    await expect(page.get_by_role("region", name="Messages")).to_be_focused()
    await keyboard.press("Escape")
    await expect(composer).to_be_focused()


@pytest.mark.parametrize("width", [1280, 360])
async def test_whatever_is_said_is_shown_as_text(browser: Browser, channel: str, width: int) -> None:
    ada, bo = [await joined(browser, channel, name, width=width) for name in ("Ada", "<i>Bo</i>")]
    said = [
        "<img src=x onerror=\"document.title='taken'\"><script>alert(1)</script>",
        "x" * 2000,
        "https://example.com/" + "a-b/" * 400,
        "&amp; {{7*7}} ${7*7} %s \\n",
        "\u202eright to left\u202c 👩‍👩‍👧‍👦 ﷽",
    ]
    for body in said:
        await say(bo.page, body)
    for opened in (ada, bo):
        await expect_messages(opened.page, *said)
        assert await opened.page.locator(".messages img, .messages script, .messages i").count() == 0
        assert "taken" not in await opened.page.title()
        for part in ("document.documentElement", "document.getElementById('scroller')"):
            assert await opened.page.evaluate(f"{part}.scrollWidth <= {part}.clientWidth"), part
    await expect(ada.page.locator(".author").first).to_have_text("<i>Bo</i>")
    assert ada.complaints == bo.complaints == []


async def test_what_cannot_be_sent_stays_in_the_composer(browser: Browser, channel: str) -> None:
    page = (await joined(browser, channel, "Ada")).page
    composer, button = page.get_by_test_id("composer"), page.get_by_test_id("send-button")
    count = page.locator("#composer-count")
    await expect(button).to_be_disabled()
    await say(page, "   \n ")
    await expect(button).to_be_disabled()
    await composer.fill("x" * 1990)
    await expect(count).to_have_text("10 left")
    await expect(button).to_be_enabled()
    await say(page, "x" * 2001)
    await expect(count).to_have_text("1 character too long")
    await expect(composer).to_have_attribute("aria-invalid", "true")
    await expect(composer).to_have_value("x" * 2001)
    await expect(button).to_be_disabled()
    await expect(page.get_by_test_id("message")).to_have_count(0)
    await composer.fill("short")
    await button.click()
    await expect_messages(page, "short")


async def test_a_refused_message_says_so_and_can_be_sent_again(browser: Browser, tmp_path: Path) -> None:
    """The app allows less than the page, until its author saves a new version."""
    shutil.copytree(APP, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(APP.parent / "public", tmp_path / "public")
    code = tmp_path / "app/messages.py"
    generous = code.read_text()
    code.write_text(generous.replace("LENGTH_MAX = 2000", "LENGTH_MAX = 5"))
    async with serving(tmp_path / "app", tmp_path / "data") as server:
        page = (await joined(browser, server.url, "Ada")).page
        await say(page, "too much")
        await say(page, "short")
        failed = page.locator(".failed")
        await expect(failed).to_contain_text("too much")
        await expect(failed.get_by_role("alert")).to_have_text("Not sent. A message has at most 5 characters.")
        await say(page, "again too much")
        await expect(failed).to_have_count(2)
        await failed.last.get_by_role("button", name="Discard").click()
        await expect(failed).to_have_count(1)

        code.write_text(generous)
        await server.printed("Reloaded ")
        await failed.get_by_role("button", name="Try again").click()
        await expect_messages(page, "short", "too much")


async def test_a_killed_server_is_waited_for(browser: Browser, tmp_path: Path) -> None:
    async with serving(APP, tmp_path) as server:
        ada, bo = [await joined(browser, server.url, name) for name in ("Ada", "Bo")]
        await say(ada.page, "before")
        await expect_messages(bo.page, "before")
        await server.kill()
        banner = ada.page.get_by_test_id("connection-banner")
        await expect(banner).to_contain_text("The connection is lost.")
        await expect_messages(bo.page, "before")

        await say(ada.page, "meanwhile")
        await expect(ada.page.locator(".sending")).to_contain_text("meanwhile")
        await expect(banner).to_contain_text("1 message will be sent when it is back.")
        await server.start()
        for opened in (ada, bo):
            await expect_messages(opened.page, "before", "meanwhile")
            await expect(opened.page.get_by_test_id("connection-banner")).to_be_hidden()
        await say(bo.page, "after")
        for opened in (ada, bo):
            await expect_messages(opened.page, "before", "meanwhile", "after")


@pytest.mark.parametrize("width", [1280, 360])
async def test_every_control_has_a_name_and_a_place(browser: Browser, channel: str, width: int) -> None:
    page = (await window(browser, channel, width=width)).page
    await expect(page.get_by_role("main")).to_have_count(1)
    await expect(page.get_by_role("heading", level=1)).to_have_count(1)
    assert nameless(await page.locator("body").aria_snapshot()) == []

    page = (await joined(browser, channel, "Ada", width=width)).page
    await say(page, "hello")
    await expect_messages(page, "hello")
    assert await page.locator("html").get_attribute("lang") == "en"
    assert (await page.title()).endswith(" · Yugen chat")
    if width < 760:
        menu = page.get_by_role("button", name="Channels and people")
        await expect(page.get_by_role("navigation")).to_have_count(0)
        await menu.click()
        await expect(menu).to_have_attribute("aria-expanded", "true")
        await expect(page.get_by_role("navigation", name="Channels and people")).to_be_visible()
        assert nameless(await page.locator("body").aria_snapshot()) == []
        await page.keyboard.press("Escape")
        await expect(menu).to_be_focused()
    else:
        await expect(page.get_by_role("navigation", name="Channels and people")).to_have_count(1)
    await expect(page.get_by_role("main")).to_have_count(1)
    await expect(page.get_by_role("heading", level=1)).to_have_count(1)
    await expect(page.get_by_role("region", name="Messages")).to_have_count(1)
    assert nameless(await page.locator("body").aria_snapshot()) == []
    ids: list[str] = await page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))


def nameless(snapshot: str) -> list[str]:
    """The controls and regions of an accessibility tree that a screen reader has no name for."""
    return re.findall(r"^ *- (?:button|textbox|link|navigation|region)(?! \"[^\"]).*", snapshot, re.MULTILINE)
