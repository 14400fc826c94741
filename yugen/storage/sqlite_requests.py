"""The records of requests that were carried out, and the way to the one of a session and a number.

Records are kept in the order of their commits, so that a new one is appended. The way to it is an index by session, in
which every session has a place of its own. Were it kept up at once, nearly every request of many sessions would change
another page, which costs more than all else that a small mutation writes. So a new row goes to a small index of recent
ones, and `merge` moves these over in order, many to a page.
"""

from __future__ import annotations

import json
from typing import Final

import apsw

from yugen.storage.interface import RequestRecord, Timestamp

MERGE_AT: Final = 1024
"""Recent requests that are worth moving. More make the index of the recent ones large, fewer fill pages worse."""

FORGOTTEN_AT_ONCE: Final = 1000
"""Requests that are looked at in one transaction, when old ones are forgotten: some milliseconds."""

MIGRATION: Final = """
    ALTER TABLE requests RENAME TO requests_before;
    CREATE TABLE records (
        ts INTEGER NOT NULL PRIMARY KEY, digest BLOB NOT NULL, value BLOB NOT NULL, log_lines TEXT NOT NULL
    ) STRICT;
    CREATE TABLE requests (
        session TEXT NOT NULL, request INTEGER NOT NULL, ts INTEGER NOT NULL, PRIMARY KEY (session, request)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE recent_requests (
        session TEXT NOT NULL, request INTEGER NOT NULL, ts INTEGER NOT NULL, PRIMARY KEY (session, request)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO records SELECT ts, digest, value, log_lines FROM requests_before ORDER BY ts;
    INSERT INTO requests SELECT session, request, ts FROM requests_before ORDER BY session, request;
    DROP TABLE requests_before;
"""

_FIND: Final = """
    SELECT ts, digest, value, log_lines FROM records WHERE ts = (
        SELECT ts FROM recent_requests WHERE session = ?1 AND request = ?2
        UNION ALL SELECT ts FROM requests WHERE session = ?1 AND request = ?2
    )
"""

_LAST: Final = """
    SELECT max(coalesce((SELECT max(request) FROM recent_requests WHERE session = ?1), -1),
               coalesce((SELECT max(request) FROM requests WHERE session = ?1), -1))
"""


def find(connection: apsw.Connection, session: str, request: int) -> tuple[RequestRecord, Timestamp] | None:
    """The record of a request and the timestamp of its commit."""
    row = connection.execute(_FIND, (session, request)).get
    if row is None:
        return None
    ts, digest, value, log_lines = row
    return RequestRecord(session, request, digest, value, tuple(json.loads(log_lines))), ts


def last(connection: apsw.Connection, session: str) -> int:
    """The greatest number of a request of a session; -1 if it has none."""
    number: int = connection.execute(_LAST, (session,)).get
    return number


def count_recent(connection: apsw.Connection) -> int:
    """How many requests have not been moved."""
    count: int = connection.execute("SELECT count(*) FROM recent_requests").get
    return count


def merge(connection: apsw.Connection) -> None:
    """Moves the recent requests to the others. Call it in a transaction."""
    connection.execute("INSERT INTO requests SELECT * FROM recent_requests ORDER BY session, request")
    connection.execute("DELETE FROM recent_requests")


def forget_index(connection: apsw.Connection, through: Timestamp, past: tuple[str, int]) -> tuple[str, int] | None:
    """Forgets the way to some of the records up to `through`. Call it in a transaction.

    Args:
        connection: the database.
        through: the newest timestamp of what is forgotten.
        past: the session and number behind which it goes on.

    Returns:
        How far it has come; None if that is the end. Until then `forget_records` would leave ways that lead nowhere.
    """
    # First those that `merge` may move meanwhile to where this has been already.
    connection.execute("DELETE FROM recent_requests WHERE ts <= ?", (through,))
    looked = "FROM requests WHERE (session, request) > (?, ?)"
    end = f"SELECT session, request {looked} ORDER BY session, request LIMIT 1 OFFSET ?"
    last: tuple[str, int] | None = connection.execute(end, (*past, FORGOTTEN_AT_ONCE - 1)).get
    if last is None:
        connection.execute(f"DELETE {looked} AND ts <= ?", (*past, through))
        return None
    connection.execute(f"DELETE {looked} AND (session, request) <= (?, ?) AND ts <= ?", (*past, *last, through))
    return last


def forget_records(connection: apsw.Connection, through: Timestamp) -> bool:
    """Forgets some of the records up to `through`; whether there are more. Call it in a transaction."""
    oldest = "SELECT ts FROM records WHERE ts <= ? ORDER BY ts LIMIT ?"
    connection.execute(f"DELETE FROM records WHERE ts IN ({oldest})", (through, FORGOTTEN_AT_ONCE))
    return connection.changes() == FORGOTTEN_AT_ONCE
