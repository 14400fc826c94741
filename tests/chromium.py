"""A real Chromium for tests."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

_QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Runs the system's Chromium. Each `window` of it is a visitor of its own."""
    executable = shutil.which("chromium")
    assert executable, "there is no command `chromium`; scripts/install-chromium says how to get it"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=_QUIET)
        try:
            yield browser
        finally:
            await browser.close()


class Window:
    """A page in a fresh profile, which notes what goes wrong in it.

    Attributes:
        page: the page.
        complaints: uncaught errors, and what was logged as an error.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._logged)

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)


async def window(browser: Browser, url: str, *, width: int = 1280, height: int = 800) -> Window:
    """Opens an address in a fresh profile."""
    opened = await empty_window(browser, width=width, height=height)
    await opened.page.goto(url)
    return opened


async def empty_window(browser: Browser, *, width: int = 1280, height: int = 800) -> Window:
    """Opens a page in a fresh profile, which is to go somewhere once it has been prepared for what it will find."""
    context = await browser.new_context(
        viewport={"width": width, "height": height}, locale="en-GB", reduced_motion="reduce"
    )
    context.set_default_timeout(10_000)
    return Window(await context.new_page())
