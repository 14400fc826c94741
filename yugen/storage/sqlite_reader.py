"""Snapshots of the file, in any process."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from yugen.storage.interface import Commit, Logged, RequestRecord, Row, Timestamp
from yugen.storage.overlay import Overlay
from yugen.storage.sqlite_errors import explain, explained
from yugen.storage.sqlite_view import View
from yugen.totals import Total


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
        self._views = [View(self._path)]

    async def snapshot(self, ts: Timestamp) -> SqliteSnapshot:
        """As `Store.snapshot`. Neither this nor the methods of the snapshot suspend."""
        try:
            view = self._view_at(ts)
            undo = view.undo(ts)
        except apsw.Error as error:
            raise explain(self._path, error) from error
        view.snapshots += 1
        return SqliteSnapshot(self, view, ts, undo)

    def newest(self, ts: Timestamp, over: Overlay) -> LaidOver:
        """What is committed now, `ts` and perhaps more, with documents laid over it that were committed or will be.

        Args:
            ts: a timestamp that was published.
            over: lies over all that was committed by `ts`.
        """
        try:
            view = self._view_from(ts)
        except apsw.Error as error:
            raise explain(self._path, error) from error
        view.snapshots += 1
        return LaidOver(self, view, ts, over)

    def changes(self, after: Timestamp, *, limit: int) -> list[Commit]:
        """As `Store.changes`."""
        with explained(self._path):
            view = self._idle_view()
            view.begin()
            try:
                view.check_log_reaches(after)
                return view.changes(after, limit)
            finally:
                view.end()

    def find_request(self, session: str, request: int) -> tuple[RequestRecord, Timestamp] | None:
        """As `Store.find_request`."""
        with explained(self._path):
            return self._idle_view().find_request(session, request)

    def last_request(self, session: str) -> int:
        """As `Store.last_request`."""
        with explained(self._path):
            return self._idle_view().last_request(session)

    def logged(self) -> Logged:
        """What there is of the log."""
        with explained(self._path):
            return self._idle_view().logged()

    def pause(self) -> None:
        """Ends the read transactions that no open snapshot needs, which keep the WAL from starting over.

        One is kept after its snapshots are closed, since the next is often at the same timestamp. Call this when there
        is no more to read for now.
        """
        for view in self._views:
            if not view.snapshots:
                view.end()

    def release(self) -> None:
        """As `pause`, and lets go of what was read for those who ask for earlier moments: nobody waits who may."""
        for view in self._views:
            if not view.snapshots:
                view.release()

    def close(self) -> None:
        """Closes the file; open snapshots can no longer be read."""
        for view in self._views:
            view.close()
        self._views.clear()

    def _view_at(self, ts: Timestamp) -> View:
        """A view that can show `ts`, the one with the least to undo."""
        for view in self._views:
            if view.is_open and view.newest == ts:
                return view
        usable = [view for view in self._views if view.is_open and view.horizon <= ts <= view.newest]
        if usable:
            return min(usable, key=lambda view: view.newest)
        view = self._idle_view()
        view.begin()
        if ts > view.newest:
            raise ValueError(f"there is no snapshot at {ts} yet: the newest commit is at {view.newest}.")
        view.check_log_reaches(ts)
        return view

    def _view_from(self, ts: Timestamp) -> View:
        """A view that shows `ts` or more."""
        for view in self._views:
            if view.is_open and view.newest >= ts:
                return view
        view = self._idle_view()
        view.begin()
        if ts > view.newest:
            raise ValueError(f"there is no snapshot at {ts} yet: the newest commit is at {view.newest}.")
        return view

    def _idle_view(self) -> View:
        for view in self._views:
            if not view.snapshots:
                view.end()
                return view
        self._views.append(View(self._path))
        return self._views[-1]

    def _leave(self, view: View) -> None:
        view.snapshots -= 1
        if not view.snapshots and any(other.is_open and other.newest > view.newest for other in self._views):
            view.end()


class SqliteSnapshot:
    """A `Snapshot` whose methods never suspend."""

    __slots__ = ("_reader", "_ts", "_undo", "_view")

    def __init__(self, reader: SqliteReader, view: View, ts: Timestamp, undo: Overlay | None) -> None:
        self._reader = reader
        self._view: View | None = view
        self._ts = ts
        self._undo = undo

    @property
    def ts(self) -> Timestamp:
        return self._ts

    async def get(self, key: bytes) -> bytes | None:
        view = self._open_view()
        if self._undo is not None:
            laid = self._undo.get(key)
            if laid is not None:
                return laid.value
        return view.get(key)

    async def scan(self, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]:
        view = self._open_view()
        if self._undo is None:
            return await view.scan(start, end, reverse=reverse, limit=limit)
        return await self._undo.scan(view, start, end, reverse=reverse, limit=limit)

    async def count(self, start: bytes, end: bytes) -> int:
        view = self._open_view()
        return await (view.count(start, end) if self._undo is None else self._undo.count(view, start, end))

    async def total(self, start: bytes, end: bytes) -> Total:
        view = self._open_view()
        return await (view.total(start, end) if self._undo is None else self._undo.total(view, start, end))

    def close(self) -> None:
        if self._view is not None:
            self._reader._leave(self._view)
            self._view = None

    def _open_view(self) -> View:
        if self._view is None:
            raise RuntimeError("this snapshot is closed: read before closing it.")
        return self._view


class LaidOver(SqliteSnapshot):
    """A `Snapshot` of what is newest, with documents laid over it.

    A document that is laid over hides the stored one, whichever of its versions that is. For totals it has to be known
    which one that is: they are those of `ts`.
    """

    __slots__ = ("_exact", "_over")

    def __init__(self, reader: SqliteReader, view: View, ts: Timestamp, over: Overlay) -> None:
        super().__init__(reader, view, ts, over)
        self._over = over
        self._exact: SqliteSnapshot | None = None

    async def count(self, start: bytes, end: bytes) -> int:
        return await self._over.count(await self._at_ts(), start, end)

    async def total(self, start: bytes, end: bytes) -> Total:
        return await self._over.total(await self._at_ts(), start, end)

    def close(self) -> None:
        if self._exact is not None:
            self._exact.close()
        super().close()

    async def _at_ts(self) -> SqliteSnapshot:
        self._open_view()
        if self._exact is None:
            self._exact = await self._reader.snapshot(self._ts)
        return self._exact
