"""Totals over ranges of index entries, in a logarithmic number of steps.

Above the entries of an index with totals stand `LEVELS` levels of nodes. A node stands at the key of an entry and holds
the total of all entries from there up to the next node of its level. One entry in `FANOUT` has a node at the first
level, and one node in `FANOUT` has another above it. Which ones is a matter of their keys alone, by a checksum, so that
the nodes over some entries are the same however the entries came about. A node at the bare prefix of the index comes
before all entries. This is a skip list (Pugh 1990) whose towers are not drawn by lot.

Nodes are a cache. A commit enters the keys that it adds or removes into `dirty`, with whether the nodes count them, and
some time later `merge` works them in. Until then a count is put right by the dirty keys in its range. Of a least or a
greatest that cannot be done: a node with a dirty key in its range is not believed, and its range is looked at one level
further down, the entries themselves being always right.
"""

from __future__ import annotations

import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from math import isfinite
from typing import Any, Final

import apsw

from yugen.keys import number_of, prefix_end
from yugen.totals import NOTHING, Exact, Total

FANOUT: Final = 32
LEVELS: Final = 4
"""Enough for a node of the highest level to stand for a million entries."""

MERGE_MAX: Final = 256
"""Dirty keys that are worked in at once."""

_number: Final = struct.Struct(">d")
"""A number as a blob, with all its bits: SQLite makes NULL of NaN, and NaNs have an order."""

MIGRATION: Final = """
    CREATE TABLE totals (
        level INTEGER NOT NULL, key BLOB NOT NULL, count INTEGER NOT NULL, sum BLOB, least BLOB, greatest BLOB,
        PRIMARY KEY (level, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE dirty (key BLOB NOT NULL PRIMARY KEY, counted INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

DIRTY: Final = """
    INSERT OR IGNORE INTO main.dirty VALUES ({key}, EXISTS (SELECT 1 FROM main.entries WHERE key = {key}));
