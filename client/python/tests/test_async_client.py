from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from scripted import Peer, ScriptedServer, scripted_server

from yugen_client import AsyncClient, ClientClosed, ConnectionLost, FunctionError, Int64, InvalidValue
from yugen_client.messages import (
    Action,
    ActionResponse,
    AddQuery,
    Connect,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    QueryFailed,
    RemoveQuery,
)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def client(server: ScriptedServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url, backoff=lambda attempt: 0.0) as client:
        yield client


async def accept(server: ScriptedServer) -> Peer:
    """The next connection, past its Connect."""
    peer = await server.accept()
    await peer.receive(Connect)
    return peer


async def added(peer: Peer) -> list[AddQuery]:
    modifications = (await peer.receive(ModifyQuerySet)).modifications
    return [modification for modification in modifications if isinstance(modification, AddQuery)]


def committed(request_id: int, ts: int, result: Any = None) -> MutationResponse:
    return MutationResponse(request_id=request_id, success=True, result=result, ts=ts)


# Subscriptions


async def test_a_subscription_gives_each_result(server: ScriptedServer, client: AsyncClient) -> None:
    subscription = client.subscribe("messages:list", {"channel": "general", "limit": 5, "after": Int64(1)})
    peer = await accept(server)
    assert await added(peer) == [
        AddQuery(
            query_id=0,
            udf_path="messages:list",
            args=({"channel": "general", "limit": 5.0, "after": {"$integer": "AQAAAAAAAAA="}},),
        )
    ]
    await peer.send(peer.transition({0: []}, query_set=1, ts=1))
    results = aiter(subscription)
    assert await anext(results) == []
    await peer.send(peer.transition({0: [{"n": {"$integer": "KgAAAAAAAAA="}}]}, ts=2))
    assert await anext(results) == [{"n": Int64(42)}]


async def test_a_slow_reader_gets_the_newest_result_only(server: ScriptedServer, client: AsyncClient) -> None:
    subscription = client.subscribe("a:a")
    peer = await accept(server)
    await added(peer)
    for n in range(100):
        await peer.send(peer.transition({0: float(n)}, query_set=1, ts=n))
    waiting = asyncio.create_task(client.query("a:b"))
    assert [query.query_id for query in await added(peer)] == [1]
    await peer.send(peer.transition({1: None}, query_set=2))
    await waiting  # so all that came before has been read
    assert await anext(subscription) == 99.0


async def test_a_failed_query_raises_and_the_subscription_goes_on(server: ScriptedServer, client: AsyncClient) -> None:
    subscription = client.subscribe("a:a")
    peer = await accept(server)
    failed = QueryFailed(query_id=0, error_message="no", error_data={"code": "EMPTY"})
    await peer.send(peer.transition({0: failed}, query_set=1))
    with pytest.raises(FunctionError, match="no") as raised:
        await anext(subscription)
    assert raised.value.data == {"code": "EMPTY"}
    assert raised.value.has_data
    await peer.send(peer.transition({0: 1.0}, ts=2))
    async for value in subscription:
        assert value == 1.0
        break


async def test_subscribers_share_the_query_but_not_the_objects(server: ScriptedServer, client: AsyncClient) -> None:
    first, second = client.subscribe("a:a"), client.subscribe("a.js:a", {})
    peer = await accept(server)
    assert len(await added(peer)) == 1
    await peer.send(peer.transition({0: {"list": []}}, query_set=1))
    value = await anext(first)
    value["list"].append("mine")
    assert await anext(second) == {"list": []}
    first.close()
    await peer.send(peer.transition({0: 1.0}, ts=2))
    assert await anext(second) == 1.0
    third = client.subscribe("a:a")  # and a late one starts with what is known
    assert await anext(third) == 1.0


async def test_leaving_the_block_unsubscribes(server: ScriptedServer, client: AsyncClient) -> None:
    async with client.subscribe("a:a") as subscription:
        peer = await accept(server)
        await added(peer)
        await peer.send(peer.transition({0: 1.0}, query_set=1))
        assert await anext(subscription) == 1.0
    assert (await peer.receive(ModifyQuerySet)).modifications == (RemoveQuery(query_id=0),)
    assert [value async for value in subscription] == []


