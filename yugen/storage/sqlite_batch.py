"""What an append writes, as rows of one SQL statement.

SQLite gives up the interpreter lock while a statement runs, and a busy event loop gives it back only after
milliseconds (`sys.getswitchinterval`). So one statement writes everything: into a view of the connection, whose
triggers put each row where it belongs, in order. Such a statement comes in few lengths, for to prepare one takes SQLite
about as long as to run it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

import apsw

from yugen.keys import has_totals
from yugen.storage import sqlite_requests, sqlite_totals
from yugen.storage.interface import AlreadyCarriedOut, Commit
from yugen.storage.sqlite_schema import pack_keys

_ROWS_MIN: Final = 4
_ROWS_MAX: Final = 512
"""Rows of one statement. SQLite keeps some hundred bytes for each as long as the statement is prepared."""

_WIDTH: Final = 8
_PUT, _DELETE, _NOTE, _ENTER, _LEAVE, _ENTER_TOTALS, _LEAVE_TOTALS, _REQUEST = range(8)

_LOG: Final = """
    INSERT INTO main.log VALUES (NEW.ts, NEW.n, NEW.key, NEW.before, NEW.after, NEW.keys_before, NEW.keys_after);
"""
_DIRTY: Final = sqlite_totals.DIRTY.format(key="NEW.key")
_ENTRY: Final = "INSERT OR IGNORE INTO main.entries VALUES (NEW.key);"
_NO_ENTRY: Final = "DELETE FROM main.entries WHERE key = NEW.key;"

# The columns are those of a change. A request has its session in `key`, its number in `n`, and then its record.
_TRIGGERS: Final = {
    _PUT: f"""{_LOG}
        INSERT INTO main.documents VALUES (NEW.key, NEW.after) ON CONFLICT (key) DO UPDATE SET value = excluded.value;
    """,
    _DELETE: f"{_LOG} DELETE FROM main.documents WHERE key = NEW.key;",
    _NOTE: _LOG,
    _ENTER: _ENTRY,
    _LEAVE: _NO_ENTRY,
    _ENTER_TOTALS: _DIRTY + _ENTRY,
    _LEAVE_TOTALS: _DIRTY + _NO_ENTRY,
    _REQUEST: """
        SELECT raise(ABORT, 'done before') FROM main.requests WHERE session = NEW.key AND request = NEW.n;
        INSERT INTO main.recent_requests VALUES (NEW.key, NEW.n, NEW.ts);
        INSERT INTO main.records VALUES (NEW.ts, NEW.before, NEW.after, NEW.keys_before);
    """,
}

_VIEW: Final = """
    CREATE TEMP VIEW batch (kind, key, ts, n, before, after, keys_before, keys_after) AS
    VALUES (0, 0, 0, 0, 0, 0, 0, 0);
"""
_SETUP: Final = "\n".join(
    [
        _VIEW,
        *(
            f"CREATE TEMP TRIGGER batch_{kind} INSTEAD OF INSERT ON batch WHEN NEW.kind = {kind} BEGIN {body} END;"
            for kind, body in _TRIGGERS.items()
        ),
    ]
)


def prepare(connection: apsw.Connection) -> None:
    """Makes a connection ready for `write`. It leaves nothing in the file."""
    connection.pragma("temp_store", "memory")
    connection.execute(_SETUP)


class Batch:
    """The rows of some commits.

    Attributes:
        requests: how many requests are among them.
        dirty: how many keys totals will not know of.
    """

    __slots__ = ("_commits", "_values", "dirty", "requests")

    def __init__(self, commits: Sequence[Commit]) -> None:
        self.requests = 0
        self.dirty = 0
        self._commits = commits
        self._values: list[object] = []
        for commit in commits:
            self._add(commit)

    def write(self, connection: apsw.Connection) -> None:
        """Writes them. Call it in a transaction.

        Raises:
            AlreadyCarriedOut: a request among them has been.
        """
        values = self._values
        try:
            for first in range(0, len(values), _ROWS_MAX * _WIDTH):
                some = values[first : first + _ROWS_MAX * _WIDTH]
                rows = max(_ROWS_MIN, 1 << (len(some) // _WIDTH - 1).bit_length())
                some += [None] * (rows * _WIDTH - len(some))  # rows of no kind, which go nowhere
                connection.execute(_statement(rows), some)
        except apsw.ConstraintError as error:
            asked = [(commit.request.session, commit.request.request) for commit in self._commits if commit.request]
            raise AlreadyCarriedOut(each for each in asked if sqlite_requests.find(connection, *each)) from error

    def _add(self, commit: Commit) -> None:
        ts, values = commit.ts, self._values
        for n, change in enumerate(commit.changes):
            key, before, after = change.key, change.before, change.after
            keys_before, keys_after = change.keys_before, change.keys_after
            kind = _DELETE if after is None else _PUT
            values += (kind, key, ts, n, before, after, pack_keys(keys_before), pack_keys(keys_after))
            if keys_before != keys_after:
                if keys_before:
                    self._add_entries([key for key in keys_before if key not in keys_after], _LEAVE, _LEAVE_TOTALS)
                self._add_entries(keys_after, _ENTER, _ENTER_TOTALS)
        if not commit.changes:
            values += (_NOTE, None, ts, 0, None, None, None, None)
        if commit.request is not None:
            record = commit.request
            log_lines = json.dumps(record.log_lines) if record.log_lines else "[]"
            values += (_REQUEST, record.session, ts, record.request, record.digest, record.value, log_lines, None)
            self.requests += 1

    def _add_entries(self, keys: Iterable[bytes], plain: int, with_totals: int) -> None:
        values = self._values
        for key in keys:
            kind = plain
            if has_totals(key):
                kind = with_totals
                self.dirty += 1
            values += (kind, key, None, None, None, None, None, None)


@cache
def _statement(rows: int) -> str:
    row = f"({', '.join('?' * _WIDTH)})"
    return f"INSERT INTO batch VALUES {', '.join([row] * rows)}"
