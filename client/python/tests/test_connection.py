from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from scripted import Peer, ScriptedServer, scripted_server

from yugen_client import AsyncClient, AuthenticationFailed, ClientError, FunctionError, ServerRefused, __version__
from yugen_client.connection import INACTIVITY_SECONDS
from yugen_client.messages import (
    Authenticate,
    AuthError,
    Connect,
    FatalError,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    Ping,
    QueryFailed,
)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


def at_once(attempt: int) -> float:
    return 0.0


async def accept(server: ScriptedServer) -> tuple[Peer, Connect]:
    peer = await server.accept()
    return peer, await peer.receive(Connect)


async def test_it_connects_to_the_sync_path_and_says_who_it_is(server: ScriptedServer) -> None:
    async with AsyncClient(server.url + "/base/"):
        peer, connect = await accept(server)
        assert peer.socket.request is not None
        assert peer.socket.request.path == "/base/api/sync"
        assert peer.socket.request.headers["Convex-Client"] == f"yugen-python-{__version__}"
        assert connect.connection_count == 0


async def test_the_session_survives_the_connection(server: ScriptedServer) -> None:
    async with AsyncClient(server.url, backoff=at_once) as client:
        peer, first = await accept(server)
        await peer.close(1011, "InternalServerError")
        peer, second = await accept(server)
        assert second.session_id == first.session_id
        assert second.connection_count == 1
        assert second.last_close_reason == "InternalServerError"
        peer.abort()
        peer, third = await accept(server)
        assert third.last_close_reason == "the connection broke"
        await peer.close(1001)
        peer, fourth = await accept(server)
        assert fourth.last_close_reason == "closed with code 1001"
        assert client.connection_state.connected
        assert client.connection_state.retries == 3


async def test_the_backoff_grows_until_synced(server: ScriptedServer) -> None:
    attempts: list[int] = []

    def backoff(attempt: int) -> float:
        attempts.append(attempt)
        return 0.0

    async with AsyncClient(server.url, backoff=backoff) as client:
        for _ in range(2):
            peer, _ = await accept(server)
            await peer.close()
        peer, _ = await accept(server)
        await peer.receive(ModifyQuerySet)
        querying = asyncio.create_task(client.query("a:a"))
        await peer.receive(ModifyQuerySet)
        await peer.send(peer.transition({0: 1.0}, query_set=2, ts=1))
        assert await querying == 1.0
        assert client.connection_state.synced
        await peer.close()
        await accept(server)
    assert attempts == [0, 1, 0]


async def test_a_server_that_is_not_there_yet(caplog: pytest.LogCaptureFixture) -> None:
    async with scripted_server() as gone:
        url = gone.url
    tried = asyncio.Event()

    def backoff(attempt: int) -> float:
        tried.set()
        return 3600.0

    with caplog.at_level(logging.WARNING, "yugen_client"):
        async with AsyncClient(url, backoff=backoff) as client:
            await tried.wait()
            assert not client.connection_state.connected
            assert client.connection_state.retries == 1
    assert f"cannot connect to {url.replace('http', 'ws')}/api/sync" in caplog.text


async def test_a_transition_from_elsewhere_drops_the_connection(server: ScriptedServer) -> None:
    async with AsyncClient(server.url, backoff=at_once) as client:
        subscription = client.subscribe("a:a")
        peer, _ = await accept(server)
        peer.transition(query_set=1, ts=1)  # lost on the way
        await peer.send(peer.transition({0: "wrong"}, ts=2))
        peer, connect = await accept(server)
        assert connect.last_close_reason is not None
        assert connect.last_close_reason.startswith("a transition starts at")
        await peer.receive(ModifyQuerySet)
        await peer.send(peer.transition({0: "right"}, query_set=1, ts=3))
        assert await anext(subscription) == "right"


async def test_what_is_no_message_drops_the_connection_and_an_unknown_one_does_not(server: ScriptedServer) -> None:
    async with AsyncClient(server.url, backoff=at_once):
        peer, _ = await accept(server)
        await peer.socket.send('{"type":"Telemetry"}')
        await peer.send(Ping())
        await peer.socket.send("nonsense")
        _, connect = await accept(server)
        assert connect.last_close_reason is not None
        assert "not a message of the sync protocol" in connect.last_close_reason


async def test_a_silent_server_is_left(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    loop_time = loop.time
    async with AsyncClient(server.url, backoff=at_once):
        peer, _ = await accept(server)
        await peer.receive(ModifyQuerySet)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "time", lambda: loop_time() + INACTIVITY_SECONDS)
            await peer.finished_by_client()
        _, connect = await accept(server)
        assert connect.last_close_reason == "InactiveServer"


