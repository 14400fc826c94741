"""A table of notes in plain dictionaries: makes the commits, and says what a store must hold at each timestamp."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from hypothesis import strategies as st

from yugen.keys import document_key, entry_key, index_prefix, prefix_end
from yugen.storage.interface import Change, Commit, RequestRecord, Row, Snapshot, Store, Timestamp
from yugen.totals import Total

TABLE = 70
TOTALS = (48, 49)
"""Slots of indexes with totals: a count and a sum of ranks, by author."""

SLOTS = (0, 1, 2, *TOTALS)


@dataclass(frozen=True)
class Note:
    rank: int
    author: str

    @property
    def stored(self) -> bytes:
        return json.dumps([self.rank, self.author]).encode()


def internal(number: int) -> bytes:
    return number.to_bytes(16, "big")


def key_of(number: int) -> bytes:
    return document_key(TABLE, internal(number))


def entry_keys(number: int, note: Note | None) -> tuple[bytes, ...]:
    if note is None:
        return ()
    by_rank = entry_key(TABLE, 1, [note.rank], internal(number))
    by_author = entry_key(TABLE, 2, [note.author, note.rank], internal(number))
    count = entry_key(TABLE, 48, [note.author], internal(number))
    ranks = entry_key(TABLE, 49, [note.author], internal(number), float(note.rank))
    return by_rank, by_author, count, ranks


def rows_of(notes: Mapping[int, Note], slot: int) -> list[Row]:
    """All rows of one index, by sorting."""
    rows = [Row(row_key(n, note, slot), note.stored) for n, note in notes.items()]
    return sorted(rows, key=lambda row: row.key)


def row_key(number: int, note: Note, slot: int) -> bytes:
    return (key_of(number), *entry_keys(number, note))[SLOTS.index(slot)]


def total_of(notes: Mapping[int, Note], slot: int, start: bytes, end: bytes) -> Total:
    """The total of a range, one by one."""
    inside = [note for n, note in notes.items() if start <= row_key(n, note, slot) < end]
    return Total.of([float(note.rank) if slot == 49 else None for note in inside])


def whole(slot: int) -> tuple[bytes, bytes]:
    prefix = index_prefix(TABLE, slot)
    return prefix, prefix_end(prefix)


def cut(rows: list[Row], start: bytes, end: bytes, *, reverse: bool, limit: int) -> list[Row]:
    inside = [row for row in rows if start <= row.key < end]
    return (inside[::-1] if reverse else inside)[:limit]


@dataclass
class History:
    """Every state the table was ever in, by the timestamp from which it held."""

    states: dict[Timestamp, dict[int, Note]] = field(default_factory=lambda: {0: {}})

    @property
    def newest(self) -> Timestamp:
        return max(self.states)

    def at(self, ts: Timestamp) -> dict[int, Note]:
        return self.states[max(known for known in self.states if known <= ts)]

    def commit(self, ts: Timestamp, notes: Mapping[int, Note | None], request: RequestRecord | None = None) -> Commit:
        """The commit that gives these notes these contents, None to delete."""
        before = self.at(self.newest)
        changes: list[Change] = []
        after = dict(before)
        for number, note in notes.items():
            old = after.pop(number, None)
            if note is not None:
                after[number] = note
            changes.append(
                Change(
                    key_of(number),
                    old.stored if old else None,
                    note.stored if note else None,
                    entry_keys(number, old),
                    entry_keys(number, note),
                )
            )
        self.states[ts] = after
        return Commit(ts, tuple(changes), request)


async def append(store: Store, *commits: Commit) -> None:
    assert await store.append(lambda others, newest: commits) == commits


async def read_all(snapshot: Snapshot) -> dict[int, list[Row]]:
    return {slot: await snapshot.scan(*whole(slot), limit=1000) for slot in SLOTS}


def expected_all(notes: Mapping[int, Note]) -> dict[int, list[Row]]:
    return {slot: rows_of(notes, slot) for slot in SLOTS}


notes = st.builds(Note, rank=st.integers(0, 3), author=st.sampled_from(["", "ada", "bob"]))
Edits: TypeAlias = dict[int, Note | None]
edits = st.dictionaries(st.integers(0, 7), st.none() | notes, max_size=4)
"""What one commit does: the new contents by the number of the note."""


@st.composite
def scans(draw: st.DrawFn) -> tuple[int, bytes, bytes, bool, int]:
    """A slot, an interval of it that begins and ends at, just after or beside keys that may exist, order and limit."""
    slot = draw(st.sampled_from(SLOTS))
    keys = st.builds(lambda n, note: row_key(n, note, slot), st.integers(0, 7), notes)
    first, last = whole(slot)
    inside = st.just(first) | keys | keys.map(lambda key: key + b"\x00") | keys.map(lambda key: key[:-16])
    start, end = sorted((draw(inside), draw(inside | st.just(last))))
    return slot, start, end, draw(st.booleans()), draw(st.integers(0, 10))
