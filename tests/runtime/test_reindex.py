"""Indexes of large tables come and go while the app serves."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from tests.engine import ask, change, encoded, engine, new_store
from yugen import ids, keys
from yugen.catalog import TableSpec
from yugen.runtime import deploy, reindex
from yugen.runtime.runtime import Runtime

APP = """
    from yugen import Count, Document, Index, MutationCtx, QueryCtx, gte, mutation, query


    class Note(Document, table="notes"):
        book: str
        rank: int

        {indexes}


    @mutation
    async def add(ctx: MutationCtx, book: str, ranks: list[int]) -> list[str]:
        return [await ctx.db.insert(Note(book=book, rank=rank)) for rank in ranks]


    @mutation
    async def change(ctx: MutationCtx, id: str, rank: int | None) -> None:
        if rank is None:
            await ctx.db.delete(id)
        else:
            await ctx.db.patch(id, rank=rank)


    @mutation
    async def rename(ctx: MutationCtx, id: str, book: str) -> None:
        await ctx.db.patch(id, book=book)


    @query
    async def all(ctx: QueryCtx) -> list[Note]:
        return await ctx.db.query(Note).collect()


    @query
    async def ranked(ctx: QueryCtx) -> list[Note]:
        return await ctx.db.query(Note).with_index("by_rank", rank=gte(0)).collect()


    @query
    async def counted(ctx: QueryCtx, book: str) -> int:
        return await ctx.db.query(Note).with_index("count", book=book).count()
"""
BY_RANK, BY_BOOK, COUNT = 'by_rank = Index("rank")', 'by_book = Index("book")', 'count = Count("book")'


@pytest.fixture(autouse=True)
def few_documents_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "SMALL_MAX", 20)
    monkeypatch.setattr(reindex, "BATCH", 7)


@pytest.fixture(params=["memory", "sqlite"])
async def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Deployment:
    return Deployment(request.param, tmp_path)


class Deployment:
    """Data that versions of an app are started on one after the other."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.folder = folder
        self.store = new_store(kind, folder)
        self.kind = kind
        self.versions = 0

    @asynccontextmanager
    async def running(self, *indexes: str) -> AsyncIterator[Runtime]:
        self.versions += 1
        app = write_app(self.folder / f"v{self.versions}", f=APP.format(indexes="\n        ".join(indexes)))
        async with engine(self.store, app) as runtime:
            yield runtime
        if self.kind == "sqlite":
            self.store = new_store(self.kind, self.folder)

    async def entries(self, runtime: Runtime, table: TableSpec) -> dict[int, list[bytes]]:
        """The keys of all entries of a table, by slot."""
        snapshot = await self.store.snapshot(runtime.ts)
        by_slot: dict[int, list[bytes]] = {}
        try:
            for slot in range(keys.SLOTS_MAX):
                start = keys.index_prefix(table.number, slot)
                if rows := await snapshot.scan(start, keys.prefix_end(start), limit=100_000):
                    by_slot[slot] = [row.key for row in rows]
        finally:
            snapshot.close()
        return by_slot

    async def check(self, runtime: Runtime) -> None:
        """Every index has the entries that it should have, and nothing else is there."""
        table = notes(runtime)
        found = await self.entries(runtime, table)
        expected: dict[int, list[bytes]] = {0: found[0]}
        for each in await ask(runtime, "f:all"):
            internal = next(key for key in found[0] if _id(table, key) == each["_id"])
            for index, key in zip(table.indexes, table.entry_keys(each, keys.internal_of(internal)), strict=True):
                expected.setdefault(index.slot, []).append(key)
        assert found == {slot: sorted(expected[slot]) for slot in sorted(expected)}


def _id(table: TableSpec, key: bytes) -> str:
    return ids.encode_id(table.number, keys.internal_of(key))


def notes(runtime: Runtime) -> TableSpec:
    table = runtime.catalog.named("notes")
    assert table is not None
    return table


def ready(runtime: Runtime, *names: str) -> bool:
    table = notes(runtime)
    return {index.name: index.since is not None for index in table.indexes} == dict.fromkeys(
        ("by_creation_time", *names), True
    )


async def failure(runtime: Runtime, path: str, **args: Any) -> str:
    answer = await runtime.query(path, encoded(**args))
    return answer.failure.message if answer.failure else "none"