async def test_breaking_out_of_a_plain_loop_unsubscribes(server: ScriptedServer, client: AsyncClient) -> None:
    async def read_one() -> None:
        async for _ in client.subscribe("a:a"):
            break

    reading = asyncio.create_task(read_one())
    peer = await accept(server)
    assert len(await added(peer)) == 1
    await peer.send(peer.transition({0: 1.0}, query_set=1))
    await reading
    gc.collect()
    assert (await peer.receive(ModifyQuerySet)).modifications == (RemoveQuery(query_id=0),)


async def test_closing_a_subscription_ends_its_iteration(server: ScriptedServer, client: AsyncClient) -> None:
    subscription = client.subscribe("a:a")

    async def read() -> list[Any]:
        return [value async for value in subscription]

    reading = asyncio.create_task(read())
    peer = await accept(server)
    await added(peer)
    subscription.close()
    subscription.close()
    assert await reading == []


async def test_an_unchanged_result_is_not_given_twice_over_a_reconnect(
    server: ScriptedServer, client: AsyncClient
) -> None:
    subscription = client.subscribe("a:a")
    peer = await accept(server)
    await peer.send(peer.transition({0: 1.0}, query_set=1))
    assert await anext(subscription) == 1.0
    await peer.close()
    peer = await accept(server)
    assert len(await added(peer)) == 1
    await peer.send(peer.transition({0: 1.0}, query_set=1, ts=1), peer.transition({0: 2.0}, ts=2))
    assert await anext(subscription) == 2.0


# Queries


async def test_a_query_subscribes_for_one_result(server: ScriptedServer, client: AsyncClient) -> None:
    peer = await accept(server)
    assert await added(peer) == []
    querying = asyncio.create_task(client.query("a:a", {"n": 1}))
    assert await added(peer) == [AddQuery(query_id=0, udf_path="a:a", args=({"n": 1.0},))]
    await peer.send(peer.transition({0: "one"}, query_set=2))
    assert await querying == "one"
    assert (await peer.receive(ModifyQuerySet)).modifications == (RemoveQuery(query_id=0),)


async def test_a_value_that_cannot_be_read_says_so(server: ScriptedServer, client: AsyncClient) -> None:
    querying = asyncio.create_task(client.query("a:a"))
    peer = await accept(server)
    await peer.send(peer.transition({0: {"$date": 1.0}}, query_set=1))
    with pytest.raises(InvalidValue, match=r"\$date"):
        await querying


@pytest.mark.parametrize("call", ["query", "mutation", "action", "subscribe"])
async def test_bad_calls_are_refused_before_anything_is_sent(client: AsyncClient, call: str) -> None:
    for path, args, complaint in (
        ("a:a", {"x": object()}, "at .x: object"),
        ("a:a", ["x"], "arguments are a dict"),
        ("", {}, "not the name of a function"),
    ):
        with pytest.raises(ValueError, match=complaint):
            await getattr(client, call)(path, args)
    assert not client.connection_state.has_in_flight_requests


# Mutations and actions


async def test_a_mutation_returns_when_the_subscriptions_show_it(server: ScriptedServer, client: AsyncClient) -> None:
    subscription = client.subscribe("a:list")
    peer = await accept(server)
    await added(peer)
    await peer.send(peer.transition({0: []}, query_set=1, ts=1))
    assert await anext(subscription) == []
    mutating = asyncio.create_task(client.mutation("a:add", {"x": 1}))
    request = await peer.receive(Mutation)
    assert request == Mutation(request_id=0, udf_path="a:add", args=({"x": 1.0},))
    await peer.send(committed(0, ts=5, result="the id"), peer.transition(ts=4))
    querying = asyncio.create_task(client.query("a:other"))
    await added(peer)
    await peer.send(peer.transition({1: None}, query_set=2))
    await querying
    assert not mutating.done()
    await peer.send(peer.transition({0: [1.0]}, ts=5))
    assert await mutating == "the id"
    assert await anext(subscription) == [1.0]


