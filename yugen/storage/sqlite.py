"""The store in one SQLite file.

The file is in WAL mode. One connection on one thread does all the writing and all the checkpointing; any number of
read-only connections, in this process and in others, see what is committed. A commit is durable when it is answered
(`synchronous=FULL`).

The tables hold the current version of everything. An earlier timestamp is read by opening a read transaction on a
later one and laying the images from before over what has changed since; see `yugen.storage.overlay`.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from yugen.keys import has_totals, index_prefix, slot_of, table_of
from yugen.storage import sqlite_totals
from yugen.storage.interface import (
    Change,
    Commit,
    Decide,
    RequestRecord,
    Row,
    SnapshotTooOld,
    StorageError,
    Timestamp,
    check_rising,
)
from yugen.storage.overlay import Overlay
from yugen.totals import Total

logger = logging.getLogger(__name__)

APPLICATION_ID: Final = int.from_bytes(b"Yugn", "big")
"""What `PRAGMA application_id` says of a database of ours; `file` shows it."""

MIGRATIONS: Final = (
    # Documents and the log keep their rowids, for rows of many kilobytes fit badly into the inner pages of a tree
    # by key. Entries are nothing but a key; the document of one has the same table and the same last 16 bytes.
    # `log.key` is null in the only row of a commit that changed nothing. `horizon.ts` is the newest commit trimmed
    # from the log, which holds every commit after it.
    """
    CREATE TABLE documents (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE entries (key BLOB NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE log (
        ts INTEGER NOT NULL, n INTEGER NOT NULL, key BLOB,
        before BLOB, after BLOB, keys_before BLOB, keys_after BLOB,
        PRIMARY KEY (ts, n)
    ) STRICT;
    CREATE TABLE requests (
        session TEXT NOT NULL, request INTEGER NOT NULL, ts INTEGER NOT NULL,
        digest BLOB NOT NULL, value BLOB NOT NULL, log_lines TEXT NOT NULL,
        PRIMARY KEY (session, request)
    ) STRICT;
    CREATE TABLE horizon (ts INTEGER NOT NULL) STRICT;
    INSERT INTO horizon VALUES (0);
    """,
    sqlite_totals.MIGRATION,
)
"""What makes a database of version n one of version n + 1; `PRAGMA user_version` counts those done."""

_PAGE_BYTES: Final = 8192
_WRITER_CACHE_KIB: Final = 32 * 1024
_READER_CACHE_KIB: Final = 8 * 1024
_BUSY_MS: Final = 5000
_ROWS_PER_STATEMENT: Final = 256
_COMMITS_PER_TRIM: Final = 1000

_CHECKPOINT_FRAMES: Final = 1024
"""Pages in the WAL that are worth a checkpoint: 8 MiB."""

_TRUNCATE_FRAMES: Final = 8192
"""Pages in the WAL (64 MiB) from which a checkpoint waits for readers, so that the WAL starts over even under load."""

_TRUNCATE_BUSY_MS: Final = 100

_DIRTY_MAX: Final = 16
"""Keys that totals may not know of: each costs a reader of totals some steps, and all of them together one round."""

_STATE = "SELECT coalesce((SELECT max(ts) FROM log), ts), ts FROM horizon"
_GET = "SELECT value FROM documents WHERE key = ?"
_SCAN_DOCUMENTS = {
    reverse: f"SELECT key, value FROM documents WHERE key >= ? AND key < ? ORDER BY key {order} LIMIT ?"
    for reverse, order in ((False, "ASC"), (True, "DESC"))
}
_SCAN_ENTRIES = {
    reverse: f"""
        SELECT e.key, d.value FROM entries e CROSS JOIN documents d ON d.key = CAST(? || substr(e.key, -16) AS BLOB)
        WHERE e.key >= ? AND e.key < ? ORDER BY e.key {order} LIMIT ?
    """
    for reverse, order in ((False, "ASC"), (True, "DESC"))
}
_UNDO = "SELECT key, before, keys_before, keys_after FROM log WHERE ts > ? AND key IS NOT NULL ORDER BY ts DESC, n DESC"
_CHANGES = "SELECT ts, key, before, after, keys_before, keys_after FROM log WHERE ts > ? ORDER BY ts, n"
_FIND_REQUEST = "SELECT digest, value, log_lines, ts FROM requests WHERE session = ? AND request = ?"

_LAST_REQUEST = "SELECT coalesce(max(request), -1) FROM requests WHERE session = ?"

Result = TypeVar("Result")


def pack_keys(keys: Iterable[bytes]) -> bytes:
    """Keys as one blob: each after its length in 4 bytes, big endian."""
    return b"".join([len(key).to_bytes(4, "big") + key for key in keys])


def unpack_keys(packed: bytes) -> tuple[bytes, ...]:
    """The keys that `pack_keys` made one blob of."""
    keys: list[bytes] = []
    place = 0
    while place < len(packed):
        start = place + 4
        place = start + int.from_bytes(packed[place:start], "big")
        keys.append(packed[start:place])
    return tuple(keys)


class SqliteStore:
    """A `Store` in the SQLite file at `path`, which one process at a time may open.

    Appends run on a thread of their own. Reads run where they are called and do not suspend: SQLite answers them in
    microseconds, and in WAL mode they never wait for a writer.

    Args:
        path: the database file; it and its folders are created if missing. Two files beside it, ending in `-wal` and
            `-shm`, belong to it; a third, ending in `.lock`, keeps other processes out.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).resolve()
        self._writer = _Writer(self._path)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="yugen-writer")
        self._reader: SqliteReader | None = None
        self._closed = False

    async def open(self) -> Timestamp:
        """As `Store.open`.

        Raises:
            StorageError: another process has the file open, or it is not a database that this version can use.
        """
        newest = await self._on_thread(self._writer.open)
        self._reader = SqliteReader(self._path)
        return newest

    async def snapshot(self, ts: Timestamp) -> SqliteSnapshot:
        return await self._open_reader().snapshot(ts)

    async def append(self, decide: Decide) -> Sequence[Commit]:
        reader = self._open_reader()
        commits = await self._on_thread(self._append_then_tend, decide)
        # What an idle read transaction pins of the WAL never outlives the next append.
        reader.release()
        return commits

    async def changes(self, after: Timestamp, *, limit: int = 1000) -> list[Commit]:
        return self._open_reader().changes(after, limit=limit)

    async def find_request(self, session: str, request: int) -> tuple[RequestRecord, Timestamp] | None:
        return self._open_reader().find_request(session, request)

    async def last_request(self, session: str) -> int:
        return self._open_reader().last_request(session)

    async def trim(self, through: Timestamp) -> None:
        """Deletes the log up to and including `through`; earlier timestamps can no longer be read.

        It goes in small steps, between which appends find their turn.
        """
        while await self._on_thread(self._writer.trim, through):
            pass

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._reader is not None:
            self._reader.close()
        await self._on_thread(self._writer.close)
        self._thread.shutdown()

    def _open_reader(self) -> SqliteReader:
        if self._reader is None or self._closed:
            raise RuntimeError(f"the store {self._path} is not open: call it between open() and close().")
        return self._reader

    async def _on_thread(self, function: Callable[..., Result], *args: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _append_then_tend(self, decide: Decide) -> Sequence[Commit]:
        commits = self._writer.append(decide)
        self._thread.submit(self._writer.tend)  # afterwards: the answer does not wait for a checkpoint
        return commits


class SqliteReader:
    """Snapshots of a store's file, also while another process writes it.

    Make one in each process; a connection does not survive a fork. Call it from one thread at a time.

    Args:
        path: the database file, which a `SqliteStore` has opened at least once.

    Raises:
        StorageError: there is no such database, or this version cannot read it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).resolve()
        self._views = [_View(self._path)]

    async def snapshot(self, ts: Timestamp) -> SqliteSnapshot:
        """As `Store.snapshot`. Neither this nor the methods of the snapshot suspend."""
        with _explained(self._path):
            view = self._view_at(ts)
            undo = view.undo(ts)
        view.snapshots += 1
        return SqliteSnapshot(self, view, ts, undo)

    def newest(self, ts: Timestamp, over: Overlay) -> LaidOver:
        """What is committed now, `ts` and perhaps more, with documents laid over it that were committed or will be.

        Args:
            ts: a timestamp that was published.
            over: lies over all that was committed by `ts`.
        """
        with _explained(self._path):
            view = self._view_from(ts)
        view.snapshots += 1
        return LaidOver(self, view, ts, over)

    def changes(self, after: Timestamp, *, limit: int) -> list[Commit]:
        """As `Store.changes`."""
        with _explained(self._path):
            view = self._idle_view()
            view.begin()
            try:
                view.check_log_reaches(after)
                return view.changes(after, limit)
            finally:
                view.end()

    def find_request(self, session: str, request: int) -> tuple[RequestRecord, Timestamp] | None:
        """As `Store.find_request`."""
        with _explained(self._path):
            return self._idle_view().find_request(session, request)

    def last_request(self, session: str) -> int:
        """As `Store.last_request`."""
        with _explained(self._path):
            return self._idle_view().last_request(session)

    def release(self) -> None:
        """Ends the read transactions that no open snapshot needs, which keep the WAL from starting over.

        One is kept after its snapshots are closed, since the next is often at the same timestamp. Call this when there
        is no more to read for now.
        """
        for view in self._views:
            if not view.snapshots:
                view.end()

    def close(self) -> None:
        """Closes the file; open snapshots can no longer be read."""
        for view in self._views:
            view.close()
        self._views.clear()

    def _view_at(self, ts: Timestamp) -> _View:
        """A view that can show `ts`, the one with the least to undo."""
        usable = [view for view in self._views if view.is_open and view.horizon <= ts <= view.newest]
        if usable:
            return min(usable, key=lambda view: view.newest)
        view = self._idle_view()
        view.begin()
        if ts > view.newest:
            raise ValueError(f"there is no snapshot at {ts} yet: the newest commit is at {view.newest}.")
        view.check_log_reaches(ts)
        return view

    def _view_from(self, ts: Timestamp) -> _View:
        """A view that shows `ts` or more."""
        for view in self._views:
            if view.is_open and view.newest >= ts:
                return view
        view = self._idle_view()
        view.begin()
        if ts > view.newest:
            raise ValueError(f"there is no snapshot at {ts} yet: the newest commit is at {view.newest}.")
        return view

    def _idle_view(self) -> _View:
        for view in self._views:
            if not view.snapshots:
                view.end()
                return view
        self._views.append(_View(self._path))
        return self._views[-1]

    def _leave(self, view: _View) -> None:
        view.snapshots -= 1
        if not view.snapshots and any(other.is_open and other.newest > view.newest for other in self._views):
            view.end()


class SqliteSnapshot:
    """A `Snapshot` whose methods never suspend."""

    __slots__ = ("_reader", "_ts", "_undo", "_view")

    def __init__(self, reader: SqliteReader, view: _View, ts: Timestamp, undo: Overlay) -> None:
        self._reader = reader
        self._view: _View | None = view
        self._ts = ts
        self._undo = undo

    @property
    def ts(self) -> Timestamp:
        return self._ts

    async def get(self, key: bytes) -> bytes | None:
        laid = self._undo.get(key)
        return self._open_view().get(key) if laid is None else laid.value

    async def scan(self, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]:
        return await self._undo.scan(self._open_view(), start, end, reverse=reverse, limit=limit)

    async def count(self, start: bytes, end: bytes) -> int:
        return await self._undo.count(self._open_view(), start, end)

    async def total(self, start: bytes, end: bytes) -> Total:
        return await self._undo.total(self._open_view(), start, end)

    def close(self) -> None:
        if self._view is not None:
            self._reader._leave(self._view)
            self._view = None

    def _open_view(self) -> _View:
        if self._view is None:
            raise RuntimeError("this snapshot is closed: read before closing it.")
        return self._view


class LaidOver:
    """A `Snapshot` of what is newest, with documents laid over it; its methods never suspend.

    A document that is laid over hides the stored one, whichever of its versions that is. For totals it has to be known
    which one that is: they are those of `ts`.
    """

    __slots__ = ("_exact", "_over", "_reader", "_ts", "_view")

    def __init__(self, reader: SqliteReader, view: _View, ts: Timestamp, over: Overlay) -> None:
        self._reader = reader
        self._view: _View | None = view
        self._ts = ts
        self._over = over
        self._exact: SqliteSnapshot | None = None

    @property
    def ts(self) -> Timestamp:
        return self._ts

    async def get(self, key: bytes) -> bytes | None:
        laid = self._over.get(key)
        return self._open_view().get(key) if laid is None else laid.value

    async def scan(self, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]:
        return await self._over.scan(self._open_view(), start, end, reverse=reverse, limit=limit)

    async def count(self, start: bytes, end: bytes) -> int:
        return await self._over.count(await self._at_ts(), start, end)

    async def total(self, start: bytes, end: bytes) -> Total:
        return await self._over.total(await self._at_ts(), start, end)

    def close(self) -> None:
        if self._exact is not None:
            self._exact.close()
        if self._view is not None:
            self._reader._leave(self._view)
            self._view = None

    def _open_view(self) -> _View:
        if self._view is None:
            raise RuntimeError("this snapshot is closed: read before closing it.")
        return self._view

    async def _at_ts(self) -> SqliteSnapshot:
        self._open_view()
        if self._exact is None:
            self._exact = await self._reader.snapshot(self._ts)
        return self._exact


class _View:
    """A read-only connection, and what its read transaction can see while it has one."""

    def __init__(self, path: Path) -> None:
        self.snapshots = 0  # open ones that read from here
        self.is_open = False
        self.newest: Timestamp = 0
        self.horizon: Timestamp = 0
        self._path = path
        with _explained(path):
            self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            self._connection.set_busy_timeout(_BUSY_MS)
            # The writer alone checkpoints, also when a reader happens to be the last to close the file.
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._connection.pragma("query_only", True)
            self._connection.pragma("cache_size", -_READER_CACHE_KIB)
            version = _check_version(self._connection, path)
        if version < len(MIGRATIONS):
            raise StorageError(f"the database {path} is of an older version: start the server once, which updates it.")

    def begin(self) -> None:
        self.newest = -1  # it shows nothing until what it shows is known
        self._connection.execute("BEGIN")
        self.is_open = True
        self.newest, self.horizon = self._connection.execute(_STATE).get

    def end(self) -> None:
        if self.is_open:
            self.is_open = False
            self._connection.execute("COMMIT")

    def close(self) -> None:
        self.is_open = False
        self._connection.close(True)

    def check_log_reaches(self, ts: Timestamp) -> None:
        if ts < self.horizon:
            raise SnapshotTooOld(f"the log reaches back to {self.horizon} only, and {ts} was asked for.")

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._connection.execute(_GET, (key,)).get
        except apsw.Error as error:
            raise _explain(self._path, error) from error
        return value

    async def scan(self, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]:
        try:
            if slot_of(start) == 0:
                rows = self._connection.execute(_SCAN_DOCUMENTS[reverse], (start, end, limit))
            else:
                documents = index_prefix(table_of(start), 0)
                rows = self._connection.execute(_SCAN_ENTRIES[reverse], (documents, start, end, limit))
            return list(map(Row._make, rows))
        except apsw.Error as error:
            raise _explain(self._path, error) from error

    async def count(self, start: bytes, end: bytes) -> int:
        try:
            return sqlite_totals.count(self._connection, start, end)
        except apsw.Error as error:
            raise _explain(self._path, error) from error

    async def total(self, start: bytes, end: bytes) -> Total:
        try:
            return sqlite_totals.total(self._connection, start, end)
        except apsw.Error as error:
            raise _explain(self._path, error) from error

    def undo(self, ts: Timestamp) -> Overlay:
        """The documents that changed after `ts`, as they were then."""
        overlay = Overlay()
        if ts < self.newest:
            for key, before, keys_before, keys_after in self._connection.execute(_UNDO, (ts,)):
                # The newest change of a document, which comes first, tells where it stands now.
                laid = overlay.get(key)
                hidden = unpack_keys(keys_after) if laid is None else laid.hidden
                overlay.put(key, before, unpack_keys(keys_before), hidden)
        return overlay

    def changes(self, after: Timestamp, limit: int) -> list[Commit]:
        cursor = self._connection.execute(_CHANGES, (after,))
        commits = [
            Commit(ts, tuple([_to_change(*row) for row in rows if row[1] is not None]))
            for ts, rows in islice(groupby(cursor, key=itemgetter(0)), limit)
        ]
        cursor.close()
        return commits

    def find_request(self, session: str, request: int) -> tuple[RequestRecord, Timestamp] | None:
        row = self._connection.execute(_FIND_REQUEST, (session, request)).get
        if row is None:
            return None
        digest, value, log_lines, ts = row
        return RequestRecord(session, request, digest, value, tuple(json.loads(log_lines))), ts

    def last_request(self, session: str) -> int:
        last: int = self._connection.execute(_LAST_REQUEST, (session,)).get
        return last


class _Writer:
    """The only connection that writes. All of it runs on the store's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None
        self._connection: apsw.Connection | None = None
        self._newest: Timestamp = 0
        self._tended_frames = 0  # of the WAL, when a checkpoint was last tried
        self._dirty = _DIRTY_MAX  # keys that totals do not know of yet, as far as this process knows
        self._stopped: str | None = None  # why nothing is appended any more

    def open(self) -> Timestamp:
        try:
            self._open()
        except (apsw.Error, OSError) as error:
            failure = self._failure(error)
            self.close()
            raise failure from error
        except BaseException:
            self.close()
            raise
        return self._newest

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._path)
        self._connection = apsw.Connection(str(self._path))
        self._connection.set_busy_timeout(_BUSY_MS)
        version = _check_version(self._connection, self._path)
        self._connection.pragma("page_size", _PAGE_BYTES)
        if self._connection.pragma("journal_mode", "wal") != "wal":
            raise StorageError(f"the file system of {self._path} cannot share memory: use a disk of this machine.")
        self._connection.pragma("synchronous", "full")
        self._connection.pragma("cache_size", -_WRITER_CACHE_KIB)
        self._connection.wal_autocheckpoint(0)
        for number in range(version, len(MIGRATIONS)):
            with self._transaction() as connection:
                connection.execute(MIGRATIONS[number])
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", number + 1)
        self._newest, _ = self._connection.execute(_STATE).get

    def append(self, decide: Decide) -> Sequence[Commit]:
        self._check_not_stopped()
        commits = decide((), self._newest)
        check_rising(self._newest, commits)
        if commits:
            with self._transaction() as connection:
                self._dirty += _insert(connection, commits)
            self._newest = commits[-1].ts
        return commits

    def trim(self, through: Timestamp) -> bool:
        """Deletes some of the log up to `through`; whether there is more to delete."""
        self._check_not_stopped()
        with self._transaction() as connection:
            oldest = "SELECT DISTINCT ts FROM log WHERE ts <= ? ORDER BY ts LIMIT ?"
            trimmed = [ts for (ts,) in connection.execute(oldest, (through, _COMMITS_PER_TRIM))]
            if trimmed:
                connection.execute("DELETE FROM log WHERE ts <= ?", (trimmed[-1],))
                connection.execute("UPDATE horizon SET ts = ?", (trimmed[-1],))
        self.tend_wal()
        return len(trimmed) == _COMMITS_PER_TRIM

    def tend(self) -> None:
        """Does what can wait until commits are answered; never raises."""
        self.tend_totals()
        self.tend_wal()

    def tend_totals(self) -> None:
        """Works the keys into the totals that they do not know of yet, when they have become some; never raises."""
        while self._connection is not None and self._stopped is None and self._dirty >= _DIRTY_MAX:
            try:
                with self._transaction() as connection:
                    more = sqlite_totals.merge(connection)
            except StorageError as error:
                logger.warning("totals are behind: %s", error)
                return
            if not more:
                self._dirty = 0

    def tend_wal(self) -> None:
        """Moves the WAL's pages into the database when they have become many; never raises.

        A checkpoint that fails loses nothing, since the WAL keeps what it could not move.
        """
        connection = self._connection
        if connection is None or self._stopped is not None:
            return
        try:
            frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
            if frames < self._tended_frames:
                self._tended_frames = 0  # it has started over
            if frames - self._tended_frames < _CHECKPOINT_FRAMES:
                return
            self._tended_frames = frames
            if frames < _TRUNCATE_FRAMES:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                return
            connection.set_busy_timeout(_TRUNCATE_BUSY_MS)
            try:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            finally:
                connection.set_busy_timeout(_BUSY_MS)
        except apsw.BusyError:
            logger.debug("a reader still needs the WAL of %s, now of %d pages", self._path, self._tended_frames)
        except apsw.Error as error:
            logger.warning("checkpoint failed: %s", self._failure(error))

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            if self._stopped is not None:
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.close(True)  # checkpoints, unless others still read
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        connection = self._connection
        assert connection is not None, "the store is open"
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            with suppress(apsw.Error):  # the next BEGIN says so, if this did not work
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if isinstance(error, apsw.Error):
                raise self._failure(error) from error
            raise

    def _failure(self, error: apsw.Error | OSError) -> StorageError:
        failure = _explain(self._path, error, self._connection)
        if failure.stopped:
            self._stopped = str(failure)
        return failure

    def _check_not_stopped(self) -> None:
        if self._stopped is not None:
            raise StorageError(self._stopped, stopped=True)


