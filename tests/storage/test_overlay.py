from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.model import (
    SLOTS,
    TOTALS,
    Note,
    cut,
    edits,
    entry_keys,
    key_of,
    notes,
    rows_of,
    scans,
    total_of,
    whole,
)
from yugen.keys import slot_of
from yugen.storage.interface import Row
from yugen.storage.overlay import Laid, Overlay
from yugen.totals import Total

A, B = Note(1, "ada"), Note(2, "bob")


class Base:
    """A snapshot of notes that remembers what it was asked for."""

    def __init__(self, notes: Mapping[int, Note]) -> None:
        self.rows = {prefix: rows_of(notes, slot) for slot in SLOTS for prefix in [whole(slot)[0]]}
        self.notes = notes
        self.limits: list[int] = []

    async def scan(self, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]:
        self.limits.append(limit)
        return cut(self.rows[start[:4]], start, end, reverse=reverse, limit=limit)

    async def count(self, start: bytes, end: bytes) -> int:
        return (await self.total(start, end)).count

    async def total(self, start: bytes, end: bytes) -> Total:
        return total_of(self.notes, slot_of(start), start, end)


def lay(overlay: Overlay, number: int, note: Note | None, base: Note | None = None) -> None:
    overlay.put(key_of(number), note.stored if note else None, entry_keys(number, note), entry_keys(number, base))


def test_get_tells_what_is_not_laid_from_what_is_deleted() -> None:
    overlay = Overlay()
    assert overlay.get(key_of(1)) is None
    lay(overlay, 1, A)
    assert overlay.get(key_of(1)) == Laid(A.stored, entry_keys(1, A))
    lay(overlay, 1, None)
    assert overlay.get(key_of(1)) == Laid(None, ())
    assert len(overlay) == 1


async def test_empty_overlay_hands_the_scan_on() -> None:
    base = Base({1: A, 2: B})
    assert await Overlay().scan(base, *whole(1), reverse=True, limit=5) == rows_of({1: A, 2: B}, 1)[::-1]
    assert base.limits == [5]


async def test_an_entry_that_moved_is_found_only_where_it_is_now() -> None:
    base = Base({1: A, 2: B})
    overlay = Overlay()
    lay(overlay, 1, Note(3, "ada"))
    assert await overlay.scan(base, *whole(1), limit=5) == rows_of({1: Note(3, "ada"), 2: B}, 1)
    lay(overlay, 1, A)
    assert await overlay.scan(base, *whole(1), limit=5) == rows_of({1: A, 2: B}, 1)


async def test_reads_no_more_of_the_base_than_is_missing() -> None:
    base = Base(dict.fromkeys(range(100), A))
    overlay = Overlay()
    lay(overlay, 200, A)
    assert len(await overlay.scan(base, *whole(1), limit=10)) == 10
    assert base.limits == [10]


async def test_asks_again_for_what_takes_the_place_of_hidden_rows() -> None:
    base = Base(dict.fromkeys(range(100), A))
    overlay = Overlay()
    lay(overlay, 0, None)
    assert len(await overlay.scan(base, *whole(1), limit=10)) == 10
    assert base.limits == [10, 2]


@pytest.mark.parametrize("reverse", [False, True])
async def test_pages_over_many_hidden_rows_grow(reverse: bool) -> None:
    base = Base(dict.fromkeys(range(1000), A))
    overlay = Overlay()
    for n in range(1, 1000):
        lay(overlay, 1000 - n if reverse else n - 1, None)
    last = 0 if reverse else 999
    assert await overlay.scan(base, *whole(1), reverse=reverse, limit=1) == rows_of({last: A}, 1)
    assert len(base.limits) < 12


@given(st.dictionaries(st.integers(0, 7), notes), st.lists(edits, max_size=3), scans())
def test_equals_a_scan_of_the_edited_documents(
    stored: dict[int, Note], laid: list[dict[int, Note | None]], asked: tuple[int, bytes, bytes, bool, int]
) -> None:
    overlay = Overlay()
    expected = dict(stored)
    for edit in laid:
        for number, note in edit.items():
            lay(overlay, number, note, stored.get(number))
            expected.pop(number, None)
            if note is not None:
                expected[number] = note
    slot, start, end, reverse, limit = asked
    base = Base(stored)
    found = asyncio.run(overlay.scan(base, start, end, reverse=reverse, limit=limit))
    assert found == cut(rows_of(expected, slot), start, end, reverse=reverse, limit=limit)
    assert all(asked_for > 0 for asked_for in base.limits) or not len(overlay)
    if slot in TOTALS:
        total = total_of(expected, slot, start, end)
        assert asyncio.run(overlay.total(base, start, end)) == total
        assert asyncio.run(overlay.count(base, start, end)) == total.count
