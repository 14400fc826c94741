from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from yugen.intervals import Interval, point
from yugen.runtime.interval_index import IntervalIndex

keys = st.binary(max_size=3)
intervals = st.tuples(keys, keys).map(sorted).map(tuple).filter(lambda pair: pair[0] < pair[1]) | keys.map(point)
steps = st.lists(st.tuples(st.booleans(), st.integers(0, 5), intervals), max_size=40)


def depth(node: Any) -> int:
    return 0 if node is None else 1 + max(depth(node.left), depth(node.right))


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
    assert index._root is None


def test_10_000_sorted_ranges_lie_no_deeper_than_logarithmic() -> None:
    index: IntervalIndex[int] = IntervalIndex()
    for n in range(10_000):
        index.add(n, [(b"%08d" % n, b"%08d" % (n + 5))])
    # A treap of n nodes is about 2 ln n deep on average, 18; one in millions is thrice that.
    assert depth(index._root) < 70
    assert index.readers([b"%08d" % 5_000]) == set(range(4_996, 5_001))
    order = list(range(10_000))
    random.Random(1).shuffle(order)
    for n in order[:9_000]:
        index.remove(n, [(b"%08d" % n, b"%08d" % (n + 5))])
    assert depth(index._root) < 60
    assert len(index) == 1_000
