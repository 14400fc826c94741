"""How far something is, on the terminal of whoever waits for it. Where there is no terminal, nothing is shown."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TextIO

_WIDTH: Final = 30
_SECONDS: Final = 0.1
_MB: Final = 1_000_000


class Progress:
    """A line on a terminal that says how much of something is done.

    Args:
        what: what is done, as the beginning of the line.
        total: bytes of all of it; None if that is not known.
        stream: the terminal.
    """

    def __init__(self, what: str, total: int | None = None, stream: TextIO | None = None) -> None:
        self._what = what
        self._total = total
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._began = time.monotonic()
        self._last = 0.0
        self.done = 0

    def advance(self, size: int) -> None:
        """So many more bytes are done."""
        self.done += size
        if time.monotonic() - self._last >= _SECONDS:
            self.draw()

    def draw(self) -> None:
        """Shows the line as it is now."""
        if self._shown:
            self._last = time.monotonic()
            line = in_words(self._what, self.done, self._total, self._last - self._began)
            self._stream.write(f"\r\x1b[K{line}")
            self._stream.flush()

    def clear(self) -> None:
        """Takes the line away."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def in_words(what: str, done: int, total: int | None, seconds: float) -> str:
    """The line: a bar where the total is known, else how long it has taken."""
    if not total:
        return f"{what} {seconds:.0f} s"
    part = min(done / total, 1.0)
    bar = "#" * int(part * _WIDTH)
    return f"{what} [{bar.ljust(_WIDTH, '-')}] {part:4.0%} of {total / _MB:,.1f} MB"


@asynccontextmanager
async def waiting(what: str) -> AsyncIterator[None]:
    """Shows how long something takes whose end cannot be foreseen."""
    progress = Progress(what)

    async def draw() -> None:
        while True:
            progress.draw()
            await asyncio.sleep(_SECONDS)

    drawing = asyncio.create_task(draw())
    try:
        yield
    finally:
        drawing.cancel()
        await asyncio.wait([drawing])
        progress.clear()
