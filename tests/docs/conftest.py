from __future__ import annotations

from collections.abc import AsyncIterator

import board
import pytest_asyncio

from yugen.testing import TestApp


@pytest_asyncio.fixture
async def t() -> AsyncIterator[TestApp]:
    """The app that the guides show, with nothing in it."""
    async with TestApp(board) as t:
        yield t
