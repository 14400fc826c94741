"""Transactions interleaved by hand: each anomaly that an isolation level may allow, and what becomes of it here.

The cases are those of Kleppmann's Hermitage, with ranges in place of its predicates: 1 has the value 10, and 2 has 20.
A transaction reads what was there when it began, and can commit if that still is so.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.engine import new_store
from yugen import bounds, keys, values
from yugen.catalog import Catalog, IndexSpec, TableSpec
from yugen.ids import decode_id
from yugen.runtime.commit import Committer, Conflict, Proposal
from yugen.runtime.transaction import Transaction
from yugen.storage.interface import Store

TABLE = TableSpec("test", 10_001, (IndexSpec("by_creation_time", 1, ()), IndexSpec("by_value", 2, ("value",))))


class Step:
    """A transaction, a step at a time."""

    def __init__(self, db: Db, ts: int, transaction: Transaction) -> None:
        self._db = db
        self._ts = ts
        self._transaction = transaction

    async def get(self, number: int) -> int | None:
        document = await self._transaction.document(self._key(number))
        return None if document is None else int(document["value"])

    async def set(self, number: int, value: int | None) -> None:
        """Changes a value as an app does, which looks at the document first; None deletes it."""
        document = await self._transaction.document(self._key(number))
        assert document is not None
        changed = None if value is None else {**document, "value": float(value)}
        await self._transaction.write(TABLE, decode_id(self._db.ids[number])[1], changed)

    async def insert(self, value: int) -> None:
        await self._transaction.insert(TABLE, {"value": float(value)})

    async def where(self, low: int, high: int) -> list[int]:
        """The values from `low` to `high`."""
        span = bounds.between(float(low), float(high))
        start, end = bounds.interval(keys.index_prefix(TABLE.number, 2), [], span)
        rows = await self._transaction.rows(start, end).take(100)
        return [int(values.loads(row.value)["value"]) for row in rows]  # type: ignore[index, call-overload]

    async def commit(self) -> bool:
        """Whether it could."""
        self._transaction.snapshot.close()
        reads = tuple(self._transaction.reads)
        try:
            await self._db.committer.commit(
                Proposal(self._ts, reads, self._transaction.changes, guarded=self._transaction.guarded)
            )
        except Conflict:
            return False
        finally:
            self._db.committer.release(self._ts)
        return True

    def abort(self) -> None:
        self._transaction.snapshot.close()
        self._db.committer.release(self._ts)

    def _key(self, number: int) -> bytes:
        return keys.document_key(TABLE.number, decode_id(self._db.ids[number])[1])


class Db:
    """A store with two documents, and what commits to it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.newest = 0
        self.ids: dict[int, str] = {}
        self.committer = Committer(store, 0, clock=lambda: 0, published=self._published)
        self._dice = random.Random(1)

    def _published(self, commits: object) -> None:
        self.newest = commits[-1].ts  # type: ignore[index]

    async def begin(self) -> Step:
        self.committer.hold(self.newest)
        snapshot = await self.store.snapshot(self.newest)
        transaction = Transaction(snapshot, Catalog([TABLE]), now=1000.0, random_bytes=self._dice.randbytes)
        return Step(self, self.newest, transaction)

    async def all(self) -> list[int]:
        reader = await self.begin()
        found = await reader.where(0, 1000)
        reader.abort()
        return found


