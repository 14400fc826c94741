from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yugen import bounds, ids, keys, values
from yugen.bounds import gt, gte, lt
from yugen.catalog import FIRST_USER_TABLE, TABLES, Catalog, IndexSpec, TableSpec
from yugen.functions.faults import UniqueError
from yugen.intervals import point
from yugen.runtime.transaction import Transaction
from yugen.storage.interface import Commit, Row
from yugen.storage.memory import MemoryStore

NOTES = TableSpec("notes", 10_001, (IndexSpec("by_creation_time", 1, ()), IndexSpec("by_rank", 2, ("rank",))))
USERS = TableSpec(
    "users", 10_002, (IndexSpec("by_creation_time", 1, ()), IndexSpec("by_email", 2, ("email",), unique=True))
)


class Bench:
    """A store that transactions run over, one after the other or side by side."""

    def __init__(self, catalog: Catalog | None = None) -> None:
        self.store = MemoryStore()
        self.catalog = catalog or Catalog([NOTES, USERS])
        self.ts = 0
        self.dice = random.Random(7)

    async def begin(self) -> Transaction:
        snapshot = await self.store.snapshot(self.ts)
        return Transaction(snapshot, self.catalog, now=1000.0 + self.ts, random_bytes=self.dice.randbytes)

    async def commit(self, transaction: Transaction) -> None:
        transaction.snapshot.close()
        self.ts += 1
        await self.store.append(lambda news, newest: [Commit(self.ts, transaction.changes)])

    async def put(self, table: TableSpec, *documents: dict[str, Any]) -> list[str]:
        transaction = await self.begin()
        inserted = [await transaction.insert(table, document) for document in documents]
        await self.commit(transaction)
        return inserted


def internal_of(id: str) -> bytes:
    return ids.decode_id(id)[1]


def key_of(table: TableSpec, id: str) -> bytes:
    return keys.document_key(table.number, internal_of(id))


def whole(table: TableSpec, slot: int) -> tuple[bytes, bytes]:
    prefix = keys.index_prefix(table.number, slot)
    return prefix, keys.prefix_end(prefix)


async def scan(transaction: Transaction, start: bytes, end: bytes, **options: Any) -> list[dict[str, Any]]:
    rows = transaction.rows(start, end, **options)
    found: list[dict[str, Any]] = []
    while page := await rows.take(2):
        found += [document(row.value) for row in page]
    return found


def document(text: bytes) -> dict[str, Any]:
    decoded = values.loads(text)
    assert isinstance(decoded, dict)
    return decoded


async def test_own_writes_are_visible_in_every_index() -> None:
    bench = Bench()
    kept, moved, gone = await bench.put(NOTES, {"rank": 1.0}, {"rank": 2.0}, {"rank": 3.0})
    transaction = await bench.begin()
    new = await transaction.insert(NOTES, {"rank": 0.0})
    stored = document(await transaction.get(key_of(NOTES, moved)) or b"")
    await transaction.write(NOTES, internal_of(moved), {**stored, "rank": 9.0})
    await transaction.write(NOTES, internal_of(gone), None)
    for reverse in (False, True):
        direction = -1 if reverse else 1
        by_rank = await scan(transaction, *whole(NOTES, 2), reverse=reverse)
        assert [each["_id"] for each in by_rank] == [new, kept, moved][::direction]
        by_time = await scan(transaction, *whole(NOTES, 1), reverse=reverse)
        assert [each["_id"] for each in by_time] == [kept, moved, new][::direction]
    assert {each["_id"] for each in await scan(transaction, *whole(NOTES, 0))} == {new, kept, moved}
    assert await transaction.get(key_of(NOTES, gone)) is None
    assert document(await transaction.get(key_of(NOTES, new)) or b"")["rank"] == 0.0
    await bench.commit(transaction)
    after = await bench.begin()
    assert [each["_id"] for each in await scan(after, *whole(NOTES, 2))] == [new, kept, moved]


async def test_documents_of_one_transaction_keep_the_order_they_were_inserted_in() -> None:
    bench = Bench()
    inserted = await bench.put(NOTES, *({"rank": 0.0} for _ in range(20)))
    transaction = await bench.begin()
    for slot in (1, 2):
        assert [each["_id"] for each in await scan(transaction, *whole(NOTES, slot))] == inserted


async def test_that_a_document_is_missing_counts_as_read() -> None:
    bench = Bench()
    (gone,) = await bench.put(NOTES, {"rank": 1.0})
    remover = await bench.begin()
    await remover.write(NOTES, internal_of(gone), None)
    await bench.commit(remover)
    transaction = await bench.begin()
    assert await transaction.get(key_of(NOTES, gone)) is None
    assert list(transaction.reads) == [point(key_of(NOTES, gone))]


