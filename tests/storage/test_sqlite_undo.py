"""Earlier moments of the file, which are asked for again and again while it changes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.storage.model import (
    TOTALS,
    Edits,
    History,
    Note,
    append,
    edits,
    expected_all,
    key_of,
    read_all,
    whole,
)
from yugen.storage.sqlite import SqliteStore
from yugen.storage.sqlite_reader import SqliteReader, SqliteSnapshot
from yugen.storage.sqlite_schema import unpack_keys

Step: TypeAlias = Edits | tuple[int, bool] | None
"""A commit; a snapshot at so many of them ago, and whether it stays open; or a pause, before which all are closed."""

steps = st.lists(edits | st.tuples(st.integers(0, 12), st.booleans()) | st.none(), max_size=40)


async def check(made: list[Step]) -> None:
    history = History()
    kept: list[SqliteSnapshot] = []
    with TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "app.db")
        await store.open()
        reader = SqliteReader(Path(folder) / "app.db")
        for step in made:
            match step:
                case None:
                    while kept:
                        kept.pop().close()
                    reader.release()
                case (ago, stays):
                    snapshot = await reader.snapshot(max(history.newest - ago, 0))
                    kept.append(snapshot)
                    for undo in (undo for view in reader._views for undo in view._undos._kept):
                        laid = undo.overlay._documents.values()
                        assert undo.bytes == sum(500 + len(each.value or b"") for each in laid)
                    for each in kept:
                        shown = history.at(each.ts)
                        assert await read_all(each) == expected_all(shown)
                        assert await each.count(*whole(TOTALS[0])) == len(shown)
                    if not stays:
                        kept.pop().close()
                case changes:
                    await append(store, history.commit(history.newest + 1, changes))
        reader.close()
        await store.close()


ADA, BOB = Note(1, "ada"), Note(2, "bob")


@given(steps)
@example([{1: ADA}, {1: BOB}, {1: None}, (2, False), {1: ADA}, (2, False), {2: ADA}, (1, False), (0, False)])
@example([{1: ADA}, {}, (1, False), {1: BOB}, {2: ADA}, (1, False)])
@example([{1: ADA}, {1: BOB}, (1, True), (1, False), {1: None}, (2, True), (1, False), None, (2, False)])
def test_each_moment_is_shown_as_it_was(made: list[Step]) -> None:
    asyncio.run(check(made))


async def test_what_was_committed_since_is_not_looked_at_anew_for_each_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def count(packed: bytes) -> tuple[bytes, ...]:
        nonlocal looks
        looks += 1
        return unpack_keys(packed)

    monkeypatch.setattr("yugen.storage.sqlite_undo.unpack_keys", count)
    history = History()
    store = SqliteStore(tmp_path / "app.db")
    await store.open()
    reader = SqliteReader(tmp_path / "app.db")
    rounds, waiting = 300, 200
    for ts in range(1, rounds + waiting):
        await append(store, history.commit(ts, {ts % 50: Note(ts, "ada"), 50 + ts: BOB}))
        if ts > waiting:
            # Those who have waited for long, and between them somebody who has not.
            for moment in (ts, ts - waiting, ts - 2, ts - waiting):
                snapshot = await reader.snapshot(moment)
                assert await snapshot.count(*whole(TOTALS[0])) == len(history.at(moment))
                snapshot.close()
    reader.close()
    await store.close()
    assert looks < 10 * 2 * (rounds + waiting)


async def test_no_more_is_kept_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    store = SqliteStore(tmp_path / "app.db")
    await store.open()
    reader = SqliteReader(tmp_path / "app.db")
    for ts in range(1, 6):
        await append(store, history.commit(ts, {1: Note(ts, "a" * 1000)}))
    for most, kept in ((10_000, [3, 2, 1]), (3_500, [2, 1]), (1_000, [])):
        monkeypatch.setattr("yugen.storage.sqlite_undo._BYTES_MAX", most)
        for ts in (4, 3, 2, 1):
            snapshot = await reader.snapshot(ts)
            assert await snapshot.get(key_of(1)) == history.at(ts)[1].stored
            snapshot.close()
        assert [undo.ts for undo in reader._views[0]._undos._kept] == kept
    reader.close()
    await store.close()
