"""The keys that recent commits wrote, to be held against what an execution read.

The one overlap test of the runtime: a mutation may commit if nothing it read was written since its snapshot, and a
query's result holds until something it read is written.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable

from yugen.intervals import Interval
from yugen.storage.interface import Change, Commit, Timestamp


def written_keys(changes: Iterable[Change]) -> list[bytes]:
    """Every key whose readers a commit concerns, in order: each document's own and its index keys, old and new."""
    touched: set[bytes] = set()
    for change in changes:
        touched.add(change.key)
        touched.update(change.keys_before, change.keys_after)
    return sorted(touched)


def overlap(reads: Iterable[Interval], written: list[bytes]) -> bool:
    """Whether one of the sorted keys lies in one of the intervals."""
    for start, end in reads:
        place = bisect_left(written, start)
        if place < len(written) and written[place] < end:
            return True
    return False


class RecentWrites:
    """The commits after some timestamp, the *floor*, oldest first.

    Whatever read at or after the floor can be checked; the owner raises the floor as old snapshots are done with.
    """

    __slots__ = ("_commits", "floor")

    def __init__(self, floor: Timestamp) -> None:
        self.floor = floor
        self._commits: deque[tuple[Timestamp, list[bytes]]] = deque()

    def __len__(self) -> int:
        return len(self._commits)

    def add(self, commit: Commit) -> list[bytes]:
        """Takes in a commit newer than all before it and returns the keys it wrote."""
        assert commit.ts > (self._commits[-1][0] if self._commits else self.floor)
        written = written_keys(commit.changes)
        self._commits.append((commit.ts, written))
        return written

    def first_overlap(self, reads: Iterable[Interval], after: Timestamp) -> Timestamp | None:
        """The timestamp of the first commit later than `after` that wrote something that was read, or None.

        Raises:
            LookupError: `after` lies before the floor, so that nothing can be said.
        """
        if after < self.floor:
            raise LookupError(f"commits after {after} are no longer all known")
        reads = tuple(reads)
        first = bisect_right(self._commits, after, key=lambda commit: commit[0])
        for place in range(first, len(self._commits)):
            ts, written = self._commits[place]
            if overlap(reads, written):
                return ts
        return None

    def forget(self, until: Timestamp) -> None:
        """Raises the floor to `until`, if it is lower."""
        while self._commits and self._commits[0][0] <= until:
            self._commits.popleft()
        self.floor = max(self.floor, until)
