"""Totals of any range are right, whatever has been worked into the nodes and what has not."""

from __future__ import annotations

import random
import struct
from math import inf, isnan, nan

import apsw
import pytest

from yugen.keys import entry_key, index_prefix, number_of, prefix_end
from yugen.storage import sqlite_totals
from yugen.totals import NOTHING, Total


class Entries:
    """Entries of two indexes with totals, in SQLite and in a set."""

    def __init__(self, seed: int, *rare: float) -> None:
        self.rare = rare
        self.dice = random.Random(seed)
        self.there: set[bytes] = set()
        self.connection = apsw.Connection(":memory:")
        self.connection.execute("CREATE TABLE entries (key BLOB NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID")
        self.connection.execute(sqlite_totals.MIGRATION)

    def new_key(self) -> bytes:
        number = self.dice.choice([float(self.dice.randrange(100)), 0.1, None, *self.rare])
        slot, group = self.dice.choice([48, 49]), self.dice.choice("abc")
        return entry_key(70, slot, [group, self.dice.random()], self.dice.randbytes(16), number)

    def change(self, adds: int, removes: int) -> None:
        coming = {self.new_key() for _ in range(adds)}
        going = set(self.dice.sample(sorted(self.there), min(removes, len(self.there))))
        for key in coming | going:
            self.connection.execute(sqlite_totals.DIRTY.format(key="?1"), (key,))
        for key in coming:
            self.connection.execute("INSERT INTO entries VALUES (?)", (key,))
        for key in going:
            self.connection.execute("DELETE FROM entries WHERE key = ?", (key,))
        self.there = self.there - going | coming

    def merge(self) -> None:
        while sqlite_totals.merge(self.connection):
            pass

    def total(self, start: bytes, end: bytes) -> Total:
        return sqlite_totals.total(self.connection, start, end)

    def expected(self, start: bytes, end: bytes) -> Total:
        return Total.of(number_of(key) for key in self.there if start <= key < end)

    def some_range(self) -> tuple[bytes, bytes]:
        prefix = index_prefix(70, self.dice.choice([48, 49]))
        ends = [prefix, prefix_end(prefix)]
        ends += [key for key in self.dice.sample(sorted(self.there), min(8, len(self.there))) if key.startswith(prefix)]
        ends += [key + b"\x00" for key in ends[2:]]
        start, end = sorted(self.dice.sample(ends, 2))
        return start, end

    def check(self, ranges: int) -> None:
        for _ in range(ranges):
            start, end = self.some_range()
            found, expected = self.total(start, end), self.expected(start, end)
            assert (found.count, bits(found.least), bits(found.greatest)) == (
                expected.count,
                bits(expected.least),
                bits(expected.greatest),
            )
            assert sqlite_totals.count(self.connection, start, end) == expected.count
            assert float(found.sum) == float(expected.sum) or (isnan(found.sum) and isnan(expected.sum))


def bits(number: float | None) -> bytes | None:
    """What tells NaNs and zeros of both signs apart."""
    return None if number is None else struct.pack(">d", number)


@pytest.mark.parametrize("rare", [(), (-0.0, nan, -nan, inf, -inf)])
@pytest.mark.parametrize("seed", range(6))
def test_any_range_after_any_changes(seed: int, rare: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_totals, "FANOUT", 3)
    monkeypatch.setattr(sqlite_totals, "MERGE_MAX", 16)
    entries = Entries(seed, *rare)
    for _ in range(40):
        entries.change(entries.dice.randrange(30), entries.dice.randrange(20))
        match entries.dice.randrange(3):
            case 0:
                entries.merge()
            case 1:
                sqlite_totals.merge(entries.connection)
        entries.check(12)
    entries.change(0, len(entries.there))
    entries.merge()
    assert entries.connection.execute("SELECT count(*) FROM totals").get == 0
    assert entries.total(*entries.some_range()) == NOTHING


def test_the_nodes_are_the_same_however_the_entries_came_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_totals, "FANOUT", 4)
    one, other = Entries(1), Entries(2)
    for _ in range(10):
        one.change(40, 20)
        one.merge()
    for key in sorted(one.there):
        other.connection.execute(sqlite_totals.DIRTY.format(key="?1"), (key,))
        other.connection.execute("INSERT INTO entries VALUES (?)", (key,))
    other.merge()
    everything = "SELECT * FROM totals ORDER BY level, key"
    assert one.connection.execute(everything).fetchall() == other.connection.execute(everything).fetchall()


def test_a_total_takes_few_steps_however_many_entries_there_are() -> None:
    entries = Entries(3)
    rows: dict[int, int] = {}
    for size in (1_000, 32_000):
        entries.change(size - len(entries.there), 0)
        entries.merge()
        ordered = sorted(key for key in entries.there if key.startswith(index_prefix(70, 48)))
        rows[size] = 0

        def count(cursor: apsw.Cursor, row: tuple[object, ...], size: int = size) -> tuple[object, ...]:
            rows[size] += 1
            return row

        entries.connection.row_trace = count
        for _ in range(20):
            entries.total(*sorted(entries.dice.sample(ordered, 2)))
        entries.connection.row_trace = None
    assert rows[32_000] < 20 * 400
    assert rows[32_000] < 4 * rows[1_000]
