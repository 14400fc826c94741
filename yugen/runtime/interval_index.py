"""Which readers have read a key: a set of intervals that answers in logarithmic time.

Single keys, which are most reads, stand in a dict. Ranges stand in a treap ordered by start, whose nodes also know the
greatest end below them, so that whole branches are passed over.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Generic, TypeVar

from yugen.intervals import Interval

Reader = TypeVar("Reader")


class _Node(Generic[Reader]):
    __slots__ = ("end", "left", "max_end", "priority", "readers", "right", "start")

    def __init__(self, start: bytes, end: bytes, priority: float) -> None:
        self.start = start
        self.end = end
        self.max_end = end
        self.priority = priority
        self.readers: set[Reader] = set()
        self.left: _Node[Reader] | None = None
        self.right: _Node[Reader] | None = None

    def update(self) -> None:
        self.max_end = max(self.end, self.left.max_end if self.left else b"", self.right.max_end if self.right else b"")


class IntervalIndex(Generic[Reader]):
    """Readers under the intervals they read. Readers are hashable; one may stand under many intervals."""

    def __init__(self) -> None:
        self._points: dict[bytes, set[Reader]] = {}
        self._ranges: dict[Interval, _Node[Reader]] = {}
        self._root: _Node[Reader] | None = None
        # Seeded by the system: whoever knew the priorities could choose ranges that make the treap a list.
        self._dice = random.Random()

    def __len__(self) -> int:
        """How many distinct intervals there are."""
        return len(self._points) + len(self._ranges)

    def add(self, reader: Reader, intervals: Iterable[Interval]) -> None:
        """Enters a reader under each of the intervals."""
        for start, end in intervals:
            if _is_point(start, end):
                self._points.setdefault(start, set()).add(reader)
                continue
            node = self._ranges.get((start, end))
            if node is None:
                node = _Node(start, end, self._dice.random())
                self._ranges[start, end] = node
                self._root = _insert(self._root, node)
            node.readers.add(reader)

    def remove(self, reader: Reader, intervals: Iterable[Interval]) -> None:
        """Takes a reader out from intervals it was entered under."""
        for start, end in intervals:
            if _is_point(start, end):
                readers = self._points[start]
                readers.remove(reader)
                if not readers:
                    del self._points[start]
                continue
            node = self._ranges[start, end]
            node.readers.remove(reader)
            if not node.readers:
                del self._ranges[start, end]
                self._root = _delete(self._root, node)

    def readers(self, keys: Iterable[bytes]) -> set[Reader]:
        """Everyone who read one of the keys."""
        found: set[Reader] = set()
        for key in keys:
            found |= self._points.get(key, frozenset())
            _stab(self._root, key, found)
        return found


def _is_point(start: bytes, end: bytes) -> bool:
    return len(end) == len(start) + 1 and end[-1] == 0 and end.startswith(start)


def _stab(node: _Node[Reader] | None, key: bytes, found: set[Reader]) -> None:
    while node is not None and key < node.max_end:
        if key < node.start:
            node = node.left
            continue
        if key < node.end:
            found |= node.readers
        _stab(node.left, key, found)
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
