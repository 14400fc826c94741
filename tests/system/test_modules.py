"""What functions take and give, as tools see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.apps import write_app
from tests.engine import encoded, engine, value_of
from yugen.storage.memory import MemoryStore

NOTES = """
    from yugen import (
        ActionCtx, Document, Id, Int64, MutationCtx, PaginationOptions, QueryCtx,
        action, internal_query, mutation, query,
    )


    class Note(Document, table="notes"):
        text: str
        votes: Int64 = Int64(0)


    @query(name="list")
    async def list_notes(ctx: QueryCtx, paginationOpts: PaginationOptions, limit: int = 10) -> list[Note]:
        return []


    @mutation
    async def add(ctx: MutationCtx, text: str) -> Id[Note]:
        return await ctx.db.insert(Note(text=text))


    @action
    async def anything(ctx: ActionCtx, **args: object):
        pass


    @internal_query
    async def hidden(ctx: QueryCtx) -> None:
        pass
"""


async def specified(tmp_path: Path, **modules: str) -> Any:
    async with engine(MemoryStore(), write_app(tmp_path, **modules)) as runtime:
        return value_of(await runtime.query("_system/cli/modules:apiSpec", encoded(), public=False))


async def test_functions_by_path_with_what_they_take_and_give(tmp_path: Path) -> None:
    spec = await specified(tmp_path, admin__notes=NOTES)
    assert [(each["identifier"], each["functionType"], each["visibility"]["kind"]) for each in spec] == [
        ("admin/notes.js:add", "Mutation", "public"),
        ("admin/notes.js:anything", "Action", "public"),
        ("admin/notes.js:hidden", "Query", "internal"),
        ("admin/notes.js:list", "Query", "public"),
    ]
    add, anything, hidden, listing = spec
    text = {"fieldType": {"type": "string"}, "optional": False}
    assert add["args"] == {"type": "object", "value": {"text": text}}
    assert add["returns"] == {"type": "id", "tableName": "notes"}
    assert (anything["args"], anything["returns"]) == ({"type": "any"}, {"type": "any"})
    assert (hidden["args"], hidden["returns"]) == ({"type": "object", "value": {}}, {"type": "null"})
    assert {name: field["optional"] for name, field in listing["args"]["value"].items()} == {
        "paginationOpts": False,
        "limit": True,
    }
    votes = listing["returns"]["value"]["value"]["votes"]
    assert votes == {"fieldType": {"type": "bigint"}, "optional": False}


async def test_an_app_without_functions(tmp_path: Path) -> None:
    assert await specified(tmp_path, empty="") == []
