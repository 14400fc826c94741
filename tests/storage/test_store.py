"""What every store must do; runs over each of them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.conftest import AnyStore
from tests.storage.model import (
    TOTALS,
    History,
    Note,
    append,
    cut,
    edits,
    expected_all,
    internal,
    key_of,
    read_all,
    rows_of,
    scans,
    total_of,
    whole,
)
from yugen.keys import entry_key
from yugen.storage.interface import Change, Commit, RequestRecord, SnapshotTooOld
from yugen.storage.memory import MemoryStore
from yugen.storage.sqlite import SqliteStore

A, B, C = Note(1, "ada"), Note(2, "bob"), Note(3, "cyd")
REQUEST = RequestRecord("session", 4, b"digest", b'"value"', ("a line", "\ud800 another\n"))


async def test_a_new_store_is_empty_at_0(store: AnyStore) -> None:
    snapshot = await store.snapshot(0)
    assert snapshot.ts == 0
    assert await snapshot.get(key_of(1)) is None
    assert await read_all(snapshot) == expected_all({})
    snapshot.close()


async def test_a_snapshot_shows_its_timestamp_whatever_is_committed_later(store: AnyStore) -> None:
    history = History()
    await append(store, history.commit(10, {1: A, 2: B}))
    opened_before = await store.snapshot(10)
    await append(store, history.commit(20, {1: Note(9, "ada"), 3: C}), history.commit(30, {2: None, 1: A}))
    opened_after = await store.snapshot(10)
    for snapshot in (opened_before, opened_after):
        assert await snapshot.get(key_of(1)) == A.stored
        assert await snapshot.get(key_of(2)) == B.stored
        assert await snapshot.get(key_of(3)) is None
        assert await read_all(snapshot) == expected_all({1: A, 2: B})
        snapshot.close()


@pytest.mark.parametrize("ts", [9, 10, 15, 20, 29, 30])
async def test_a_snapshot_between_commits_shows_the_last_one_before(store: AnyStore, ts: int) -> None:
    history = History()
    await append(store, history.commit(10, {1: A}), history.commit(20, {1: B}), history.commit(30, {1: None}))
    snapshot = await store.snapshot(ts)
    assert snapshot.ts == ts
    assert await read_all(snapshot) == expected_all(history.at(ts))
    snapshot.close()


async def test_scans_forward_and_back_with_limits(store: AnyStore) -> None:
    history = History()
    await append(store, history.commit(10, {n: Note(n % 3, "ada") for n in range(9)}))
    await append(store, history.commit(20, {1: Note(2, "ada"), 4: None, 7: C}))
    for ts in (10, 20):
        snapshot = await store.snapshot(ts)
        for slot in (0, 1, 2):
            rows = rows_of(history.at(ts), slot)
            for limit in (0, 1, 3, 50):
                assert await snapshot.scan(*whole(slot), limit=limit) == rows[:limit]
                assert await snapshot.scan(*whole(slot), reverse=True, limit=limit) == rows[::-1][:limit]
        snapshot.close()


async def test_a_scan_stays_inside_its_index_and_interval(store: AnyStore) -> None:
    history = History()
    await append(store, history.commit(10, {n: Note(n, "ada") for n in range(5)}))
    rows = rows_of(history.at(10), 1)
    snapshot = await store.snapshot(10)
    assert await snapshot.scan(rows[1].key, rows[3].key, limit=10) == rows[1:3]
    assert await snapshot.scan(rows[3].key, rows[1].key, limit=10) == []
    snapshot.close()


async def test_indexes_with_the_same_bytes_for_ids_of_two_tables_stay_apart(store: AnyStore) -> None:
    commits = []
    for ts, table in ((10, 5), (20, 6)):
        key = entry_key(table, 0, [], internal(1))
        entry = entry_key(table, 1, [], internal(1))
        commits.append(Commit(ts, (Change(key, None, b"%d" % table, (), (entry,)),)))
    await append(store, *commits)
    snapshot = await store.snapshot(20)
    for table in (5, 6):
        entry = entry_key(table, 1, [], internal(1))
        assert [row.value for row in await snapshot.scan(entry, entry + b"\x00", limit=9)] == [b"%d" % table]
    snapshot.close()


async def test_a_closed_snapshot_is_not_read(store: AnyStore) -> None:
    snapshot = await store.snapshot(0)
    snapshot.close()
    snapshot.close()
    with pytest.raises(RuntimeError, match="closed"):
        await snapshot.get(key_of(1))
    with pytest.raises(RuntimeError, match="closed"):
        await snapshot.scan(*whole(1), limit=1)


async def test_no_snapshot_of_the_future(store: AnyStore) -> None:
    await append(store, History().commit(10, {1: A}))
    with pytest.raises(ValueError, match="newest commit is at 10"):
        await store.snapshot(11)


async def test_decide_sees_the_newest_timestamp(store: AnyStore) -> None:
    seen = []

    def decide(others: Sequence[Commit], newest: int) -> Sequence[Commit]:
        assert not others
        seen.append(newest)
        return [Commit(newest + 5, ())] if len(seen) < 3 else []

    for _ in range(4):
        await store.append(decide)
    assert seen == [0, 5, 10, 10]


async def test_nothing_is_appended_when_decide_raises(store: AnyStore) -> None:
    def decide(others: Sequence[Commit], newest: int) -> Sequence[Commit]:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await store.append(decide)
    assert await store.changes(0) == []
    await append(store, History().commit(10, {1: A}))


@pytest.mark.parametrize("timestamps", [(10,), (9,), (11, 11), (12, 11)])
async def test_timestamps_must_rise_or_nothing_is_appended(store: AnyStore, timestamps: tuple[int, ...]) -> None:
    history = History()
    first = history.commit(10, {1: A})
    await append(store, first)
    with pytest.raises(ValueError, match="must be greater"):
        await append(store, *[first._replace(ts=ts) for ts in timestamps])
    assert await store.changes(0) == [first]


async def test_a_request_is_found_with_its_timestamp(store: AnyStore) -> None:
    history = History()
    await append(store, history.commit(10, {1: A}), history.commit(20, {2: B}, REQUEST))
    assert await store.find_request("session", 4) == (REQUEST, 20)
    assert await store.find_request("session", 5) is None
    assert await store.find_request("other", 4) is None
    assert await store.last_request("session") == 4
    assert await store.last_request("other") == -1


async def test_a_request_is_found_though_it_changed_nothing(store: AnyStore) -> None:
    await append(store, Commit(10, (), REQUEST))
    assert await store.find_request("session", 4) == (REQUEST, 10)
    assert await store.changes(0) == [Commit(10, ())]
    snapshot = await store.snapshot(0)
    assert await read_all(snapshot) == expected_all({})
    snapshot.close()


async def test_a_request_is_carried_out_once(store: AnyStore) -> None:
    history = History()
    first = history.commit(10, {1: A}, REQUEST)
    await append(store, first)
    with pytest.raises(ValueError, match="already been carried out"):
        await append(store, history.commit(20, {1: B}, REQUEST))
    with pytest.raises(ValueError, match="already been carried out"):
        await append(store, *[Commit(ts, (), REQUEST._replace(session="new")) for ts in (20, 30)])
    assert await store.find_request("new", 4) is None
    snapshot = await store.snapshot(10)
    assert await read_all(snapshot) == expected_all({1: A})
    snapshot.close()
    assert await store.changes(0) == [first._replace(request=None)]


async def test_changes_come_in_pages(store: AnyStore) -> None:
    history = History()
    commits = [history.commit(ts, {n: Note(ts, "ada") for n in range(3)}) for ts in range(10, 60, 10)]
    await append(store, *commits)
    assert await store.changes(0, limit=2) == commits[:2]
    assert await store.changes(20, limit=2) == commits[2:4]
    assert await store.changes(45) == commits[4:]
    assert await store.changes(50) == []


async def test_requests_are_forgotten_up_to_a_timestamp(store: AnyStore) -> None:
    asked = [RequestRecord(f"session {n % 7}", n, b"digest", b"1.0", ()) for n in range(2600)]
    commits = [Commit(ts, (), request) for ts, request in enumerate(asked, 1)]
    await append(store, *commits[:1300])  # more than are moved from the recent ones
    await append(store, *commits[1300:])
    await store.forget_requests(2500)
    for ts, request in enumerate(asked, 1):
        found = await store.find_request(request.session, request.request)
        assert found == (None if ts <= 2500 else (request, ts))
    assert await store.last_request("session 0") == 2597
    assert len(await store.changes(0, limit=5000)) == 2600
    await append(store, Commit(2601, (), asked[0]))  # and may be carried out again
    assert await store.find_request("session 0", 0) == (asked[0], 2601)
    await store.forget_requests(3000)
    assert await store.last_request("session 0") == -1


async def test_a_trimmed_log_no_longer_leads_back(store: AnyStore) -> None:
    history = History()
    commits = [history.commit(ts, {1: Note(ts, "ada")}) for ts in (10, 20, 30)]
    await append(store, *commits)
    await store.trim(25)
    with pytest.raises(SnapshotTooOld, match="reaches back to 20"):
        await store.snapshot(19)
    with pytest.raises(SnapshotTooOld, match="reaches back to 20"):
        await store.changes(19)
    assert await store.changes(20) == commits[2:]
    snapshot = await store.snapshot(20)
    assert await read_all(snapshot) == expected_all(history.at(20))
    snapshot.close()


async def test_who_reads_at_a_timestamp_goes_on_when_the_log_is_trimmed(store: AnyStore) -> None:
    history = History()
    commits = [history.commit(ts, {1: Note(ts, "ada"), ts: B}) for ts in (10, 20, 30)]
    asked = RequestRecord("session", 1, b"digest", b"value")
    await append(store, commits[0]._replace(request=asked), *commits[1:])
    reading = await store.snapshot(10)  # such as an export
    await store.trim(25)
    assert await read_all(reading) == expected_all(history.at(10))
    reading.close()
    assert await store.find_request("session", 1) == (asked, 10)  # which is kept for longer


async def test_what_is_left_of_a_log_is_told(store: AnyStore) -> None:
    history = History()
    await append(store, *[history.commit(ts, {1: Note(ts, "ada"), 2: A}) for ts in (10, 20, 30)], Commit(40, ()))
    assert await store.trim(5) == (7, 10, 40)
    assert await store.trim(20) == (3, 30, 40)
    assert await store.trim(50) == (0, 40, 40)
    assert await store.trim(50) == (0, 40, 40)


async def test_the_newest_timestamp_outlives_the_log(store: AnyStore) -> None:
    history = History()
    await append(store, history.commit(10, {1: A}), history.commit(20, {1: B}))
    await store.trim(1000)
    assert await store.changes(20) == []
    with pytest.raises(ValueError, match="must be greater than 20"):
        await append(store, Commit(20, ()))
    await append(store, history.commit(21, {1: C}))
    snapshot = await store.snapshot(20)
    assert await read_all(snapshot) == expected_all({1: B})
    snapshot.close()


async def test_appends_from_many_tasks_are_ordered(store: AnyStore) -> None:
    def next_commit(others: Sequence[Commit], newest: int) -> Sequence[Commit]:
        return [Commit(newest + 1, ())]

    answers = await asyncio.gather(*[store.append(next_commit) for _ in range(20)])
    assert sorted(commit.ts for commits in answers for commit in commits) == list(range(1, 21))
    assert [commit.ts for commit in await store.changes(0)] == list(range(1, 21))


def stores(folder: str) -> list[AnyStore]:
    return [MemoryStore(), SqliteStore(Path(folder) / "app.db")]


@settings(max_examples=50)
@given(st.lists(st.lists(edits, min_size=1, max_size=3), max_size=6), st.data())
def test_any_past_of_any_history_is_shown_by_all_stores(
    batches: list[list[dict[int, Note | None]]], data: st.DataObject
) -> None:
    async def check(store: AnyStore) -> None:
        await store.open()
        history = History()
        opened = []
        for batch in batches:
            await append(store, *[history.commit(history.newest + 2, edit) for edit in batch])
            opened.append(await store.snapshot(history.newest))
        for ts, _ in reads:
            opened.append(await store.snapshot(min(ts, history.newest)))
        for snapshot in opened:
            expected = history.at(snapshot.ts)
            assert await read_all(snapshot) == expected_all(expected)
            for number in range(8):
                note = expected.get(number)
                assert await snapshot.get(key_of(number)) == (note.stored if note else None)
            for _, (slot, start, end, reverse, limit) in reads:
                found = await snapshot.scan(start, end, reverse=reverse, limit=limit)
                assert found == cut(rows_of(expected, slot), start, end, reverse=reverse, limit=limit)
                if slot in TOTALS:
                    total = total_of(expected, slot, start, end)
                    assert await snapshot.total(start, end) == total
                    assert await snapshot.count(start, end) == total.count
        for snapshot in opened:
            snapshot.close()
        await store.close()

    reads = data.draw(st.lists(st.tuples(st.integers(0, 40), scans()), max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        for store in stores(folder):
            asyncio.run(check(store))


async def test_images_are_rewritten_everywhere_and_stay_what_they_are(store: AnyStore) -> None:
    history = History()
    await append(store, history.commit(10, {1: A, 2: A}), history.commit(20, {1: C}), history.commit(30, {2: None}))
    new = {note.stored: note.stored.replace(b"[", b"[ ") for note in (A, C)}
    assert await store.rewrite(key_of(1), key_of(2), new.__getitem__) > 0
    for ts, image, other in ((10, A, A), (20, C, A), (30, C, None)):
        snapshot = await store.snapshot(ts)
        assert await snapshot.get(key_of(1)) == new[image.stored]
        assert await snapshot.get(key_of(2)) == (other and other.stored)
        by_rank = await snapshot.scan(*whole(1), limit=9)
        assert {row.value for row in by_rank} == {new[image.stored], *([other.stored] if other else [])}
        snapshot.close()
    changes = [change for commit in await store.changes(0) for change in commit.changes]
    of_1 = [image for change in changes if change.key == key_of(1) for image in (change.before, change.after)]
    assert of_1 == [None, new[A.stored], new[A.stored], new[C.stored]]
    assert {change.before for change in changes if change.key == key_of(2)} == {None, A.stored}
    assert await store.rewrite(key_of(7), key_of(8), new.__getitem__) == 0


async def test_a_rewrite_that_fails_changes_nothing(store: AnyStore) -> None:
    history = History()
    await append(store, history.commit(10, {1: A, 2: B}))

    def to(image: bytes) -> bytes:
        if image == B.stored:
            raise LookupError
        return b"{}"

    with pytest.raises(LookupError):
        await store.rewrite(key_of(1), key_of(3), to)
    snapshot = await store.snapshot(10)
    assert await snapshot.get(key_of(1)) == A.stored
    snapshot.close()
    await append(store, history.commit(20, {1: None}))