async def test_reading_one_document_reads_its_key() -> None:
    bench = Bench()
    (stored_id,) = await bench.put(NOTES, {"rank": 1.0})
    transaction = await bench.begin()
    await transaction.get(key_of(NOTES, stored_id))
    assert list(transaction.reads) == [point(key_of(NOTES, stored_id))]


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_range_is_read_up_to_the_last_key_consumed(reverse: bool) -> None:
    bench = Bench()
    await bench.put(NOTES, *({"rank": float(n)} for n in range(5)))
    start, end = whole(NOTES, 2)
    stored = [row.key for row in await (await bench.begin()).snapshot.scan(start, end, limit=9)]
    transaction = await bench.begin()
    rows = transaction.rows(start, end, reverse=reverse)
    for count, taken in ((2, 2), (1, 3)):
        assert len(await rows.take(count)) == count
        expected = (stored[-taken], end) if reverse else (start, stored[taken - 1] + b"\x00")
        assert list(transaction.reads) == [expected]
    assert len(await rows.take(9)) == 2
    assert list(transaction.reads) == [(start, end)]
    assert await rows.take(9) == []
    assert list(transaction.reads) == [(start, end)]


@pytest.mark.parametrize("reverse", [False, True])
async def test_those_who_take_one_at_a_time_are_answered_from_what_was_read_ahead(reverse: bool) -> None:
    bench = Bench()
    await bench.put(NOTES, *({"rank": float(n)} for n in range(200)))
    start, end = whole(NOTES, 2)
    transaction = await bench.begin()
    everything = await transaction.snapshot.scan(start, end, reverse=reverse, limit=999)
    asked: list[int] = []
    scan = transaction.snapshot.scan

    async def counted(*range: Any, limit: int, **options: Any) -> list[Row]:
        asked.append(limit)
        return await scan(*range, limit=limit, **options)

    with patch.object(transaction.snapshot, "scan", counted):
        rows = transaction.rows(start, end, reverse=reverse)
        found = [row for _ in range(100) for row in await rows.take(1)]
    assert found == everything[:100]
    assert asked == [1, 2, 4, 8, 16, 32, 64]
    last = found[-1].key
    assert list(transaction.reads) == [(last, end) if reverse else (start, last + b"\x00")]


@pytest.mark.parametrize("reverse", [False, True])
async def test_what_was_read_ahead_does_not_hide_what_is_written_meanwhile(reverse: bool) -> None:
    bench = Bench()
    stored = await bench.put(NOTES, *({"rank": float(n)} for n in range(20)))
    transaction = await bench.begin()
    rows = transaction.rows(*whole(NOTES, 2), reverse=reverse)
    seen: list[float] = []
    while page := await rows.take(1):
        note = document(page[0].value)
        seen.append(note["rank"])
        if note["rank"] == 8:
            await transaction.write(NOTES, internal_of(stored[12 if not reverse else 4]), None)
            await transaction.insert(NOTES, {"rank": 10.5 if not reverse else 5.5})
    expected = sorted({*map(float, range(20))} - {4.0 if reverse else 12.0} | {5.5 if reverse else 10.5})
    assert seen == (expected[::-1] if reverse else expected)


async def test_an_empty_range_is_read_whole() -> None:
    bench = Bench()
    transaction = await bench.begin()
    start, end = bounds.interval(keys.index_prefix(NOTES.number, 2), [], gte(3.0) & lt(4.0))
    assert await transaction.rows(start, end).take(1) == []
    assert list(transaction.reads) == [(start, end)]


async def test_what_is_written_unread_is_read_for_its_image_from_before() -> None:
    bench = Bench()
    (stored_id,) = await bench.put(NOTES, {"rank": 1.0})
    transaction = await bench.begin()
    await transaction.write(NOTES, internal_of(stored_id), None)
    assert key_of(NOTES, stored_id) in transaction.reads


async def test_inserting_reads_nothing_without_unique_indexes() -> None:
    bench = Bench()
    transaction = await bench.begin()
    await transaction.insert(NOTES, {"rank": 1.0})
    assert list(transaction.reads) == []


async def test_changes_have_both_images_and_all_keys() -> None:
    bench = Bench()
    (stored_id,) = await bench.put(NOTES, {"rank": 1.0})
    transaction = await bench.begin()
    before = await transaction.get(key_of(NOTES, stored_id))
    assert before is not None
    await transaction.write(NOTES, internal_of(stored_id), {**document(before), "rank": 2.0})
    (change,) = transaction.changes
    assert change.key == key_of(NOTES, stored_id)
    assert change.before == before
    assert change.after is not None
    assert document(change.after) == {**document(before), "rank": 2.0}
    assert change.keys_before == NOTES.entry_keys(document(before), internal_of(stored_id))
    assert change.keys_after == NOTES.entry_keys(document(change.after), internal_of(stored_id))