async def test_a_fatal_error_stops_the_client(server: ScriptedServer) -> None:
    async with AsyncClient(server.url) as client:
        waiting = asyncio.create_task(client.mutation("a:a"))
        subscription = client.subscribe("a:b")
        peer, _ = await accept(server)
        await peer.send(FatalError(error="BaseVersionMismatch"))
        errors = await asyncio.gather(waiting, anext(subscription), client.query("a:c"), return_exceptions=True)
        assert [str(error) for error in errors if isinstance(error, ServerRefused)] == ["BaseVersionMismatch"] * 3
        assert len(set(map(id, errors))) == 3  # one object raised thrice would mix up its tracebacks


async def test_a_fault_of_the_client_itself_reaches_its_callers() -> None:
    def broken(attempt: int) -> float:
        raise ZeroDivisionError("no backoff")

    async with scripted_server() as server, AsyncClient(server.url, backoff=broken) as client:
        waiting = asyncio.create_task(client.query("a:a"))
        peer, _ = await accept(server)
        await peer.close()
        with pytest.raises(ClientError, match="ZeroDivisionError"):
            await waiting


# Auth


async def test_a_fixed_token_is_sent_on_every_connection(server: ScriptedServer) -> None:
    async with AsyncClient(server.url, auth="ey", backoff=at_once):
        for _ in range(2):
            peer, _ = await accept(server)
            assert await peer.receive(Authenticate) == Authenticate(base_version=0, value="ey")
            await peer.close()


async def test_a_fixed_token_that_is_refused_stops_the_client(server: ScriptedServer) -> None:
    async with AsyncClient(server.url, auth="ey", backoff=at_once) as client:
        waiting = asyncio.create_task(client.query("a:a"))
        peer, _ = await accept(server)
        await peer.send(AuthError(error="expired", base_version=0))
        with pytest.raises(AuthenticationFailed, match="refused the token: expired"):
            await waiting


async def test_a_refused_token_is_replaced(server: ScriptedServer) -> None:
    tokens = iter(["old", "new"])

    async def auth() -> str:
        return next(tokens)

    async with AsyncClient(server.url, auth=auth, backoff=at_once) as client:
        waiting = asyncio.create_task(client.mutation("a:a"))
        peer, _ = await accept(server)
        assert (await peer.receive(Authenticate)).value == "old"
        await peer.send(AuthError(error="expired", base_version=0))
        await peer.close()
        peer, connect = await accept(server)
        assert connect.last_close_reason == "AuthError"
        assert (await peer.receive(Authenticate)).value == "new"
        await peer.receive(ModifyQuerySet)
        request = await peer.receive(Mutation)
        await peer.send(
            peer.transition(query_set=1, identity=1, ts=1),
            MutationResponse(request_id=request.request_id, success=True, result="done", ts=1),
        )
        assert await waiting == "done"


async def test_a_function_that_gives_nobody_goes_on_anonymously(server: ScriptedServer) -> None:
    tokens = iter(["old", None])
    async with AsyncClient(server.url, auth=lambda: next(tokens), backoff=at_once):
        peer, _ = await accept(server)
        await peer.receive(Authenticate)
        await peer.send(AuthError(error="expired", base_version=0))
        peer, _ = await accept(server)
        await peer.receive(ModifyQuerySet)


async def test_asking_for_tokens_ends(server: ScriptedServer) -> None:
    tokens = iter("abcdefgh")
    async with AsyncClient(server.url, auth=lambda: next(tokens), backoff=at_once) as client:
        waiting = asyncio.create_task(client.query("a:a"))
        for token in "abcd":
            peer, _ = await accept(server)
            assert (await peer.receive(Authenticate)).value == token
            await peer.send(AuthError(error="no", base_version=0))
        with pytest.raises(AuthenticationFailed, match="4 tokens in a row"):
            await waiting


async def test_a_function_that_fails_is_asked_again(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    failures = iter([OSError("identity provider is away")])

    def auth() -> str:
        for failure in failures:
            raise failure
        return "ey"

    async with AsyncClient(server.url, auth=auth, backoff=at_once):
        peer, connect = await accept(server)
        assert connect.last_close_reason == "NoToken"
        assert (await peer.receive(Authenticate)).value == "ey"
    assert "identity provider is away" in caplog.text


async def test_a_value_larger_than_the_library_allows_by_default(server: ScriptedServer) -> None:
    async with AsyncClient(server.url) as client:
        waiting = asyncio.create_task(client.query("a:a"))
        peer, _ = await accept(server)
        await peer.send(peer.transition({0: "x" * 2_000_000}, query_set=1, ts=1))
        assert len(await waiting) == 2_000_000
        waiting = asyncio.create_task(client.query("a:b"))
        failed = QueryFailed(query_id=1, error_message="no")
        await peer.send(peer.transition({1: failed}, query_set=3, ts=2))
        with pytest.raises(FunctionError, match="no"):
            await waiting
