"""A store in plain dictionaries: for tests, and the model that the others must equal.

Every key of the key space keeps all the values it ever had, so any timestamp can be read, and nothing is ever undone.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter, itemgetter

from yugen.keys import document_key, internal_of, number_of, table_of
from yugen.storage.interface import (
    AlreadyCarriedOut,
    Commit,
    Decide,
    Logged,
    RequestRecord,
    Row,
    SnapshotTooOld,
    Timestamp,
    check_rising,
)
from yugen.totals import Total

Pause = Callable[[], Awaitable[None]]


async def _let_others_run() -> None:
    await asyncio.sleep(0)


class MemoryStore:
    """A `Store` that lasts as long as the process.

    Args:
        pause: awaited before every read and around every append; where tests let tasks interleave.
    """

    stopped = False
    """As `Store.stopped`."""

    def __init__(self, pause: Pause = _let_others_run) -> None:
        self._pause = pause
        self._log: list[Commit] = []
        self._horizon: Timestamp = 0  # newest commit trimmed from the log, which holds every one after it
        self._requests: dict[tuple[str, int], tuple[RequestRecord, Timestamp]] = {}
        self._keys: list[bytes] = []  # of all that ever was, sorted
        self._versions: dict[bytes, list[tuple[Timestamp, bytes | None]]] = {}  # by key, oldest first

    async def open(self) -> Timestamp:
        await self._pause()
        return self._newest

    async def snapshot(self, ts: Timestamp) -> MemorySnapshot:
        await self._pause()
        if ts > self._newest:
            raise ValueError(f"there is no snapshot at {ts} yet: the newest commit is at {self._newest}.")
        self._check_log_reaches(ts)
        return MemorySnapshot(self, ts)

    async def append(self, decide: Decide) -> Sequence[Commit]:
        await self._pause()
        commits = decide((), self._newest)
        check_rising(self._newest, commits)
        requests = [(commit.request, commit.ts) for commit in commits if commit.request is not None]
        records = {(request.session, request.request): (request, ts) for request, ts in requests}
        if len(records) < len(requests) or not records.keys().isdisjoint(self._requests):
            raise AlreadyCarriedOut(records.keys() & self._requests.keys())
        self._requests |= records
        for commit in commits:
            self._apply(commit)
        await self._pause()
        return commits

    async def changes(self, after: Timestamp, *, limit: int = 1000) -> list[Commit]:
        await self._pause()
        self._check_log_reaches(after)
        first = bisect_right(self._log, after, key=attrgetter("ts"))
        return self._log[first : first + limit]

    async def find_request(self, session: str, request: int) -> tuple[RequestRecord, Timestamp] | None:
        await self._pause()
        return self._requests.get((session, request))

    async def last_request(self, session: str) -> int:
        await self._pause()
        return max((number for of, number in self._requests if of == session), default=-1)

    async def forget_requests(self, through: Timestamp) -> None:
        await self._pause()
        self._requests = {request: found for request, found in self._requests.items() if found[1] > through}

    async def trim(self, through: Timestamp) -> Logged:
        await self._pause()
        trimmed = bisect_right(self._log, through, key=attrgetter("ts"))
        if trimmed:
            self._horizon = self._log[trimmed - 1].ts
            del self._log[:trimmed]
        changes = sum(max(1, len(commit.changes)) for commit in self._log)
        return Logged(changes, self._log[0].ts if self._log else self._newest, self._newest)

    async def rewrite(self, start: bytes, end: bytes, to: Callable[[bytes], bytes]) -> int:
        await self._pause()

        def inside(key: bytes) -> bool:
            """Whether a key, of a document or of an entry, is one of these documents."""
            return start <= document_key(table_of(key), internal_of(key)) < end

        touched = {key: versions for key, versions in self._versions.items() if inside(key)}
        images = {image for versions in touched.values() for _, image in versions if image is not None}
        rewritten: dict[bytes | None, bytes | None] = {None: None} | {image: to(image) for image in images}
        for versions in touched.values():
            versions[:] = [(ts, rewritten[image]) for ts, image in versions]
        for number, commit in enumerate(self._log):
            changes = [
                each._replace(before=rewritten[each.before], after=rewritten[each.after]) if inside(each.key) else each
                for each in commit.changes
            ]
            self._log[number] = commit._replace(changes=tuple(changes))
        return len(images)

    async def scrub(self) -> None:
        await self._pause()

    async def close(self) -> None:
        await self._pause()

    @property
    def _newest(self) -> Timestamp:
        return self._log[-1].ts if self._log else self._horizon

    def _check_log_reaches(self, ts: Timestamp) -> None:
        if ts < self._horizon:
            raise SnapshotTooOld(f"the log reaches back to {self._horizon} only, and {ts} was asked for.")

    def _apply(self, commit: Commit) -> None:
        for change in commit.changes:
            for key in change.keys_before:
                self._put(key, commit.ts, None)
            for key in (change.key, *change.keys_after):
                self._put(key, commit.ts, change.after)
        self._log.append(commit._replace(request=None))

    def _put(self, key: bytes, ts: Timestamp, value: bytes | None) -> None:
        if key not in self._versions:
            insort(self._keys, key)
        self._versions.setdefault(key, []).append((ts, value))


class MemorySnapshot:
    """A `Snapshot` of a `MemoryStore`."""

    def __init__(self, store: MemoryStore, ts: Timestamp) -> None:
        self._store = store
        self._ts = ts
        self._closed = False

    @property
    def ts(self) -> Timestamp:
        return self._ts

    async def get(self, key: bytes) -> bytes | None:
        await self._pause()
        return self._value(key)

    async def scan(self, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]:
        await self._pause()
        keys = self._store._keys
        inside = keys[bisect_left(keys, start) : bisect_left(keys, end)]
        rows: list[Row] = []
        for key in reversed(inside) if reverse else inside:
            if len(rows) == limit:
                break
            value = self._value(key)
            if value is not None:
                rows.append(Row(key, value))
        return rows

    async def count(self, start: bytes, end: bytes) -> int:
        return (await self.total(start, end)).count

    async def total(self, start: bytes, end: bytes) -> Total:
        await self._pause()
        keys = self._store._keys
        inside = keys[bisect_left(keys, start) : bisect_left(keys, end)]
        return Total.of(number_of(key) for key in inside if self._value(key) is not None)

    def close(self) -> None:
        self._closed = True

    async def _pause(self) -> None:
        if self._closed:
            raise RuntimeError("this snapshot is closed: read before closing it.")
        await self._store._pause()

    def _value(self, key: bytes) -> bytes | None:
        versions = self._store._versions.get(key, [])
        seen = bisect_right(versions, self._ts, key=itemgetter(0))
        return versions[seen - 1][1] if seen else None