async def test_what_ends_as_it_began_is_no_change() -> None:
    bench = Bench()
    (stored_id,) = await bench.put(NOTES, {"rank": 1.0})
    transaction = await bench.begin()
    stored = document(await transaction.get(key_of(NOTES, stored_id)) or b"")
    await transaction.write(NOTES, internal_of(stored_id), {**stored, "rank": 2.0})
    await transaction.write(NOTES, internal_of(stored_id), stored)
    new = await transaction.insert(NOTES, {"rank": 5.0})
    await transaction.write(NOTES, internal_of(new), None)
    assert transaction.changes == ()


async def test_a_savepoint_undoes_what_was_written_in_it_and_keeps_what_was_read() -> None:
    bench = Bench()
    first, second = await bench.put(NOTES, {"rank": 1.0}, {"rank": 2.0})
    transaction = await bench.begin()
    stored = document(await transaction.get(key_of(NOTES, first)) or b"")
    await transaction.write(NOTES, internal_of(first), {**stored, "rank": 5.0})
    outer = await transaction.insert(NOTES, {"rank": 6.0})
    changes = transaction.changes

    async def inner() -> None:
        await transaction.write(NOTES, internal_of(first), {**stored, "rank": 7.0})
        await transaction.write(NOTES, internal_of(second), None)
        await transaction.write(NOTES, internal_of(outer), None)
        await transaction.insert(NOTES, {"rank": 8.0})
        raise ValueError

    with pytest.raises(ValueError, match=r"\A\Z"), transaction.savepoint():
        await inner()
    assert transaction.changes == changes
    assert [each["rank"] for each in await scan(transaction, *whole(NOTES, 2))] == [2.0, 5.0, 6.0]
    assert key_of(NOTES, second) in transaction.reads
    with transaction.savepoint():
        await transaction.write(NOTES, internal_of(second), None)
    assert [each["rank"] for each in await scan(transaction, *whole(NOTES, 2))] == [5.0, 6.0]


async def test_a_unique_index_refuses_equal_values_stored_or_own() -> None:
    bench = Bench()
    (stored_id,) = await bench.put(USERS, {"email": "a@x"})
    transaction = await bench.begin()
    with pytest.raises(UniqueError, match='Table users already has a document with email = "a@x"; by_email is unique'):
        await transaction.insert(USERS, {"email": "a@x"})
    await transaction.insert(USERS, {"email": "b@x"})
    with pytest.raises(UniqueError, match="b@x"):
        await transaction.insert(USERS, {"email": "b@x"})
    assert len(transaction.changes) == 1
    stored = document(await transaction.get(key_of(USERS, stored_id)) or b"")
    await transaction.write(USERS, internal_of(stored_id), {**stored, "name": "Ada"})  # itself is no other
    await transaction.write(USERS, internal_of(stored_id), None)
    await transaction.insert(USERS, {"email": "a@x"})


async def test_documents_without_the_field_are_all_unique() -> None:
    bench = Bench()
    await bench.put(USERS, {}, {})


async def test_two_that_insert_the_same_unique_value_read_what_the_other_writes() -> None:
    bench = Bench()
    one, other = await bench.begin(), await bench.begin()
    await one.insert(USERS, {"email": "a@x"})
    await other.insert(USERS, {"email": "a@x"})
    (change,) = one.changes
    assert any(key in other.reads for key in change.keys_after)


async def test_a_table_is_created_with_its_first_document() -> None:
    bench = Bench(Catalog())
    transaction = await bench.begin()
    assert await transaction.table("things") is None
    table = await transaction.table("things", create=True)
    assert table == TableSpec("things", FIRST_USER_TABLE)
    assert await transaction.table("things") == table
    assert await transaction.numbered(FIRST_USER_TABLE) == table
    assert (await transaction.table("more", create=True)) == TableSpec("more", FIRST_USER_TABLE + 1)
    await bench.commit(transaction)
    later = await bench.begin()
    assert await later.table("things", create=True) == table
    assert await later.numbered(FIRST_USER_TABLE + 1) == TableSpec("more", FIRST_USER_TABLE + 1)
    assert await later.numbered(FIRST_USER_TABLE + 2) is None
    assert later.changes == ()


async def test_the_absence_of_a_table_is_read() -> None:
    bench = Bench(Catalog())
    reader, creator, rival, stranger = [await bench.begin() for _ in range(4)]
    await reader.table("things")
    await creator.table("things", create=True)
    await rival.table("others", create=True)
    await stranger.table("elsewhere")
    (change,) = creator.changes
    written = (change.key, *change.keys_after)
    assert keys.table_of(change.key) == TABLES.number
    assert any(key in reader.reads for key in written)
    assert any(key in rival.reads for key in written), "they would take the same number"
    assert not any(key in stranger.reads for key in written)