def _insert(connection: apsw.Connection, commits: Sequence[Commit]) -> int:
    """Writes the commits in as few statements as there are kinds of rows; how many keys totals do not know of then.

    SQLite gives up the interpreter lock for every statement it runs, and a busy event loop gives it back only after
    milliseconds (`sys.getswitchinterval`). With a statement for each row a group commit takes a hundred times as long.
    """
    documents: dict[bytes, bytes | None] = {}
    entries: dict[bytes, bool] = {}
    log: list[tuple[object, ...]] = []
    requests: list[tuple[object, ...]] = []
    for commit in commits:
        for n, change in enumerate(commit.changes):
            documents[change.key] = change.after
            if change.keys_before != change.keys_after:
                entries |= dict.fromkeys(change.keys_before, False)
                entries |= dict.fromkeys(change.keys_after, True)
            keys = pack_keys(change.keys_before), pack_keys(change.keys_after)
            log.append((commit.ts, n, change.key, change.before, change.after, *keys))
        if not commit.changes:
            log.append((commit.ts, 0, None, None, None, None, None))
        if commit.request is not None:
            record = commit.request
            log_lines = json.dumps(record.log_lines)
            requests.append((record.session, record.request, commit.ts, record.digest, record.value, log_lines))
    deleted = [(key,) for key, value in documents.items() if value is None]
    stored = [(key, value) for key, value in documents.items() if value is not None]
    gone = [(key,) for key, there in sorted(entries.items()) if not there]
    there = [(key,) for key, there in sorted(entries.items()) if there]
    upsert = "INSERT INTO documents VALUES {rows} ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    dirty = [(key,) for key in entries if has_totals(key)]
    _execute_for(connection, sqlite_totals.DIRTY, dirty)
    _execute_for(connection, upsert, stored)
    _execute_for(connection, "DELETE FROM documents WHERE key IN (VALUES {rows})", deleted)
    _execute_for(connection, "DELETE FROM entries WHERE key IN (VALUES {rows})", gone)
    _execute_for(connection, "INSERT OR IGNORE INTO entries VALUES {rows}", there)
    _execute_for(connection, "INSERT INTO log VALUES {rows}", log)
    try:
        _execute_for(connection, "INSERT INTO requests VALUES {rows}", requests)
    except apsw.ConstraintError as error:
        raise ValueError("a request among these commits has already been carried out.") from error
    return len(dirty)


