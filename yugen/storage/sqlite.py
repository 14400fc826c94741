"""The store in one SQLite file.

The file is in WAL mode. One connection on one thread does all the writing and all the checkpointing; any number of
read-only connections, in this process and in others, see what is committed. A commit is durable when it is answered
(`synchronous=FULL`).

The tables hold the current version of everything. An earlier timestamp is read by opening a read transaction on a
later one and laying the images from before over what has changed since; see `yugen.storage.overlay`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from yugen.storage import sqlite_rewrite
from yugen.storage.interface import Commit, Decide, Logged, RequestRecord, Timestamp
from yugen.storage.sqlite_reader import SqliteReader, SqliteSnapshot
from yugen.storage.sqlite_writer import Writer

__all__ = ["SqliteReader", "SqliteStore"]

Result = TypeVar("Result")

TRIM_PAUSE_SECONDS: Final = 0.005
"""How long the writer is left alone after each step of trimming, which takes two or three milliseconds."""


class SqliteStore:
    """A `Store` in the SQLite file at `path`, which one process at a time may open.

    Appends run on a thread of their own. Reads run where they are called and do not suspend: SQLite answers them in
    microseconds, and in WAL mode they never wait for a writer.

    Args:
        path: the database file; it and its folders are created if missing. Two files beside it, ending in `-wal` and
            `-shm`, belong to it; a third, ending in `.lock`, keeps other processes out.
        thread: runs what is appended, one after the other; by default a thread of the store's own.
    """

    def __init__(self, path: str | os.PathLike[str], *, thread: Executor | None = None) -> None:
        self._path = Path(path).resolve()
        self._writer = self._make_writer()
        self._thread = thread or ThreadPoolExecutor(max_workers=1, thread_name_prefix="yugen-writer")
        self._reader: SqliteReader | None = None
        self._closed = False

    @property
    def stopped(self) -> bool:
        """As `Store.stopped`."""
        return self._writer.stopped

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

    async def forget_requests(self, through: Timestamp) -> None:
        """As `Store.forget_requests`: along the index, and then what it led to."""
        past: tuple[str, int] | None = ("", -1)
        while past is not None:
            past = await self._on_thread(self._writer.forget_index, through, past)
        while await self._on_thread(self._writer.forget_records, through):
            pass

    async def trim(self, through: Timestamp) -> Logged:
        """As `Store.trim`, with the writer left alone for most of the time."""
        while await self._on_thread(self._writer.trim, through):  # noqa: ASYNC110 -- it is not for something to happen
            await asyncio.sleep(TRIM_PAUSE_SECONDS)
        return self._open_reader().logged()

    async def rewrite(self, start: bytes, end: bytes, to: Callable[[bytes], bytes]) -> int:
        """As `Store.rewrite`. The log is gone through beforehand, so that appends do not wait for it."""
        reader = self._open_reader()
        logged = await asyncio.to_thread(sqlite_rewrite.find_logged, self._path, start, end)
        count = await self._on_thread(self._writer.rewrite, start, end, to, logged)
        reader.release()
        return count

    async def scrub(self) -> None:
        self._open_reader().release()
        await self._on_thread(self._writer.scrub)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._reader is not None:
            self._reader.close()
        await self._on_thread(self._writer.close)
        self._thread.shutdown()

    def _make_writer(self) -> Writer:
        return Writer(self._path)

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
