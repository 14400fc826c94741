"""The machines that try a disk, a bounded share of each, and that they notice what they are for."""

from __future__ import annotations

import errno
import math
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw
import pytest

from reliability import crash, disk
from reliability.stories import Story, check_holds
from reliability.verify import verify
from reliability.vfs import FaultyVFS, faulty_disk
from yugen.storage import sqlite_connect, sqlite_errors, sqlite_log, sqlite_totals, sqlite_wal, sqlite_writer
from yugen.storage.interface import StorageError
from yugen.storage.sqlite import SqliteStore
from yugen.storage.sqlite_errors import explain


async def test_operations_that_fail_lose_nothing(tmp_path: Path) -> None:
    figures = await disk.faults(tmp_path, seed=1, every=331)
    assert figures["lives"] > 15
    assert figures["errors"] > 15
    assert figures["rows"] > 0


async def test_power_cuts_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    figures = await disk.images(tmp_path, seed=1, count=15)
    assert figures["images"] == 15
    assert figures["commits"] > 15


async def test_a_power_cut_after_a_sync_that_failed_takes_nothing(tmp_path: Path) -> None:
    figures = await disk.syncs(tmp_path, seed=1, count=30)
    assert figures["failed syncs"] > 0
    assert figures["images"] >= 30


async def test_a_flipped_bit_makes_no_answer_wrong(tmp_path: Path) -> None:
    figures = await disk.flips(tmp_path, seed=1, count=30)
    assert sum(count for what, count in figures.items() if "noticed" in what) > 15


async def test_a_database_from_before_checksums_loses_nothing_when_it_gets_them(tmp_path: Path) -> None:
    figures = await disk.conversion(tmp_path, seed=1, every=97)
    assert figures["failures"] > 5
    assert figures["opened"] > 10
    assert figures["rows"] > 0


async def test_a_database_with_a_large_log_opens_soon(tmp_path: Path) -> None:
    figures = await disk.restart(tmp_path, 5000, seconds_max=math.inf)
    assert figures["MiB of WAL"] >= 64


def test_a_process_killed_at_its_steps_loses_nothing(tmp_path: Path) -> None:
    figures = crash.steps(tmp_path, seed=1, every=600)
    assert figures["kills"] > 3
    assert figures["rows"] > 0


def test_a_file_whose_log_is_trimmed_keeps_its_size_through_kills(tmp_path: Path) -> None:
    figures = crash.growth(tmp_path, seed=1, lives=12)
    assert figures["kills"] == 12


# What they are for ----------------------------------------------------------------------------------------------------


async def test_commits_that_are_not_synced_are_missed(tmp_path: Path) -> None:
    class Hasty(apsw.Connection):
        def pragma(self, name: str, *args: Any, **options: Any) -> Any:
            return super().pragma(name, *(("off",) if name == "synchronous" else args), **options)

    with patch.object(apsw, "Connection", Hasty), pytest.raises(AssertionError, match="seed"):
        await disk.images(tmp_path, seed=1, count=200)


async def test_a_failed_sync_that_is_trusted_is_noticed(tmp_path: Path) -> None:
    syncs = patch.object(disk, "FAULTS", (("sync", "EIO"),))
    with syncs, patch.object(sqlite_errors, "_SYNC_FAILED", ()), pytest.raises(AssertionError, match="EIO of sync"):
        await disk.faults(tmp_path, seed=1)


async def test_a_log_that_is_not_written_again_after_it_is_noticed(tmp_path: Path) -> None:
    with patch.object(sqlite_wal, "write_again", lambda *_: None), pytest.raises(AssertionError, match="seed 2, "):
        await disk.syncs(tmp_path, seed=1, count=200)


async def test_pages_without_checksums_give_wrong_answers(tmp_path: Path) -> None:
    with (
        patch.object(sqlite_connect, "_VFS", "unix"),
        patch.object(sqlite_writer, "reserve", lambda _: None),
        patch("yugen.storage.sqlite_schema.are_checked", lambda _: True),
        pytest.raises(AssertionError),
    ):
        await disk.flips(tmp_path, seed=1, count=300)


async def test_a_conversion_that_converts_nothing_is_noticed(tmp_path: Path) -> None:
    with patch.object(sqlite_writer, "reserve", lambda _: None), pytest.raises((AssertionError, StorageError)):
        await disk.conversion(tmp_path, seed=1, every=10_000)


async def test_a_log_that_has_lost_commits_is_noticed_by_nobody_else(tmp_path: Path) -> None:
    with patch.object(sqlite_wal, "check", lambda *_: None), pytest.raises(AssertionError, match="were acknowledged"):
        await disk.flips(tmp_path, seed=1, count=300)


def test_a_log_that_nobody_trims_is_noticed(tmp_path: Path) -> None:
    with patch.object(sqlite_log, "trim", lambda *_: False), pytest.raises(AssertionError, match="the file grows"):
        crash.growth(tmp_path, seed=1, lives=12)


@pytest.fixture
def faulty() -> Iterator[FaultyVFS]:
    with faulty_disk() as made:
        yield made


