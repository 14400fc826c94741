from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel
from scripted import Peer, ScriptedServer, scripted_server

from yugen_client import (
    AsyncClient,
    ClientClosed,
    ClientError,
    ConnectionLost,
    ConnectionState,
    FunctionError,
    Int64,
    InvalidResult,
    InvalidValue,
    LocalStore,
    ServerRefused,
)
from yugen_client.messages import (
    Action,
    ActionResponse,
    AddQuery,
    Connect,
    FatalError,
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


@pytest.mark.parametrize("call", ["query", "mutation", "action", "subscribe", "subscribe_pages"])
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


async def test_closing_ends_all_that_waits(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    client = AsyncClient(server.url)
    subscription = client.subscribe("a:a")

    async def read() -> list[Any]:
        return [value async for value in subscription]

    reading = asyncio.create_task(read())
    calls = [asyncio.create_task(call) for call in (client.query("a:b"), client.mutation("a:c"), client.action("a:d"))]
    peer = await accept(server)
    await peer.receive_up_to(Action)
    await client.close()
    await peer.finished_by_client()
    assert await reading == []
    assert caplog.records == []
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


# Callbacks


async def test_callbacks_get_each_result_one_after_the_other(server: ScriptedServer, client: AsyncClient) -> None:
    updates: list[Any] = []
    errors: list[ClientError] = []
    may_go_on, came = asyncio.Event(), asyncio.Event()

    async def on_update(value: Any) -> None:
        updates.append(("begun", value))
        came.set()
        await may_go_on.wait()
        updates.append(("done", value))

    def on_error(error: ClientError) -> None:
        errors.append(error)
        came.set()

    subscription = client.subscribe("a:a", on_update=on_update, on_error=on_error)
    with pytest.raises(TypeError, match="gives its results to `on_update`"):
        aiter(subscription)
    peer = await accept(server)
    await added(peer)
    await peer.send(peer.transition({0: 1.0}, query_set=1))
    await came.wait()
    failed = QueryFailed(query_id=0, error_message="no")
    await peer.send(peer.transition({0: 2.0}, ts=2), peer.transition({0: failed}, ts=3))
    acting = asyncio.create_task(client.action("a:b"))
    await peer.receive(Action)
    await peer.send(ActionResponse(request_id=0, success=True, result=None))
    await acting  # so all that came before has been read
    assert updates == [("begun", 1.0)]
    came.clear()
    may_go_on.set()
    await came.wait()
    assert updates == [("begun", 1.0), ("done", 1.0)]
    assert [str(error) for error in errors] == ["no"]
    subscription.close()
    assert (await peer.receive(ModifyQuerySet)).modifications == (RemoveQuery(query_id=0),)


async def test_a_callback_that_fails_is_logged_and_called_again(
    server: ScriptedServer, client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    values: asyncio.Queue[Any] = asyncio.Queue()

    def on_update(value: Any) -> None:
        values.put_nowait(value)
        raise ZeroDivisionError("in a callback")

    client.subscribe("a:a", on_update=on_update)
    peer = await accept(server)
    await added(peer)
    gc.collect()  # nothing of the caller's refers to the subscription
    for value in (1.0, 2.0):
        await peer.send(peer.transition({0: value}, query_set=1, ts=int(value)))
        assert await values.get() == value
    await peer.send(peer.transition({0: QueryFailed(query_id=0, error_message="no, really")}, ts=3))
    await peer.send(peer.transition({0: 3.0}, ts=4))
    assert await values.get() == 3.0
    assert "in a callback" in caplog.text


async def test_callbacks_hear_that_the_client_was_stopped(server: ScriptedServer) -> None:
    heard: asyncio.Queue[ClientError] = asyncio.Queue()
    async with AsyncClient(server.url) as client:
        client.subscribe("a:a", on_update=print, on_error=heard.put_nowait)
        peer = await accept(server)
        await peer.send(FatalError(error="go away"))
        assert isinstance(await heard.get(), ServerRefused)
    assert heard.empty()


async def test_on_error_alone_is_a_mistake(client: AsyncClient) -> None:
    with pytest.raises(TypeError, match="goes with `on_update`"):
        client.subscribe("a:a", on_error=print)


# Groups


async def test_a_group_gives_results_of_one_moment(server: ScriptedServer, client: AsyncClient) -> None:
    group = client.subscribe_all({"one": "a:a", "same": ("a:a", {}), "other": ("a:b", {"n": 1}, int)})
    peer = await accept(server)
    assert [query.query_id for query in await added(peer)] == [0, 1]
    await peer.send(peer.transition({0: 1.0}, query_set=1, ts=1), peer.transition({1: 1.0}, ts=2))
    assert await anext(group) == {"one": 1.0, "same": 1.0, "other": 1}
    await peer.send(peer.transition({1: 2.0, 0: 2.0}, ts=3))
    assert await anext(group) == {"one": 2.0, "same": 2.0, "other": 2}
    await peer.send(peer.transition({1: 3.0}, ts=4))
    assert await anext(group) == {"one": 2.0, "same": 2.0, "other": 3}
    group.close()
    assert (await peer.receive(ModifyQuerySet)).modifications == (RemoveQuery(query_id=0), RemoveQuery(query_id=1))
    assert [results async for results in group] == []


async def test_a_group_over_a_reconnect(server: ScriptedServer, client: AsyncClient) -> None:
    group = client.subscribe_all({"one": "a:a", "other": "a:b"})
    peer = await accept(server)
    await peer.send(peer.transition({0: 1.0, 1: 1.0}, query_set=1, ts=1))
    assert await anext(group) == {"one": 1.0, "other": 1.0}
    await peer.close()
    peer = await accept(server)
    await peer.send(peer.transition({0: 1.0, 1: 2.0}, query_set=1, ts=2))
    assert await anext(group) == {"one": 1.0, "other": 2.0}


async def test_a_group_with_a_query_that_fails(server: ScriptedServer, client: AsyncClient) -> None:
    raising = client.subscribe_all({"one": "a:a", "other": "a:b"})
    giving = client.subscribe_all({"one": "a:a", "other": "a:b"}, return_exceptions=True)
    peer = await accept(server)
    failed = QueryFailed(query_id=1, error_message="no", error_data=1.0)
    await peer.send(peer.transition({0: 1.0, 1: failed}, query_set=1, ts=1))
    with pytest.raises(FunctionError, match="no") as raised:
        await anext(raising)
    assert raised.value.__notes__ == ["in the query 'other' of the group"]
    results = await anext(giving)
    assert results["one"] == 1.0
    assert results["other"].data == 1.0
    await peer.send(peer.transition({1: 2.0}, ts=2))
    assert await anext(raising) == await anext(giving) == {"one": 1.0, "other": 2.0}


async def test_what_is_no_query_of_a_group(client: AsyncClient) -> None:
    queries: list[tuple[Any, ...]] = [(), ("a:a", {}, int, "more")]
    for query in queries:
        with pytest.raises(TypeError, match="a query of a group is"):
            client.subscribe_all({"one": query})
    with pytest.raises(TypeError, match="stands for no function"):
        client.subscribe_all({"one": {}})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="not the name of a function"):
        client.subscribe_all({"one": "a:a", "other": ""})
    assert client._watchers == {}
    assert list(client._session._queries) == []


async def test_an_empty_group(client: AsyncClient) -> None:
    results = aiter(client.subscribe_all({}))
    assert await anext(results) == {}
    client.subscribe_all({}, on_update=lambda values: None)


# Optimistic updates


def add_body(store: LocalStore, args: dict[str, Any]) -> None:
    store.set_query("a:list", {}, [*store.get_query("a:list"), args.pop("body")])


async def test_an_optimistic_update_until_its_result(server: ScriptedServer, client: AsyncClient) -> None:
    subscription = client.subscribe("a:list")
    group = client.subscribe_all({"list": "a:list", "count": "a:count"})
    peer = await accept(server)
    await peer.send(peer.transition({0: ["a"], 1: 1.0}, query_set=1, ts=1))
    assert await anext(subscription) == ["a"]
    mutating = asyncio.create_task(client.mutation("a:add", {"body": "b"}, optimistic_update=add_body))
    assert await anext(subscription) == ["a", "b"]
    assert await anext(group) == {"list": ["a", "b"], "count": 1.0}
    await peer.receive_up_to(Mutation)
    await peer.send(peer.transition({0: ["x"]}, ts=2))
    assert await anext(subscription) == ["x", "b"]
    await peer.send(committed(0, ts=3, result="id"), peer.transition({0: ["x", "b"], 1: 2.0}, ts=3))
    assert await mutating == "id"
    assert await anext(group) == {"list": ["x", "b"], "count": 2.0}
    querying = asyncio.create_task(anext(subscription))
    await peer.send(peer.transition({0: ["x", "b", "c"]}, ts=4))
    assert await querying == ["x", "b", "c"]  # and not the same once more


async def test_an_optimistic_update_is_rolled_back(server: ScriptedServer, client: AsyncClient) -> None:
    subscription = client.subscribe("a:list")
    peer = await accept(server)
    await peer.send(peer.transition({0: ["a"]}, query_set=1, ts=1))
    assert await anext(subscription) == ["a"]
    mutating = asyncio.create_task(client.mutation("a:add", {"body": "b"}, optimistic_update=add_body))
    assert await anext(subscription) == ["a", "b"]
    assert await client.query("a:list") == ["a"]  # what the server has
    await peer.send(MutationResponse(request_id=0, success=False, result="full"))
    with pytest.raises(FunctionError, match="full"):
        await mutating
    assert await anext(subscription) == ["a"]


async def test_an_optimistic_update_that_cannot_be(client: AsyncClient) -> None:
    async def slow(store: LocalStore, args: dict[str, Any]) -> None:
        raise AssertionError

    def broken(store: LocalStore, args: dict[str, Any]) -> None:
        raise KeyError("nothing there")

    with pytest.raises(TypeError, match="cannot be async"):
        await client.mutation("a:add", optimistic_update=slow)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="nothing there"):
        await client.mutation("a:add", optimistic_update=broken)
    assert not client.connection_state.has_in_flight_requests


async def test_an_optimistic_update_that_fails_later(
    server: ScriptedServer, client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    subscription = client.subscribe("a:list")
    peer = await accept(server)
    await peer.send(peer.transition({0: ["a"]}, query_set=1, ts=1))
    assert await anext(subscription) == ["a"]
    mutating = asyncio.create_task(client.mutation("a:add", {"body": "b"}, optimistic_update=add_body))
    assert await anext(subscription) == ["a", "b"]
    await peer.send(peer.transition({0: QueryFailed(query_id=0, error_message="broken")}, ts=2))
    with pytest.raises(FunctionError, match="broken"):
        await anext(subscription)
    await peer.send(committed(0, ts=3, result="id"), peer.transition(ts=3))
    assert await mutating == "id"
    assert "an optimistic update failed over newer results and was dropped" in caplog.text


# Types


class Point(BaseModel):
    x: int


async def test_results_of_a_type(server: ScriptedServer, client: AsyncClient) -> None:
    subscription = client.subscribe("a:list", returns=list[Point])
    peer = await accept(server)
    await peer.send(peer.transition({0: [{"x": 1.0}]}, query_set=1, ts=1))
    assert await anext(subscription) == [Point(x=1)]
    assert await client.query("a:list", returns=list[Point]) == [Point(x=1)]
    mutating = asyncio.create_task(client.mutation("a:add", {"point": Point(x=2)}, returns=Point))
    acting = asyncio.create_task(client.action("a:act", returns=int))
    assert (await peer.receive_up_to(Mutation)).args == ({"point": {"x": 2.0}},)
    await peer.send(committed(0, ts=1, result={"y": 1.0}), ActionResponse(request_id=1, success=True, result=7.0))
    with pytest.raises(InvalidResult, match="a:add gave what is not Point"):
        await mutating
    assert await acting == 7
    frame = await client.query_pandas("a:list", returns=list[Point])
    assert str(frame["x"].dtype) == "Int64"
    assert (await client.query_polars("a:list"))["x"].to_list() == [1.0]


# The connection's state


async def test_listeners_hear_of_each_change_of_state(server: ScriptedServer, client: AsyncClient) -> None:
    states: asyncio.Queue[ConnectionState] = asyncio.Queue()

    def broken(state: ConnectionState) -> None:
        raise ZeroDivisionError

    client.on_connection_change(broken)
    stop = client.on_connection_change(states.put_nowait)
    peer = await accept(server)
    state = await states.get()
    assert (state.connected, state.synced, state.has_ever_connected) == (True, False, True)
    mutating = asyncio.create_task(client.mutation("a:add"))
    state = await states.get()
    assert (state.in_flight_mutations, state.has_in_flight_requests) == (1, True)
    assert state.oldest_in_flight is not None
    assert client.connection_state.oldest_in_flight == state.oldest_in_flight
    await peer.send(committed(0, ts=1), peer.transition(query_set=1, ts=1))
    await mutating
    while states.qsize():
        state = states.get_nowait()
    if not state.synced:
        state = await states.get()
    assert (state.synced, state.oldest_in_flight) == (True, None)
    await peer.close()
    state = await states.get()
    assert (state.connected, state.retries) == (False, 1)
    stop()
    stop()
    await accept(server)
    assert states.empty()


async def test_a_listener_that_comes_while_a_change_is_told_takes_it_from_nobody() -> None:
    client = AsyncClient("http://127.0.0.1:9")
    first: list[ConnectionState] = []
    second: list[ConnectionState] = []
    client.on_connection_change(first.append)
    mutating = asyncio.create_task(client.mutation("a:add"))
    await asyncio.sleep(0)  # called, and not told yet
    client.on_connection_change(second.append)
    await asyncio.sleep(0)
    assert [state.in_flight_mutations for state in first] == [1]
    assert second == first
    await client.close()
    with pytest.raises(ClientClosed):
        await mutating
