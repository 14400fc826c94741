"""What a document refers to is there, and what is deleted takes along, frees or keeps those who refer to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.apps import write_app
from tests.engine import ask, change, encoded, engine, new_store
from yugen import Document, Id, Ref
from yugen.runtime.runtime import Runtime
from yugen.schema import SchemaError

APP = """
    from typing import Any

    from yugen import (
        BrokenReference, Document, Id, Index, MutationCtx, QueryCtx, Ref, UniqueError, YugenError, mutation, query,
    )


    class User(Document, table="users"):
        name: str
        boss: Id["User"] | None = Ref("set_null")

        by_name = Index("name", unique=True)


    class Channel(Document, table="channels"):
        owner: Id[User] = Ref("restrict")


    class Message(Document, table="messages"):
        channel: Id[Channel] = Ref("cascade")
        author: Id[User] | None = Ref("set_null", alias="authorId")
        answers: Id["Message"] | None = Ref("cascade", default=None)

        by_channel = Index("channel", "author")


    @mutation
    async def insert(ctx: MutationCtx, table: str, fields: dict[str, Any]) -> str:
        return await ctx.db.insert(table, fields)


    @mutation
    async def patch(ctx: MutationCtx, id: str, fields: dict[str, Any]) -> None:
        await ctx.db.patch(id, fields)


    @mutation
    async def delete(ctx: MutationCtx, ids: list[str]) -> None:
        for id in ids:
            await ctx.db.delete(id)


    @mutation
    async def delete_or_keep(ctx: MutationCtx, id: str) -> str:
        try:
            await ctx.db.delete(id)
        except BrokenReference as error:
            return str(error)
        return "deleted"


    @mutation
    async def add_or_find(ctx: MutationCtx, name: str) -> list[Any]:
        try:
            return ["new", await ctx.db.insert(User(name=name))]
        except UniqueError as error:
            found = await ctx.db.query(User).with_index(User.by_name, name=name).unique()
            return [error.table, error.index, error.fields, found.id]


    @query
    async def everything(ctx: QueryCtx) -> dict[str, Any]:
        return {table: await ctx.db.query(table).collect() for table in ("users", "channels", "messages")}


    @query
    async def system(ctx: QueryCtx, table: str) -> list[dict[str, Any]]:
        return await ctx.db.system.query(table).collect()
