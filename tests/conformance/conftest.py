"""One Chromium for the tests of a module, which share an event loop: `pytest.mark.asyncio(loop_scope="module")`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.chromium import chromium


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def browser(running_browser: Browser) -> AsyncIterator[Browser]:
    """The Chromium of the module, without a window before and after a test."""
    yield running_browser
    for context in running_browser.contexts:
        await context.close()