"""
"""What a commit says of a key that it is about to add to an index with totals, or to remove from it."""

_PREFIX_SIZE: Final = 4


def merge(connection: apsw.Connection) -> bool:
    """Brings the nodes over some dirty keys up to date; whether there is more to do. Call it in a transaction."""
    known = "SELECT key, counted, EXISTS (SELECT 1 FROM entries WHERE entries.key = dirty.key) FROM dirty"
    rows = list(connection.execute(f"{known} ORDER BY key LIMIT ?", (MERGE_MAX,)))
    if not rows:
        return False
    # That a key is counted does not mean that there is a node at it: the nodes around it may have been made anew.
    there = {key: bool(is_there) for key, counted, is_there in rows if counted != is_there or _height(key) > 0}
    rebuilt = _add_up(connection, there)
    if rebuilt:
        _rebuild(connection, rebuilt, {key for key in rebuilt if there[key]})
    marks = ", ".join("?" * len(rows))
    connection.execute(f"DELETE FROM dirty WHERE key IN ({marks})", [key for key, *_ in rows])
    return len(rows) == MERGE_MAX


def _add_up(connection: apsw.Connection, there: dict[bytes, bool]) -> list[bytes]:
    """Adds keys that have come to the nodes over them, and takes away those that have gone.

    Returns those for which that will not do: at which a node comes or goes, or without which the least or the greatest
    must be looked for.
    """
    rebuilt = [key for key in there if _height(key) > 0]
    plain = [key for key in there if _height(key) == 0]
    for level in range(1, LEVELS + 1):
        places, totals = _nodes_over(connection, level, plain)
        for key in list(plain):
            node, number = totals[places[key]], number_of(key)
            if there[key]:
                totals[places[key]] = node + Total.of([number])
            elif number is None:
                totals[places[key]] = replace(node, count=node.count - 1)
            elif level > 1 or (isfinite(number) and number not in (node.least, node.greatest)):
                totals[places[key]] = replace(node, count=node.count - 1, sum=node.sum - Exact.of(number))
            else:
                # What is an extreme of no node at this level is one of none above it.
                plain.remove(key)
                rebuilt.append(key)
        _write(connection, level, totals)
    return rebuilt


def _nodes_over(
    connection: apsw.Connection, level: int, keys: Sequence[bytes]
) -> tuple[dict[bytes, bytes], dict[bytes, Total]]:
    """Under which node of a level each key is, and what these nodes amount to."""
    places = {key: key[:_PREFIX_SIZE] for key in keys}
    totals: dict[bytes, Total] = {}
    for some in _batches(keys):
        asked = ", ".join(["(?, ?)"] * len(some))
        for key, place, *row in connection.execute(
            f"""
            WITH asked (key, prefix) AS (VALUES {asked})
            SELECT asked.key, t.key, t.count, t.sum, t.least, t.greatest FROM asked CROSS JOIN totals t
            ON t.level = ? AND t.key = (
                SELECT max(key) FROM totals WHERE level = ? AND key >= asked.prefix AND key <= asked.key
            )
            """,
            (*chain.from_iterable((key, places[key]) for key in some), level, level),
        ):
            places[key] = place
            if place not in totals:
                totals[place] = _read(*row)
    return places, {place: totals.get(place, NOTHING) for place in places.values()}


def _rebuild(connection: apsw.Connection, keys: Sequence[bytes], there: set[bytes]) -> None:
    """Makes the nodes around some keys anew, from the entries up."""
    for level in range(1, LEVELS + 1):
        _move_nodes(connection, level, [key for key in keys if _height(key) >= level], there)
        ranges = _ranges_around(connection, level, keys)
        totals = _children(connection, level - 1, ranges)
        _write(connection, level, {start: totals[start] for start, _ in ranges})
        if level == 1:
            _recount(connection, ranges)


def count(connection: apsw.Connection, start: bytes, end: bytes) -> int:
    """How many entries there are in [start, end), which lies within one index with totals."""
    prefix = start[:_PREFIX_SIZE]
    before, through = (_rank(connection, prefix, key) if key > prefix else 0 for key in (start, end))
    return max(through - before, 0)


def _rank(connection: apsw.Connection, prefix: bytes, key: bytes) -> int:
    """How many entries of an index come before a key."""
    rank: int = connection.execute(_RANK, {"prefix": prefix, "key": key}).get
    return rank


def _rank_statement() -> str:
    """Adds up, from the highest level down, the nodes up to the last one that begins before the key; then entries.

    It is one statement, and counts within SQLite, because handing a row to Python takes as long as counting ten.
    """
    places, terms, above = [], [], ":prefix"
    for level in range(LEVELS, 0, -1):
        last = (
            f"SELECT key FROM totals WHERE level = {level} AND key >= {above} AND key <= :key ORDER BY key DESC LIMIT 1"
        )
        places.append(f"place{level} (key) AS MATERIALIZED (SELECT coalesce(({last}), {above}))")
        place = f"(SELECT key FROM place{level})"
        terms.append(f"SELECT sum(count) FROM totals WHERE level = {level} AND key >= {above} AND key < {place}")
        above = place
    dirty = f"FROM dirty WHERE key >= :prefix AND key < {above}"
    terms += [
        f"SELECT count(*) FROM entries WHERE key >= {above} AND key < :key",
        f"SELECT count(*) {dirty} AND EXISTS (SELECT 1 FROM entries WHERE entries.key = dirty.key)",
        f"SELECT -sum(counted) {dirty}",
    ]
    return f"WITH {', '.join(places)} SELECT {' + '.join(f'coalesce(({term}), 0)' for term in terms)}"


_RANK: Final = _rank_statement()


def total(connection: apsw.Connection, start: bytes, end: bytes) -> Total:
    """The total of the entries in [start, end), which lies within one index with totals."""
    if start >= end:
        return NOTHING
    rows = connection.execute("SELECT key FROM dirty WHERE key >= ? AND key < ? ORDER BY key", (start, end))
    return _total(connection, LEVELS, start, end, [key for (key,) in rows])


def _total(connection: apsw.Connection, level: int, start: bytes, end: bytes, dirty: Sequence[bytes]) -> Total:
    if level == 0:
        return _entries(connection, start, end)
    # The nodes that lie wholly within, and the edges before the first and from the last of them on.
    nodes = "SELECT key, count, sum, least, greatest FROM totals WHERE level = ? AND key >= ? AND key <= ? ORDER BY key"
    rows = list(connection.execute(nodes, (level, start, end)))
    if end == prefix_end(start[:_PREFIX_SIZE]) and (not rows or rows[-1][0] != end):
        rows.append((end,))  # where the last node of the index ends
    if len(rows) < 2:
        return _total(connection, level - 1, start, end, dirty)
    result = NOTHING
    first, last = rows[0][0], rows[-1][0]
    place = 0
    while place < len(dirty) and dirty[place] < first:
        place += 1
    if start < first:
        result += _total(connection, level - 1, start, first, dirty[:place])
    for row, (following, *_) in pairwise(rows):
        inside = place
        while place < len(dirty) and dirty[place] < following:
            place += 1
        if place > inside:
            result += _total(connection, level - 1, row[0], following, dirty[inside:place])
        else:
            result += _read(*row[1:])
    if last < end:
        result += _total(connection, level - 1, last, end, dirty[place:])
    return result


def _entries(connection: apsw.Connection, start: bytes, end: bytes) -> Total:
    rows = connection.execute("SELECT key FROM entries WHERE key >= ? AND key < ?", (start, end))
    return Total.of(number_of(key) for (key,) in rows)


def _height(key: bytes) -> int:
    """Up to which level there is a node at a key."""
    checksum = zlib.crc32(key)
    height = 0
    while height < LEVELS and checksum % FANOUT == 0:
        checksum //= FANOUT
        height += 1
    return height


def _move_nodes(connection: apsw.Connection, level: int, keys: Sequence[bytes], there: set[bytes]) -> None:
    """Makes nodes at the keys of entries that are there, and removes those of entries that are not."""
    coming = [key for key in keys if key in there]
    going = [key for key in keys if key not in there]
    if going:
        marks = ", ".join("?" * len(going))
        connection.execute(f"DELETE FROM totals WHERE level = ? AND key IN ({marks})", (level, *going))
    if coming:
        rows = ", ".join(["(?, ?, 0, NULL, NULL, NULL)"] * len(coming))
        connection.execute(
            f"INSERT OR IGNORE INTO totals VALUES {rows}", tuple(chain.from_iterable((level, key) for key in coming))
        )


def _ranges_around(connection: apsw.Connection, level: int, keys: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The ranges of the nodes on both sides of the keys: a node that is new has taken from the one before it."""
    asked = ", ".join(["(?)"] * len(keys))
    rows = connection.execute(
        f"""
        WITH asked (key) AS (VALUES {asked})
        SELECT
            key,
            (SELECT max(t.key) FROM totals t WHERE t.level = ? AND t.key < asked.key),
            (SELECT min(t.key) FROM totals t WHERE t.level = ? AND t.key > asked.key),
            EXISTS (SELECT 1 FROM totals t WHERE t.level = ? AND t.key = asked.key)
        FROM asked
        """,
        (*keys, level, level, level),
    )
    ranges: dict[bytes, bytes] = {}
    for key, before, after, is_node in rows:
        prefix = key[:_PREFIX_SIZE]
        start = before if before is not None and before.startswith(prefix) else prefix
        end = after if after is not None and after.startswith(prefix) else prefix_end(prefix)
        ranges[start] = key if is_node else end
        if is_node:
            ranges[key] = end
    return sorted(ranges.items())


