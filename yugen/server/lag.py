"""How late the event loop comes to what is due: what takes long in it makes everybody wait."""

from __future__ import annotations

import asyncio
from typing import Final

from yugen.runtime.meters import Histogram

LOOK_SECONDS: Final = 1.0
"""How often it is looked at."""


class LoopLag:
    """Looks from time to time.

    Attributes:
        seconds: how late it was, each time.
    """

    def __init__(self) -> None:
        self.seconds = Histogram()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Looks from now on."""
        if self._timer is None:
            self._wait(asyncio.get_running_loop())

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(LOOK_SECONDS, self._look, loop, loop.time() + LOOK_SECONDS)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.seconds.observe(max(0.0, loop.time() - due))
        self._wait(loop)