@patch.object(sqlite_totals, "FANOUT", 2)
async def test_the_verifier_notices_what_does_not_agree(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    story = Story(1)
    store = SqliteStore(path)
    await store.open()
    for _ in range(5):
        await story.append(store, 4)
    await store.close()
    contents = verify(path)
    assert min(contents.documents, contents.entries, contents.changes, contents.records, contents.totals) > 0
    for spoil in (
        "DELETE FROM documents WHERE rowid = (SELECT max(rowid) FROM documents)",
        "UPDATE documents SET value = x'00' WHERE rowid = (SELECT max(rowid) FROM documents)",
        "DELETE FROM entries WHERE key = (SELECT min(key) FROM entries)",
        "INSERT INTO entries SELECT CAST(key || zeroblob(16) AS BLOB) FROM entries LIMIT 1",
        "DELETE FROM log WHERE ts = (SELECT min(ts) FROM log WHERE key IS NOT NULL)",
        "DELETE FROM records WHERE ts = (SELECT min(ts) FROM records)",
        "UPDATE totals SET count = count + 1",
    ):
        with closing(sqlite_connect.connect(path)) as connection:
            connection.execute("BEGIN")
            connection.execute(spoil)
            assert connection.changes() > 0, spoil
            connection.execute("COMMIT")
        with pytest.raises(AssertionError):
            verify(path)
        path.unlink()
        store = SqliteStore(path)
        await store.open()
        story = Story(1)
        for _ in range(5):
            await story.append(store, 4)
        await store.close()


async def test_an_image_has_what_was_synced(tmp_path: Path, faulty: FaultyVFS) -> None:
    story = Story(3)
    store = SqliteStore(tmp_path / "life" / disk.NAME)
    await store.open()
    await story.append(store, 5)
    for seed in range(20):
        faulty.image(tmp_path / "life", tmp_path / str(seed), random.Random(seed))
    await store.close()
    for seed in range(20):
        store = SqliteStore(tmp_path / str(seed) / disk.NAME)
        assert await store.open() == story.acknowledged
        assert await check_holds(store, story, story.acknowledged) > 0
        await store.close()


async def written_and_not_synced(path: Path, faulty: FaultyVFS) -> Story:
    """Leaves a database whose last commit was written, and could not be synced; what was acknowledged before."""
    story = Story(3)
    store = SqliteStore(path)
    await store.open()
    await story.append(store, 5)
    await store._on_thread(lambda: None)  # and what it does behind answers is done
    faulty.fail("sync", 1, "EIO")
    with pytest.raises(StorageError):
        await story.append(store, 1)
    await store.close()
    return story


async def test_what_is_told_after_a_failed_sync_and_a_restart_outlives_a_power_cut(
    tmp_path: Path, faulty: FaultyVFS
) -> None:
    story = await written_and_not_synced(tmp_path / "life" / disk.NAME, faulty)
    faulty.heal()
    store = SqliteStore(tmp_path / "life" / disk.NAME)
    told = await store.open()
    assert told > story.acknowledged, "what was written and not synced is there"
    for seed in range(20):
        faulty.image(tmp_path / "life", tmp_path / str(seed), random.Random(seed))
    await store.close()
    for seed in range(20):
        store = SqliteStore(tmp_path / str(seed) / disk.NAME)
        assert await store.open() == told
        await store.close()


@pytest.mark.parametrize("written", range(33))
async def test_a_log_that_was_about_to_start_over_has_lost_nothing(
    tmp_path: Path, faulty: FaultyVFS, written: int
) -> None:
    story = Story(3)
    store = SqliteStore(tmp_path / "life" / disk.NAME)
    await store.open()
    await story.append(store, 5)
    connection = store._writer._connection
    assert connection is not None
    await store._on_thread(lambda: connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE))
    wal = tmp_path / f"life/{disk.NAME}-wal"
    before = wal.read_bytes()
    await story.append(store, 1)
    await store._on_thread(lambda: None)
    header = wal.read_bytes()[:32]
    assert header != before[:32]
    database = (tmp_path / "life" / disk.NAME).read_bytes()
    await store.close()
    (tmp_path / disk.NAME).write_bytes(database)
    (tmp_path / wal.name).write_bytes(header[:written] + before[written:])
    store = SqliteStore(tmp_path / disk.NAME)
    assert 0 < await store.open() < story.acknowledged, "the last append alone is not there"
    await store.close()


async def test_a_full_disk_does_not_keep_a_server_from_starting(tmp_path: Path, faulty: FaultyVFS) -> None:
    story = await written_and_not_synced(tmp_path / disk.NAME, faulty)
    faulty.fail("write", 1, "ENOSPC", persistent=True)
    store = SqliteStore(tmp_path / disk.NAME)
    assert await store.open() > story.acknowledged
    assert faulty.failed > 0
    await store.close()


def io_error(code: int) -> apsw.Error:
    error = apsw.exception_for(code)
    assert isinstance(error, apsw.Error)
    return error


def test_a_sync_that_finds_no_space_is_not_tried_again(tmp_path: Path) -> None:
    class Full(apsw.Connection):
        system_errno = errno.ENOSPC

    with closing(Full(":memory:")) as connection:
        failure = explain(tmp_path, io_error(apsw.SQLITE_IOERR_FSYNC), connection)
        assert failure.stopped
        assert not failure.full
        failure = explain(tmp_path, io_error(apsw.SQLITE_IOERR_SHMSIZE), connection)
        assert failure.full
