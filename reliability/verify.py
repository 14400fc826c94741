"""Whether everything that a database file holds agrees with everything else in it.

It asks SQLite about its pages, and holds documents, entries, totals, records and the log against one another: what the
log says happened must come out as what is stored.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from yugen.keys import has_totals, index_prefix, number_of, prefix_end, to_document_key
from yugen.storage import sqlite_totals
from yugen.storage.interface import Timestamp
from yugen.storage.sqlite_connect import are_checked, connect
from yugen.storage.sqlite_schema import STATE, unpack_keys
from yugen.totals import Total


@dataclass
class Contents:
    """How much was looked at.

    Attributes:
        newest: the newest timestamp.
        horizon: the newest that the log does not reach behind.
    """

    newest: Timestamp = 0
    horizon: Timestamp = 0
    documents: int = 0
    entries: int = 0
    changes: int = 0
    records: int = 0
    totals: int = 0


def verify(path: Path, *, whole_log: bool = True, forgotten: Timestamp = 0) -> Contents:
    """Looks at all of a database that nobody writes meanwhile.

    Args:
        path: the database.
        whole_log: whether the log has never been trimmed, so that it begins with nothing.
        forgotten: up to when requests were to be forgotten, by somebody who may not have come to an end.

    Raises:
        AssertionError: something does not agree; the text says what.
    """
    with closing(connect(path, read_only=True)) as connection:
        pages = connection.pragma("integrity_check")
        assert pages == "ok", f"integrity_check: {pages}"
        assert are_checked(connection), "pages have no checksums"
        documents = dict(connection.execute("SELECT key, value FROM documents"))
        entries = {key for (key,) in connection.execute("SELECT key FROM entries")}
        newest, horizon = connection.execute(STATE).get
        contents = Contents(newest, horizon, len(documents), len(entries))
        for key in entries:
            assert to_document_key(key) in documents, f"the entry {key.hex()} has no document"
        contents.changes = _log(connection, documents, entries, whole=whole_log)
        contents.records = _records(connection, forgotten)
        contents.totals = _totals(connection, entries)
        return contents


def _log(connection: apsw.Connection, documents: dict[bytes, bytes], entries: set[bytes], *, whole: bool) -> int:
    """Holds the log against what is stored: every image before against the one after it, and the last against now."""
    count, before_ts = 0, 0
    present: dict[bytes, bytes | None] = {}
    keys: dict[bytes, tuple[bytes, ...]] = {}
    # What is behind the horizon is about to be deleted, and some of a commit may have been.
    of = "SELECT ts, n, key, before, after, keys_before, keys_after FROM log WHERE ts > (SELECT ts FROM horizon)"
    rows = connection.execute(f"{of} ORDER BY ts, n")
    place = -1
    for ts, n, key, before, after, keys_before, keys_after in rows:
        place = place + 1 if ts == before_ts else 0
        assert n == place, f"the commit {ts} has lost a change before its number {n}"
        before_ts = ts
        if key is None:
            continue
        count += 1
        if key in present:
            assert present[key] == before, f"the change of {key.hex()} at {ts} is of another image than the one before"
            assert set(keys[key]) == set(unpack_keys(keys_before)), f"entries of {key.hex()} at {ts} are others"
        elif whole:
            assert before is None, f"{key.hex()} was there before the log began"
        present[key], keys[key] = after, unpack_keys(keys_after)
    for key, value in present.items():
        assert documents.get(key) == value, f"the document {key.hex()} is not what the log says"
        missing = set(keys[key]) - entries
        assert not missing, f"entries of {key.hex()} are missing"
    if whole:
        assert {key for key, value in present.items() if value is not None} == documents.keys()
        assert entries == {entry for each in keys.values() for entry in each}, "there are entries that nobody wrote"
    return count


def _records(connection: apsw.Connection, forgotten: Timestamp) -> int:
    """Every way to a record leads to one, and every record has one way, unless it is about to be forgotten."""
    ways: list[tuple[str, int, int]] = [
        *connection.execute("SELECT session, request, ts FROM requests"),
        *connection.execute("SELECT session, request, ts FROM recent_requests"),
    ]
    records = {ts for (ts,) in connection.execute("SELECT ts FROM records")}
    assert len({(session, request) for session, request, _ in ways}) == len(ways), "a request has two records"
    led_to = sorted(ts for *_, ts in ways)
    assert records.issuperset(led_to), "a way leads to no record"
    assert len(set(led_to)) == len(led_to), "two ways lead to one record"
    assert all(ts <= forgotten for ts in records.difference(led_to)), "there is no way to a record"
    return len(records)


def _totals(connection: apsw.Connection, entries: set[bytes]) -> int:
    """Counts and sums of every index that has them, against those of its entries, each added up anew."""
    indexes: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for key in entries:
        if has_totals(key):
            indexes[key[: len(index_prefix(0, 0))]].append(key)
    for prefix, keys in indexes.items():
        keys.sort()
        for start, end in ((prefix, prefix_end(prefix)), (keys[len(keys) // 3], keys[-1])):
            inside = [key for key in keys if start <= key < end]
            counted = sqlite_totals.count(connection, start, end)
            assert counted == len(inside), f"{prefix.hex()} counts {counted} entries of {len(inside)}"
            total: Any = sqlite_totals.total(connection, start, end)
            assert total == Total.of(map(number_of, inside)), f"the total of {prefix.hex()} is wrong"
    return len(indexes)
