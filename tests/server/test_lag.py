from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from yugen.server.lag import LOOK_SECONDS, LoopLag


class Loop:
    """An event loop that comes to what is due when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[..., None], *args: Any) -> Any:
        self.due.append(lambda: callback(*args))


def test_it_is_as_late_as_what_has_held_it_up() -> None:
    lag, loop = LoopLag(), Loop()
    lag._wait(cast("Any", loop))
    for late in (0.0, 0.3, 2.0):
        loop.now += LOOK_SECONDS + late
        loop.due.pop()()
    assert len(loop.due) == 1  # it looks again
    assert abs(lag.seconds.seconds - 2.3) < 1e-6
    assert sum(lag.seconds.counts) == 3


async def test_it_ends() -> None:
    lag = LoopLag()
    lag.start()
    timer = lag._timer
    lag.start()
    assert timer is not None
    assert lag._timer is timer
    lag.stop()
    assert timer.cancelled()