async def test_a_mutation_outlives_the_connection(server: ScriptedServer, client: AsyncClient) -> None:
    peer = await accept(server)
    first, second = (asyncio.create_task(client.mutation("a:add", {"x": x})) for x in range(2))
    await peer.receive(ModifyQuerySet)
    sent = [await peer.receive(Mutation) for _ in range(2)]
    peer.abort()
    peer = await accept(server)
    await peer.receive(ModifyQuerySet)
    assert [await peer.receive(Mutation) for _ in range(2)] == sent
    await peer.send(committed(0, ts=1, result="a"), committed(1, ts=2, result="b"))
    await peer.send(peer.transition(query_set=1, ts=2))
    assert [await first, await second] == ["a", "b"]


async def test_a_failed_mutation_raises(server: ScriptedServer, client: AsyncClient) -> None:
    mutating = asyncio.create_task(client.mutation("a:add"))
    peer = await accept(server)
    await peer.send(MutationResponse(request_id=0, success=False, result="Server Error"))
    with pytest.raises(FunctionError, match="Server Error") as raised:
        await mutating
    assert not raised.value.has_data
    assert raised.value.data is None


async def test_a_cancelled_call_leaves_the_others_alone(server: ScriptedServer, client: AsyncClient) -> None:
    peer = await accept(server)
    await peer.receive(ModifyQuerySet)
    cancelled, other = (asyncio.create_task(client.mutation("a:add")) for _ in range(2))
    for _ in range(2):
        await peer.receive(Mutation)
    cancelled.cancel()
    await peer.send(committed(0, ts=1), committed(1, ts=1, result="b"), peer.transition(query_set=1, ts=1))
    assert await other == "b"
    assert cancelled.cancelled()


async def test_an_action(server: ScriptedServer, client: AsyncClient) -> None:
    acting = asyncio.create_task(client.action("mail:send", {"to": "a"}))
    peer = await accept(server)
    await peer.receive(ModifyQuerySet)
    assert (await peer.receive(Action)).args == ({"to": "a"},)
    await peer.send(ActionResponse(request_id=0, success=True, result={"$bytes": "AAEC"}))
    assert await acting == b"\x00\x01\x02"


async def test_an_action_is_lost_with_its_connection(server: ScriptedServer, client: AsyncClient) -> None:
    peer = await accept(server)
    await peer.receive(ModifyQuerySet)
    lost = asyncio.create_task(client.action("mail:send"))
    await peer.receive(Action)
    peer.abort()
    with pytest.raises(ConnectionLost):
        await lost


# Life


async def test_it_starts_at_first_use_and_without_a_block(server: ScriptedServer) -> None:
    client = AsyncClient(server.url)
    assert client.connection_state.connection_count == 0
    querying = asyncio.create_task(client.query("a:a"))
    peer = await accept(server)
    await peer.send(peer.transition({0: 1.0}, query_set=1))
    assert await querying == 1.0
    before = client.connection_state
    await client.close()
    await client.close()
    assert (before.connected, client.connection_state.connected) == (True, False)
    with pytest.raises(ClientClosed):
        await client.query("a:a")
    with pytest.raises(ClientClosed):
        client.subscribe("a:a")


async def test_closing_before_any_use() -> None:
    client = AsyncClient("http://localhost:3210")
    await client.close()
    with pytest.raises(ClientClosed):
        await client.mutation("a:a")


async def test_closing_ends_all_that_waits(server: ScriptedServer) -> None:
    client = AsyncClient(server.url)
    subscription = client.subscribe("a:a")

    async def read() -> list[Any]:
        return [value async for value in subscription]

    reading = asyncio.create_task(read())
    calls = [asyncio.create_task(call) for call in (client.query("a:b"), client.mutation("a:c"), client.action("a:d"))]
    peer = await accept(server)
    await added(peer)
    await client.close()
    await peer.finished_by_client()
    assert await reading == []
    for call in calls:
        with pytest.raises(ClientClosed):
            await call
    subscription.close()


def test_it_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        AsyncClient("http://localhost:3210").subscribe("a:a")


def test_an_address_that_is_none() -> None:
    with pytest.raises(ValueError, match="not an address"):
        AsyncClient("localhost:3210")
