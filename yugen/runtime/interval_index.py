"""Which readers have read a key: a set of intervals whose answer takes no longer when there are more of them.

Single keys, which are most reads, stand in a dict. A range stands under what every key in it begins with. So the ranges
over a key are found under the beginnings of that key, and only those under one beginning need to be told apart. They
stand in a treap ordered by start, whose nodes also know the greatest end below them, so that whole branches are passed
over. However many ranges there are, few are under the same beginning: each reaches to one of the 256 borders at which
keys cease to go on in one way, so that no more than 256 times as many stand there as overlap in one place.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Generic, TypeVar

from yugen.intervals import Interval

Reader = TypeVar("Reader")


class _Several(set[Reader]):
    """The readers of an interval. One alone, as nearly always, stands for itself, which takes a third of the memory."""

    __slots__ = ()


class _Node(Generic[Reader]):
    __slots__ = ("end", "left", "max_end", "priority", "readers", "right", "start")

    def __init__(self, start: bytes, end: bytes, priority: float, reader: Reader) -> None:
        self.start = start
        self.end = end
        self.max_end = end
        self.priority = priority
        self.readers: Reader | _Several[Reader] = reader
        self.left: _Node[Reader] | None = None
        self.right: _Node[Reader] | None = None

    def update(self) -> None:
        self.max_end = max(self.end, self.left.max_end if self.left else b"", self.right.max_end if self.right else b"")


class IntervalIndex(Generic[Reader]):
    """Readers under the intervals they read. Readers are hashable; one may stand under many intervals."""

    def __init__(self) -> None:
        self._points: dict[bytes, Reader | _Several[Reader]] = {}
        self._ranges: dict[bytes, _Node[Reader]] = {}
        # Of the beginnings that have ranges: how many are of which length. A key is looked up by these only.
        self._lengths: dict[int, int] = {}
        self._range_count = 0
        # Seeded by the system: whoever knew the priorities could choose ranges that make a treap a list.
        self._dice = random.Random()

    def __len__(self) -> int:
        """How many distinct intervals there are."""
        return len(self._points) + self._range_count

    def add(self, reader: Reader, intervals: Iterable[Interval]) -> None:
        """Enters a reader under each of the intervals."""
        for start, end in intervals:
            if _is_point(start, end):
                present = self._points.setdefault(start, reader)
                if present is not reader:
                    self._points[start] = _with(present, reader)
                continue
            beginning = _beginning(start, end)
            root = self._ranges.get(beginning)
            if root is None:
                self._lengths[len(beginning)] = self._lengths.get(len(beginning), 0) + 1
            node = _find(root, start, end)
            if node is None:
                node = _Node(start, end, self._dice.random(), reader)
                self._ranges[beginning] = _insert(root, node)
                self._range_count += 1
            else:
                node.readers = _with(node.readers, reader)

    def remove(self, reader: Reader, intervals: Iterable[Interval]) -> None:
        """Takes a reader out from intervals it was entered under."""
        for start, end in intervals:
            if _is_point(start, end):
                if _is_last(self._points[start], reader):
                    del self._points[start]
                continue
            beginning = _beginning(start, end)
            root = self._ranges[beginning]
            node = _find(root, start, end)
            assert node is not None
            if _is_last(node.readers, reader):
                self._range_count -= 1
                rest = _delete(root, node)
                if rest is None:
                    self._forget(beginning)
                else:
                    self._ranges[beginning] = rest

    def readers(self, keys: Iterable[bytes]) -> set[Reader]:
        """Everyone who read one of the keys."""
        found: set[Reader] = set()
        for key in keys:
            readers = self._points.get(key)
            if readers is not None:
                _collect(readers, found)
            lengths = self._lengths if len(self._lengths) <= len(key) else range(len(key) + 1)
            for length in lengths:
                root = self._ranges.get(key[:length])
                if root is not None:
                    _stab(root, key, found)
        return found

    def _forget(self, beginning: bytes) -> None:
        del self._ranges[beginning]
        length = len(beginning)
        self._lengths[length] -= 1
        if not self._lengths[length]:
            del self._lengths[length]


def _is_point(start: bytes, end: bytes) -> bool:
    return len(end) == len(start) + 1 and end[-1] == 0 and end.startswith(start)


def _beginning(start: bytes, end: bytes) -> bytes:
    """What every key of a range begins with."""
    size = min(len(start), len(end))
    difference = int.from_bytes(start[:size], "big") ^ int.from_bytes(end[:size], "big")
    size -= (difference.bit_length() + 7) // 8
    # Up to the end of all that begin as the start does, as when everything with a prefix was read.
    if len(end) == size + 1 and len(start) > size and start[size] + 1 == end[size]:
        size += 1
    return start[:size]


def _with(present: Reader | _Several[Reader], reader: Reader) -> Reader | _Several[Reader]:
    if isinstance(present, _Several):
        present.add(reader)
        return present
    return present if present == reader else _Several((present, reader))


def _is_last(present: Reader | _Several[Reader], reader: Reader) -> bool:
    """Takes a reader out; whether there was no other."""
    if not isinstance(present, _Several):
        return True
    present.remove(reader)
    return not present


def _collect(present: Reader | _Several[Reader], found: set[Reader]) -> None:
    if isinstance(present, _Several):
        found |= present
    else:
        found.add(present)


def _find(node: _Node[Reader] | None, start: bytes, end: bytes) -> _Node[Reader] | None:
    while node is not None and (start != node.start or end != node.end):
        node = node.left if (start, end) < (node.start, node.end) else node.right
    return node


def _stab(node: _Node[Reader] | None, key: bytes, found: set[Reader]) -> None:
    while node is not None and key < node.max_end:
        left = node.left
        if key < node.start:
            node = left
            continue
        if key < node.end:
            _collect(node.readers, found)
        if left is not None and key < left.max_end:
            _stab(left, key, found)
        node = node.right


def _insert(root: _Node[Reader] | None, node: _Node[Reader]) -> _Node[Reader]:
    if root is None:
        return node
    if node.priority > root.priority:
        node.left, node.right = _split(root, node)
        node.update()
        return node
    if _precedes(node, root):
        root.left = _insert(root.left, node)
    else:
        root.right = _insert(root.right, node)
    root.update()
    return root


def _split(root: _Node[Reader] | None, at: _Node[Reader]) -> tuple[_Node[Reader] | None, _Node[Reader] | None]:
    if root is None:
        return None, None
    if _precedes(root, at):
        root.right, rest = _split(root.right, at)
        root.update()
        return root, rest
    rest, root.left = _split(root.left, at)
    root.update()
    return rest, root


def _delete(root: _Node[Reader] | None, node: _Node[Reader]) -> _Node[Reader] | None:
    assert root is not None
    if root is node:
        return _merge(root.left, root.right)
    if _precedes(node, root):
        root.left = _delete(root.left, node)
    else:
        root.right = _delete(root.right, node)
    root.update()
    return root


def _merge(left: _Node[Reader] | None, right: _Node[Reader] | None) -> _Node[Reader] | None:
    if left is None or right is None:
        return left or right
    if left.priority > right.priority:
        left.right = _merge(left.right, right)
        left.update()
        return left
    right.left = _merge(left, right.left)
    right.update()
    return right


def _precedes(one: _Node[Reader], other: _Node[Reader]) -> bool:
    return (one.start, one.end) < (other.start, other.end)
