"""Telling that the machine was asleep, from two clocks."""

from __future__ import annotations

from typing import Final

TICK_SECONDS: Final = 5.0
"""How often the clocks are looked at."""

ASLEEP_SECONDS: Final = 10.0
"""A tick that comes later than that was not late by chance. If it was after all, a needless ping is the price."""


class Clocks:
    """Two clocks, looked at every `TICK_SECONDS`.

    While a machine sleeps, the wall clock goes on. The steady clock stands still on some systems; on others it goes on,
    and the tick is late. A wall clock that is set forward looks the same, and one that is set back like nothing.
    """

    def __init__(self, *, steady: float, wall: float) -> None:
        self._steady = steady
        self._wall = wall

    def tick(self, *, steady: float, wall: float) -> bool:
        """Whether the machine was asleep since the tick before."""
        passed = max(steady - self._steady, wall - self._wall)
        self._steady, self._wall = steady, wall
        return passed - TICK_SECONDS > ASLEEP_SECONDS
