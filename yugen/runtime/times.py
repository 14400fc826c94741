"""The times of runs: what `ctx.now` says, and when the documents that they insert come into being."""

from __future__ import annotations

import math
from collections.abc import Callable


class Times:
    """Gives each run a time of its own.

    Args:
        clock: nanoseconds since the epoch.
        newest: no time is before this; in nanoseconds too.
    """

    def __init__(self, clock: Callable[[], int], newest: int) -> None:
        self._clock = clock
        self._last = newest / 1_000_000

    @property
    def now(self) -> float:
        """What time it is in milliseconds: not before any run."""
        return max(self._last, self._clock() / 1_000_000)

    def next(self) -> float:
        """The time of a run in milliseconds: later than that of any other, and than all documents that are there."""
        self._last = max(math.nextafter(self._last, math.inf), self._clock() / 1_000_000)
        return self._last

    def reach(self, ts: int) -> None:
        """Takes note that there are documents of this time, in nanoseconds."""
        self._last = max(self._last, ts / 1_000_000)

    def used(self, now: float, documents: int) -> None:
        """Takes note of documents that a run has inserted: their times follow its own, a step each."""
        self._last = max(self._last, now + documents * 2 * math.ulp(now))
