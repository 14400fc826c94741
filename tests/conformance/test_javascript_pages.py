"""Lists that grow page by page, without React: in Node, by the official client and by Yugen's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from reliability.relay import relaying
from reliability.serving import Process, Server, serving
from tests.conformance.shelves import check_states, scribble, shown
from tests.conformance.site import HERE, reports, write_app
from yugen_client import AsyncClient

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("shelves")
    async with serving(write_app(folder, "shelves_app"), folder / "data") as server:
        yield server


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("kind", ["official", "own"])
async def test_no_gap_ever_shows_while_others_write(server: Server, kind: str, order: str) -> None:
    shelf = f"busy {kind} {order}"
    async with relaying(server.port) as relay, AsyncClient(server.url) as client:
        books = await client.mutation("books:fill", {"shelf": shelf, "count": 30})
        async with Process("node", HERE / "pages.mjs", kind, relay.url, shelf, order) as node:
            await node.printed("CanLoadMore")
            await asyncio.gather(*(scribble(server.url, shelf, books, seed) for seed in (1, 2)))
            relay.cut()
            await scribble(server.url, shelf, books, 3)
            await client.mutation("books:insert", {"shelf": shelf, "position": 500, "title": "the end"})
            assert await node.ended() == 0, "\n".join(node.lines)
        there = await shown(client, shelf, order)

    told: list[dict[str, Any]] = reports(node)
    assert [report["began"] for report in told if "began" in report] == [True] * 3
    assert told[-1] == {"atEnd": False}
    states = check_states([report for report in told if "status" in report])
    assert len(states) > 30
    assert (states[-1]["status"], states[-1]["results"]) == ("Exhausted", there)
