from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.engine import new_store
from yugen import keys, values
from yugen.catalog import BY_CREATION_TIME, Catalog, TableSpec
from yugen.functions.info import AppInfo, IndexInfo
from yugen.runtime.deploy import DeployError, Reindexing, deploy, stored_catalog
from yugen.runtime.transaction import Transaction
from yugen.storage.interface import Change, Commit, Decide, StorageError, Store, Timestamp
from yugen.storage.memory import MemoryStore

Indexes = dict[str, IndexInfo]
PLAIN, BY_RANK, BY_NAME = IndexInfo(("kind",), False), IndexInfo(("rank",), False), IndexInfo(("name",), True)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = new_store(request.param, tmp_path)
    await store.open()
    yield store
    await store.close()


class NoFunctions:
    """An app without migrations, and without classes that documents would have to fit."""

    async def query(self, path: str, ts: Timestamp, /, **args: Any) -> Any:
        assert path == "_system/migrations:pending"
        return []

    async def mutation(self, path: str, ts: Timestamp, /, **args: Any) -> tuple[Any, tuple[Change, ...]]:
        raise AssertionError(path)


class Deployed:
    """A store, what is deployed on it, and the documents in it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.catalog = Catalog()
        self.ts: Timestamp = 0
        self.later: list[Reindexing] = []

    async def deploy(self, **tables: Indexes) -> None:
        info = AppInfo({}, tables)
        self.catalog = await stored_catalog(self.store, self.ts)
        self.ts, self.later = await deploy(
            self.store, self.ts, info, self.catalog, NoFunctions(), clock=lambda: 0, random_bytes=os.urandom
        )

    def table(self, name: str) -> TableSpec:
        table = self.catalog.named(name)
        assert table is not None
        return table

    async def put(self, name: str, *documents: Mapping[str, object]) -> None:
        snapshot = await self.store.snapshot(self.ts)
        transaction = Transaction(snapshot, self.catalog, now=1.0, random_bytes=os.urandom)
        for document in documents:
            await transaction.insert(self.table(name), dict(document))
        snapshot.close()
        commits = await self.store.append(lambda news, newest: [Commit(newest + 1, transaction.changes)])
        self.ts = commits[-1].ts

    async def entries(self, table: TableSpec, slot: int) -> list[tuple[bytes, dict[str, object]]]:
        prefix = keys.index_prefix(table.number, slot)
        snapshot = await self.store.snapshot(self.ts)
        rows = await snapshot.scan(prefix, keys.prefix_end(prefix), limit=10_000)
        snapshot.close()
        decoded = [(row.key, values.loads(row.value)) for row in rows]
        return [(key, document) for key, document in decoded if isinstance(document, dict)]

    async def check(self, name: str) -> None:
        """Every index that there is has exactly the entries that it should have; other slots have none."""
        table = self.table(name)
        documents = await self.entries(table, 0)
        slots = {index.slot: place for place, index in enumerate(table.indexes)}
        assert len(slots) == len(table.indexes)
        for slot in range(1, 40):
            expected = (
                sorted(table.entry_keys(document, keys.internal_of(key))[slots[slot]] for key, document in documents)
                if slot in slots
                else []
            )
            assert [key for key, _ in await self.entries(table, slot)] == expected

    async def log(self) -> Sequence[Commit]:
        return await self.store.changes(0)


def names(table: TableSpec) -> set[str]:
    return {index.name for index in table.indexes}


async def test_tables_and_indexes_are_entered_and_found_again(store: Store) -> None:
    deployed = Deployed(store)
    await deployed.deploy(notes={"by_rank": BY_RANK, "by_name": BY_NAME}, others={})
    notes, others = deployed.table("notes"), deployed.table("others")
    assert {notes.number, others.number} == {10_001, 10_002}
    assert names(notes) == {BY_CREATION_TIME, "by_rank", "by_name"}
    assert names(others) == {BY_CREATION_TIME}
    by_name = notes.index("by_name", deployed.ts)
    assert by_name is not None
    assert by_name.unique
    assert all(index.since is not None for index in notes.indexes)


async def test_deploying_twice_writes_nothing(store: Store) -> None:
    deployed = Deployed(store)
    await deployed.deploy(notes={"by_rank": BY_RANK, "by_name": BY_NAME}, others={})
    tables, log = {table.name: table for table in deployed.catalog}, await deployed.log()
    await deployed.deploy(notes={"by_rank": BY_RANK, "by_name": BY_NAME}, others={})
    assert await deployed.log() == log
    assert {table.name: table for table in deployed.catalog} == tables


async def test_tables_of_another_app_stay(store: Store) -> None:
    deployed = Deployed(store)
    await deployed.deploy(notes={"by_rank": BY_RANK})
    await deployed.put("notes", {"rank": 1.0})
    notes = deployed.table("notes")
    await deployed.deploy(others={})
    assert deployed.table("notes") == notes
    assert deployed.table("others").number == notes.number + 1
    await deployed.check("notes")


async def test_a_new_index_is_built_over_the_documents_that_are_there(store: Store) -> None:
    deployed = Deployed(store)
    await deployed.deploy(notes={})
    await deployed.put("notes", *({"rank": float(n % 7)} for n in range(1203)), {})
    await deployed.deploy(notes={"by_rank": BY_RANK})
    await deployed.check("notes")
    by_rank = deployed.table("notes").index("by_rank", deployed.ts)
    assert by_rank is not None
    found = [
        document.get("rank", -1.0) for _, document in await deployed.entries(deployed.table("notes"), by_rank.slot)
    ]
    assert found == sorted(found)  # type: ignore[type-var]
    assert len(found) == 1204


async def test_an_index_that_went_leaves_no_entries(store: Store) -> None:
    deployed = Deployed(store)
    await deployed.deploy(notes={"by_rank": BY_RANK, "by_kind": PLAIN})
    await deployed.put("notes", *({"rank": float(n), "kind": "x"} for n in range(5)))
    await deployed.deploy(notes={"by_kind": PLAIN})
    assert names(deployed.table("notes")) == {BY_CREATION_TIME, "by_kind"}
    await deployed.check("notes")


async def test_an_index_that_changed_is_built_anew(store: Store) -> None:
    deployed = Deployed(store)
    await deployed.deploy(notes={"by": BY_RANK, "by_kind": PLAIN})
    await deployed.put("notes", *({"rank": float(n), "name": f"{9 - n}", "kind": "x"} for n in range(5)))
    await deployed.deploy(notes={"by": BY_NAME, "by_kind": PLAIN})
    by = deployed.table("notes").index("by", deployed.ts)
    assert by is not None
    assert (by.fields, by.unique) == (("name",), True)
    await deployed.check("notes")


async def test_all_indexes_may_change_at_once(store: Store) -> None:
    deployed = Deployed(store)
    await deployed.deploy(notes={f"by_{n}": IndexInfo((f"f{n}",), False) for n in range(32)})
    await deployed.put("notes", {"f1": 1.0, "g1": 2.0})
    await deployed.deploy(notes={f"by_{n}": IndexInfo((f"g{n}",), False) for n in range(32)})
    assert len(deployed.table("notes").indexes) == 33
    await deployed.check("notes")


async def test_a_unique_index_over_equal_values_is_refused_and_nothing_changes(store: Store) -> None:
    deployed = Deployed(store)
    await deployed.deploy(notes={"by_rank": BY_RANK})
    await deployed.put("notes", {"name": "a"}, {"name": "b"}, {"name": "a"}, {}, {})
    log = await deployed.log()
    with pytest.raises(DeployError, match=r"notes\.by_name cannot be built: .* have the same name; change one"):
        await deployed.deploy(apples={"by_rank": BY_RANK}, notes={"by_name": BY_NAME}, zebras={})
    assert await deployed.log() == log
    await deployed.deploy(notes={"by_rank": BY_RANK})
    assert await deployed.log() == log


async def test_a_unique_index_over_distinct_values_is_built(store: Store) -> None:
    deployed = Deployed(store)
    await deployed.deploy(notes={})
    await deployed.put("notes", {"name": "a"}, {"name": "b"}, {}, {})
    await deployed.deploy(notes={"by_name": BY_NAME})
    await deployed.check("notes")


class FailingStore(MemoryStore):
    """Fails the n-th append, and those after it, until it is mended."""

    left = 1_000

    async def append(self, decide: Decide) -> Sequence[Commit]:
        if self.left == 0:
            raise StorageError("cut off")
        self.left -= 1
        return await super().append(decide)


@pytest.mark.parametrize("then", [{"by": BY_NAME, "by_kind": PLAIN}, {"by": BY_RANK}, {}])
async def test_a_deployment_cut_off_anywhere_is_finished_by_the_next_whatever_that_declares(then: Indexes) -> None:
    for appends in range(100):
        store = FailingStore()
        deployed = Deployed(store)
        await deployed.deploy(notes={"by": BY_RANK})
        await deployed.put("notes", *({"rank": float(n), "name": f"{n}", "kind": "x"} for n in range(1100)))
        store.left = appends
        try:
            await deployed.deploy(notes={"by": BY_NAME, "by_kind": PLAIN}, others={"by": BY_RANK})
        except StorageError:
            store.left = 1_000
            deployed.ts = (await deployed.log())[-1].ts
            await deployed.deploy(notes=then)
            assert names(deployed.table("notes")) == {BY_CREATION_TIME, *then}
            await deployed.check("notes")
        else:
            assert appends > 8
            return
    raise AssertionError("the deployment never came to its end")


async def test_rebuilding_keeps_the_documents_as_they_are(store: Store) -> None:
    deployed = Deployed(store)
    await deployed.deploy(notes={})
    await deployed.put("notes", {"rank": 1.0})
    before = await deployed.entries(deployed.table("notes"), 0)
    since = deployed.ts
    await deployed.deploy(notes={"by_rank": BY_RANK})
    assert await deployed.entries(deployed.table("notes"), 0) == before
    notes = deployed.table("notes").number
    changes = [change for commit in await store.changes(since) for change in commit.changes]
    (rebuilt,) = [change for change in changes if keys.table_of(change.key) == notes]
    assert rebuilt.before == rebuilt.after
    assert len(rebuilt.keys_after) == len(rebuilt.keys_before) + 1
