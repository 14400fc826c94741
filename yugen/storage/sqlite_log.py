"""Trimming the log, from its old end.

Each step is one short transaction, whatever the size of commits. So the horizon moves first, and what is behind it
goes bit by bit: a commit that is half there is one that nobody can ask for any more.

What a step deletes is found and deleted by SQLite alone. It gives up the interpreter lock for every row that comes to
Python, and a busy event loop gives that back only after milliseconds, for which nobody could commit.
"""

from __future__ import annotations

from typing import Final

import apsw

from yugen.storage.interface import Logged, Timestamp

ROWS_MAX: Final = 250
BYTES_MAX: Final = 2**18
"""How much is deleted in one transaction: two or three milliseconds. The images of one document may be larger."""

_RAISE_HORIZON: Final = """
    UPDATE horizon SET ts = (SELECT max(ts) FROM log WHERE ts <= ?1)
    WHERE ts < (SELECT max(ts) FROM log WHERE ts <= ?1)
"""

_LAST_TO_GO: Final = """
    WITH oldest AS (
        SELECT ts, n, coalesce(octet_length(key), 0) + coalesce(octet_length(before), 0)
            + coalesce(octet_length(after), 0) + coalesce(octet_length(keys_before), 0)
            + coalesce(octet_length(keys_after), 0) AS bytes
        FROM log WHERE ts <= (SELECT ts FROM horizon) ORDER BY ts, n LIMIT ?1
    ), added_up AS (
        SELECT ts, n, sum(bytes) OVER (ORDER BY ts, n ROWS UNBOUNDED PRECEDING) - bytes AS before_it FROM oldest
    )
    SELECT ts, n FROM added_up WHERE before_it < ?2 ORDER BY ts DESC, n DESC LIMIT 1
"""

_MORE: Final = "SELECT EXISTS (SELECT 1 FROM log WHERE ts <= (SELECT ts FROM horizon))"

# Rows are numbered in their order, and go from one end only.
_EXTENT: Final = """
    SELECT coalesce((SELECT max(rowid) FROM log) - (SELECT min(rowid) FROM log) + 1, 0),
        coalesce((SELECT min(ts) FROM log), ts), coalesce((SELECT max(ts) FROM log), ts) FROM horizon
"""


def trim(connection: apsw.Connection, through: Timestamp) -> bool:
    """Deletes some of the log up to `through`; whether there is more to delete. Call it in a transaction."""
    connection.execute(_RAISE_HORIZON, (through,))
    last = connection.execute(_LAST_TO_GO, (ROWS_MAX, BYTES_MAX)).get
    if last is None:
        return False
    connection.execute("DELETE FROM log WHERE (ts, n) <= (?, ?)", last)
    return bool(connection.execute(_MORE).get)


def extent(connection: apsw.Connection) -> Logged:
    """What there is of the log. It takes some steps down a tree, however large that is."""
    return Logged._make(connection.execute(_EXTENT).get)
