"""What the runtime asks of a store, and nothing else.

A store keeps four things: the current version of every document, the index entries that point at them, the commit
log with the image of every document before and after each change, and the record of which client requests have
already been carried out.

Everything lives in one ordered key space of byte strings (see `yugen.keys`). A *document key* is an index prefix
whose slot is 0 followed by the document's 16-byte internal id. An *entry key* is the prefix of an index, the encoded
index values, and the same 16 bytes. Reads are intervals of that space and writes are keys in it, so that one overlap
test serves commit validation and subscriptions alike.

The methods are coroutines so that a store may sit across a network. A store on the same machine may answer without
ever suspending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from yugen.totals import Total

Timestamp = int
"""Nanoseconds since the epoch, strictly increasing over the life of a deployment; marks a prefix of the commit log."""


class Change(NamedTuple):
    """One document changed by one commit: its images as stored JSON, and every index key it had and has.

    `keys_before` and `keys_after` list all entry keys of the document, also those that stay the same: a reader of
    an index range depends on the content of the documents in it, not only on their places. The log keeps the keys too,
    so that it can be read without knowing which indexes a table had at the time.
    """

    key: bytes
    before: bytes | None
    after: bytes | None
    keys_before: tuple[bytes, ...] = ()
    keys_after: tuple[bytes, ...] = ()


class RequestRecord(NamedTuple):
    """The answer to a client's mutation, kept so that the same request sent again is answered and not repeated.

    `digest` covers the function, its arguments and the caller's identity; `value` is the encoded result.
    """

    session: str
    request: int
    digest: bytes
    value: bytes
    log_lines: tuple[str, ...] = ()


class Commit(NamedTuple):
    """A transaction's effects at its timestamp: all of them take place, or none."""

    ts: Timestamp
    changes: tuple[Change, ...]
    request: RequestRecord | None = None


class Row(NamedTuple):
    """One index entry of a scan with the stored JSON of its document; `key` is the entry's full key."""

    key: bytes
    value: bytes


Decide = Callable[[Sequence[Commit], Timestamp], Sequence[Commit]]
"""Given the commits others appended since the last call and the newest timestamp, what to append now, in order."""


class AlreadyCarriedOut(ValueError):
    """Requests among those to be recorded have a record, of another node, that nobody knew of.

    Attributes:
        requests: which they are: their sessions and numbers.
    """

    def __init__(self, requests: Iterable[tuple[str, int]]) -> None:
        super().__init__("a request among these commits has already been carried out.")
        self.requests = frozenset(requests)


class StorageError(Exception):
    """The store cannot do what was asked, for a reason outside of the program: its disk, its file, another process.

    Attributes:
        full: there is no space left; the same works again once there is.
        stopped: the store no longer knows what is on disk and appends nothing more; only a restart of the process,
            which reads the disk anew, can tell. See "Can Applications Recover from fsync Failures?" (USENIX ATC 2020).
        damaged: what is stored is not what was written; the text says how to restore it.
    """

    def __init__(self, message: str, *, full: bool = False, stopped: bool = False, damaged: bool = False) -> None:
        super().__init__(message)
        self.full = full
        self.stopped = stopped
        self.damaged = damaged


class SnapshotTooOld(StorageError):
    """The log no longer reaches back to the timestamp that was asked for."""


class Logged(NamedTuple):
    """What there is of the log.

    Attributes:
        changes: how many changes of documents; a commit without any counts as one.
        oldest: the timestamp of the oldest; the newest timestamp of all if there are none.
        newest: the newest timestamp of all.
    """

    changes: int
    oldest: Timestamp
    newest: Timestamp


def check_rising(newest: Timestamp, commits: Sequence[Commit]) -> None:
    """Checks what every store demands of the commits it is to append.

    Raises:
        ValueError: a timestamp is not greater than the one before it.
    """
    for commit in commits:
        if commit.ts <= newest:
            raise ValueError(f"a commit's timestamp must be greater than {newest}, the one before it; got {commit.ts}.")
        newest = commit.ts


