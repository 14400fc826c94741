from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.intervals import Interval, point
from yugen.keys import prefix_end
from yugen.runtime.interval_index import IntervalIndex, _beginning

keys = st.binary(max_size=3)
intervals = st.tuples(keys, keys).map(sorted).map(tuple).filter(lambda pair: pair[0] < pair[1]) | keys.map(point)
steps = st.lists(st.tuples(st.booleans(), st.integers(0, 5), intervals), max_size=40)


def depth(node: Any) -> int:
    return 0 if node is None else 1 + max(depth(node.left), depth(node.right))


def count(node: Any) -> int:
    return 0 if node is None else 1 + count(node.left) + count(node.right)


def deepest(index: IntervalIndex[int]) -> int:
    return max(map(depth, index._ranges.values()))


@given(intervals.filter(lambda pair: pair[1] != pair[0] + b"\0"), keys)
def test_a_range_stands_where_all_its_keys_are_looked_for(interval: Interval, key: bytes) -> None:
    beginning = _beginning(*interval)
    assert interval[0].startswith(beginning)
    if interval[0] <= key < interval[1]:
        assert key.startswith(beginning)


@given(steps, st.lists(keys, max_size=5))
def test_it_answers_as_a_list_of_all_intervals_would(
    steps: list[tuple[bool, int, Interval]], probes: list[bytes]
) -> None:
    index: IntervalIndex[int] = IntervalIndex()
    plain: set[tuple[int, Interval]] = set()
    for adding, reader, interval in steps:
        if adding:
            index.add(reader, [interval])
            plain.add((reader, interval))
        elif (reader, interval) in plain:
            index.remove(reader, [interval])
            plain.remove((reader, interval))
        assert len(index) == len({interval for _, interval in plain})
        edges = [key for _, ends in plain for key in ends]
        for key in [*probes, *edges]:
            assert index.readers([key]) == {reader for reader, (start, end) in plain if start <= key < end}
    assert index.readers(probes) == {
        reader for reader, (start, end) in plain if any(start <= key < end for key in probes)
    }


def test_nothing_is_left_when_all_are_removed() -> None:
    index: IntervalIndex[int] = IntervalIndex()
    reads = [(b"%04d" % n, b"%04d" % (n + 7)) for n in range(200)] + [point(b"%04d" % n) for n in range(200)]
    index.add(1, reads)
    index.add(2, reads[:100])
    index.remove(1, reads)
    assert index.readers([b"0003"]) == {2}
    index.remove(2, reads[:100])
    assert len(index) == 0
    assert index.readers([b"0003"]) == set()
    assert not index._ranges
    assert not index._lengths


def apart(number: int) -> Interval:
    return b"%08d" % number, b"%08d" % (number + 5)


def over_one_border(number: int) -> Interval:
    return b"a%08d" % number, b"b%08d" % number


def nested(number: int) -> Interval:
    return b"a%08d" % (10_000 - number), b"b%08d" % number


@pytest.mark.parametrize("shape", [apart, over_one_border, nested])
def test_10_000_sorted_ranges_lie_no_deeper_than_logarithmic(shape: Callable[[int], Interval]) -> None:
    index: IntervalIndex[int] = IntervalIndex()
    for n in range(10_000):
        index.add(n, [shape(n)])
    # A treap of n nodes is about 2 ln n deep on average, 18; one in millions is thrice that.
    assert deepest(index) < 70
    probes = [end for n in (0, 4_998, 9_999) for end in shape(n)]
    for key in probes:
        assert index.readers([key]) == {n for n in range(10_000) if shape(n)[0] <= key < shape(n)[1]}
    order = list(range(10_000))
    random.Random(1).shuffle(order)
    for n in order[:9_000]:
        index.remove(n, [shape(n)])
    assert deepest(index) < 60
    assert len(index) == 1_000
    for key in probes:
        assert index.readers([key]) == {n for n in order[9_000:] if shape(n)[0] <= key < shape(n)[1]}


def test_of_100_000_ranges_few_stand_in_one_place() -> None:
    index: IntervalIndex[int] = IntervalIndex()
    for n in range(100_000):
        index.add(n, [(n.to_bytes(4, "big"), (n + 3).to_bytes(4, "big"))])
    # Any key lies in three of them, and there are 256 ways in which one can go on after what they begin with.
    assert max(map(count, index._ranges.values())) <= 3 * 256
    assert index.readers([(70_000).to_bytes(4, "big")]) == {69_998, 69_999, 70_000}


def test_a_key_is_looked_up_no_more_often_than_it_is_long() -> None:
    index: IntervalIndex[int] = IntervalIndex()
    for n in range(1_000):
        index.add(n, [(b"a" * n, b"a" * n + b"b")])
    assert index.readers([b"aaa"]) == {0, 1, 2, 3}
    assert index.readers([b"a" * 2_000]) == set(range(1_000))
    assert index.readers([b"aab"]) == {0, 1}


def test_all_with_one_prefix_stand_apart_from_others() -> None:
    index: IntervalIndex[int] = IntervalIndex()
    for n in range(256):
        prefix = bytes([5, n])
        index.add(n, [(prefix, prefix_end(prefix)), (prefix + b"from", prefix_end(prefix))])
    assert max(map(count, index._ranges.values())) <= 4  # 5 and 255 are followed by 6
    assert index.readers([bytes([5, 7]) + b"until"]) == {7}
