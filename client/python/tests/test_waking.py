from __future__ import annotations

import pytest

from yugen_client.waking import ASLEEP_SECONDS, TICK_SECONDS, Clocks

HOUR = 3600.0


@pytest.mark.parametrize(
    ("steady", "wall", "asleep"),
    [
        (TICK_SECONDS, TICK_SECONDS, False),
        (TICK_SECONDS + ASLEEP_SECONDS - 1, TICK_SECONDS, False),  # a program that was busy for a while
        (TICK_SECONDS, TICK_SECONDS + HOUR, True),  # a steady clock that stands still in sleep, as Linux has
        (TICK_SECONDS + HOUR, TICK_SECONDS + HOUR, True),  # one that goes on, as Windows has
        (TICK_SECONDS, TICK_SECONDS - HOUR, False),  # the wall clock was set back
    ],
)
def test_sleep(steady: float, wall: float, asleep: bool) -> None:
    clocks = Clocks(steady=100.0, wall=1e9)
    assert clocks.tick(steady=100.0 + steady, wall=1e9 + wall) is asleep
    assert not clocks.tick(steady=100.0 + steady + TICK_SECONDS, wall=1e9 + wall + TICK_SECONDS)
