"""What only a store on a disk must do: survive crashes and faults, and be read by other processes."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import itertools
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliability.verify import verify
from tests.storage.model import TABLE, History, Note, append, expected_all, key_of, read_all, rows_of, whole
from yugen.keys import document_key
from yugen.storage import sqlite_requests, sqlite_rewrite, sqlite_view, sqlite_writer
from yugen.storage.interface import Change, Commit, RequestRecord, SnapshotTooOld, StorageError
from yugen.storage.sqlite import SqliteReader, SqliteStore
from yugen.storage.sqlite_connect import memory_bytes
from yugen.storage.sqlite_schema import APPLICATION_ID, MIGRATIONS, pack_keys, unpack_keys

A, B = Note(1, "ada"), Note(2, "bob")
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "app.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


def large(ts: int, size: int) -> Commit:
    """A commit of one new document of `size` bytes."""
    return Commit(ts, (Change(document_key(TABLE, ts.to_bytes(16, "big")), None, b"x" * size),))


def check_integrity(path: Path) -> None:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


def wal_size(path: Path) -> int:
    """Bytes in the WAL, 0 when there is none."""
    wal = Path(f"{path}-wal")
    return wal.stat().st_size if wal.exists() else 0


async def start(program: str, path: Path) -> asyncio.subprocess.Process:
    """Runs a Python program on a database, in a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), cwd=REPOSITORY, stdin=PIPE, stdout=PIPE
    )


@given(st.lists(st.binary(max_size=300)))
def test_packed_keys_are_unpacked(keys: list[bytes]) -> None:
    assert unpack_keys(pack_keys(keys)) == tuple(keys)


# Opening and closing


async def test_everything_survives_reopening(path: Path) -> None:
    history = History()
    request = RequestRecord("session", 1, b"digest", b"null")
    commits = [history.commit(10, {1: A, 2: B}), history.commit(20, {1: B, 2: None})]
    for times in range(2):
        store = SqliteStore(path)
        assert await store.open() == history.newest * times
        if not times:
            await append(store, *commits, Commit(30, (), request))
            history.states[30] = history.at(20)
        for ts in (10, 20, 30):
            snapshot = await store.snapshot(ts)
            assert await read_all(snapshot) == expected_all(history.at(ts))
            snapshot.close()
        assert await store.changes(0) == [*commits, Commit(30, ())]
        assert await store.find_request("session", 1) == (request, 30)
        await store.close()
        await store.close()


