"""The store in an SQLite file for those who only look, also while a server writes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from yugen.storage.interface import Commit, Decide, Logged, RequestRecord, StorageError, Timestamp
from yugen.storage.sqlite_reader import SqliteReader, SqliteSnapshot
from yugen.storage.sqlite_view import View


class ReadOnlyStore:
    """A `Store` that shows what is in a file when it is opened, and appends nothing.

    Args:
        path: the database file, which a `SqliteStore` has opened at least once.
    """

    stopped = False
    """As `Store.stopped`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).resolve()
        self._reader: SqliteReader | None = None

    async def open(self) -> Timestamp:
        """As `Store.open`.

        Raises:
            StorageError: there is no such database, or this version cannot read it.
        """
        view = View(self._path)
        try:
            view.begin()
            newest = view.newest
            view.end()
        finally:
            view.close()
        self._reader = SqliteReader(self._path)
        return newest

    async def snapshot(self, ts: Timestamp) -> SqliteSnapshot:
        return await self._opened().snapshot(ts)

    async def append(self, decide: Decide) -> Sequence[Commit]:
        raise StorageError(f"{self._path} is open for reading only.")

    async def trim(self, through: Timestamp) -> Logged:
        raise StorageError(f"{self._path} is open for reading only.")

    async def rewrite(self, start: bytes, end: bytes, to: Callable[[bytes], bytes]) -> int:
        raise StorageError(f"{self._path} is open for reading only.")

    async def scrub(self) -> None:
        raise StorageError(f"{self._path} is open for reading only.")

    async def changes(self, after: Timestamp, *, limit: int = 1000) -> list[Commit]:
        return self._opened().changes(after, limit=limit)

    async def find_request(self, session: str, request: int) -> tuple[RequestRecord, Timestamp] | None:
        return self._opened().find_request(session, request)

    async def last_request(self, session: str) -> int:
        return self._opened().last_request(session)

    async def forget_requests(self, through: Timestamp) -> None:
        raise StorageError(f"{self._path} is open for reading only.")

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _opened(self) -> SqliteReader:
        if self._reader is None:
            raise RuntimeError(f"the store {self._path} is not open: call it between open() and close().")
        return self._reader
