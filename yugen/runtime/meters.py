"""How long things take, counted so cheaply that everything can be."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Seconds up to which the buckets of a histogram reach; one more is for what takes longer."""


class Histogram:
    """Counts of what took up to so long.

    Attributes:
        counts: how many were in each bucket, those above not included.
        seconds: all of them together.
    """

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Outcomes:
    """Counts what was tried.

    Attributes:
        ok: how often it went well.
        failed: how often it did not.
    """

    __slots__ = ("failed", "ok")

    def __init__(self) -> None:
        self.ok = self.failed = 0