async def test_the_newest_timestamp_outlives_log_and_process(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await append(store, *[Commit(ts, ()) for ts in range(1, 2501)])  # more than one step of trimming
    await store.trim(10_000)
    await store.close()
    store = SqliteStore(path)
    assert await store.open() == 2500
    await store.close()


async def test_the_pages_that_a_store_keeps_in_memory_are_bounded(store: SqliteStore) -> None:
    before = memory_bytes()
    for number in range(30):
        await append(store, Commit(number + 1, (Change(key_of(number), None, b"x" * 1_000_000),)))
    snapshot = await store.snapshot(30)
    assert len(await snapshot.scan(*whole(0), limit=100)) == 30
    snapshot.close()
    used = memory_bytes() - before
    bound = (sqlite_writer._CACHE_KIB + sqlite_view._CACHE_KIB + 2048) * 1024
    assert bound / 2 < used < bound


async def test_steps_of_trimming_have_a_bounded_size(store: SqliteStore) -> None:
    keys = [key_of(number) for number in range(40)]
    await append(
        store,
        Commit(10, tuple(Change(key, None, b"x" * 300_000) for key in keys)),
        Commit(20, tuple(Change(key, b"x" * 300_000, b"x") for key in keys)),
        Commit(30, (Change(keys[0], b"x", b"y"),)),
    )
    writer = store._writer
    assert writer._connection is not None
    rows = []
    more = True
    while more:
        more = writer.trim(25)
        rows.append(writer._connection.execute("SELECT count(*) FROM log").get)
        # Of a commit that is half gone nobody is told.
        with pytest.raises(SnapshotTooOld):
            await store.changes(10)
        assert [commit.ts for commit in await store.changes(20)] == [30]
    assert rows[-1] == 1
    assert all(0 < before - after <= 2 for before, after in pairwise([81, *rows]))


async def test_a_trim_that_was_cut_goes_on(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await append(store, *[Commit(ts, ()) for ts in range(1, 2501)])
    assert store._writer.trim(2000)
    await store.close()
    store = SqliteStore(path)
    assert await store.open() == 2500
    with pytest.raises(SnapshotTooOld):
        await store.changes(1999)
    assert await store.trim(1) == (500, 2001, 2500)
    await store.close()


async def test_closing_leaves_nothing_in_the_wal(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await append(store, History().commit(10, {1: A}))
    assert wal_size(path) > 0
    await store.close()
    assert wal_size(path) == 0
    reader = SqliteReader(path)
    snapshot = await reader.snapshot(10)
    assert await snapshot.get(key_of(1)) == A.stored
    reader.close()


async def test_who_only_looks_at_the_lock_keeps_nobody_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_SH)
    monkeypatch.setattr("yugen.storage.sqlite_writer.time.sleep", lambda seconds: os.close(lock))
    store = SqliteStore(path)
    await store.open()
    await store.close()


async def test_a_second_opener_is_refused_and_the_first_unharmed(store: SqliteStore, path: Path) -> None:
    second = SqliteStore(path.parent / ".." / "data" / "app.db")
    with pytest.raises(StorageError, match=rf"app\.db is in use by process {os.getpid()}, which holds .*app\.db\.lock"):
        await second.open()
    await second.close()
    await append(store, History().commit(10, {1: A}))
    await store.close()
    third = SqliteStore(path)
    assert await third.open() == 10
    await third.close()


async def test_a_newer_version_is_refused_and_its_file_let_go(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 99)
    with pytest.raises(StorageError, match="has version 99 and this Yugen knows versions up to 4"):
        await SqliteStore(path).open()
    connection.pragma("user_version", len(MIGRATIONS))
    connection.close()
    store = SqliteStore(path)
    assert await store.open() == 0
    await store.close()


async def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="not a Yugen database"):
        await SqliteStore(path).open()
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 1000)
    with pytest.raises(StorageError, match="damaged or not a database"):
        await SqliteStore(path).open()


async def test_a_path_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/app\.db cannot be used"):
        await SqliteStore(tmp_path / "file" / "app.db").open()