def _recount(connection: apsw.Connection, ranges: Sequence[tuple[bytes, bytes]]) -> None:
    """Notes that the nodes of these ranges count the entries as they are, those of other dirty keys too."""
    asked = ", ".join(["(?, ?)"] * len(ranges))
    connection.execute(
        f"""
        WITH asked (start, end) AS (VALUES {asked})
        UPDATE dirty SET counted = EXISTS (SELECT 1 FROM entries WHERE entries.key = dirty.key) WHERE key IN (
            SELECT d.key FROM asked CROSS JOIN dirty d ON d.key >= asked.start AND d.key < asked.end
        )
        """,
        tuple(chain.from_iterable(ranges)),
    )


def _children(
    connection: apsw.Connection, level: int, ranges: Sequence[tuple[bytes, bytes]]
) -> defaultdict[bytes, Total]:
    """The total of each range, by its start, out of what stands at a level."""
    totals: defaultdict[bytes, Total] = defaultdict(Total)
    asked = ", ".join(["(?, ?)"] * len(ranges))
    bounds = tuple(chain.from_iterable(ranges))
    if level == 0:
        numbers: defaultdict[bytes, list[float | None]] = defaultdict(list)
        for start, key in connection.execute(
            f"""
            WITH asked (start, end) AS (VALUES {asked})
            SELECT asked.start, e.key FROM asked CROSS JOIN entries e ON e.key >= asked.start AND e.key < asked.end
            """,
            bounds,
        ):
            numbers[start].append(number_of(key))
        totals.update({start: Total.of(each) for start, each in numbers.items()})
        return totals
    for start, *row in connection.execute(
        f"""
        WITH asked (start, end) AS (VALUES {asked})
        SELECT asked.start, t.count, t.sum, t.least, t.greatest
        FROM asked CROSS JOIN totals t ON t.level = ? AND t.key >= asked.start AND t.key < asked.end
        """,
        (*bounds, level),
    ):
        totals[start] += _read(*row)
    return totals


def _write(connection: apsw.Connection, level: int, nodes: dict[bytes, Total]) -> None:
    kept = {key: node for key, node in nodes.items() if node.count}
    empty = [key for key, node in nodes.items() if not node.count]
    for some in _batches(list(kept.items())):
        rows = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(some))
        connection.execute(
            f"INSERT OR REPLACE INTO totals VALUES {rows}",
            tuple(chain.from_iterable((level, key, *_written(node)) for key, node in some)),
        )
    for emptied in _batches(empty):
        marks = ", ".join("?" * len(emptied))
        connection.execute(f"DELETE FROM totals WHERE level = ? AND key IN ({marks})", (level, *emptied))


def _written(node: Total) -> tuple[int, bytes | None, bytes | None, bytes | None]:
    if node.least is None or node.greatest is None:
        return node.count, None, None, None
    return node.count, node.sum.to_bytes(), _number.pack(node.least), _number.pack(node.greatest)


def _read(count: int, exact: bytes | None, least: bytes | None, greatest: bytes | None) -> Total:
    if exact is None or least is None or greatest is None:
        return Total(count)
    return Total(count, Exact.from_bytes(exact), *_number.unpack(least), *_number.unpack(greatest))


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[first : first + MERGE_MAX] for first in range(0, len(items), MERGE_MAX))
