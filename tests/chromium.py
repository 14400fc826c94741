"""A real Chromium for tests."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect
from websockets.asyncio.client import ClientConnection, connect

# What is right shows within milliseconds; on a shared machine not always.
expect.set_options(timeout=60_000)

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


class SleepyPage:
    """A page of a Chromium of its own, which can be put to sleep; made by `sleepy_page`.

    Playwright has every page believe that it is looked at, and such a page does not sleep.
    """

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._session: str | None = None
        self._ids = itertools.count()

    async def open(self, url: str) -> None:
        target = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        await self._call("Page.enable")
        await self._call("Page.navigate", url=url)
        await self._receive(lambda message: message.get("method") == "Page.loadEventFired")

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression, or of the promise that it gives."""
        answer = await self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def shows(self, selector: str, text: str) -> None:
        """Waits until an element has this text."""
        condition = f"document.querySelector({json.dumps(selector)})?.textContent === {json.dumps(text)}"
        async with asyncio.timeout(60):
            await self.evaluate(f"""new Promise((done) => {{
                const look = () => {condition} && done();
                new MutationObserver(look).observe(document, {{ subtree: true, childList: true, characterData: true }});
                look();
            }})""")

    async def freeze(self) -> None:
        """Puts the page to sleep: none of its code runs, and its timers stand still."""
        await self._call("Page.setWebLifecycleState", state="frozen")

    async def wake(self) -> None:
        await self._call("Page.setWebLifecycleState", state="active")

    async def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        session = {} if self._session is None else {"sessionId": self._session}
        await self._devtools.send(json.dumps({"id": number, "method": method, "params": params} | session))
        answer = await self._receive(lambda message: message.get("id") == number)
        result: dict[str, Any] = answer["result"]
        return result

    async def _receive(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not wanted(message := json.loads(await self._devtools.recv())):
            pass
        found: dict[str, Any] = message
        return found


@asynccontextmanager
async def sleepy_page(url: str, profile: Path) -> AsyncIterator[SleepyPage]:
    """Opens an address in a page that can be put to sleep.

    Args:
        url: the address.
        profile: an empty folder.
    """
    executable = shutil.which("chromium")
    assert executable, "there is no command `chromium`; scripts/install-chromium says how to get it"
    process = await asyncio.create_subprocess_exec(
        executable,
        "--headless",
        "--no-sandbox",
        *_QUIET,
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    reading: asyncio.Task[bytes] | None = None
    try:
        assert process.stderr
        async with asyncio.timeout(60):
            while b"DevTools listening on" not in (line := await process.stderr.readline()):
                assert line, "Chromium has ended"
        # What it goes on to say is of no interest, but it would wait for somebody to read it.
        reading = asyncio.create_task(process.stderr.read())
        async with connect(line.decode().split()[-1], max_size=None) as devtools:
            page = SleepyPage(devtools)
            await page.open(url)
            yield page
    finally:
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if reading is not None:
            await reading
