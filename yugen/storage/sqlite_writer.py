"""The connection that writes: commits, the trimming of the log, checkpoints, and totals behind them."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw

from yugen.storage import sqlite_batch, sqlite_log, sqlite_requests, sqlite_rewrite, sqlite_totals, sqlite_wal
from yugen.storage.interface import Commit, Decide, StorageError, Timestamp, check_rising
from yugen.storage.sqlite_batch import Batch
from yugen.storage.sqlite_connect import connect, reserve
from yugen.storage.sqlite_errors import explain
from yugen.storage.sqlite_rewrite import Logged
from yugen.storage.sqlite_schema import (
    APPLICATION_ID,
    BUSY_MS,
    CHECKSUMS_SINCE,
    MIGRATIONS,
    STATE,
    check_version,
)

logger = logging.getLogger(__name__)

PAGE_BYTES: Final = 4096
"""Of a new database. Commits write whole pages, and small ones cost them less than large ones save readers."""

_CACHE_KIB: Final = 16 * 1024
"""Pages that the writer keeps in memory. With twice as many it was no faster: the system keeps pages too."""

_CHECKPOINT_FRAMES: Final = 2048
"""Pages in the WAL that are worth a checkpoint: 8 MiB."""

_TRUNCATE_FRAMES: Final = 16384
"""Pages in the WAL (64 MiB) from which a checkpoint waits for readers, so that the WAL starts over even under load."""

_TRUNCATE_BUSY_MS: Final = 100

_LOOK_SECONDS_MAX: Final = 0.2
"""How long somebody who looks whether the database is locked may hold up whoever opens it."""

_DIRTY_MAX: Final = 16
"""Keys that totals may not know of: each costs a reader of totals some steps, and all of them together one round."""


class Writer:
    """The only connection that writes, of its process at least. All of it runs on the store's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None
        self._connection: apsw.Connection | None = None
        self._newest: Timestamp = 0
        self._tended_frames = 0  # of the WAL, when a checkpoint was last tried
        self._dirty = _DIRTY_MAX  # keys that totals do not know of yet, as far as this process knows
        self._recent_requests = 0  # that could be moved to the others
        self._stopped: str | None = None  # why nothing is appended any more
        self._distrusted = True  # whether the WAL must stay as it is

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
        self._lock = self._take_lock()
        self._connection = connect(self._path)
        self._connection.set_busy_timeout(BUSY_MS)
        version = check_version(self._connection, self._path)
        sqlite_wal.check(self._connection, self._path)
        self._connection.pragma("page_size", PAGE_BYTES)
        if version < CHECKSUMS_SINCE:
            reserve(self._connection)
        if self._connection.pragma("journal_mode", "wal") != "wal":
            raise StorageError(f"the file system of {self._path} cannot share memory: use a disk of this machine.")
        self._connection.pragma("synchronous", "full")
        self._connection.pragma("cache_size", -_CACHE_KIB)
        self._connection.wal_autocheckpoint(0)
        self._make_durable(self._connection)
        if 0 < version < CHECKSUMS_SINCE:
            logger.info("every page of %s gets a checksum, for which the file is made anew", self._path)
            self._make_anew(self._connection)
        for number in range(version, len(MIGRATIONS)):
            with self._transaction() as connection:
                connection.execute(MIGRATIONS[number])
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", number + 1)
        sqlite_batch.prepare(self._connection)
        self._distrusted = False
        self._newest, _ = self._connection.execute(STATE).get
        self._recent_requests = sqlite_requests.count_recent(self._connection)

    def _make_durable(self, connection: apsw.Connection) -> None:
        """Has the disk have all that is there, before anybody is told of it.

        A process may have ended between the writing of a commit and its sync, or because that failed, so that nobody
        has heard of the commit: whoever reads finds it, and a power cut takes it away. So the WAL is written once more,
        and then into the database. It is empty then, and nothing stands behind its header when that is written anew,
        which may fail half way.
        """
        try:
            sqlite_wal.write_again(connection, self._path)
            self._truncate_wal(connection)
        except apsw.BusyError:
            logger.debug("another node, which has begun before, has done so or is at it")
        except apsw.FullError:  # for the database; the WAL has its space, and is synced before
            logger.warning("the disk of %s has no space left", self._path)

    def _take_lock(self) -> int | None:
        """Keeps other processes out; the file descriptor that does, if it is ours to close."""
        return lock_file(self._path)

    def append(self, decide: Decide) -> Sequence[Commit]:
        self._check_not_stopped()
        commits = decide((), self._newest)
        check_rising(self._newest, commits)
        if commits:
            batch = Batch(commits)
            with self._transaction() as connection:
                batch.write(connection)
            self._newest = commits[-1].ts
            self._dirty += batch.dirty
            self._recent_requests += batch.requests
        return commits

    def trim(self, through: Timestamp) -> bool:
        """Deletes some of the log up to `through`; whether there is more to delete."""
        self._check_not_stopped()
        with self._transaction() as connection:
            more = sqlite_log.trim(connection, through)
        self.tend_wal()
        return more

    def forget_index(self, through: Timestamp, past: tuple[str, int]) -> tuple[str, int] | None:
        """As `sqlite_requests.forget_index`."""
        self._check_not_stopped()
        with self._transaction() as connection:
            return sqlite_requests.forget_index(connection, through, past)

    def forget_records(self, through: Timestamp) -> bool:
        """As `sqlite_requests.forget_records`."""
        self._check_not_stopped()
        with self._transaction() as connection:
            more = sqlite_requests.forget_records(connection, through)
        self.tend_wal()
        return more

    def rewrite(self, start: bytes, end: bytes, to: Callable[[bytes], bytes], logged: Logged) -> int:
        """As `Store.rewrite`, for somebody who has looked through the log already."""
        self._check_not_stopped()
        with self._transaction() as connection, sqlite_rewrite.overwriting(connection):
            return sqlite_rewrite.rewrite(connection, start, end, to, logged)

    def scrub(self) -> None:
        """As `Store.scrub`: makes the file anew, and empties the WAL."""
        self._check_not_stopped()
        connection = self._connection
        assert connection is not None, "the store is open"
        try:
            self._make_anew(connection)
        except apsw.Error as error:
            raise self._failure(error) from error

    def _make_anew(self, connection: apsw.Connection) -> None:
        connection.execute("VACUUM")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def tend(self) -> None:
        """Does what can wait until commits are answered; never raises."""
        self.tend_totals()
        self.tend_requests()
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

    def tend_requests(self) -> None:
        """Moves the recent requests to the others, when they have become some; never raises."""
        if self._connection is None or self._stopped is not None or self._recent_requests < sqlite_requests.MERGE_AT:
            return
        try:
            with self._transaction() as connection:
                sqlite_requests.merge(connection)
        except StorageError as error:
            logger.warning("recent requests stay where they are: %s", error)
        else:
            self._recent_requests = 0

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
            self._truncate_wal(connection)
        except apsw.BusyError:
            logger.debug("a reader still needs the WAL of %s, now of %d pages", self._path, self._tended_frames)
        except apsw.Error as error:
            logger.warning("checkpoint failed: %s", self._failure(error))

    def _truncate_wal(self, connection: apsw.Connection) -> None:
        """Moves all of the WAL's pages, which nobody may write or read meanwhile."""
        connection.set_busy_timeout(_TRUNCATE_BUSY_MS)
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            connection.set_busy_timeout(BUSY_MS)

    @property
    def stopped(self) -> bool:
        """Whether nothing is appended any more until the process starts again."""
        return self._stopped is not None

    def close(self) -> None:
        """Lets go of the file; never raises. What the last checkpoint does not move, the WAL keeps."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            if self._distrusted:
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            try:
                connection.close(True)  # checkpoints, unless others still read
            except apsw.Error as error:
                logger.warning("the database %s is closed as it is: %s", self._path, explain(self._path, error))
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
        failure = explain(self._path, error, self._connection)
        if failure.stopped:
            self._stopped = str(failure)
        self._distrusted = self._distrusted or failure.stopped or failure.damaged
        return failure

    def _check_not_stopped(self) -> None:
        if self._stopped is not None:
            raise StorageError(self._stopped, stopped=True)


def lock_file(path: Path) -> int:
    """Locks the database against other processes, until the file descriptor is closed or the process ends.

    Raises:
        StorageError: another process has it.
    """
    lock_path = Path(f"{path}.lock")
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(lock)
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


def _lock(file: int) -> None:
    """Takes a lock, also from somebody who only looks whether it is held."""
    until = time.monotonic() + _LOOK_SECONDS_MAX
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_SECONDS_MAX / 20)
