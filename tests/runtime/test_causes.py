"""Every rerun and every lost race can be explained: who wrote what, and what that did."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.apps import write_app
from tests.engine import change, encoded, engine
from yugen.runtime.causes import IMAGE_SIZE_MAX, KEPT_MAX, SLOW_SECONDS, Loss, Rerun
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.runtime import Runtime
from yugen.storage.memory import MemoryStore

APP = """
    import time
    from typing import Any

    from yugen import Document, Index, MutationCtx, QueryCtx, mutation, query


    class Note(Document, table="notes"):
        book: str
        text: str = ""
        stars: int = 0

        by_book = Index("book")


    @query
    async def texts(ctx: QueryCtx, book: str) -> list[str]:
        return [note.text for note in await ctx.db.query(Note).with_index(Note.by_book, book=book).collect()]


    @query
    async def starred(ctx: QueryCtx) -> int:
        return await ctx.db.query(Note).filter(lambda note: note.stars > 3).count()


    @mutation
    async def slow(ctx: MutationCtx, seconds: float) -> None:
        await ctx.db.query(Note).collect()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass


    @mutation
    async def add(ctx: MutationCtx, book: str, text: str = "") -> str:
        return await ctx.db.insert(Note(book=book, text=text))


    @mutation
    async def patch(ctx: MutationCtx, id: str, fields: dict[str, Any]) -> None:
        await ctx.db.patch(id, fields)


    @mutation
    async def patch_two(ctx: MutationCtx, ids: list[str]) -> None:
        await ctx.db.patch(ids[0], stars=1)
        await ctx.db.patch(ids[1], stars=5)


    @mutation
    async def count_up(ctx: MutationCtx, id: str) -> None:
        note = await ctx.db.get(id)
        await ctx.db.patch(id, stars=note.stars + 1)
"""


@pytest_asyncio.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    async with engine(MemoryStore(), write_app(tmp_path, f=APP)) as runtime:
        yield runtime


def subscribe(runtime: Runtime, path: str, times: int = 1, **args: Any) -> Any:
    key = runtime.query_key(path, encoded(**args))
    for _ in range(times):
        runtime.queries.subscribe(key, None, lambda: None)
    return key


def why(runtime: Runtime, **options: Any) -> list[dict[str, Any]]:
    return runtime.queries.causes.to_json(runtime.catalog, **options)


async def test_a_rerun_says_who_wrote_which_document_and_fields(runtime: Runtime) -> None:
    key = subscribe(runtime, "f:texts", times=3, book="a")
    await runtime.queries.at(key, None, runtime.ts)
    assert why(runtime) == []
    note = await change(runtime, "f:add", book="a", text="x")
    await runtime.queries.at(key, None, runtime.ts)
    await change(runtime, "f:patch", id=note, fields={"text": "y", "stars": 1})
    await runtime.queries.at(key, None, runtime.ts)
    changed, inserted = why(runtime)
    assert inserted["function"] == "f:texts"
    assert (inserted["args"], inserted["subscribers"], inserted["ranges"]) == ('{"book":"a"}', 3, 1)
    assert inserted["milliseconds"] > 0
    because = inserted["because"]
    assert (because["mutation"], because["document"], because["table"]) == ("f:add", note, "notes")
    assert because["change"] == "inserted"
    assert len(because["requestId"]) == 16
    assert (changed["because"]["change"], changed["because"]["fields"]) == ("changed", ["stars", "text"])
    assert (inserted["reads"], because["read"]) == (['notes.by_book: book == "a"'], 'notes.by_book: book == "a"')
    assert (inserted["functionType"], inserted["documents"], changed["documents"]) == ("query", 1, 1)
    assert inserted["milliseconds"] >= inserted["ownMilliseconds"] > 0
    assert changed["at"] >= inserted["at"] > 1e12
    assert why(runtime, function="f:none") == []
    assert why(runtime, limit=1) == [changed]


async def test_of_several_writes_the_one_is_named_that_mattered(runtime: Runtime) -> None:
    ids = [await change(runtime, "f:add", book="a") for _ in range(2)]
    key = subscribe(runtime, "f:starred")
    await runtime.queries.at(key, None, runtime.ts)
    await change(runtime, "f:patch_two", ids=ids)
    await runtime.queries.at(key, None, runtime.ts)
    (rerun,) = why(runtime)
    assert rerun["because"]["document"] == ids[1]
    assert rerun["because"]["read"] == "notes.by_creation_time: all, filtered, only which there are"
    assert rerun["changed"]


async def test_a_rerun_that_changed_nothing_says_so(runtime: Runtime) -> None:
    note = await change(runtime, "f:add", book="a")
    key = subscribe(runtime, "f:texts", book="a")
    await runtime.queries.at(key, None, runtime.ts)
    await change(runtime, "f:patch", id=note, fields={"stars": 3})
    await runtime.queries.at(key, None, runtime.ts)
    assert [rerun["changed"] for rerun in why(runtime)] == [False]


async def test_a_lost_race_says_to_whom(runtime: Runtime) -> None:
    note = await change(runtime, "f:add", book="a")
    await asyncio.gather(*(change(runtime, "f:count_up", id=note) for _ in range(4)))
    conflicts = why(runtime)
    assert conflicts
    assert {each["kind"] for each in conflicts} == {"conflict"}
    assert all(each["function"] == "f:count_up" for each in conflicts)
    assert all(each["because"]["fields"] == ["stars"] for each in conflicts)
    assert all(each["because"]["requestId"] != each["requestId"] for each in conflicts)
    assert max(each["losses"] for each in conflicts) >= 1


async def test_what_took_long_says_how_long_and_what_was_read(runtime: Runtime) -> None:
    await change(runtime, "f:add", book="a")
    assert why(runtime, function="f:slow") == []
    await change(runtime, "f:slow", seconds=SLOW_SECONDS)
    (slow,) = why(runtime)
    assert (slow["kind"], slow["functionType"], slow["function"]) == ("slow", "mutation", "f:slow")
    assert slow["milliseconds"] >= slow["ownMilliseconds"] >= SLOW_SECONDS * 1000
    assert (slow["documents"], slow["reads"]) == (1, ["notes.by_creation_time: all"])


async def test_what_is_remembered_is_bounded(runtime: Runtime) -> None:
    note = await change(runtime, "f:add", book="a")
    key = subscribe(runtime, "f:texts", book="a")
    await runtime.queries.at(key, None, runtime.ts)
    await change(runtime, "f:patch", id=note, fields={"text": "x" * IMAGE_SIZE_MAX})
    await runtime.queries.at(key, None, runtime.ts)
    (rerun,) = why(runtime)
    assert (rerun["because"]["change"], rerun["because"]["fields"]) == ("changed", None)
    (kept,) = runtime.queries.causes
    assert isinstance(kept, Rerun)
    outcome = Outcome(Answer(b"null"))
    for _ in range(KEPT_MAX + 10):
        runtime.queries.causes.add_rerun("f:texts", b"{}", runtime.ts, outcome, 0.1, kept.cause, 1, True)
        runtime.queries.causes.add_loss(Loss(kept.run, "r", kept.cause, 1))
    assert Counter(map(type, runtime.queries.causes)) == {Rerun: KEPT_MAX, Loss: KEPT_MAX}
