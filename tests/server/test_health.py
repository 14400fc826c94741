"""`/health` and `/ready`, asked as those do who start servers and those who balance load."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.apps import write_app
from yugen import __version__
from yugen.server.health import health, readiness
from yugen.server.yugen import Yugen

APP = """
    from yugen import QueryCtx, query


    @query
    async def nothing(ctx: QueryCtx) -> None:
        pass
"""


@asynccontextmanager
async def asking(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, client=("9.9.9.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7:3210") as client:
        yield client


@pytest.fixture
def yugen(tmp_path: Path) -> Yugen:
    return Yugen(
        write_app(tmp_path, f=APP),
        database=tmp_path / "data",
        allowed_hosts=["api.example.com"],
        limits={"address_requests": 2},
    )


async def test_it_is_ready_while_it_serves(yugen: Yugen) -> None:
    async with asking(yugen.asgi()) as client:
        assert (await client.get("/health")).status_code == 200
        before = await client.get("/ready")
        assert before.status_code == 503
        assert before.json() == {"code": "NotServing", "message": "This server is starting."}
        async with yugen:
            for path in ("/health", "/ready"):
                answer = await client.get(path)
                assert answer.json() == {"status": "ok", "version": __version__}
                assert answer.headers["cache-control"] == "no-store"
                assert (await client.head(path)).status_code == 200
        after = await client.get("/ready")
        assert (after.status_code, after.json()["code"]) == (503, "Draining")
        assert (await client.get("/health")).status_code == 200


async def test_neither_hosts_nor_addresses_are_asked_for_anything(yugen: Yugen) -> None:
    async with yugen, asking(yugen.asgi()) as client:
        assert [(await client.get("/ready")).status_code for _ in range(10)] == [200] * 10
        assert [(await client.get("/version")).status_code for _ in range(3)] == [400, 400, 429]


async def test_below_another_app(yugen: Yugen) -> None:
    async with yugen, asking(Starlette(routes=[Mount("/backend", yugen.asgi())])) as client:
        assert (await client.get("/backend/ready")).json()["status"] == "ok"
        assert (await client.get("/ready")).status_code == 404


def test_what_can_commit_nothing_any_more_is_to_be_started_again() -> None:
    failed = cast("Yugen", SimpleNamespace(has_failed=True, is_draining=False, is_serving=True, obstacle=None))
    assert health(failed).code == readiness(failed).code == "StorageStopped"
    assert health(failed).message == "This process can commit nothing any more and is to be started again."
