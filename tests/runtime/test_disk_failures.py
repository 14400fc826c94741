"""A page that is not what was written: a real server, whose file was changed while it was away."""

from __future__ import annotations

from pathlib import Path

import httpx2 as httpx
import pytest

from reliability.serving import serving
from tests.apps import write_app
from yugen.runtime.disk_failures import StorageDamaged, StorageFull, known_failure
from yugen.storage.interface import StorageError
from yugen_client import AsyncClient, FunctionError

APP = """
    from yugen import Document, Id, MutationCtx, QueryCtx, mutation, query


    class Page(Document, table="pages"):
        text: str


    @query
    async def text(ctx: QueryCtx, id: Id[Page]) -> str:
        return (await ctx.db.get(id)).text


    @query
    async def careless(ctx: QueryCtx, id: Id[Page]) -> str:
        try:
            return (await ctx.db.get(id)).text
        except Exception:
            return "there is none"


    @mutation
    async def add(ctx: MutationCtx, text: str) -> str:
        return await ctx.db.insert(Page(text=text))


    @mutation
    async def change(ctx: MutationCtx, id: Id[Page]) -> None:
        await ctx.db.patch(id, text="changed")
"""

SECRET = "where the worm has been"


async def test_what_is_damaged_is_never_answered_and_all_else_is(tmp_path: Path) -> None:
    app, data = write_app(tmp_path, f=APP), tmp_path / "data"
    spoilt = whole = ""
    async with (
        serving(app, data, expected_errors=["what is stored is damaged"]) as server,
        AsyncClient(server.url) as client,
    ):
        # Among others, so that its page is not one that a server reads when it starts.
        for number in range(200):
            if number == 100:
                spoilt = await client.mutation("f:add", {"text": SECRET * 50})
            whole = await client.mutation("f:add", {"text": "x" * 4000})
        await server.stop()

        file = data / "data.sqlite3"
        content = file.read_bytes()
        assert SECRET.encode() in content
        file.write_bytes(content.replace(SECRET.encode(), SECRET.replace("worm", "form").encode()))

        await server.start()
        for _ in range(2):
            for path in ("f:text", "f:careless"):
                with pytest.raises(FunctionError, match="StorageDamaged: What this needs is damaged on the disk"):
                    await client.query(path, {"id": spoilt})
            with pytest.raises(FunctionError, match="StorageDamaged"):
                await client.mutation("f:change", {"id": spoilt})
        assert await client.query("f:text", {"id": whole}) == "x" * 4000
        await client.mutation("f:change", {"id": whole})
        assert await client.query("f:text", {"id": whole}) == "changed"

        key = (data / "admin_key").read_text().strip()
        async with httpx.AsyncClient(base_url=server.url) as prometheus:
            metrics = await prometheus.get("/metrics", headers={"Authorization": f"Convex {key}"})
        assert 'yugen_storage_damaged{node="0"} 1.0' in metrics.text
        assert any(
            "what is stored is damaged" in line and "yugen import --replace-all" in line for line in server.lines
        )


def test_what_callers_are_told() -> None:
    assert isinstance(known_failure(StorageError("", full=True)), StorageFull)
    assert isinstance(known_failure(StorageError("", damaged=True)), StorageDamaged)
    assert known_failure(StorageError("", stopped=True)) is None
    assert known_failure(ValueError()) is None