async def test_an_index_is_built_while_mutations_go_on(deployment: Deployment) -> None:
    dice = random.Random(1)
    async with deployment.running(BY_BOOK) as runtime:
        ids = await change(runtime, "f:add", book="a", ranks=list(range(200)))
    async with deployment.running(BY_BOOK, BY_RANK, COUNT) as runtime:
        assert "The index by_rank of notes is still being built" in await failure(runtime, "f:ranked")
        writes = 0
        while not ready(runtime, "by_book", "by_rank", "count"):
            match dice.randrange(3):
                case 0:
                    ids += await change(runtime, "f:add", book="b", ranks=[dice.randrange(500)])
                case 1:
                    await change(runtime, "f:change", id=dice.choice(ids), rank=dice.randrange(500))
                case 2:
                    await change(runtime, "f:change", id=ids.pop(dice.randrange(len(ids))), rank=None)
            writes += 1
        assert writes > 3
        await deployment.check(runtime)
        everything = await ask(runtime, "f:all")
        by_rank = sorted(everything, key=lambda note: (note["rank"], note["_creationTime"]))
        assert await ask(runtime, "f:ranked") == by_rank
        assert await ask(runtime, "f:counted", book="b") == sum(note["book"] == "b" for note in everything)


async def test_building_an_index_disturbs_nobody(deployment: Deployment) -> None:
    async with deployment.running() as runtime:
        await change(runtime, "f:add", book="a", ranks=list(range(100)))
    async with deployment.running(BY_RANK) as runtime:
        told: list[None] = []
        built = asyncio.Event()
        for path, listener in (("f:all", lambda: told.append(None)), ("f:ranked", built.set)):
            key = runtime.query_key(path, encoded())
            runtime.queries.subscribe(key, None, listener)
            await runtime.queries.at(key, None, runtime.ts)
        assert "being built" in await failure(runtime, "f:ranked")
        # What has found the index not ready runs again when it is.
        await built.wait()
        assert not told
        assert ready(runtime, "by_rank")
        assert len(await ask(runtime, "f:ranked")) == 100


async def test_documents_that_are_always_being_written_do_not_hold_it_up(deployment: Deployment) -> None:
    async with deployment.running() as runtime:
        ids = await change(runtime, "f:add", book="a", ranks=list(range(100)))
    async with deployment.running(BY_RANK) as runtime:

        async def write(id: str) -> None:
            for rank in itertools.count():
                if ready(runtime, "by_rank"):
                    break
                await change(runtime, "f:change", id=id, rank=rank)

        await asyncio.gather(*map(write, ids[:20]))
        await deployment.check(runtime)


async def test_a_write_to_another_field_has_its_document_entered_too(deployment: Deployment) -> None:
    async with deployment.running() as runtime:
        ids = await change(runtime, "f:add", book="a", ranks=list(range(100)))
    async with deployment.running(BY_RANK) as runtime:

        async def write(id: str) -> None:
            for book in itertools.count():
                if ready(runtime, "by_rank"):
                    break
                await change(runtime, "f:rename", id=id, book=f"b{book}")

        await asyncio.gather(*map(write, ids[:20]))
        await deployment.check(runtime)
        assert len(await ask(runtime, "f:ranked")) == 100


async def test_an_index_that_goes_takes_its_entries_with_it(deployment: Deployment) -> None:
    async with deployment.running(BY_RANK, COUNT, BY_BOOK) as runtime:
        await change(runtime, "f:add", book="a", ranks=list(range(100)))
    async with deployment.running(BY_BOOK) as runtime:
        assert "has no index 'by_rank'; it has by_id, by_creation_time, by_book." in await failure(runtime, "f:ranked")
        assert len(notes(runtime).indexes) == 4
        while not ready(runtime, "by_book"):
            await change(runtime, "f:add", book="b", ranks=[1])
        await deployment.check(runtime)


async def test_what_is_cut_off_is_done_at_the_next_start(deployment: Deployment) -> None:
    async with deployment.running() as runtime:
        await change(runtime, "f:add", book="a", ranks=list(range(100)))
    async with deployment.running(BY_RANK, COUNT) as runtime:
        await change(runtime, "f:add", book="a", ranks=[7])
        assert not ready(runtime, "by_rank", "count")
    async with deployment.running(BY_RANK, COUNT) as runtime:
        while not ready(runtime, "by_rank", "count"):
            await change(runtime, "f:add", book="b", ranks=[1])
        await deployment.check(runtime)
        assert await ask(runtime, "f:counted", book="a") == 101
