"""The official Python client, unmodified, and Yugen's own two, against a real server."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import convex
import pytest
import pytest_asyncio
from convex.http_client import ConvexHttpClient

from reliability.relay import relaying
from reliability.serving import SECONDS_MAX, Process, Server, serving
from yugen_client import AsyncClient, Client, FunctionError, Int64

HERE = Path(__file__).parent
APP = HERE / "app"

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Caller(Protocol):
    """The face that the scenarios see of each client."""

    async def query(self, path: str, args: dict[str, Any]) -> Any: ...
    async def mutation(self, path: str, args: dict[str, Any]) -> Any: ...
    async def action(self, path: str, args: dict[str, Any]) -> Any: ...
    def subscribe(self, path: str, args: dict[str, Any]) -> AsyncIterator[Any]: ...


class Results:
    """A blocking subscription, off the event loop. Like it, it goes on after an error."""

    def __init__(self, subscription: Iterator[Any]) -> None:
        self._subscription = subscription

    def __aiter__(self) -> Results:
        return self

    async def __anext__(self) -> Any:
        return await asyncio.to_thread(next, self._subscription)


class Blocking:
    """A client whose calls block: the official one, or `Client`."""

    def __init__(self, client: convex.ConvexClient | Client) -> None:
        self._client = client

    async def query(self, path: str, args: dict[str, Any]) -> Any:
        return await asyncio.to_thread(self._client.query, path, args)

    async def mutation(self, path: str, args: dict[str, Any]) -> Any:
        return await asyncio.to_thread(self._client.mutation, path, args)

    async def action(self, path: str, args: dict[str, Any]) -> Any:
        return await asyncio.to_thread(self._client.action, path, args)

    def subscribe(self, path: str, args: dict[str, Any]) -> Results:
        return Results(self._client.subscribe(path, args))


Connect = Callable[[str], AbstractAsyncContextManager[Caller]]


@asynccontextmanager
async def official(url: str) -> AsyncIterator[Caller]:
    yield Blocking(convex.ConvexClient(url))


@asynccontextmanager
async def asynchronous(url: str) -> AsyncIterator[Caller]:
    async with AsyncClient(url) as client:
        yield client


@asynccontextmanager
async def synchronous(url: str) -> AsyncIterator[Caller]:
    with Client(url) as client:
        yield Blocking(client)


each_client = pytest.mark.parametrize("connect", [official, asynchronous, synchronous])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with serving(APP, tmp_path_factory.mktemp("data")) as server:
        yield server


async def until(results: AsyncIterator[Any], wanted: Callable[[Any], bool]) -> list[Any]:
    """The results up to the first that is as wanted."""
    seen = []
    async with asyncio.timeout(SECONDS_MAX):
        async for result in results:
            seen.append(result)
            if wanted(result):
                return seen
    raise AssertionError(f"the results ended with {seen}")


def data_of(error: Exception) -> Any:
    assert isinstance(error, FunctionError | convex.ConvexError)
    return error.data


@each_client
async def test_every_subscriber_sees_each_mutation(connect: Connect, server: Server) -> None:
    channel = {"channel": f"updates {connect.__name__}"}
    async with connect(server.url) as writer, connect(server.url) as reader:
        watching = [client.subscribe("messages:list", channel) for client in (writer, reader)]
        assert [await anext(results) for results in watching] == [[], []]
        for body in ("one", "two", "three"):
            assert isinstance(await writer.mutation("messages:send", {**channel, "body": body}), str)
        for results in watching:
            seen = await until(results, lambda bodies: len(bodies) == 3)
            assert seen[-1] == ["one", "two", "three"]
            assert [len(bodies) for bodies in seen] == sorted(len(bodies) for bodies in seen)
        assert await reader.query("messages:list", channel) == ["one", "two", "three"]


@each_client
async def test_errors_reach_the_caller_with_their_data(connect: Connect, server: Server) -> None:
    channel = {"channel": f"failures {connect.__name__}"}
    async with connect(server.url) as client:
        with pytest.raises((FunctionError, convex.ConvexError)) as refused:
            await client.mutation("messages:send", {**channel, "body": ""})
        assert data_of(refused.value) == {"code": "empty", "limits": [1.0, 2000.0]}
        with pytest.raises(Exception, match="Uncaught ValueError: the tea is cold"):
            await client.mutation("messages:crash", channel)
        with pytest.raises(Exception, match="Could not find public function for `messages:none`"):
            await client.query("messages:none", {})

        with pytest.raises((FunctionError, convex.ConvexError)) as silent:
            await anext(client.subscribe("messages:newest", channel))
        assert data_of(silent.value) == {"code": "silent", **channel}
        assert await client.query("messages:list", channel) == []


@each_client
async def test_a_subscription_that_failed_goes_on(connect: Connect, server: Server) -> None:
    channel = {"channel": f"recovers {connect.__name__}"}
    async with connect(server.url) as client:
        results = client.subscribe("messages:newest", channel)
        with pytest.raises((FunctionError, convex.ConvexError)):
            await anext(results)
        await client.mutation("messages:send", {**channel, "body": "hello"})
        assert await anext(results) == "hello"


@each_client
async def test_actions(connect: Connect, server: Server) -> None:
    channel = {"channel": f"actions {connect.__name__}"}
    async with connect(server.url) as client:
        results = client.subscribe("messages:list", channel)
        assert await anext(results) == []
        assert await client.action("messages:relay", {**channel, "body": "by an action"}) == ["by an action"]
        assert (await until(results, bool))[-1] == ["by an action"]


@each_client
async def test_values(connect: Connect, server: Server) -> None:
    integer = convex.ConvexInt64 if connect is official else Int64
    value = {
        "nothing": None,
        "yes": True,
        "whole": 1.0,
        "infinite": [math.inf, -math.inf],
        "large": integer(2**63 - 1),
        "bytes": b"\x00\x7f\xff",
        "text": "幽玄 🌙 \0",
        "nested": [{}, [[]], {"a b": ""}],
    }
    async with connect(server.url) as client:
        for call, name in ((client.query, "echo"), (client.mutation, "echo_mutation"), (client.action, "echo_action")):
            assert await call(f"values:{name}", {"value": value}) == value
            nan, zero = await call(f"values:{name}", {"value": [math.nan, -0.0]})
            assert math.isnan(nan)
            assert math.copysign(1, zero) == -1


@each_client
async def test_names_as_convex_writes_them(connect: Connect, server: Server) -> None:
    async with connect(server.url) as client:
        for name in ("messages:list", "messages.js:list"):
            assert await client.query(name, {"channel": "names"}) == []
            assert await anext(client.subscribe(name, {"channel": "names"})) == []


async def test_official_http_client(server: Server) -> None:
    client = ConvexHttpClient(server.url)
    assert isinstance(client.mutation("messages:send", {"channel": "http", "body": "one"}), str)
    assert client.action("messages:relay", {"channel": "http", "body": "two"}) == ["one", "two"]
    assert client.query("messages:list", {"channel": "http"}) == ["one", "two"]
    whole, large = 1.0, convex.ConvexInt64(5)
    assert client.query("values:echo", {"value": [1, large, b"\1"]}) == [whole, large, b"\1"]
    with pytest.raises(convex.ConvexError) as refused:
        client.mutation("messages:send", {"channel": "http", "body": ""})
    assert refused.value.data == {"code": "empty", "limits": [1.0, 2000.0]}
    with pytest.raises(Exception, match="Uncaught ValueError: the tea is cold"):
        client.mutation("messages:crash", {"channel": "http"})


@pytest.mark.parametrize("connect", [asynchronous, synchronous])
async def test_kill_during_a_stream_of_mutations(connect: Connect, tmp_path: Path) -> None:
    channel = {"channel": "reconnect"}
    acknowledged: list[int] = []
    fifty, back = asyncio.Event(), asyncio.Event()

    async def stream(client: Caller, offset: int) -> None:
        """Every third number, until the server is back and for ten more."""
        number = offset
        more = 10
        while more:
            await client.mutation("messages:send", {**channel, "body": str(number)})
            acknowledged.append(number)
            number += 3
            more -= back.is_set()
            if len(acknowledged) >= 50:
                fifty.set()

    async with serving(APP, tmp_path) as server, connect(server.url) as writer, connect(server.url) as reader:
        results = reader.subscribe("messages:list", channel)
        async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as streams:
            for offset in range(3):
                streams.create_task(stream(writer, offset))
            await fifty.wait()
            await server.kill()
            await server.start()
            back.set()
        seen = await until(results, lambda bodies: len(bodies) >= len(acknowledged))
        assert sorted(map(int, seen[-1])) == sorted(acknowledged)
        for offset in range(3):
            numbers = [int(body) for body in seen[-1] if int(body) % 3 == offset]
            assert numbers == list(range(offset, offset + 3 * len(numbers), 3))
        assert [len(bodies) for bodies in seen] == sorted(len(bodies) for bodies in seen)
        async with connect(server.url) as newcomer:
            assert await newcomer.query("messages:list", channel) == seen[-1]


@pytest.mark.parametrize("connect", [asynchronous, synchronous])
async def test_mutations_whose_answers_are_lost_run_once(connect: Connect, server: Server) -> None:
    channel = {"channel": f"lost {connect.__name__}"}
    async with relaying(server.port) as relay, connect(relay.url) as client, connect(server.url) as direct:
        await client.mutation("messages:send", {**channel, "body": "first"})
        relay.lose_answers()
        bodies = ("one", "two", "three")
        sent = [asyncio.create_task(client.mutation("messages:send", {**channel, "body": body})) for body in bodies]
        seen = await until(direct.subscribe("messages:list", channel), lambda bodies: len(bodies) == 4)
        assert not any(call.done() for call in sent)
        relay.cut()
        ids = await asyncio.gather(*sent)
        assert len(set(ids)) == 3
        assert await client.query("messages:list", channel) == seen[-1]


async def test_kill_during_a_stream_of_the_official_client(tmp_path: Path) -> None:
    back = tmp_path / "back"
    script = HERE / "reconnect.py"
    async with (
        serving(APP, tmp_path / "data") as server,
        Process(sys.executable, script, server.url, back) as client,
    ):
        await client.printed('"acknowledged": 50')
        await server.kill()
        await server.start()
        back.touch()
        assert await client.ended() == 0, "\n".join(client.lines)
    _, *stream, end = [json.loads(line) for line in client.lines if line.startswith('{"')]
    acknowledged = [str(report["acknowledged"]) for report in stream]
    assert acknowledged == [str(number) for number in range(len(acknowledged))]
    # This client takes a new session with each connection, so that what was in flight may be carried out twice.
    assert list(dict.fromkeys(end["final"])) == acknowledged
    assert len(end["final"]) <= len(acknowledged) + 1
