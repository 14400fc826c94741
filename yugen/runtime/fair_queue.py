"""A queue in which no kind of what waits stands behind all of another."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """What waits, by its kind: of a kind in the order in which it came, and the kinds by turns."""

    def __init__(self) -> None:
        self._kinds: OrderedDict[Hashable, deque[T]] = OrderedDict()  # the one whose turn it is first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        return (item for items in self._kinds.values() for item in items)

    def add(self, kind: Hashable, item: T) -> None:
        """Has something wait after all of its kind."""
        items = self._kinds.get(kind)
        if items is None:
            items = self._kinds[kind] = deque()
        items.append(item)
        self._count += 1

    def put_back(self, kind: Hashable, item: T) -> None:
        """Has something be the next."""
        self._kinds.setdefault(kind, deque()).appendleft(item)
        self._kinds.move_to_end(kind, last=False)
        self._count += 1

    def take(self) -> T:
        """The next one, which waits no more. There must be one."""
        kind = next(iter(self._kinds))
        items = self._kinds[kind]
        item = items.popleft()
        if not items:
            del self._kinds[kind]
        elif len(self._kinds) > 1:
            self._kinds.move_to_end(kind)
        self._count -= 1
        return item

    def drop(self, which: Callable[[T], bool]) -> None:
        """Takes out what nobody waits for any more."""
        for kind, items in list(self._kinds.items()):
            kept = deque(item for item in items if not which(item))
            self._count -= len(items) - len(kept)
            if kept:
                self._kinds[kind] = kept
            else:
                del self._kinds[kind]

    def clear(self) -> None:
        """Takes out everything."""
        self._kinds.clear()
        self._count = 0
