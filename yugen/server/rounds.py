"""Serving connections that are due, all of one turn of the event loop in one go.

A commit may make thousands due at once, and whoever is due for another reason does not wait for them all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable
from typing import Final, Protocol

from yugen.runtime.fair_queue import FairQueue
from yugen.sync.texts import Texts

ROUND_SECONDS: Final = 0.002
"""How long a round may keep the event loop; those left over are served in the next one."""


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
        self._due: FairQueue[Due] = FairQueue()
        self._coming = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._due)

    def add(self, due: Due, cause: Hashable = None) -> None:
        """Has somebody served soon, once for each time that they are added.

        That is after those who came before for the same cause; those of one cause and of another take turns.
        """
        self._due.add(cause, due)
        if not self._coming:
            self._come(asyncio.get_running_loop())

    def _come(self, loop: asyncio.AbstractEventLoop) -> None:
        self._coming = True
        loop.call_soon(self._serve, loop)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        until = time.perf_counter() + ROUND_SECONDS
        current = Round(loop.time())
        try:
            # So many at most, for those who are served may become due again.
            for _ in range(len(self._due)):
                self._due.take().serve_in(current)
                if time.perf_counter() > until:
                    break
        finally:
            self._coming = False
            if self._due:
                self._come(loop)