"""


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    async with engine(new_store(request.param, tmp_path), write_app(tmp_path, f=APP)) as runtime:
        yield runtime


async def insert(runtime: Runtime, table: str, **fields: Any) -> str:
    new: str = await change(runtime, "f:insert", table=table, fields=fields)
    return new


async def failure(runtime: Runtime, name: str, **args: Any) -> str:
    answer = (await runtime.mutate(f"f:{name}", encoded(**args))).answer
    assert answer.failure is not None
    return answer.failure.message


async def there(runtime: Runtime) -> dict[str, list[str]]:
    everything = await ask(runtime, "f:everything")
    return {table: sorted(document["_id"] for document in documents) for table, documents in everything.items()}


async def test_what_a_document_refers_to_must_be_there(runtime: Runtime) -> None:
    ada = await insert(runtime, "users", name="ada")
    channel = await insert(runtime, "channels", owner=ada)
    ghost = await insert(runtime, "users", name="ghost")
    await change(runtime, "f:delete", ids=[ghost])
    text = await failure(runtime, "insert", table="channels", fields={"owner": ghost})
    assert f"BrokenReference: channels.owner refers to {ghost}, which is not there; insert it first." in text
    text = await failure(runtime, "patch", id=channel, fields={"owner": ghost})
    assert "channels.owner refers to" in text
    await change(runtime, "f:patch", id=ada, fields={"boss": ada})


async def test_what_others_need_is_kept(runtime: Runtime) -> None:
    ada = await insert(runtime, "users", name="ada")
    channel = await insert(runtime, "channels", owner=ada)
    text = await failure(runtime, "delete", ids=[ada])
    assert f"BrokenReference: delete: {channel} refers to {ada} by channels.owner" in text
    assert "refers to" in await change(runtime, "f:delete_or_keep", id=ada)
    assert (await there(runtime))["users"] == [ada]
    await change(runtime, "f:delete", ids=[channel, ada])
    assert (await there(runtime))["users"] == []


async def test_what_belongs_to_it_goes_along(runtime: Runtime) -> None:
    ada = await insert(runtime, "users", name="ada")
    one, other = [await insert(runtime, "channels", owner=ada) for _ in range(2)]
    first = await insert(runtime, "messages", channel=one, authorId=ada)
    kept = await insert(runtime, "messages", channel=other)
    # Answers go with what they answer, wherever they are; also around a circle.
    answer = await insert(runtime, "messages", channel=other, answers=first)
    await insert(runtime, "messages", channel=one, answers=answer)
    await change(runtime, "f:patch", id=first, fields={"answers": answer})
    for _ in range(300):
        await insert(runtime, "messages", channel=one)
    await change(runtime, "f:delete", ids=[one])
    assert await there(runtime) == {"users": [ada], "channels": [other], "messages": [kept]}


async def test_who_can_do_without_it_is_freed(runtime: Runtime) -> None:
    ada, bob = [await insert(runtime, "users", name=name) for name in ("ada", "bob")]
    await change(runtime, "f:patch", id=bob, fields={"boss": ada})
    channel = await insert(runtime, "channels", owner=bob)
    message = await insert(runtime, "messages", channel=channel, authorId=ada)
    await change(runtime, "f:delete", ids=[ada])
    everything = await ask(runtime, "f:everything")
    assert [(user["_id"], user["boss"]) for user in everything["users"]] == [(bob, None)]
    assert [(each["_id"], each["authorId"]) for each in everything["messages"]] == [(message, None)]


async def test_a_race_leaves_no_reference_to_nothing(runtime: Runtime) -> None:
    for n in range(10):
        ada = await insert(runtime, "users", name=f"ada {n}")
        await asyncio.gather(
            runtime.mutate("f:insert", encoded(table="channels", fields={"owner": ada})),
            runtime.mutate("f:delete", encoded(ids=[ada])),
        )
    everything = await ask(runtime, "f:everything")
    users = {user["_id"] for user in everything["users"]}
    assert all(channel["owner"] in users for channel in everything["channels"])


async def test_a_duplicate_can_be_told_by_its_type(runtime: Runtime) -> None:
    new, ada = await change(runtime, "f:add_or_find", name="ada")
    assert new == "new"
    assert await change(runtime, "f:add_or_find", name="ada") == ["users", "by_name", {"name": '"ada"'}, ada]
    results = await asyncio.gather(*(change(runtime, "f:add_or_find", name="bob") for _ in range(8)))
    assert [result[0] for result in results].count("new") == 1


async def test_system_tables_can_be_read(runtime: Runtime) -> None:
    assert await ask(runtime, "f:system", table="_storage") == []
    for table in ("_tables", "users"):
        answer = await runtime.query("f:system", encoded(table=table))
        assert answer.failure is not None
        assert "TableNotFound" in answer.failure.message


@pytest.mark.parametrize("strict", [True, False])
async def test_a_strict_app_has_no_other_tables(tmp_path: Path, strict: bool) -> None:
    loose = """
        from typing import Any

        from yugen import MutationCtx, QueryCtx, mutation, query


        @mutation
        async def insert(ctx: MutationCtx) -> None:
            await ctx.db.insert("loose", {})


        @query
        async def count(ctx: QueryCtx) -> int:
            return await ctx.db.query("loose").count()
    """
    app = write_app(tmp_path, g=loose, schema=f"strict = {strict}\n")
    async with engine(new_store("memory", tmp_path), app) as runtime:
        for answer in ((await runtime.mutate("g:insert", encoded())).answer, await runtime.query("g:count", encoded())):
            if strict:
                assert answer.failure is not None
                assert "TableNotFound: loose has no class, and this app is strict" in answer.failure.message
            else:
                assert answer.failure is None


async def test_documents_that_come_later_are_younger_whatever_the_clock_does(tmp_path: Path) -> None:
    clock = [5_000_000_000_000_000.0]
    async with engine(
        new_store("memory", tmp_path), write_app(tmp_path, f=APP), clock=lambda: int(clock[0])
    ) as runtime:
        times = []
        for n, step in enumerate([0, 1e9, -7.2e12, 0, 1, 1e6, -1e3]):
            clock[0] += step
            await insert(runtime, "users", name=str(n))
            everything = await ask(runtime, "f:everything")
            times.append(everything["users"][-1]["_creationTime"])
            assert everything["users"][-1]["name"] == str(n)
        assert times == sorted(set(times))


def test_a_reference_says_what_can_become_of_it() -> None:
    with pytest.raises(SchemaError, match="cannot become null"):

        class One(Document, table="one"):
            other: Id[One] = Ref("set_null")

    with pytest.raises(SchemaError, match="Ref is for an id"):

        class Two(Document, table="two"):
            other: str = Ref("cascade")

    with pytest.raises(SchemaError, match="Ref takes"):
        Ref("explode")  # type: ignore[arg-type]
