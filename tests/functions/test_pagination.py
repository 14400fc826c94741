"""Pages of a query: where they begin and end, and that they stay gapless while documents come and go."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.apps import write_app
from tests.engine import change, encoded, engine
from yugen import PaginationOptions, PaginationResult, values
from yugen.functions import pagination
from yugen.runtime.outcome import Answer
from yugen.runtime.runtime import Runtime
from yugen.storage.memory import MemoryStore

APP = """
    from yugen import (
        Document, Id, Index, MutationCtx, PaginationOptions, PaginationResult, QueryCtx, mutation, query,
    )


    class Item(Document, table="items"):
        group: str
        rank: float

        by_rank = Index("group", "rank")


    @mutation
    async def put(ctx: MutationCtx, rank: float, group: str = "a") -> Id[Item]:
        return await ctx.db.insert(Item(group=group, rank=rank))


    @mutation
    async def drop(ctx: MutationCtx, rank: float) -> None:
        for item in await ctx.db.query(Item).with_index(Item.by_rank, group="a", rank=rank).collect():
            await ctx.db.delete(item.id)


    @query
    async def items(
        ctx: QueryCtx, opts: PaginationOptions, group: str = "a", order: str = "asc", odd: bool = False
    ) -> PaginationResult[Item]:
        found = ctx.db.query(Item).with_index(Item.by_rank, group=group).order(order)
        if odd:
            found = found.filter(lambda item: item.rank % 2 == 1)
        return await found.paginate(opts)


    @query
    async def ranks(ctx: QueryCtx, opts: PaginationOptions) -> PaginationResult[float]:
        result = await items(ctx, opts)
        return result.with_page([item.rank for item in result.page])


    @query
    async def loose(ctx: QueryCtx, paginationOpts: PaginationOptions, table: str) -> PaginationResult[dict]:
        return await ctx.db.query(table).paginate(paginationOpts)


    @query
    async def twice(ctx: QueryCtx, opts: PaginationOptions) -> None:
        await ctx.db.query(Item).paginate(opts)
        await ctx.db.query(Item).paginate(opts)


    @mutation
    async def sweep(ctx: MutationCtx, size: int) -> int:
        cursor, pages = None, 0
        while True:
            result = await ctx.db.query(Item).paginate(PaginationOptions(num_items=size, cursor=cursor))
            for item in result.page:
                await ctx.db.delete(item.id)
            pages += 1
            if result.is_done:
                return pages
            cursor = result.continue_cursor
