from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from scripted import Peer, ScriptedServer, scripted_server

from yugen_client import AsyncClient, FunctionError, InvalidResult, PagedResults
from yugen_client.messages import AddQuery, Connect, ModifyQuerySet, QueryFailed, RemoveQuery


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url, backoff=lambda attempt: 0.0) as client:
        yield client


async def accept(server: ScriptedServer) -> Peer:
    peer = await server.accept()
    await peer.receive(Connect)
    return peer


async def changes(peer: Peer) -> tuple[dict[int, Any], list[int]]:
    """The pagination options of pages that are asked for, and the pages that are left."""
    modifications = (await peer.receive(ModifyQuerySet)).modifications
    added = {each.query_id: each.args[0]["paginationOpts"] for each in modifications if isinstance(each, AddQuery)}
    return added, [each.query_id for each in modifications if isinstance(each, RemoveQuery)]


def page(*rows: float, to: str, is_done: bool = False, **more: Any) -> dict[str, Any]:
    return {"page": list(rows), "isDone": is_done, "continueCursor": to, **more}


async def test_a_list_grows_and_its_pages_change_together(server: ScriptedServer, client: AsyncClient) -> None:
    pages = client.subscribe_pages("a:page", {"of": "ada"}, page_size=2)
    peer = await accept(server)
    (add,) = (await peer.receive(ModifyQuerySet)).modifications
    assert isinstance(add, AddQuery)
    assert add.args == ({"of": "ada", "paginationOpts": {"numItems": 2.0, "cursor": None, "id": 1.0}},)
    assert not pages.load_more()
    await peer.send(peer.transition({0: page(1.0, 2.0, to="c2")}, query_set=1, ts=1))
    assert await anext(pages) == PagedResults([1.0, 2.0], is_done=False)
    assert pages.load_more(5)
    assert not pages.load_more(5)
    assert await changes(peer) == ({1: {"numItems": 5.0, "cursor": "c2", "id": 1.0}}, [])
    await peer.send(peer.transition({0: page(1.0, 1.5, 2.0, to="c2")}, ts=2))
    await peer.send(peer.transition({1: page(3.0, to="c3", is_done=True)}, query_set=2, ts=3))
    assert await anext(pages) == PagedResults([1.0, 1.5, 2.0, 3.0], is_done=True)
    assert not pages.load_more()
    pages.close()
    assert await changes(peer) == ({}, [0, 1])
    assert not pages.load_more()
    assert [results async for results in pages] == []


@pytest.mark.parametrize(
    "first",
    [
        page(1.0, 2.0, 3.0, to="c3", splitCursor="c1", pageStatus="SplitRequired"),
        page(1.0, 2.0, 3.0, to="c3", splitCursor="c1", pageStatus="SplitRecommended"),
        page(1.0, 1.1, 1.2, 1.3, 2.0, to="c3", splitCursor="c1", pageStatus=None),
    ],
)
async def test_a_page_is_split(server: ScriptedServer, client: AsyncClient, first: dict[str, Any]) -> None:
    pages = client.subscribe_pages("a:page", page_size=2)
    other = client.subscribe_pages("a:page", page_size=2)
    peer = await accept(server)
    added, _ = await changes(peer)
    assert [options["id"] for options in added.values()] == [1.0, 2.0]
    await peer.send(peer.transition({0: first, 1: page(to="c0", splitCursor=None)}, query_set=1, ts=1))
    assert await anext(other) == PagedResults([], is_done=False)
    task = asyncio.ensure_future(anext(pages))  # the halves are asked for as soon as somebody reads
    added, removed = await changes(peer)
    assert [(options["cursor"], options["endCursor"]) for options in added.values()] == [(None, "c1"), ("c1", "c3")]
    assert removed == [0]
    upper, lower = added
    await peer.send(peer.transition({upper: page(1.0, to="c1"), lower: page(2.0, 3.0, to="c3")}, query_set=2, ts=2))
    assert await task == PagedResults([1.0, 2.0, 3.0], is_done=False)
    assert pages.load_more()
    added, _ = await changes(peer)
    assert [options["cursor"] for options in added.values()] == ["c3"]


async def test_a_list_begins_anew_when_a_cursor_leads_nowhere(server: ScriptedServer, client: AsyncClient) -> None:
    pages = client.subscribe_pages("a:page", page_size=2)
    peer = await accept(server)
    await changes(peer)
    await peer.send(peer.transition({0: page(1.0, to="c1")}, query_set=1, ts=1))
    assert await anext(pages) == PagedResults([1.0], is_done=False)
    pages.load_more()
    await changes(peer)
    data = {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
    failed = QueryFailed(query_id=1, error_message="Server Error", error_data=data)
    await peer.send(peer.transition({1: failed}, query_set=2, ts=2))
    task = asyncio.ensure_future(anext(pages))
    added, removed = await changes(peer)
    assert (added, removed) == ({2: {"numItems": 2.0, "cursor": None, "id": 2.0}}, [0, 1])
    again = QueryFailed(query_id=2, error_message="InvalidCursor")
    await peer.send(peer.transition({2: again}, query_set=3, ts=3))
    with pytest.raises(FunctionError, match="InvalidCursor"):  # once is enough
        await task


async def test_a_query_that_gives_no_pages(server: ScriptedServer, client: AsyncClient) -> None:
    pages = client.subscribe_pages("a:list", page_size=2)
    peer = await accept(server)
    await peer.send(peer.transition({0: [1.0]}, query_set=1, ts=1))
    with pytest.raises(InvalidResult, match="gave what is no page"):
        await anext(pages)
    assert not pages.load_more()
