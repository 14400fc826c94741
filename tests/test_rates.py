"""Token buckets and fixed windows, against what they promise."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.rates import CLOCK_SET_MS, Kind, Rate, State

KINDS: tuple[Kind, ...] = ("token bucket", "fixed window")


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    kind = draw(st.sampled_from(KINDS))
    rate = draw(st.integers(1, 20))
    burst = draw(st.integers(1, 30)) if kind == "token bucket" else rate
    return Rate(kind, rate, draw(st.integers(1, 5000)), burst)


histories = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 8)), max_size=40)
"""Waits and counts."""


@given(rates(), histories)
def test_in_no_time_is_more_taken_than_is_promised(rate: Rate, history: list[tuple[int, int]]) -> None:
    now, state = 1_000_000, None
    accepted: list[tuple[int, int]] = []
    for wait, count in history:
        now += wait
        taken = rate.take(state, now, count)
        if taken.wait_ms == 0:
            state = taken.state
            accepted.append((now, count))
    for first, (start, _) in enumerate(accepted):
        total = 0
        for end, count in accepted[first:]:
            total += count
            if rate.kind == "token bucket":
                assert total <= rate.burst + Fraction(rate.rate * (end - start), rate.per_ms)
            else:
                assert total <= rate.rate * ((end - start) // rate.per_ms + 2)


@given(rates(), histories)
def test_it_does_as_a_model_does_that_counts_in_fractions(rate: Rate, history: list[tuple[int, int]]) -> None:
    now, state = 1_000_000, None
    tokens, window = Fraction(rate.burst), None
    for wait, count in history:
        now += wait
        if rate.kind == "token bucket":
            tokens = min(Fraction(rate.burst), tokens + Fraction(wait * rate.rate, rate.per_ms))
        elif window is not None and now - window >= rate.per_ms:
            tokens, window = Fraction(rate.burst), None
        taken = rate.take(state, now, count)
        assert (taken.wait_ms == 0) == (count <= tokens)
        if count <= tokens:
            tokens -= count
            window = now if window is None else window
            state = taken.state
        assert taken.left == int(tokens)


@given(rates(), histories, st.integers(1, 8))
def test_the_wait_is_exact(rate: Rate, history: list[tuple[int, int]], count: int) -> None:
    count = min(count, rate.burst)
    now, state = 1_000_000, None
    for wait, each in history:
        now += wait
        taken = rate.take(state, now, each)
        state = state if taken.wait_ms else taken.state
    wait = rate.take(state, now, count).wait_ms
    if wait:
        assert rate.take(state, now + wait - 1, count).wait_ms == 1
    assert rate.take(state, now + wait, count).wait_ms == 0


@given(rates(), histories)
def test_a_state_is_as_good_as_none_when_it_is_full(rate: Rate, history: list[tuple[int, int]]) -> None:
    now, state = 1_000_000, None
    for wait, count in history:
        now += wait
        taken = rate.take(state, now, count)
        if not taken.wait_ms:
            state = taken.state
            full_at = rate.full_at(state)
            assert rate.take(state, full_at, 0).left == rate.burst
            assert full_at <= now or rate.take(state, full_at - 1, rate.burst).wait_ms > 0


@given(rates(), st.integers(1, 4))
def test_shards_together_are_the_whole(rate: Rate, shards: int) -> None:
    whole = Rate(rate.kind, rate.rate * shards, rate.per_ms, rate.burst * shards)
    share = whole.share(shards)
    assert share.burst * shards == whole.burst
    assert Fraction(share.rate * shards, share.per_ms) == Fraction(whole.rate, whole.per_ms)


def test_seven_at_once_are_seven() -> None:
    rate = Rate("token bucket", 7, 60_000, 7)
    state = None
    for _ in range(7):
        taken = rate.take(state, 1_700_000_000_123, 1)
        assert taken.wait_ms == 0
        state = taken.state
    assert rate.take(state, 1_700_000_000_123, 1).wait_ms == 8572


def test_what_comes_back_comes_back_once_though_transactions_are_out_of_order() -> None:
    rate = Rate("token bucket", 1, 1, 10)
    state = rate.take(None, 1000, 10).state
    state = rate.take(state, 1005, 5).state
    assert rate.take(state, 1003, 1).wait_ms == 3  # by the clock of 1003
    state = rate.take(State(9, 1005), 1003, 1).state
    assert state == (10, 1005)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clock_that_is_set_back_locks_nobody_out(kind: Kind) -> None:
    rate = Rate(kind, 5, 60_000, 5)
    state = rate.take(None, 10_000_000, 5).state
    assert rate.take(state, 10_000_000 - CLOCK_SET_MS, 1).wait_ms > 0
    assert rate.take(state, 10_000_000 - CLOCK_SET_MS - 1, 5).wait_ms == 0


def test_a_limit_that_has_become_smaller_is_at_most_empty() -> None:
    state = Rate("token bucket", 10, 1000, 1000).take(None, 5000, 1000).state
    assert Rate("token bucket", 10, 1000, 10).take(state, 5000, 1).wait_ms == 100
