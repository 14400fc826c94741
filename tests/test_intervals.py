"""Interval sets against the plain model: a set of keys."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from yugen.intervals import IntervalSet, point

# All keys of up to two bytes over a small alphabet, and points between them: enough to tell any two intervals apart.
KEYS = [bytes(key) for key in ([], *([a] for a in range(4)), *([a, b] for a in range(4) for b in range(4)))]
keys = st.sampled_from(KEYS)
intervals = st.lists(st.tuples(keys, keys), max_size=12)


@given(intervals)
def test_holds_exactly_the_keys_of_its_intervals(given_intervals: list[tuple[bytes, bytes]]) -> None:
    held = IntervalSet(given_intervals)
    expected = {key for key in KEYS for start, end in given_intervals if start <= key < end}
    assert {key for key in KEYS if key in held} == expected


@given(intervals)
def test_keeps_its_intervals_disjoint_apart_and_in_order(given_intervals: list[tuple[bytes, bytes]]) -> None:
    kept = list(IntervalSet(given_intervals))
    assert all(start < end for start, end in kept)
    assert all(end < start for (_, end), (start, _) in pairwise(kept))
    assert len(IntervalSet(given_intervals)) == len(kept)


@given(intervals.flatmap(lambda them: st.tuples(st.just(them), st.permutations(them))))
def test_does_not_depend_on_the_order_of_adding(both: tuple[list[tuple[bytes, bytes]], ...]) -> None:
    one, other = both
    assert list(IntervalSet(one)) == list(IntervalSet(other))


def test_a_point_is_one_key() -> None:
    held = IntervalSet([point(b"a")])
    assert b"a" in held
    assert b"a\x00" not in held
    assert b"" not in held


def test_touching_intervals_become_one() -> None:
    assert list(IntervalSet([(b"a", b"b"), (b"c", b"d"), (b"b", b"c")])) == [(b"a", b"d")]
    assert repr(IntervalSet([(b"a", b"b")])) == "IntervalSet([(b'a', b'b')])"