class Snapshot(Protocol):
    """The database as it was at one timestamp. Close it when done; it holds resources of the store."""

    @property
    def ts(self) -> Timestamp: ...

    async def get(self, key: bytes) -> bytes | None:
        """The stored JSON of the document at a document key, or None."""

    async def scan(self, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]:
        """The first `limit` rows whose keys are in [start, end), last first if `reverse`.

        Both ends lie within one index. In an index with slot 0 the documents themselves are the entries.
        """

    async def count(self, start: bytes, end: bytes) -> int:
        """How many entries there are in [start, end) of one index with totals."""

    async def total(self, start: bytes, end: bytes) -> Total:
        """What the entries in [start, end) of one index with totals amount to."""

    def close(self) -> None: ...


class Store(Protocol):
    """A durable, ordered log of commits and the tables it amounts to. One instance belongs to one event loop."""

    @property
    def stopped(self) -> bool:
        """Whether this appends nothing any more until its process starts again; other nodes may."""

    async def open(self) -> Timestamp:
        """Makes the store ready; returns the newest timestamp, 0 when it is new."""

    async def snapshot(self, ts: Timestamp) -> Snapshot:
        """The database at `ts`.

        Raises:
            SnapshotTooOld: the log that leads back to `ts` is gone.
            ValueError: `ts` is newer than the newest commit.
        """

    async def append(self, decide: Decide) -> Sequence[Commit]:
        """Appends the commits that `decide` returns, durably and all together, and returns them.

        `decide` runs while nobody else can append, perhaps on another thread; it must be quick and pure. Timestamps
        it gives must be greater than the newest. When this returns the commits survive a power cut; when it raises,
        none of them took place. Do not cancel it: whether it took place is then unknown.

        Raises:
            AlreadyCarriedOut: a request has been.
            ValueError: timestamps do not rise.
            StorageError: nothing could be written.
        """

    async def changes(self, after: Timestamp, *, limit: int = 1000) -> list[Commit]:
        """Up to `limit` commits with timestamps greater than `after`, oldest first, without their request records.

        Raises:
            SnapshotTooOld: some of the commits after `after` are gone from the log.
        """

    async def find_request(self, session: str, request: int) -> tuple[RequestRecord, Timestamp] | None:
        """The record of a request carried out before, and the timestamp of its commit."""

    async def last_request(self, session: str) -> int:
        """The greatest number of a request of a session that has a record; -1 if none has."""

    async def forget_requests(self, through: Timestamp) -> None:
        """Deletes the records of requests that were committed up to and including `through`.

        It goes in small steps, between which appends find their turn. What is sent again after that runs again.

        Raises:
            StorageError: some may be left; call it again.
        """

    async def trim(self, through: Timestamp) -> Logged:
        """Deletes the log up to and including `through`; earlier timestamps can no longer be read.

        It goes in small steps, between which appends find their turn.

        Returns:
            What is left.

        Raises:
            StorageError: some may be left that nobody can read any more; call it again.
        """

    async def rewrite(self, start: bytes, end: bytes, to: Callable[[bytes], bytes]) -> int:
        """Writes every image of the documents in [start, end) in another way: those of now, and all in the log.

        It is no commit, so what `to` gives must mean the same as what it is given. Index entries stay. `to` may be
        called on another thread.

        Returns:
            How many images there are.

        Raises:
            StorageError: nothing could be written; all is as it was.
        """

    async def scrub(self) -> None:
        """Leaves nothing behind of what was deleted or rewritten before. Takes long, and nobody can append meanwhile.

        Raises:
            StorageError: something may have been left; call it again.
        """

    async def close(self) -> None: ...


class Peers(Protocol):
    """What one node knows of the others that append to the same store."""

    @property
    def newest(self) -> Timestamp:
        """The newest timestamp that any node has acknowledged or shown. It is asked for with every call of a client."""

    async def news(self) -> Sequence[Commit]:
        """Commits that others appended and that neither this nor `Store.append` has told of yet, oldest first.

        They are durable. All are among them that `newest` spoke of before the call, unless they are many; then call
        again. Not to be called while `append` runs.

        Raises:
            StorageError: the store could not be read.
        """

    def listen(self, told: Callable[[], None]) -> None:
        """Has `told` called on the event loop when there may be news."""

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Keeps every other node from appending while it is entered. Not for longer than one function runs.

        Raises:
            StorageError: the store could not be written.
        """