def _execute_for(connection: apsw.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    for first in range(0, len(rows), _ROWS_PER_STATEMENT):
        some = rows[first : first + _ROWS_PER_STATEMENT]
        one = f"({', '.join('?' * len(some[0]))})"
        connection.execute(statement.format(rows=", ".join([one] * len(some))), tuple(chain.from_iterable(some)))


def _to_change(
    _: Timestamp, key: bytes, before: bytes | None, after: bytes | None, keys_before: bytes, keys_after: bytes
) -> Change:
    return Change(key, before, after, unpack_keys(keys_before), unpack_keys(keys_after))


def _check_version(connection: apsw.Connection, path: Path) -> int:
    """How many of the migrations this database has seen."""
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    if application == 0 and version == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").get == 0:
        return 0
    if application != APPLICATION_ID:
        raise StorageError(f"{path} is not a Yugen database: give the path of one, or of a file that does not exist.")
    if version > len(MIGRATIONS):
        raise StorageError(
            f"the database {path} has version {version} and this Yugen knows versions up to {len(MIGRATIONS)}: "
            "install the Yugen that wrote it, or a newer one."
        )
    return int(version)


def _lock(path: Path) -> int:
    """Locks the database against other processes, until the file descriptor is closed or the process ends."""
    lock_path = Path(f"{path}.lock")
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(lock, 20).decode() or "unknown"
        os.close(lock)
        raise StorageError(
            f"the database {path} is in use by process {holder}, which holds {lock_path}: "
            "stop that process, or give this one another database."
        ) from error
    with suppress(OSError):  # who holds it is only told to whom it is refused
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
    return lock


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raises a `StorageError` in place of what SQLite or the operating system raises."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise _explain(path, error) from error


def _explain(path: Path, error: apsw.Error | OSError, connection: apsw.Connection | None = None) -> StorageError:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, apsw.IOError) and connection is not None:
        number = (
            connection.system_errno
        )  # such as a quota's, or a full disk's when it is the WAL's index that must grow
    if isinstance(error, apsw.FullError) or number in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"the disk that holds {path} is full and nothing was written: free some space, and writes work again.",
            full=True,
        )
    if getattr(error, "extendedresult", 0) in (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC):
        return StorageError(
            f"the disk that holds {path} failed to make a write durable, so nothing more is written: "
            "check the disk, then restart the server, which finds every commit it has acknowledged.",
            stopped=True,
        )
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        return StorageError(f"the file {path} is damaged or not a database ({error}): restore it from a backup.")
    if isinstance(error, apsw.CantOpenError):
        return StorageError(
            f"the database {path} cannot be opened ({error}): check that it exists and its permissions."
        )
    return StorageError(f"the database {path} cannot be used: {error}.")