def test_a_reader_needs_a_database(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        SqliteReader(tmp_path / "missing.db")
    apsw.Connection(str(tmp_path / "empty.db")).close()
    (tmp_path / "empty.db").touch()
    with pytest.raises(StorageError, match="start the server once"):
        SqliteReader(tmp_path / "empty.db")


async def test_a_store_is_used_between_open_and_close(path: Path) -> None:
    store = SqliteStore(path)
    with pytest.raises(RuntimeError, match="not open"):
        await store.changes(0)
    await store.open()
    await store.close()
    with pytest.raises(RuntimeError, match="not open"):
        await append(store, Commit(1, ()))


# Readers


async def test_a_reader_cannot_write(store: SqliteStore, path: Path) -> None:
    reader = SqliteReader(path)
    with pytest.raises(apsw.ReadOnlyError):
        reader._views[0]._connection.execute("DELETE FROM log")
    reader.close()


READ = """
import asyncio, sys
from yugen.storage.sqlite import SqliteReader

async def main():
    reader = SqliteReader(sys.argv[1])
    for line in sys.stdin:
        ts, key = line.split()
        snapshot = await reader.snapshot(int(ts))
        print(await snapshot.get(bytes.fromhex(key)), flush=True)
        snapshot.close()
    reader.close()

asyncio.run(main())
"""


async def test_another_process_reads_what_is_committed_at_any_timestamp(store: SqliteStore, path: Path) -> None:
    history = History()
    child = await start(READ, path)
    assert child.stdin is not None
    assert child.stdout is not None
    for ts in range(10, 60, 10):
        await append(store, history.commit(ts, {1: Note(ts, "ada")}))
        for asked in (ts, 10, ts - 5):
            note = history.at(asked).get(1)
            child.stdin.write(f"{asked} {key_of(1).hex()}\n".encode())
            assert await child.stdout.readline() == f"{note.stored if note else None!r}\n".encode()
    child.stdin.close()
    assert await child.wait() == 0


async def test_snapshots_share_connections_by_what_these_can_show(store: SqliteStore, path: Path) -> None:
    history = History()
    reader = SqliteReader(path)
    await append(store, history.commit(10, {1: A}))
    first, second = await reader.snapshot(10), await reader.snapshot(5)
    assert len(reader._views) == 1
    await append(store, history.commit(20, {1: B}))
    third, fourth = await reader.snapshot(20), await reader.snapshot(10)
    assert len(reader._views) == 2
    for snapshot in (first, second, third, fourth):
        assert await read_all(snapshot) == expected_all(history.at(snapshot.ts))
        snapshot.close()
    await append(store, history.commit(30, {1: A}))
    fifth = await reader.snapshot(30)
    assert len(reader._views) == 2
    fifth.close()
    reader.close()


async def test_only_a_released_reader_lets_the_wal_start_over(store: SqliteStore, path: Path) -> None:
    reader = SqliteReader(path)
    await append(store, large(1, 100))
    snapshot = await reader.snapshot(1)
    checkpointer = apsw.Connection(str(path))
    assert checkpointer.pragma("journal_mode") == "wal"

    def truncate() -> None:
        checkpointer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    reader.release()
    with pytest.raises(apsw.BusyError):  # a snapshot is open
        truncate()
    snapshot.close()
    with pytest.raises(apsw.BusyError):  # kept for the next
        truncate()
    reader.release()
    truncate()
    assert wal_size(path) == 0
    checkpointer.close()
    reader.close()


async def test_the_wal_stays_small_when_nobody_reads(store: SqliteStore, path: Path) -> None:
    for ts in range(1, 201):
        await append(store, large(ts, 200_000))
    assert wal_size(path) < 2 * sqlite_writer._CHECKPOINT_FRAMES * sqlite_writer.PAGE_BYTES


async def test_the_wal_is_cut_once_an_old_reader_is_gone(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "_CHECKPOINT_FRAMES", 20)
    monkeypatch.setattr(sqlite_writer, "_TRUNCATE_FRAMES", 100)
    monkeypatch.setattr(sqlite_writer, "_TRUNCATE_BUSY_MS", 1)
    reader = SqliteReader(path)
    old = await reader.snapshot(0)
    for ts in range(1, 21):
        await append(store, large(ts, 100_000))
    grown = wal_size(path)
    assert grown > 20 * 100_000
    assert await old.get(large(1, 1).changes[0].key) is None
    old.close()
    reader.release()
    for ts in range(21, 24):
        await append(store, large(ts, 100_000))
    assert wal_size(path) < grown / 2
    reader.close()


# Crashes

APPEND_FOREVER = """
import asyncio, itertools, sys
from tests.storage.test_sqlite import large
from yugen.storage.interface import Commit
from yugen.storage.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1])
    newest = await store.open()
    for ts in itertools.count(newest + 1, 3):
        commits = [large(ts, 100), large(ts + 1, 60_000), Commit(ts + 2, ())]
        await store.append(lambda others, newest: commits)
        print(ts + 2, flush=True)

asyncio.run(main())
"""


async def test_acknowledged_commits_survive_kill_9(path: Path) -> None:
    acknowledged = 0
    for acknowledgements in (1, 7, 60, 150):
        child = await start(APPEND_FOREVER, path)
        assert child.stdout is not None
        for _ in range(acknowledgements):
            acknowledged = int(await child.stdout.readline())
        child.kill()
        while (line := await child.stdout.readline()).endswith(b"\n"):
            acknowledged = int(line)
        await child.wait()
        store = SqliteStore(path)
        newest = await store.open()
        assert newest >= acknowledged
        assert newest % 3 == 0  # commits appended together are there together
        commits = await store.changes(0, limit=newest + 1)
        assert [commit.ts for commit in commits] == list(range(1, newest + 1))
        snapshot = await store.snapshot(newest)
        for commit in commits:
            for change in commit.changes:
                assert await snapshot.get(change.key) == change.after
        snapshot.close()
        await store.close()
        check_integrity(path)


# Faults


class Disk:
    """Stands between SQLite and `pwrite`, and can fail it."""

    def __init__(self) -> None:
        self._vfs = apsw.VFS("faulty", "unix")
        prototype = ctypes.CFUNCTYPE(
            ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, use_errno=True
        )
        address = self._vfs.xGetSystemCall("pwrite64")
        assert address is not None
        self._write = prototype(address)
        self._hook = prototype(self._pwrite)
        hook_address = ctypes.cast(self._hook, ctypes.c_void_p).value
        assert hook_address is not None
        self._vfs.xSetSystemCall("pwrite64", hook_address)
        self.heal()

    def fail(self, code: int, *, on: int = 1, once: bool = False) -> None:
        """Lets writes fail with this errno, from the `on`th one or only that one."""
        self.failed = 0
        self._code, self._countdown, self._once = code, on, once

    def heal(self) -> None:
        self._code, self._countdown, self._once = 0, 0, False

    def remove(self) -> None:
        self._vfs.xSetSystemCall("pwrite64", 0)
        self._vfs.unregister()

    def _pwrite(self, file: int, data: int, size: int, offset: int) -> int:
        if self._code:
            self._countdown -= 1
            if self._countdown == 0 or (self._countdown < 0 and not self._once):
                self.failed += 1
                ctypes.set_errno(self._code)
                return -1
        return int(self._write(file, data, size, offset))


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.remove()


async def test_a_full_disk_refuses_writes_until_there_is_space(store: SqliteStore, path: Path, disk: Disk) -> None:
    history = History()
    await append(store, history.commit(10, {1: A}))
    disk.fail(errno.ENOSPC)
    for _ in range(2):
        with pytest.raises(StorageError, match="is full and nothing was written") as caught:
            await append(store, large(20, 100_000))
        assert caught.value.full
        assert not caught.value.stopped
        snapshot = await store.snapshot(10)
        assert await read_all(snapshot) == expected_all({1: A})
        snapshot.close()
    disk.heal()
    await append(store, history.commit(20, {1: B}))
    snapshot = await store.snapshot(20)
    assert await read_all(snapshot) == expected_all({1: B})
    snapshot.close()
    await store.close()
    check_integrity(path)


async def test_a_full_database_refuses_writes_until_it_may_grow(store: SqliteStore) -> None:
    connection = store._writer._connection
    assert connection is not None
    connection.pragma("max_page_count", connection.pragma("page_count"))
    with pytest.raises(StorageError) as caught:
        await append(store, large(10, 1_000_000))
    assert caught.value.full
    connection.pragma("max_page_count", 1_000_000)
    await append(store, large(10, 1_000_000))


async def test_an_error_in_the_middle_of_a_batch_undoes_all_of_it(store: SqliteStore, disk: Disk) -> None:
    disk.fail(errno.EIO, on=30, once=True)
    with pytest.raises(StorageError) as caught:
        await append(store, *[large(ts, 30_000) for ts in range(1, 20)])
    assert disk.failed == 1
    assert not caught.value.full
    assert await store.changes(0) == []
    snapshot = await store.snapshot(0)
    assert await snapshot.scan(*whole(0), limit=100) == []
    snapshot.close()
    await append(store, *[large(ts, 30_000) for ts in range(1, 20)])


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("once", [True, False])
async def test_any_write_may_fail_without_loss(path: Path, disk: Disk, code: int, once: bool) -> None:
    """Fails the nth write of a store's life from open to close, for every n, and then reads what was acknowledged."""
    for n in itertools.count(1):
        database = path.with_name(f"{n}.db")
        disk.fail(code, on=n, once=once)
        acknowledged: list[Commit] = []
        errors: list[StorageError] = []
        store = SqliteStore(database)
        try:
            await store.open()
            for ts in (1, 2):
                commit = large(ts, 20_000)
                await append(store, commit)
                acknowledged.append(commit)
        except StorageError as error:
            errors.append(error)
        await store.close()
        assert all(error.full == (code == errno.ENOSPC) for error in errors), errors
        failed = disk.failed
        disk.heal()
        store = SqliteStore(database)
        await store.open()
        assert (await store.changes(0))[: len(acknowledged)] == acknowledged
        await store.close()
        check_integrity(database)
        if not failed:
            break
    assert n > 20


class FailingSync(apsw.Connection):
    """A connection whose commits and checkpoints fail as they do when `fsync` fails."""

    armed: str | None = None
    """What fails: "commit" or "checkpoint"."""

    def execute(self, statements: str, *args: Any, **options: Any) -> apsw.Cursor:
        if self.armed == "commit" and statements == "COMMIT":
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        return super().execute(statements, *args, **options)

    def wal_checkpoint(self, dbname: str | None = None, mode: int = apsw.SQLITE_CHECKPOINT_PASSIVE) -> tuple[int, int]:
        if self.armed == "checkpoint" and mode != apsw.SQLITE_CHECKPOINT_NOOP:
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        return super().wal_checkpoint(dbname, mode)


async def open_failing(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SqliteStore, FailingSync]:
    monkeypatch.setattr(apsw, "Connection", FailingSync)
    store = SqliteStore(path)
    await store.open()
    connection = store._writer._connection
    assert isinstance(connection, FailingSync)
    return store, connection


async def test_a_failed_fsync_stops_the_store_for_good(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, connection = await open_failing(path, monkeypatch)
    history = History()
    await append(store, history.commit(10, {1: A}))
    connection.armed = "commit"
    lost = large(20, 100)
    for _ in range(2):
        with pytest.raises(StorageError, match="restart the server") as caught:
            await append(store, lost)
        assert caught.value.stopped
        connection.armed = None  # it would work again, and must not be trusted
    with pytest.raises(StorageError, match="restart the server"):
        await store.trim(10)
    snapshot = await store.snapshot(10)
    assert await read_all(snapshot) == expected_all({1: A})
    snapshot.close()
    await store.close()
    store = SqliteStore(path)
    assert await store.open() == 10
    await append(store, lost)
    await store.close()


async def test_a_failed_fsync_in_a_checkpoint_stops_the_store(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite_writer, "_CHECKPOINT_FRAMES", 1)
    store, connection = await open_failing(path, monkeypatch)
    connection.armed = "checkpoint"
    await append(store, large(1, 100))
    with pytest.raises(StorageError, match="restart the server") as caught:
        await append(store, large(2, 100))
    assert caught.value.stopped
    assert "checkpoint failed" in caplog.text
    await store.close()


async def test_a_failed_checkpoint_loses_nothing(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteStore(path)
    await store.open()
    await append(store, large(1, 300_000))
    monkeypatch.setattr(sqlite_writer, "_CHECKPOINT_FRAMES", 10)
    disk.fail(errno.ENOSPC)
    await store.trim(0)  # has nothing to write, and then a checkpoint to make
    assert disk.failed == 1
    assert "is full" in caplog.text
    disk.heal()
    await append(store, large(2, 100))
    await store.close()
    check_integrity(path)


def damage(path: Path) -> None:
    """Overwrites all pages but the first."""
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[: sqlite_writer.PAGE_BYTES].ljust(len(whole_file), b"\xff"))


async def test_a_damaged_page_is_told(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await append(store, *[large(ts, 3000) for ts in range(1, 50)])
    await store.close()
    damage(path)
    with pytest.raises(StorageError, match="restore it from a backup"):
        await SqliteStore(path).open()


async def test_the_event_loop_runs_while_a_commit_is_written(store: SqliteStore) -> None:
    turns = 0
    appending = asyncio.ensure_future(append(store, *[large(ts, 50_000) for ts in range(1, 200)]))
    while not appending.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10


# Databases of versions before


async def test_a_database_of_a_version_before_is_carried_over(path: Path) -> None:
    history = History()
    commits = [history.commit(10, {1: A, 2: B}), history.commit(20, {1: B, 2: None}), history.commit(30, {3: A})]
    records = {
        10: RequestRecord("one", 1, b"digest", b"null", ("line",)),
        30: RequestRecord("other", 1, b"digest too", b"1.0"),
    }
    write_version_2(path, commits, records)
    with pytest.raises(StorageError, match="start the server once"):
        SqliteReader(path)
    for _ in range(2):
        store = SqliteStore(path)
        assert await store.open() == 30
        for ts, record in records.items():
            assert await store.find_request(record.session, record.request) == (record, ts)
            with pytest.raises(ValueError, match="already been carried out"):
                await append(store, Commit(40, (), record))
        assert await store.find_request("one", 2) is None
        for ts in (10, 20, 30):
            snapshot = await store.snapshot(ts)
            assert await read_all(snapshot) == expected_all(history.at(ts))
            snapshot.close()
        assert await store.changes(0) == commits
        await store.close()
    check_integrity(path)


def write_version_2(path: Path, commits: Sequence[Commit], records: Mapping[int, RequestRecord]) -> None:
    """Writes a database as version 2 did."""
    path.parent.mkdir(parents=True)
    connection = apsw.Connection(str(path))
    connection.pragma("page_size", 8192)
    assert connection.pragma("journal_mode", "wal") == "wal"
    for migration in MIGRATIONS[:2]:
        connection.execute(migration)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", 2)
    for commit in commits:
        for n, change in enumerate(commit.changes):
            keys = pack_keys(change.keys_before), pack_keys(change.keys_after)
            row = (commit.ts, n, change.key, change.before, change.after, *keys)
            connection.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute("DELETE FROM documents WHERE key = ?", (change.key,))
            if change.after is not None:
                connection.execute("INSERT INTO documents VALUES (?, ?)", (change.key, change.after))
            for key in {*change.keys_before, *change.keys_after}:
                connection.execute(
                    "INSERT OR IGNORE INTO dirty VALUES (?1, EXISTS (SELECT 1 FROM entries WHERE key = ?1))", (key,)
                )
            connection.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key in change.keys_before])
            connection.executemany("INSERT INTO entries VALUES (?)", [(key,) for key in change.keys_after])
    for ts, record in records.items():
        answer = (record.digest, record.value, json.dumps(record.log_lines))
        connection.execute(
            "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?)", (record.session, record.request, ts, *answer)
        )
    connection.close()


# Requests


async def test_requests_are_found_before_and_after_they_are_moved(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_requests, "MERGE_AT", 8)
    records = [RequestRecord(f"session {n % 3}", n, b"digest", b"%d" % n, ("line",) * (n % 2)) for n in range(30)]
    for first in range(0, len(records), 15):
        store = SqliteStore(path)
        newest = await store.open()
        for ts, record in enumerate(records[first : first + 15], newest + 1):
            await append(store, Commit(ts, (), record))
            assert await store.last_request(record.session) == record.request
            for before in records[:ts]:
                assert await store.find_request(before.session, before.request) == (before, before.request + 1)
                with pytest.raises(ValueError, match="already been carried out"):
                    await append(store, Commit(ts + 1, (), before))
        await store.close()
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    moved, recent = (
        connection.execute(f"SELECT count(*) FROM {table}").get for table in ("requests", "recent_requests")
    )
    assert moved >= 16
    assert moved + recent == 30
    connection.close()


async def test_requests_that_are_moved_while_old_ones_are_forgotten_leave_no_way_to_nothing(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_requests, "MERGE_AT", 40)
    monkeypatch.setattr(sqlite_requests, "FORGOTTEN_AT_ONCE", 5)

    def asked(ts: int) -> Commit:
        return Commit(ts, (), RequestRecord(f"session {ts % 7}", ts, b"digest", b"1.0", ()))

    await append(store, *map(asked, range(1, 51)))  # they are moved
    await append(store, *map(asked, range(51, 81)))  # they are yet to be
    forgetting = asyncio.create_task(store.forget_requests(80))
    for ts in range(81, 101):
        await append(store, asked(ts))
    await forgetting
    await store.close()
    verify(path, whole_log=True, forgotten=80)


async def test_what_cannot_be_moved_stays_and_is_found(
    path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteStore(path)
    await store.open()
    record = RequestRecord("session", 1, b"digest", b"null")
    await append(store, Commit(10, (), record))
    monkeypatch.setattr(sqlite_requests, "MERGE_AT", 1)
    disk.fail(errno.ENOSPC)
    await store._on_thread(store._writer.tend_requests)
    assert "stay where they are" in caplog.text
    assert await store.find_request("session", 1) == (record, 10)
    disk.heal()
    await store._on_thread(store._writer.tend_requests)
    assert await store.find_request("session", 1) == (record, 10)
    await store.close()
    check_integrity(path)


# Batches of many rows


async def test_a_commit_of_more_rows_than_a_statement_has(store: SqliteStore) -> None:
    history = History()
    await append(store, history.commit(10, {n: Note(n, "ada") for n in range(700)}), history.commit(20, {3: None}))
    snapshot = await store.snapshot(20)
    assert await snapshot.scan(*whole(2), limit=1000) == rows_of(history.at(20), 2)
    snapshot.close()


async def test_commits_of_one_append_change_a_document_one_after_the_other(store: SqliteStore) -> None:
    history = History()
    commits = [history.commit(ts, {1: note}) for ts, note in enumerate((A, B, None, A, None, B, A), 1)]
    await append(store, *commits)
    snapshot = await store.snapshot(7)
    assert await read_all(snapshot) == expected_all({1: A})
    assert (await snapshot.count(*whole(48))) == 1
    snapshot.close()


def contents(path: Path) -> bytes:
    """All bytes of a database and of the files beside it."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.name.startswith(path.name))


async def test_nothing_is_left_of_what_was_rewritten_and_scrubbed(store: SqliteStore, path: Path) -> None:
    def image(n: int) -> bytes:
        return f"canary {n} ".encode() * 600  # which takes pages of its own

    for ts, n in ((1, 1), (2, 2), (3, 1)):
        await append(store, Commit(ts, (Change(key_of(n), None if ts < 3 else image(1), image(ts)),)))
    await append(store, Commit(4, (Change(key_of(2), image(2), None),)))
    assert b"canary" in contents(path)
    assert await store.rewrite(key_of(1), key_of(3), lambda image: image.replace(b"canary", b"sealed")) == 6
    await store.scrub()
    assert b"canary" not in contents(path)
    assert b"sealed" in contents(path)
    check_integrity(path)
    snapshot = await store.snapshot(2)
    assert await snapshot.get(key_of(2)) == image(2).replace(b"canary", b"sealed")
    snapshot.close()


async def test_what_is_logged_while_the_log_is_looked_through_is_rewritten_too(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_then_append(path: Path, start: bytes, end: bytes) -> sqlite_rewrite.Logged:
        found = find(path, start, end)
        asyncio.run_coroutine_threadsafe(append(store, second), loop).result()
        return found

    loop, find = asyncio.get_running_loop(), sqlite_rewrite.find_logged
    monkeypatch.setattr(sqlite_rewrite, "find_logged", find_then_append)
    first, second = Commit(1, (Change(key_of(1), None, b"old"),)), Commit(2, (Change(key_of(1), b"old", b"older"),))
    await append(store, first)
    await store.rewrite(key_of(1), key_of(2), lambda image: image.upper())
    assert [change.after for commit in await store.changes(0) for change in commit.changes] == [b"OLD", b"OLDER"]


async def test_what_cannot_be_scrubbed_is_told(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yugen.storage.sqlite_writer.BUSY_MS", 1)
    assert store._writer._connection is not None
    store._writer._connection.set_busy_timeout(1)
    await append(store, large(1, 10_000))
    with closing(apsw.Connection(str(path))) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM log").get == 1  # and goes on reading
        with pytest.raises(StorageError):
            await store.scrub()
    await store.scrub()
