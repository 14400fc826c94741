"""Serving connections that are due, all of one turn of the event loop in one go."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final, Protocol

from yugen.sync.texts import Texts

ROUND_SECONDS: Final = 0.002
"""How long a round may keep the event loop; those left over are served in the next one."""

_SERVED_BETWEEN_LOOKS: Final = 16


class Round:
    """One round, for all who are served in it.

    Attributes:
        now: seconds on the event loop's clock.
        wall_ns: nanoseconds since the epoch.
        texts: what those who are served say alike.
    """

    __slots__ = ("now", "texts", "wall_ns")

    def __init__(self, now: float) -> None:
        self.now = now
        self.wall_ns = time.time_ns()
        self.texts = Texts()


class Due(Protocol):
    """Somebody who has something to do."""

    def serve_in(self, round: Round) -> None:
        """Does it, without raising."""


class Rounds:
    """Those who are due. A write that a thousand wait for is a thousand short calls, not as many tasks."""

    def __init__(self) -> None:
        self._due: deque[Due] = deque()
        self._coming = False

    def add(self, due: Due) -> None:
        """Has somebody served soon, after those who came before; once for each time that they are added."""
        self._due.append(due)
        if not self._coming:
            self._come(asyncio.get_running_loop())

    def _come(self, loop: asyncio.AbstractEventLoop) -> None:
        self._coming = True
        loop.call_soon(self._serve, loop)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        until = time.perf_counter() + ROUND_SECONDS
        current = Round(loop.time())
        try:
            # Those who become due while others are served have their turn in the next round.
            for served in range(1, len(self._due) + 1):
                self._due.popleft().serve_in(current)
                if served % _SERVED_BETWEEN_LOOKS == 0 and time.perf_counter() > until:
                    break
        finally:
            self._coming = False
            if self._due:
                self._come(loop)
