"""One read-only connection to the file, and what SQLite is asked on it."""

from __future__ import annotations

from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Final

import apsw

from yugen.keys import index_prefix, slot_of, table_of
from yugen.storage import sqlite_log, sqlite_requests, sqlite_totals
from yugen.storage.interface import Change, Commit, Logged, RequestRecord, Row, SnapshotTooOld, StorageError, Timestamp
from yugen.storage.overlay import Overlay
from yugen.storage.sqlite_connect import connect
from yugen.storage.sqlite_errors import explain, explained
from yugen.storage.sqlite_schema import BUSY_MS, MIGRATIONS, STATE, check_version, unpack_keys
from yugen.storage.sqlite_undo import Undos
from yugen.totals import Total

_CACHE_KIB: Final = 8 * 1024

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
_CHANGES = "SELECT ts, key, before, after, keys_before, keys_after FROM log WHERE ts > ? ORDER BY ts, n"


class View:
    """A read-only connection, and what its read transaction can see while it has one."""

    def __init__(self, path: Path) -> None:
        self.snapshots = 0  # open ones that read from here
        self.newest: Timestamp = 0
        self.horizon: Timestamp = 0
        self._path = path
        self._transaction: apsw.Cursor | None = None
        with explained(path):
            self._connection = connect(path, read_only=True)
            self._connection.set_busy_timeout(BUSY_MS)
            self._connection.pragma("query_only", True)
            self._connection.pragma("cache_size", -_CACHE_KIB)
            version = check_version(self._connection, path)
        self._undos = Undos(self._connection)
        if version < len(MIGRATIONS):
            raise StorageError(f"the database {path} is of an older version: start the server once, which updates it.")

    @property
    def is_open(self) -> bool:
        """Whether it has a read transaction."""
        return self._transaction is not None

    def begin(self) -> None:
        # A statement that is not at its end holds a read transaction. So this takes one statement instead of three.
        self._transaction = self._connection.execute(STATE)
        self.newest, self.horizon = next(self._transaction)

    def end(self) -> None:
        if self._transaction is not None:
            self._transaction.close()
            self._transaction = None

    def release(self) -> None:
        """Ends the read transaction, and keeps nothing for the next one."""
        self.end()
        self._undos.clear()

    def close(self) -> None:
        self._transaction = None
        self._connection.close(True)

    def check_log_reaches(self, ts: Timestamp) -> None:
        if ts < self.horizon:
            raise SnapshotTooOld(f"the log reaches back to {self.horizon} only, and {ts} was asked for.")

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._connection.execute(_GET, (key,)).get
            return value
        except apsw.Error as error:
            raise explain(self._path, error) from error

    async def scan(self, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]:
        try:
            if slot_of(start) == 0:
                rows = self._connection.execute(_SCAN_DOCUMENTS[reverse], (start, end, limit))
            else:
                documents = index_prefix(table_of(start), 0)
                rows = self._connection.execute(_SCAN_ENTRIES[reverse], (documents, start, end, limit))
            return list(map(Row._make, rows))
        except apsw.Error as error:
            raise explain(self._path, error) from error

    async def count(self, start: bytes, end: bytes) -> int:
        try:
            return sqlite_totals.count(self._connection, start, end)
        except apsw.Error as error:
            raise explain(self._path, error) from error

    async def total(self, start: bytes, end: bytes) -> Total:
        try:
            return sqlite_totals.total(self._connection, start, end)
        except apsw.Error as error:
            raise explain(self._path, error) from error

    def undo(self, ts: Timestamp) -> Overlay | None:
        """The documents that changed after `ts`, as they were then; None if it shows `ts` as it is."""
        if ts == self.newest:
            return None
        return self._undos.at(ts, self.newest, alone=not self.snapshots)

    def changes(self, after: Timestamp, limit: int) -> list[Commit]:
        cursor = self._connection.execute(_CHANGES, (after,))
        commits = [
            Commit(ts, tuple([_to_change(*row) for row in rows if row[1] is not None]))
            for ts, rows in islice(groupby(cursor, key=itemgetter(0)), limit)
        ]
        cursor.close()
        return commits

    def logged(self) -> Logged:
        return sqlite_log.extent(self._connection)

    def find_request(self, session: str, request: int) -> tuple[RequestRecord, Timestamp] | None:
        return sqlite_requests.find(self._connection, session, request)

    def last_request(self, session: str) -> int:
        return sqlite_requests.last(self._connection, session)


def _to_change(
    _: Timestamp, key: bytes, before: bytes | None, after: bytes | None, keys_before: bytes, keys_after: bytes
) -> Change:
    return Change(key, before, after, unpack_keys(keys_before), unpack_keys(keys_after))
