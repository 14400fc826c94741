"""The keys that recent commits wrote, to be held against what an execution read.

The one overlap test of the runtime: a mutation may commit if nothing it read was written since its snapshot, and a
query's result holds until something it read is written.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from operator import attrgetter, itemgetter
from typing import Final, TypeAlias

from yugen.guards import ANYTHING, GuardedRead, Image, matters
from yugen.intervals import Interval
from yugen.keys import INTERNAL_SIZE, document_key
from yugen.storage.interface import Change, Commit, Timestamp

_REQUESTS_TABLE = 0
"""No table has this number, so that the keys of requests stand apart from those of documents."""


def request_key(session: str, request: int) -> bytes:
    """The key that stands for the record of a request, as if that were a document.

    A transaction that has looked for the record has read this key, and the commit that carries it writes the key.
    """
    digest = hashlib.sha256(f"{request} {session}".encode(errors="surrogatepass")).digest()
    return document_key(_REQUESTS_TABLE, digest[:INTERNAL_SIZE])


Origin: TypeAlias = tuple[str, str]
"""Who made a commit: the path of a function, and the request id of its call."""


def written_keys(commit: Commit) -> list[bytes]:
    """Every key whose readers a commit concerns, in order: each document's own and its index keys, old and new.

    A document that stays as it is concerns only those who read the places it comes to or goes from: when an index is
    built, nobody.
    """
    touched: set[bytes] = set()
    for change in commit.changes:
        if change.before is not None and change.before == change.after:
            touched.update(set(change.keys_before) ^ set(change.keys_after))
            continue
        touched.add(change.key)
        touched.update(change.keys_before, change.keys_after)
    if commit.request is not None:
        touched.add(request_key(commit.request.session, commit.request.request))
    return sorted(touched)


def overlap(reads: Sequence[Interval], written: Sequence[bytes]) -> tuple[Interval, bytes] | None:
    """The first of the intervals, which are disjoint and in order, with one of the sorted keys in it, and that key."""
    if len(reads) < len(written):
        for start, end in reads:
            place = bisect_left(written, start)
            if place < len(written) and written[place] < end:
                return (start, end), written[place]
        return None
    for key in written:
        place = bisect_right(reads, key, key=itemgetter(0)) - 1
        if place >= 0 and key < reads[place][1]:
            return reads[place], key
    return None


Touch: TypeAlias = tuple[Change, GuardedRead]
"""A change, and what it made a difference to of what somebody had read."""


class Written:
    """What one commit wrote, to be held against what was read.

    Attributes:
        commit: the commit.
        ts: its timestamp.
        origin: who made it; None if that is not known on this node.
        line: the line that its transaction was in, see `yugen.runtime.line`.
        renews: whether it makes a difference to every reader, as another version of the app does that begins with it.
    """

    __slots__ = ("_changes", "_keys", "commit", "line", "origin", "renews", "ts")

    def __init__(
        self, commit: Commit, origin: Origin | None = None, line: object = None, *, renews: bool = False
    ) -> None:
        self.commit = commit
        self.ts = commit.ts
        self.origin = origin
        self.line = line
        self.renews = renews
        self._keys: list[bytes] | None = None
        self._changes: dict[bytes, _Changed] | None = None

    @property
    def keys(self) -> list[bytes]:
        """Every key whose readers it concerns, in order."""
        if self._keys is None:
            self._keys = written_keys(self.commit)
        return self._keys

    def touches(self, reads: Sequence[Interval], guarded: Sequence[GuardedRead] = ()) -> bool:
        """Whether it makes a difference to someone who has read these intervals, disjoint and in order.

        Args:
            reads: intervals of which everything matters.
            guarded: intervals of which it does not.
        """
        if self.renews:
            return True
        return overlap(reads, self.keys) is not None or any(self._mattering(each) is not None for each in guarded)

    def first_touch(self, reads: Sequence[Interval], guarded: Sequence[GuardedRead] = ()) -> Touch | None:
        """A change that makes a difference to such a reader, and to what of it; None if no document does."""
        found = overlap(reads, self.keys)
        changed = found and self._changed.get(found[1])
        if found and changed:
            return changed.change, (found[0], ANYTHING)
        for read in guarded:
            change = self._mattering(read)
            if change is not None:
                return change, read
        return None

    @property
    def _changed(self) -> dict[bytes, _Changed]:
        """The changes by all their keys. No two documents have a key in common."""
        if self._changes is None:
            self._changes = {key: changed for changed in map(_Changed, self.commit.changes) for key in changed.keys}
        return self._changes

    def _mattering(self, read: GuardedRead) -> Change | None:
        interval, guard = read
        start, end = interval
        for place in range(bisect_left(self.keys, start), len(self.keys)):
            key = self.keys[place]
            if key >= end:
                break
            changed = self._changed.get(key)
            if changed and matters(guard, interval, changed.before, changed.after):
                return changed.change
        return None


class _Changed:
    """A change, as guards look at it."""

    __slots__ = ("after", "before", "change")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.before = Image(change.before, (change.key, *change.keys_before))
        self.after = Image(change.after, (change.key, *change.keys_after))

    @property
    def keys(self) -> set[bytes]:
        return {*self.before.keys, *self.after.keys}


_STRETCH_MAX: Final = 64
"""Commits of a stretch. Of a thousand commits that nobody has read from, few stretches are looked at closer then."""


class _Stretch:
    """Commits one after the other, and what they wrote taken together."""

    __slots__ = ("_keys", "_renews", "commits")

    def __init__(self) -> None:
        self.commits: deque[Written] = deque()
        self._renews = False
        self._keys: list[bytes] | None = None  # of all of them once it is full, also of those forgotten since

    @property
    def newest(self) -> Timestamp:
        return self.commits[-1].ts

    @property
    def is_full(self) -> bool:
        return self._keys is not None

    def add(self, written: Written) -> None:
        self.commits.append(written)
        self._renews |= written.renews
        if len(self.commits) == _STRETCH_MAX:
            self._keys = sorted({key for each in self.commits for key in each.keys})

    def may_touch(self, reads: Sequence[Interval], guarded: Sequence[GuardedRead]) -> bool:
        """Whether one of them may make a difference to such a reader."""
        keys = self._keys
        if keys is None or self._renews:
            return True
        return overlap(reads, keys) is not None or any(overlap((interval,), keys) for interval, _ in guarded)

    def after(self, ts: Timestamp) -> Iterator[Written]:
        """Those of them that are later."""
        return islice(self.commits, bisect_right(self.commits, ts, key=attrgetter("ts")), None)


class RecentWrites:
    """The commits after some timestamp, the *floor*, oldest first.

    Whatever read at or after the floor can be checked. The floor follows the newest commit, and stays behind it for
    those who are `holding` an older timestamp.
    """

    __slots__ = ("_held", "_stretches", "floor")

    def __init__(self, newest: Timestamp) -> None:
        self.floor = newest
        self._stretches: deque[_Stretch] = deque()  # none of them empty
        self._held: dict[Timestamp, int] = {}  # to how many hold it

    def __len__(self) -> int:
        return sum(len(stretch.commits) for stretch in self._stretches)

    def hold(self, ts: Timestamp) -> None:
        """Keeps all commits after `ts` until it is released as often as it is held.

        Raises:
            LookupError: some of them are forgotten already.
        """
        self._check_known(ts)
        self._held[ts] = self._held.get(ts, 0) + 1

    def release(self, ts: Timestamp) -> None:
        """Undoes one `hold`."""
        holders = self._held[ts] - 1
        if holders:
            self._held[ts] = holders
        else:
            del self._held[ts]

    @contextmanager
    def holding(self, ts: Timestamp) -> Iterator[None]:
        """Holds `ts` meanwhile.

        Raises:
            LookupError: some of the commits after it are forgotten already.
        """
        self.hold(ts)
        try:
            yield
        finally:
            self.release(ts)

    def is_held_before(self, ts: Timestamp) -> bool:
        """Whether somebody holds an earlier timestamp."""
        return any(held < ts for held in self._held)

    def add(self, written: Written) -> None:
        """Takes in a commit newer than all before it."""
        assert written.ts > (self._stretches[-1].newest if self._stretches else self.floor)
        if not self._stretches or self._stretches[-1].is_full:
            self._stretches.append(_Stretch())
        self._stretches[-1].add(written)
        self.floor = max(self.floor, min(self._held, default=written.ts))
        while self._stretches and self._stretches[0].newest <= self.floor:
            self._stretches.popleft()
        if self._stretches:
            oldest = self._stretches[0].commits
            while oldest[0].ts <= self.floor:
                oldest.popleft()

    def first_overlap(
        self, reads: Sequence[Interval], after: Timestamp, guarded: Sequence[GuardedRead] = ()
    ) -> Written | None:
        """The first commit later than `after` that wrote something that was read, or None.

        Args:
            reads: disjoint intervals in order.
            after: the timestamp they were read at.
            guarded: intervals of which not everything matters.

        Raises:
            LookupError: some of the commits after `after` are forgotten, so that nothing can be said.
        """
        found = (
            written
            for stretch in self._from(after)
            if stretch.may_touch(reads, guarded)
            for written in stretch.after(after)
            if written.touches(reads, guarded)
        )
        return next(found, None)

    def after(self, ts: Timestamp) -> Iterator[Written]:
        """The commits later than `ts`, in order.

        Raises:
            LookupError: some of them are forgotten.
        """
        return chain.from_iterable(stretch.after(ts) for stretch in self._from(ts))

    def _from(self, ts: Timestamp) -> Iterator[_Stretch]:
        """The stretches in which there are later commits."""
        self._check_known(ts)
        return islice(self._stretches, bisect_right(self._stretches, ts, key=attrgetter("newest")), None)

    def _check_known(self, after: Timestamp) -> None:
        if after < self.floor:
            raise LookupError(f"the commits after {after} are not all known: they are from {self.floor} on.")
