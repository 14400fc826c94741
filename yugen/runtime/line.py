"""Mutations in line: each sees the writes of those before it, which may not be durable yet.

A worker runs mutations one after the other, and their commits gather while the disk is busy. If each of them saw only
what is published, any two that touch the same document within that time would be in conflict, and one would run again.
So a worker keeps what its mutations have written until it is published, and lays it over the store for those that
follow. The committer decides them in the order of the line, so that what a mutation saw of the line has been decided
when its own turn comes. One whose commit is refused is *revoked*: those after it that have read what it wrote run
again, and the worker is told to forget it.

`Line` and `Place` are the server's side of this, `Unsettled` is the worker's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from yugen.runtime.writes import Written
from yugen.storage.interface import Change, Commit, Timestamp
from yugen.storage.overlay import Overlay


class Place(NamedTuple):
    """The place of a mutation in a line.

    Attributes:
        line: the line.
        number: rises along the line.
        ts: the published timestamp that it saw, or one later, with the line's writes up to its own place.
        told: how many revocations its worker knew of.
    """

    line: Line
    number: int
    ts: Timestamp
    told: int


class Line:
    """The mutations that one worker has run or is to run, from the server's side.

    Attributes:
        ts: a published timestamp.
        settled: the greatest number in the line that has been decided, and is published at `ts` if it was to be.
    """

    __slots__ = ("_forgotten", "_last", "_revoked", "_told", "settled", "ts")

    def __init__(self) -> None:
        self.ts: Timestamp = 0
        self.settled = 0
        self._last = 0
        # Counted from the first one ever; of these so many are forgotten, and of so many the worker has been told.
        self._revoked: list[tuple[int, Written]] = []
        self._forgotten = 0
        self._told = 0

    def enter(self, newest: Timestamp) -> tuple[Place, tuple[int, ...]]:
        """Gives out the next place, of a mutation that is to see what was published at `newest`.

        Also the numbers of those revoked that the worker is to be told of with it.
        """
        self._last += 1
        news = tuple(revoked for revoked, _ in self._revoked[self._told - self._forgotten :])
        self._told += len(news)
        return Place(self, self._last, max(newest, self.ts), self._told), news

    def revoke(self, number: int, changes: Iterable[Change]) -> None:
        """Takes back what a mutation of the line has written."""
        self._revoked.append((number, Written(Commit(0, tuple(changes)))))

    def revoked_before(self, place: Place) -> list[Written]:
        """What a mutation may have seen that was revoked afterwards."""
        late = self._revoked[place.told - self._forgotten :]
        return [written for number, written in late if number < place.number]

    def settle(self, place: Place, newest: Timestamp) -> None:
        """Takes note that all up to a place are decided, and what they have committed is published at `newest`."""
        self.settled = place.number
        self.ts = newest
        # Those that are still to be decided come later in the line, and their worker knew at least as much.
        del self._revoked[: place.told - self._forgotten]
        self._forgotten = place.told


class Unsettled:
    """What the mutations of a worker have written that is not settled yet.

    Attributes:
        overlay: the newest of it, to be laid over a snapshot that has what is settled.
    """

    def __init__(self) -> None:
        self.overlay = Overlay()
        self._members: deque[tuple[int, Sequence[Change]]] = deque()
        # The changes of each document, the oldest first, by the numbers of those who made them.
        self._changes: dict[bytes, list[tuple[int, Change]]] = {}

    def add(self, number: int, changes: Sequence[Change]) -> None:
        """Takes in what the newest mutation has written."""
        self._members.append((number, changes))
        for change in changes:
            changes_of = self._changes.setdefault(change.key, [])
            changes_of.append((number, change))
            self._lay(change.key, changes_of)

    def revoke(self, numbers: Collection[int]) -> None:
        """Forgets those of these numbers."""
        if numbers:
            for one in [member for member in self._members if member[0] in numbers]:
                self._members.remove(one)
                self._forget(*one)

    def settle(self, number: int) -> None:
        """Forgets those up to a number."""
        while self._members and self._members[0][0] <= number:
            self._forget(*self._members.popleft())

    def _forget(self, number: int, changes: Sequence[Change]) -> None:
        for change in changes:
            changes_of = self._changes[change.key]
            changes_of.remove((number, change))
            if changes_of:
                self._lay(change.key, changes_of)
            else:
                del self._changes[change.key]
                self.overlay.lift(change.key)

    def _lay(self, key: bytes, changes: Sequence[tuple[int, Change]]) -> None:
        oldest, newest = changes[0][1], changes[-1][1]
        self.overlay.put(key, newest.after, newest.keys_after, oldest.keys_before)
