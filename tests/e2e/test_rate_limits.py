"""A limit under many clients at once, on real sockets and over several nodes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2 as httpx
import pytest

from reliability.serving import SECONDS_MAX, serving
from tests.apps import write_app
from yugen_client import AsyncClient

APP = """
    from datetime import timedelta

    from yugen import MutationCtx, QueryCtx, RateLimit, mutation, query

    LIMITS = {
        "one row": RateLimit("one row", rate=1, per=timedelta(hours=1), burst=20),
        "shards": RateLimit("shards", rate=1, per=timedelta(hours=1), burst=20, shards=4),
        "window": RateLimit.fixed("window", rate=20, per=timedelta(hours=1)),
    }


    @mutation
    async def take(ctx: MutationCtx, limit: str) -> None:
        await ctx.db.insert("taken", {})
        await LIMITS[limit].take(ctx, ("everybody", "here"))


    @query
    async def left(ctx: QueryCtx, limit: str) -> int:
        return (await LIMITS[limit].check(ctx, ("everybody", "here"))).remaining


    @query
    async def taken(ctx: QueryCtx) -> int:
        return await ctx.db.query("taken").count()
"""


@pytest.mark.parametrize("limit", ["one row", "shards", "window"])
async def test_of_fifty_clients_exactly_those_succeed_that_may(tmp_path: Path, limit: str) -> None:
    app = write_app(tmp_path / "app", f=APP)
    async with (
        serving(app, tmp_path / "data", "--workers", "2", development=False) as server,
        AsyncClient(server.url) as watching,
        watching.subscribe("f:left", {"limit": limit}) as lefts,
    ):
        assert await anext(lefts) == 20

        async def hammer() -> list[str]:
            async with httpx.AsyncClient(base_url=server.url, timeout=SECONDS_MAX) as client:
                codes = []
                for _ in range(2):
                    body = {"path": "f:take", "args": {"limit": limit}, "format": "json"}
                    answer = (await client.post("/api/mutation", json=body)).json()
                    codes.append(answer["errorData"]["code"] if answer["status"] == "error" else "taken")
                return codes

        codes = [code for each in await asyncio.gather(*(hammer() for _ in range(50))) for code in each]
        assert codes.count("taken") == 20
        assert codes.count("RateLimited") == 80
        assert await watching.query("f:taken") == 20, "what was refused has written nothing"
        async with asyncio.timeout(SECONDS_MAX):
            while await anext(lefts) != 0:
                pass
