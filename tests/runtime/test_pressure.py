from __future__ import annotations

import pytest

from yugen.runtime.pressure import AT_ONCE, Pressure

SECOND = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def ago(self, seconds: float) -> int:
        return self.now - int(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_node_that_keeps_up_refuses_nothing(clock: Clock) -> None:
    pressure = Pressure(clock)
    clock.now += 100 * SECOND
    assert not pressure.refuses(clock.ago(50), AT_ONCE - 1)
    assert not pressure.refuses(clock.ago(50), AT_ONCE)  # for it did so a moment ago


def test_one_that_has_not_kept_up_for_a_while_refuses_what_has_waited_for_long(clock: Clock) -> None:
    pressure = Pressure(clock)
    clock.now += SECOND * 11 // 10
    assert not pressure.refuses(clock.ago(0.95), AT_ONCE)
    assert pressure.refuses(clock.ago(1.05), AT_ONCE)
    assert not pressure.refuses(None, AT_ONCE)


def test_once_it_refuses_it_runs_what_has_come_of_late_until_it_keeps_up(clock: Clock) -> None:
    pressure = Pressure(clock)
    clock.now += SECOND * 11 // 10
    assert pressure.refuses(clock.ago(1.05), AT_ONCE)
    assert pressure.refuses(clock.ago(0.3), AT_ONCE)
    assert not pressure.refuses(clock.ago(0.2), AT_ONCE)
    assert not pressure.refuses(clock.ago(0.3), AT_ONCE - 1)
    clock.now += SECOND * 11 // 10
    assert not pressure.refuses(clock.ago(0.3), AT_ONCE)


def test_it_recovers_at_once(clock: Clock) -> None:
    pressure = Pressure(clock)
    clock.now += 5 * SECOND
    assert pressure.refuses(clock.ago(2), AT_ONCE + 100)
    assert not pressure.refuses(clock.ago(2), 3)
    assert not pressure.refuses(clock.ago(2), AT_ONCE + 100)


def test_it_tells_whether_it_refuses(clock: Clock) -> None:
    pressure = Pressure(clock)
    clock.now += 5 * SECOND
    told = []
    for under_way in (AT_ONCE, AT_ONCE - 1):
        pressure.refuses(clock.ago(2), under_way)
        told.append(pressure.refusing)
    assert told == [True, False]