"""


@pytest_asyncio.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    async with engine(MemoryStore(), write_app(tmp_path, f=APP)) as runtime:
        yield runtime


async def put(runtime: Runtime, *ranks: float) -> None:
    for rank in ranks:
        await change(runtime, "f:put", rank=rank)


async def answer(runtime: Runtime, function: str, journal: str | None = None, /, **args: Any) -> Answer:
    return await runtime.queries.at(
        runtime.query_key(f"f:{function}", encoded(**args), journal=journal), None, runtime.ts
    )


async def page(runtime: Runtime, size: int, cursor: str | None = None, /, **more: Any) -> Any:
    """One page as a client gets it, with the journal of its run."""
    journal, function = more.pop("journal", None), more.pop("function", "items")
    options = {"numItems": size, "cursor": cursor, **more.pop("options", {})}
    got = await answer(runtime, function, journal, paginationOpts=options, **more)
    assert got.failure is None, got.failure.message
    result = values.loads(got.value or b"")
    assert isinstance(result, dict)
    assert got.journal == result["continueCursor"]
    return result | {"journal": got.journal}


def ranks(result: Any) -> list[float]:
    return [item["rank"] for item in result["page"]]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_follow_one_another_to_the_end(runtime: Runtime, order: str) -> None:
    await put(runtime, *range(10))
    await change(runtime, "f:put", rank=5, group="b")
    seen, cursor, sizes = [], None, []
    while True:
        result = await page(runtime, 4, cursor, order=order)
        seen += ranks(result)
        sizes.append(len(result["page"]))
        cursor = result["continueCursor"]
        if result["isDone"]:
            break
    assert seen == list(range(10) if order == "asc" else reversed(range(10)))
    assert sizes == [4, 4, 2]
    after = await page(runtime, 4, cursor, order=order)
    assert (after["page"], after["isDone"], after["continueCursor"]) == ([], True, cursor)


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_run_again_with_its_journal_grows_and_shrinks_with_its_range(runtime: Runtime, order: str) -> None:
    await put(runtime, 0, 10, 20, 30)
    first = await page(runtime, 2, order=order)
    second = await page(runtime, 2, first["continueCursor"], order=order)
    await put(runtime, 5, 6, 25, 26, -1, 31, 15)
    await change(runtime, "f:drop", rank=10)
    again = [
        await page(runtime, 2, None, order=order, journal=first["journal"]),
        await page(runtime, 2, first["continueCursor"], order=order, journal=second["journal"]),
    ]
    together = [rank for result in again for rank in ranks(result)]
    if order == "asc":
        # 15 lies after the end of the first page, 31 after that of the second, which was not the end of the range.
        assert (ranks(again[0]), ranks(again[1])) == ([-1, 0, 5, 6], [15, 20, 25, 26, 30])
    else:
        assert together == [31, 30, 26, 25, 20, 15, 6, 5, 0]
    assert [result["continueCursor"] for result in again] == [first["continueCursor"], second["continueCursor"]]
    assert [result["isDone"] for result in again] == [False, False]


async def test_the_last_page_takes_in_what_comes_after_it(runtime: Runtime) -> None:
    await put(runtime, 1, 2)
    last = await page(runtime, 5)
    assert last["isDone"]
    await put(runtime, 3)
    again = await page(runtime, 5, journal=last["journal"])
    assert (ranks(again), again["isDone"], again["continueCursor"]) == ([1, 2, 3], True, last["continueCursor"])


async def test_trap_40_an_end_cursor_fixes_the_end_and_wins_over_the_journal(runtime: Runtime) -> None:
    await put(runtime, *range(6))
    long, short = await page(runtime, 4), await page(runtime, 2)
    fixed = await page(runtime, 1, options={"endCursor": short["continueCursor"]}, journal=long["journal"])
    assert (ranks(fixed), fixed["continueCursor"], fixed["isDone"]) == ([0, 1], short["continueCursor"], False)


async def test_trap_40_a_page_splits_into_two_that_make_it_up(runtime: Runtime) -> None:
    await put(runtime, *range(9))
    whole = await page(runtime, 9)
    assert whole["pageStatus"] is None
    left = await page(runtime, 9, options={"endCursor": whole["splitCursor"]})
    right = await page(runtime, 9, whole["splitCursor"], options={"endCursor": whole["continueCursor"]})
    assert ranks(left) + ranks(right) == list(range(9))
    assert 4 <= len(ranks(left)) <= 5


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_trap_38_the_cursor_at_the_end_is_a_string(runtime: Runtime, order: str) -> None:
    for documents in range(3):
        last = await page(runtime, 5, order=order)
        assert last["isDone"]
        assert isinstance(last["continueCursor"], str)
        assert last["continueCursor"] == (await page(runtime, 5, last["continueCursor"], order=order))["continueCursor"]
        await put(runtime, documents)


async def test_trap_39_the_same_place_has_the_same_cursor(tmp_path: Path) -> None:
    store, app = MemoryStore(), write_app(tmp_path, f=APP)
    results: list[Any] = []
    for _ in range(2):
        async with engine(store, app) as runtime:
            if not results:
                await put(runtime, *range(9))
            await put(runtime, 100)  # beyond the page
            first = await page(runtime, 5)
            results += [first, await page(runtime, 7, options={"endCursor": first["continueCursor"]})]
    assert results == [results[0]] * 4


async def test_trap_40_a_page_that_cannot_be_split_has_no_cursor_to_split_at(runtime: Runtime) -> None:
    for rows in range(3):
        whole = await page(runtime, 9)
        assert (len(whole["page"]), whole["splitCursor"]) == (rows, None)
        fixed = await page(runtime, 1, options={"endCursor": whole["continueCursor"]})
        assert (len(fixed["page"]), fixed["splitCursor"]) == (rows, None)
        await put(runtime, rows)
    assert (await page(runtime, 9))["splitCursor"] is not None


async def test_filtered_pages_are_as_long_as_was_asked_for(runtime: Runtime) -> None:
    await put(runtime, *range(10))
    first = await page(runtime, 3, odd=True)
    assert (ranks(first), first["isDone"]) == ([1, 3, 5], False)
    second = await page(runtime, 3, first["continueCursor"], odd=True)
    assert (ranks(second), second["isDone"]) == ([7, 9], True)


async def test_bounds_of_what_is_read_end_a_first_page_and_not_a_fixed_one(runtime: Runtime) -> None:
    await put(runtime, *range(10))
    for bound in ({"maximumRowsRead": 4}, {"maximumBytesRead": 1}):
        short = await page(runtime, 9, odd=True, options=bound)
        assert len(short["page"]) < 5
        assert not short["isDone"]
        fixed = await page(runtime, 9, options={**bound, "endCursor": (await page(runtime, 9))["continueCursor"]})
        assert len(fixed["page"]) == 9


async def test_a_page_that_outgrows_the_limits_asks_to_be_split(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "PAGE_ROWS_MAX", 8)
    await put(runtime, 0, 100)
    first = await page(runtime, 2)
    await put(runtime, *range(1, 6))
    grown = await page(runtime, 2, journal=first["journal"])
    assert (len(grown["page"]), grown["pageStatus"]) == (7, "SplitRecommended")
    await put(runtime, *range(6, 20))
    cut = await page(runtime, 2, journal=first["journal"])
    assert cut["pageStatus"] == "SplitRequired"
    assert cut["continueCursor"] == first["continueCursor"]
    parts = [
        await page(runtime, 2, options={"endCursor": cut["splitCursor"]}),
        await page(runtime, 2, cut["splitCursor"], options={"endCursor": cut["continueCursor"]}),
    ]
    assert ranks(parts[0]) == [0, 1, 2, 3]
    assert parts[1]["pageStatus"] == "SplitRequired"


@pytest.mark.parametrize("bad", ["nonsense", "", "other query", "other order"])
async def test_a_cursor_of_another_query_is_an_error_clients_know(runtime: Runtime, bad: str) -> None:
    await put(runtime, 1, 2, 3)
    if bad == "other query":
        bad = (await page(runtime, 1, group="b"))["continueCursor"]
    elif bad == "other order":
        bad = (await page(runtime, 1, order="desc"))["continueCursor"]
    for options, journal in [({"cursor": bad}, None), ({"endCursor": bad}, None), ({}, bad or "-")]:
        got = await answer(runtime, "items", journal, paginationOpts={"numItems": 1, "cursor": None} | options)
        assert got.failure is not None
        assert json.loads(got.failure.data or b"") == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
        assert got.journal == journal


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"numItems": 0, "cursor": None}, "`paginationOpts.numItems`"),
        ({"numItems": 1.5, "cursor": None}, "`paginationOpts.numItems`"),
        ({"cursor": None}, "`paginationOpts.numItems`"),
        ({"numItems": 1, "cursor": 5}, "`paginationOpts.cursor` of f:items must be a string"),
    ],
)
async def test_wrong_options_name_the_option(runtime: Runtime, options: dict[str, Any], told: str) -> None:
    got = await answer(runtime, "items", paginationOpts=options)
    assert got.failure is not None
    assert told in got.failure.message


async def test_options_that_newer_clients_send_are_passed_over(runtime: Runtime) -> None:
    assert (await page(runtime, 1, options={"id": 7, "somethingNew": True}))["isDone"]


async def test_a_function_may_turn_documents_into_something_else(runtime: Runtime) -> None:
    await put(runtime, 1, 2)
    assert (await page(runtime, 5, function="ranks"))["page"] == [1, 2]


async def test_a_table_that_does_not_exist_yet_has_one_empty_page(runtime: Runtime) -> None:
    empty = await page(runtime, 5, function="loose", table="nothing")
    assert (empty["page"], empty["isDone"]) == ([], True)
    again = await page(runtime, 5, function="loose", table="nothing", journal=empty["journal"])
    assert again == empty


async def test_a_query_paginates_once_and_a_mutation_as_often_as_it_likes(runtime: Runtime) -> None:
    await put(runtime, *range(7))
    got = await answer(runtime, "twice", paginationOpts={"numItems": 1, "cursor": None})
    assert got.failure is not None
    assert "A query paginates once" in got.failure.message
    assert await change(runtime, "f:sweep", size=3) == 3
    assert (await page(runtime, 5))["page"] == []


@pytest.mark.parametrize("seed", range(5))
async def test_subscribed_pages_have_no_gaps_and_no_duplicates(runtime: Runtime, seed: int) -> None:
    """Pages are loaded one after the other and run again with their journals, amid random writes."""
    dice = random.Random(seed)
    order = dice.choice(["asc", "desc"])
    there: set[float] = set()
    pages: list[dict[str, Any]] = []

    async def show() -> list[float]:
        shown: list[float] = []
        for at, held in enumerate(pages):
            new = await page(runtime, 5, held["cursor"], order=order, journal=held["journal"])
            pages[at] = new | {"cursor": held["cursor"]}
            assert new["continueCursor"] == held["continueCursor"]
            shown += ranks(new)
        return shown

    for _ in range(60):
        rank = float(dice.randrange(100))
        if rank in there:
            await change(runtime, "f:drop", rank=rank)
            there.remove(rank)
        else:
            await put(runtime, rank)
            there.add(rank)
        if dice.random() < 0.2 and not (pages and pages[-1]["isDone"]):
            cursor = pages[-1]["continueCursor"] if pages else None
            pages.append(await page(runtime, 5, cursor, order=order) | {"cursor": cursor})
        shown = await show()
        everything = sorted(there, reverse=order == "desc")
        assert shown == everything[: len(shown)]
        if pages and pages[-1]["isDone"]:
            assert shown == everything


def test_options_and_results_have_their_names_in_python() -> None:
    options = PaginationOptions(num_items=5, end_cursor="x")
    assert (options.num_items, options.cursor, options.end_cursor) == (5, None, "x")
    result = PaginationResult[int](page=[1], is_done=True, continue_cursor="c")
    assert result.with_page(["a"]).page == ["a"]
