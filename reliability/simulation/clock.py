"""What a process takes from the machine without asking for it, time and chance, as the seed gives it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from reliability.simulation.loop import SimulatedLoop, seeded

EPOCH: float = 1_800_000_000.0
"""When the simulation begins, in seconds since 1970."""


class Clock:
    """The clocks of the machine.

    Attributes:
        jumped: seconds by which somebody has set the wall clock forward.
    """

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.jumped = 0.0

    def time(self) -> float:
        """Seconds since 1970."""
        return EPOCH + self.jumped + self._loop.now

    def time_ns(self) -> int:
        """Nanoseconds since 1970."""
        return int((EPOCH + self.jumped) * 1e9) + self.monotonic_ns()

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._loop.now

    def monotonic_ns(self) -> int:
        """Nanoseconds since some moment."""
        return round(self._loop.now * 1e9)


@contextmanager
def machine(seed: int, loop: SimulatedLoop) -> Iterator[Clock]:
    """Puts clocks and chance of a seed in the place of the machine's, for this process, while it is entered."""
    clock = Clock(loop)
    dice = seeded(seed, "machine")
    with ExitStack() as stack:
        for module, name, substitute in (
            (time, "time", clock.time),
            (time, "time_ns", clock.time_ns),
            (time, "monotonic", clock.monotonic),
            (time, "monotonic_ns", clock.monotonic_ns),
            (time, "perf_counter", clock.monotonic),
            (time, "perf_counter_ns", clock.monotonic_ns),
            (os, "urandom", dice.randbytes),
            (random, "_urandom", dice.randbytes),
        ):
            stack.enter_context(patch.object(module, name, substitute))
        random.seed(dice.getrandbits(64))
        yield clock
