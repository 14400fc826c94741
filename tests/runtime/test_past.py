from __future__ import annotations

from yugen.runtime.past import PAST_SECONDS, Past

SECOND = 1_000_000_000


class Clock:
    """Stands still unless a test moves it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> int:
        return int(self.seconds * SECOND)


def test_it_reaches_back_to_what_was_the_newest_so_long_ago() -> None:
    clock = Clock()
    past = Past(clock, 0)
    for second in range(1, 101):
        clock.seconds += 1.001
        past.remember(second)  # which it has been up to now
        reached = max(0, second - PAST_SECONDS)
        assert reached - 1 <= past.earliest <= reached
    clock.seconds += 10 * PAST_SECONDS
    assert past.earliest == 100  # what was the newest all that time


def test_it_keeps_a_moment_a_second_however_often_there_is_a_newer_one() -> None:
    clock = Clock()
    past = Past(clock, 0)
    for number in range(1, 100_001):
        clock.seconds += 0.001
        past.remember(number)
    assert len(past._moments) <= PAST_SECONDS + 2
