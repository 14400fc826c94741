"""Writing stored images in another way, in place: what the log and the documents say stays the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import apsw

from yugen.storage.interface import Timestamp
from yugen.storage.sqlite_connect import connect
from yugen.storage.sqlite_schema import BUSY_MS


class Logged(NamedTuple):
    """Where in the log, up to a timestamp, there are images of some documents: timestamps and numbers."""

    through: Timestamp
    places: list[tuple[Timestamp, int]]


def find_logged(path: Path, start: bytes, end: bytes) -> Logged:
    """Looks for images of the documents in [start, end), on a connection of its own, which holds up nobody."""
    with closing(connect(path, read_only=True)) as connection:
        connection.set_busy_timeout(BUSY_MS)
        connection.execute("BEGIN")  # all of it at one moment
        through = cast("int", connection.execute("SELECT coalesce(max(ts), 0) FROM log").get)
        return Logged(through, _places(connection, start, end, -1))


@contextmanager
def overwriting(connection: apsw.Connection) -> Iterator[None]:
    """Has what is deleted or replaced meanwhile be overwritten in the file, which costs more than to leave it there."""
    connection.pragma("secure_delete", 1)
    try:
        yield
    finally:
        connection.pragma("secure_delete", 0)


def rewrite(connection: apsw.Connection, start: bytes, end: bytes, to: Callable[[bytes], bytes], logged: Logged) -> int:
    """Writes the images of the documents in [start, end) as `to` gives them; how many there are.

    Call it in a transaction.
    """
    count = 0
    inside = "SELECT key, value FROM documents WHERE key >= ? AND key < ?"
    documents = cast("list[tuple[bytes, bytes]]", connection.execute(inside, (start, end)).fetchall())
    for key, value in documents:
        count += 1
        connection.execute("UPDATE documents SET value = ? WHERE key = ?", (to(value), key))
    for place in (*logged.places, *_places(connection, start, end, logged.through)):
        image = "SELECT before, after FROM log WHERE ts = ? AND n = ?"
        found = cast("list[tuple[bytes | None, bytes | None]]", connection.execute(image, place).fetchall())
        for images in found:  # none if it has been trimmed meanwhile
            count += sum(each is not None for each in images)
            before, after = (None if each is None else to(each) for each in images)
            connection.execute("UPDATE log SET before = ?, after = ? WHERE ts = ? AND n = ?", (before, after, *place))
    return count


def _places(connection: apsw.Connection, start: bytes, end: bytes, after: Timestamp) -> list[tuple[Timestamp, int]]:
    places = "SELECT ts, n FROM log WHERE ts > ? AND key >= ? AND key < ?"
    return cast("list[tuple[int, int]]", connection.execute(places, (after, start, end)).fetchall())
