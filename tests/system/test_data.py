"""Tables and documents as administrators see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.apps import write_app
from tests.engine import change, encoded, engine, value_of
from yugen.runtime.runtime import Runtime
from yugen.storage.memory import MemoryStore
from yugen.values import Int64

APP = """
    from typing import Any

    from yugen import Document, MutationCtx, mutation


    class Note(Document, table="notes"):
        text: str


    @mutation
    async def add(ctx: MutationCtx, table: str, text: str) -> None:
        await ctx.db.insert(table, {"text": text})


    @mutation
    async def put(ctx: MutationCtx, value: Any) -> None:
        await ctx.db.insert("things", {"inner": {"value": value}})
"""


@pytest_asyncio.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    async with engine(MemoryStore(), write_app(tmp_path, f=APP)) as runtime:
        yield runtime


async def page(runtime: Runtime, name: str, size: int = 10, cursor: str | None = None, **args: Any) -> Any:
    options = {"numItems": size, "cursor": cursor}
    return value_of(await runtime.query(f"_system/cli/{name}", encoded(paginationOpts=options, **args), public=False))


async def test_the_tables_are_those_of_the_app_by_name(runtime: Runtime) -> None:
    await change(runtime, "f:add", table="loose", text="x")
    result = await page(runtime, "tables")
    assert result["page"] == [{"name": "loose"}, {"name": "notes"}]
    assert result["isDone"]


async def test_documents_come_page_by_page_in_either_order(runtime: Runtime) -> None:
    for text in "abc":
        await change(runtime, "f:add", table="notes", text=text)
    first = await page(runtime, "tableData", 2, table="notes")
    assert [document["text"] for document in first["page"]] == ["c", "b"]
    assert first["page"][0].keys() == {"_id", "_creationTime", "text"}
    second = await page(runtime, "tableData", 2, first["continueCursor"], table="notes")
    assert ([document["text"] for document in second["page"]], second["isDone"]) == (["a"], True)
    ascending = await page(runtime, "tableData", 1, table="notes", order="asc")
    assert [document["text"] for document in ascending["page"]] == ["a"]


async def test_a_table_that_does_not_exist_is_empty(runtime: Runtime) -> None:
    result = await page(runtime, "tableData", table="nothing")
    assert (result["page"], result["isDone"]) == ([], True)


@pytest.mark.parametrize(
    ("comparison", "value", "found"),
    [
        ("eq", 2.0, [2.0, Int64(2)]),
        ("eq", Int64(2), [2.0, Int64(2)]),
        ("ne", 2.0, [None, "2", "a", True, [1.0], b"a"]),
        ("eq", None, [None]),
        ("eq", [1.0], [[1.0]]),
        ("eq", True, [True]),
        ("gte", "2", ["2", "a"]),
        ("lt", Int64(3), [2.0, Int64(2)]),
        ("gt", 2.0, []),
        ("lte", b"b", [b"a"]),
        ("lte", None, [None]),
    ],
)
async def test_documents_for_which_a_condition_holds(runtime: Runtime, comparison: str, value: Any, found: Any) -> None:
    for each in [None, 2.0, Int64(2), "2", "a", True, [1.0], b"a"]:
        await change(runtime, "f:put", value=each)
    condition = {"field": "inner.value", "comparison": comparison, "value": value}
    result = await page(runtime, "tableData", table="things", order="asc", where=[condition])
    assert [document["inner"]["value"] for document in result["page"]] == found
    absent = await page(runtime, "tableData", table="things", where=[condition | {"field": "inner.other"}])
    assert len(absent["page"]) == (8 if comparison == "ne" else 0)


async def test_pages_go_on_over_documents_for_which_it_does_not_hold(runtime: Runtime) -> None:
    for number in range(5):
        await change(runtime, "f:put", value=number)
    where = [{"field": "inner.value", "comparison": "eq", "value": 0}]
    found: list[Any] = []
    cursor, done = None, False
    while not done:
        options = {"numItems": 1, "cursor": cursor, "maximumRowsRead": 2}
        args = encoded(paginationOpts=options, table="things", where=where)
        result = value_of(await runtime.query("_system/cli/tableData", args, public=False))
        found, cursor, done = found + result["page"], result["continueCursor"], result["isDone"]
    assert [document["inner"]["value"] for document in found] == [0]
