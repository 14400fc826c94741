"""Half-open intervals of the key space, the one form in which a read is recorded.

A point, a prefix and a range are the same thing here: an inclusive start and an exclusive end. The end of an interval
is always a key; `yugen.keys.prefix_end` gives the one after everything with a prefix.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Interval = tuple[bytes, bytes]
"""(start, end): the keys k with start <= k < end."""


def point(key: bytes) -> Interval:
    """The interval that holds one key."""
    return key, key + b"\x00"


class IntervalSet:
    """A set of keys kept as disjoint intervals in order; what one execution read.

    Adding is O(log n) when intervals come in any order and do not overlap much, which is how functions read.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        self._starts: list[bytes] = []
        self._ends: list[bytes] = []
        for start, end in intervals:
            self.add(start, end)

    def add(self, start: bytes, end: bytes) -> None:
        """Adds [start, end); intervals it touches become one. An empty interval adds nothing."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def __contains__(self, key: bytes) -> bool:
        place = bisect_right(self._starts, key) - 1
        return place >= 0 and key < self._ends[place]

    def __iter__(self) -> Iterator[Interval]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __len__(self) -> int:
        return len(self._starts)

    def __repr__(self) -> str:
        return f"IntervalSet({list(self)!r})"