@pytest.fixture(params=["memory", "sqlite"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Db]:
    store = new_store(request.param, tmp_path)
    await store.open()
    db = Db(store)
    first = await db.begin()
    for number in (1, 2):
        db.ids[number] = await first._transaction.insert(TABLE, {"value": 10.0 * number})
    assert await first.commit()
    yield db
    await db.committer.close()
    await store.close()


async def test_g0_writes_of_two_do_not_mix(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    await one.set(1, 11)
    await two.set(1, 12)
    await one.set(2, 21)
    assert await one.commit()
    await two.set(2, 22)
    assert not await two.commit()
    assert await db.all() == [11, 21]


async def test_g1a_what_is_aborted_was_never_there(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    await one.set(1, 101)
    assert await two.where(0, 200) == [10, 20]
    one.abort()
    assert await two.where(0, 200) == [10, 20]
    assert await two.commit()


async def test_g1b_nobody_sees_what_is_on_its_way(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    await one.set(1, 101)
    assert await two.get(1) == 10
    await one.set(1, 11)
    assert await one.commit()
    assert await two.get(1) == 10
    two.abort()


async def test_g1c_two_do_not_see_each_other(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    await one.set(1, 11)
    await two.set(2, 22)
    assert (await one.get(2), await two.get(1)) == (20, 10)
    assert await one.commit()
    assert not await two.commit()
    assert await db.all() == [11, 20]


async def test_otv_what_was_seen_does_not_vanish(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    await one.set(1, 11)
    await one.set(2, 19)
    await two.set(1, 12)
    assert await one.commit()
    three = await db.begin()
    assert await three.get(1) == 11
    await two.set(2, 18)
    assert await three.get(2) == 19
    assert not await two.commit()
    assert (await three.get(1), await three.get(2)) == (11, 19)
    assert await three.commit()


async def test_pmp_a_range_stays_as_it_was(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    assert await one.where(30, 30) == []
    await two.insert(30)
    assert await two.commit()
    assert await one.where(0, 100) == [10, 20]
    await one.insert(1)
    assert not await one.commit()


async def test_pmp_who_deletes_a_range_deletes_what_is_in_it(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    for number in (1, 2):
        await one.set(number, 10 * number + 10)
    assert await two.where(20, 20) == [20]
    await two.set(2, None)
    assert await one.commit()
    assert not await two.commit()
    assert await db.all() == [20, 30]


async def test_p4_no_update_is_lost(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    assert (await one.get(1), await two.get(1)) == (10, 10)
    await one.set(1, 11)
    await two.set(1, 11)
    assert await one.commit()
    assert not await two.commit()


async def test_g_single_reads_are_of_one_moment(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    assert await one.get(1) == 10
    await two.set(1, 12)
    await two.set(2, 18)
    assert await two.commit()
    assert await one.get(2) == 20
    assert await one.where(0, 100) == [10, 20]
    one.abort()


async def test_g_single_so_are_those_of_who_writes(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    assert await one.get(1) == 10
    await two.set(1, 12)
    await two.set(2, 18)
    assert await two.commit()
    assert await one.where(20, 20) == [20]
    await one.set(2, None)
    assert not await one.commit()
    assert await db.all() == [12, 18]


async def test_g2_item_there_is_no_write_skew(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    for each in (one, two):
        assert (await each.get(1), await each.get(2)) == (10, 20)
    await one.set(1, 11)
    await two.set(2, 21)
    assert await one.commit()
    assert not await two.commit()
    assert await db.all() == [11, 20]


async def test_g2_nor_is_there_one_by_ranges_that_are_empty(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    assert await one.where(30, 50) == await two.where(30, 50) == []
    await one.insert(30)
    await two.insert(42)
    assert await one.commit()
    assert not await two.commit()
    assert await db.all() == [10, 20, 30]


async def test_g2_a_reader_cannot_tell_that_two_went_in_another_order(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    assert await one.where(0, 100) == [10, 20]
    await two.set(2, 25)
    assert await two.commit()
    three = await db.begin()
    assert await three.where(0, 100) == [10, 25]
    assert await three.commit()
    await one.set(1, 0)
    assert not await one.commit()
    assert await db.all() == [10, 25]


async def test_who_has_read_beside_it_commits(db: Db) -> None:
    one, two = await db.begin(), await db.begin()
    assert await one.where(11, 30) == [20]
    await two.set(1, 5)
    await two.insert(31)
    assert await two.commit()
    await one.insert(25)
    assert await one.commit()
    assert await db.all() == [5, 20, 25, 31]