RANKS = st.integers(0, 5).map(float)
OPERATIONS = st.one_of(
    st.tuples(st.just("insert"), RANKS),
    st.tuples(st.just("move"), st.integers(0, 20), RANKS),
    st.tuples(st.just("delete"), st.integers(0, 20)),
    st.tuples(st.just("get"), st.integers(0, 20)),
    st.tuples(st.just("scan"), st.sampled_from([1, 2]), RANKS, st.booleans(), st.lists(st.integers(1, 3), max_size=4)),
)


class Model:
    """What a transaction's reads and writes come to, on a plain dict of documents by id."""

    def __init__(self, documents: dict[str, dict[str, Any]]) -> None:
        self.documents = documents

    def scan(self, slot: int, rank: float, reverse: bool) -> list[dict[str, Any]]:
        if slot == 1:
            return sorted(self.documents.values(), key=lambda each: each["_creationTime"], reverse=reverse)
        inside = [each for each in self.documents.values() if each["rank"] > rank]
        return sorted(inside, key=lambda each: (each["rank"], each["_creationTime"]), reverse=reverse)


async def perform(
    transaction: Transaction, known: list[str], operations: list[Any], check: Callable[[Any, Any], None], model: Model
) -> list[Any]:
    """Runs the operations on a transaction and on a model at once; returns all that was read."""
    seen: list[Any] = []
    for operation in operations:
        match operation:
            case ("insert", rank):
                new = await transaction.insert(NOTES, {"rank": rank})
                stored = document(transaction.overlay.get(key_of(NOTES, new)).value)  # type: ignore[union-attr, arg-type]
                model.documents[new] = stored
                known.append(new)
            case ("scan", slot, rank, reverse, takes):
                equal_bound = gt(rank) if slot == 2 else None
                start, end = bounds.interval(keys.index_prefix(NOTES.number, slot), [], equal_bound)
                rows = transaction.rows(start, end, reverse=reverse)
                expected = model.scan(slot, rank, reverse)
                for count in takes:
                    found = [document(row.value) for row in await rows.take(count)]
                    check(found, expected[:count])
                    expected = expected[count:]
                    seen.append(found)
            case (kind, place, *rest) if known:
                chosen = known[place % len(known)]
                text = await transaction.get(key_of(NOTES, chosen))
                found_one = None if text is None else document(text)
                check(found_one, model.documents.get(chosen))
                seen.append(found_one)
                if kind != "get" and found_one is not None:
                    changed = {**found_one, "rank": rest[0]} if kind == "move" else None
                    await transaction.write(NOTES, internal_of(chosen), changed)
                    if changed is None:
                        model.documents.pop(chosen, None)
                    else:
                        model.documents[chosen] = changed
    return seen


def same(found: Any, expected: Any) -> None:
    assert found == expected


@settings(max_examples=150)
@given(st.lists(RANKS, max_size=8), st.lists(OPERATIONS, max_size=25))
async def test_it_reads_and_writes_as_a_plain_dict_does(ranks: list[float], operations: list[Any]) -> None:
    bench = Bench()
    known = await bench.put(NOTES, *({"rank": rank} for rank in ranks))
    transaction = await bench.begin()
    model = Model({each["_id"]: each for each in await scan(await bench.begin(), *whole(NOTES, 0))})
    await perform(transaction, known, operations, same, model)
    await bench.commit(transaction)
    after = await bench.begin()
    assert await scan(after, *whole(NOTES, 2)) == model.scan(2, -1.0, False)
    assert await scan(after, *whole(NOTES, 1)) == model.scan(1, -1.0, False)


@settings(max_examples=150)
@given(
    st.lists(RANKS, min_size=1, max_size=8),
    st.lists(OPERATIONS, max_size=10),
    st.lists(st.one_of(st.tuples(st.just("insert"), RANKS), st.tuples(st.just("move"), st.integers(0, 9), RANKS))),
)
async def test_a_commit_outside_of_what_was_read_changes_nothing_of_it(
    ranks: list[float], operations: list[Any], others: list[Any]
) -> None:
    bench = Bench()
    known = await bench.put(NOTES, *({"rank": rank} for rank in ranks))

    async def run() -> tuple[Transaction, list[Any]]:
        bench.dice.seed(3)
        transaction = await bench.begin()
        transaction._creation_time = 5000.0
        return transaction, await perform(transaction, list(known), operations, lambda *_: None, Model({}))

    transaction, before = await run()
    bench.dice.seed(4)
    other = await bench.begin()
    await perform(other, list(known), others, lambda *_: None, Model({each: {} for each in known}))
    outside = tuple(
        change
        for change in other.changes
        if not any(key in transaction.reads for key in (change.key, *change.keys_before, *change.keys_after))
    )
    bench.ts += 1
    await bench.store.append(lambda news, newest: [Commit(bench.ts, outside)])
    assert (await run())[1] == before
