"""What a mutation in line reads: the newest that is stored, with what is committed or will be laid over it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from tests.storage.model import TOTALS, Edits, History, append, edits, expected_all, read_all, total_of, whole
from yugen.runtime.line import Unsettled
from yugen.storage.interface import Commit
from yugen.storage.sqlite import SqliteReader, SqliteStore


async def check(made: list[Edits], published: int, stored: int) -> None:
    """Of the edits the first are published, more are stored, the rest is only laid over; whoever reads sees all."""
    history = History()
    commits = [history.commit(10 * number, each) for number, each in enumerate(made, 1)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "app.db"
        store = SqliteStore(path)
        await store.open()
        unsettled = Unsettled()
        for number, commit in enumerate(commits):
            if number >= published:
                unsettled.add(number, commit.changes)
        await put(store, commits[:published])
        early = SqliteReader(path)
        ts = commits[published - 1].ts
        opened = early.newest(ts, unsettled.overlay)  # which shows nothing that is stored from here on
        await put(store, commits[published : published + stored])
        late = SqliteReader(path)
        for snapshot in (opened, late.newest(ts, unsettled.overlay)):
            now = history.at(history.newest)
            assert await read_all(snapshot) == expected_all(now)
            for slot in TOTALS:
                total = total_of(now, slot, *whole(slot))
                assert await snapshot.count(*whole(slot)) == total.count
                assert await snapshot.total(*whole(slot)) == total
            snapshot.close()
        early.close()
        late.close()
        await store.close()


async def put(store: SqliteStore, commits: list[Commit]) -> None:
    if commits:
        await append(store, *commits)


@given(st.lists(edits, min_size=2, max_size=6), st.data())
def test_it_shows_all_that_is_laid_over_however_much_of_it_is_stored(made: list[Edits], data: st.DataObject) -> None:
    published = data.draw(st.integers(1, len(made) - 1))
    stored = data.draw(st.integers(0, len(made) - published))
    asyncio.run(check(made, published, stored))
