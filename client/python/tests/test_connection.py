from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scripted import Peer, ScriptedServer, scripted_server, token

from yugen_client import (
    AdminAuth,
    AsyncClient,
    AuthenticationFailed,
    ClientError,
    ConnectionLost,
    FunctionError,
    LocalStore,
    ServerRefused,
    __version__,
    requests,
)
from yugen_client.connection import INACTIVITY_SECONDS
from yugen_client.errors import ProtocolError
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


@contextmanager
def later(seconds: float) -> Iterator[None]:
    """For the event loop it is so much later; a server may be silent for longer."""
    assert seconds < INACTIVITY_SECONDS
    loop = asyncio.get_running_loop()
    loop_time = loop.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: loop_time() + seconds)
        yield


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


@pytest.mark.parametrize("failure", [OSError, ConnectionLost, AuthenticationFailed, ProtocolError])
async def test_a_function_that_fails_is_asked_again(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, failure: type[Exception]
) -> None:
    failures = [failure("identity provider is away")]

    def auth() -> str:
        if failures:
            raise failures.pop()
        return "ey"

    async with AsyncClient(server.url, auth=auth, backoff=at_once):
        peer, connect = await accept(server)
        assert connect.last_close_reason == "NoToken"
        assert (await peer.receive(Authenticate)).value == "ey"
    assert "identity provider is away" in caplog.text


async def test_a_function_that_fails_after_a_refusal_is_given_time(server: ScriptedServer) -> None:
    made: Iterator[Any] = iter(["old", OSError("away"), "new"])
    attempts: list[int] = []

    def auth() -> Any:
        value = next(made)
        if isinstance(value, OSError):
            raise value
        return value

    def backoff(attempt: int) -> float:
        attempts.append(attempt)
        return 0.0

    async with AsyncClient(server.url, auth=auth, backoff=backoff):
        peer, _ = await accept(server)
        await peer.receive(Authenticate)
        await peer.send(AuthError(error="expired", base_version=0))
        peer, _ = await accept(server)
        assert (await peer.receive(Authenticate)).value == "new"
    assert attempts == [1]  # none for the refusal itself


async def test_a_token_is_replaced_before_it_ends(server: ScriptedServer) -> None:
    forced: list[bool] = []
    made = iter([token(exp=time.time() + 40), token(iat=0, exp=3600)])

    async def auth(*, force_refresh: bool) -> str:
        forced.append(force_refresh)
        return next(made)

    async with AsyncClient(server.url, auth=auth, backoff=at_once) as client:
        peer, _ = await accept(server)
        first = await peer.receive(Authenticate)
        await peer.receive(ModifyQuerySet)
        with later(35):
            second = await peer.receive(Authenticate)
        assert (first.base_version, second.base_version) == (0, 1)
        assert first.value != second.value
        assert forced == [False, True]
        before = client.connection_state
        assert not before.authenticated
        await peer.send(peer.transition(query_set=1, identity=1), peer.transition(identity=2, ts=1))
        querying = asyncio.create_task(client.query("a:a"))
        await peer.receive(ModifyQuerySet)
        await peer.send(peer.transition({0: 1.0}, query_set=2))
        assert await querying == 1.0
        assert client.connection_state.authenticated
        await peer.close()
        peer, _ = await accept(server)
        assert (await peer.receive(Authenticate)).value == second.value
        assert forced == [False, True]


async def test_a_token_that_cannot_be_replaced_yet_is_asked_for_again(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yugen_client.connection.REFRESH_AGAIN_SECONDS", 0.0)
    made: Iterator[Any] = iter([token(exp=time.time() + 40), OSError("away"), "new"])

    def auth(**options: bool) -> Any:
        value = next(made)
        if isinstance(value, OSError):
            raise value
        return value

    async with AsyncClient(server.url, auth=auth):
        peer, _ = await accept(server)
        await peer.receive(Authenticate)
        await peer.receive(ModifyQuerySet)
        with later(35):
            assert (await peer.receive(Authenticate)).value == "new"
    assert "away" in caplog.text


async def test_a_function_that_has_no_other_token_is_left_alone(server: ScriptedServer) -> None:
    only = token(exp=time.time() + 40)
    asked = asyncio.Event()
    calls = 0

    def auth(force_refresh: bool = False) -> str:
        nonlocal calls
        calls += 1
        if force_refresh:
            asked.set()
        return only

    async with AsyncClient(server.url, auth=auth) as client:
        peer, _ = await accept(server)
        await peer.receive(Authenticate)
        await peer.receive(ModifyQuerySet)
        with later(35):
            await asked.wait()
        querying = asyncio.create_task(client.query("a:a"))
        await peer.receive(ModifyQuerySet)  # and no Authenticate
        await peer.send(peer.transition({0: 1.0}, query_set=2, identity=1))
        await querying
        assert calls == 2


async def test_a_user_who_signs_out_at_the_provider(server: ScriptedServer) -> None:
    made = iter([token(exp=time.time() + 40), None])
    async with AsyncClient(server.url, auth=lambda: next(made)):
        peer, _ = await accept(server)
        await peer.receive(Authenticate)
        await peer.receive(ModifyQuerySet)
        with later(35):
            assert await peer.receive(Authenticate) == Authenticate(base_version=1, token_type="None")


async def test_an_empty_cache_is_passed_by(server: ScriptedServer) -> None:
    def auth(*, force_refresh: bool) -> str | None:
        return "fresh" if force_refresh else None

    async with AsyncClient(server.url, auth=auth):
        peer, _ = await accept(server)
        assert (await peer.receive(Authenticate)).value == "fresh"


async def test_a_function_that_gives_no_token_at_all(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    made: Iterator[Any] = iter([7, "ey"])
    async with AsyncClient(server.url, auth=lambda: next(made), backoff=at_once):
        peer, connect = await accept(server)
        assert connect.last_close_reason == "NoToken"
        assert (await peer.receive(Authenticate)).value == "ey"
    assert "the auth function gave int" in caplog.text


async def test_another_user_on_a_live_connection(server: ScriptedServer) -> None:
    async with AsyncClient(server.url, auth="ada") as client:
        subscription = client.subscribe("a:me")
        peer, _ = await accept(server)
        assert (await peer.receive(Authenticate)).value == "ada"
        await peer.receive(ModifyQuerySet)
        await peer.send(peer.transition({0: "ada"}, query_set=1, identity=1, ts=1))
        assert await anext(subscription) == "ada"

        of_ada = asyncio.create_task(client.mutation("a:write"))
        await asyncio.sleep(0)  # called, and not sent
        client.set_auth("bob")
        of_bob = asyncio.create_task(client.mutation("a:write"))
        querying = asyncio.create_task(client.query("a:me"))
        late = client.subscribe("a:me")
        assert (await peer.receive(Mutation)).request_id == 0
        assert await peer.receive(Authenticate) == Authenticate(base_version=1, value="bob")
        assert (await peer.receive(Mutation)).request_id == 1
        await peer.send(
            peer.transition({0: "ada still"}, ts=2),
            MutationResponse(request_id=0, success=True, result=None, ts=2),
            peer.transition({0: "bob"}, identity=2, ts=3),
            MutationResponse(request_id=1, success=True, result=None, ts=3),
        )
        assert await anext(subscription) == await anext(late) == await querying == "bob"
        await asyncio.gather(of_ada, of_bob)

        client.set_auth(None)
        assert await peer.receive(Authenticate) == Authenticate(base_version=2, token_type="None")
        await peer.send(peer.transition(identity=3, ts=4))
        assert await client.query("a:me") == "bob"  # it was left out, so that it is the same for nobody
        client.set_auth(None)
        assert await client.query("a:me") == "bob"


async def test_another_user_whose_token_takes_its_time(server: ScriptedServer) -> None:
    may_give = asyncio.Event()

    async def auth() -> str:
        await may_give.wait()
        return "bob"

    async with AsyncClient(server.url) as client:
        subscription = client.subscribe("a:me")
        peer, _ = await accept(server)
        await peer.receive(ModifyQuerySet)
        await peer.send(peer.transition({0: None}, query_set=1, ts=1))
        assert await anext(subscription) is None
        client.set_auth(auth)
        of_bob = asyncio.create_task(client.mutation("a:write"))
        await peer.send(peer.transition({0: "nobody still"}, ts=2))
        await asyncio.sleep(0)
        assert client.connection_state.in_flight_mutations == 1
        may_give.set()
        assert (await peer.receive(Authenticate)).value == "bob"  # and the mutation only now
        await peer.receive(Mutation)
        await peer.send(peer.transition({0: "bob"}, identity=1, ts=3))
        await peer.send(MutationResponse(request_id=0, success=True, result=None, ts=3))
        assert await anext(subscription) == "bob"
        await of_bob


async def test_optimistic_updates_of_before_the_first_token_are_those_of_its_user(server: ScriptedServer) -> None:
    def show(store: LocalStore, args: dict[str, Any]) -> None:
        if (words := store.get_query("a:list")) is not None:
            store.set_query("a:list", {}, [*words, "b"])

    async def auth() -> str:
        return "ada"

    async with AsyncClient(server.url, auth=auth) as client:
        subscription = client.subscribe("a:list")
        mutating = asyncio.create_task(client.mutation("a:add", optimistic_update=show))
        peer, _ = await accept(server)
        assert (await peer.receive(Authenticate)).value == "ada"
        await peer.send(peer.transition({0: ["a"]}, query_set=1, identity=1, ts=1))
        assert await anext(subscription) == ["a", "b"]
        await peer.send(MutationResponse(request_id=0, success=True, result=None, ts=1))
        await mutating


async def test_the_user_before_the_last_does_not_come_back(server: ScriptedServer) -> None:
    may_give, asked = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        asked.set()
        await may_give.wait()
        return "ada"

    async with AsyncClient(server.url, auth=slow) as client:
        await asked.wait()
        client.set_auth("bob")
        may_give.set()
        peer, _ = await accept(server)
        assert (await peer.receive(Authenticate)).value == "bob"


async def test_an_administrator(server: ScriptedServer) -> None:
    acting = AdminAuth("key", acting_as={"issuer": "https://id.example", "subject": "ada"})
    async with AsyncClient(server.url, auth=AdminAuth("key")) as client:
        peer, _ = await accept(server)
        assert await peer.receive(Authenticate) == Authenticate(base_version=0, token_type="Admin", value="key")
        await peer.receive(ModifyQuerySet)
        client.set_auth(acting)
        assert (await peer.receive(Authenticate)).impersonating == {"issuer": "https://id.example", "subject": "ada"}


async def test_a_refusal_of_a_token_that_was_replaced_meanwhile(server: ScriptedServer) -> None:
    async with AsyncClient(server.url, auth="old", backoff=at_once) as client:
        peer, _ = await accept(server)
        await peer.receive(Authenticate)
        await peer.receive(ModifyQuerySet)
        client.set_auth("new")
        await peer.receive(Authenticate)
        await peer.send(AuthError(error="expired", base_version=0))
        await peer.close()
        peer, connect = await accept(server)
        assert connect.last_close_reason == "closed with code 1000"
        assert (await peer.receive(Authenticate)).value == "new"


# Waking up


async def test_a_connection_that_is_fine_survives_a_doubt(server: ScriptedServer) -> None:
    async with AsyncClient(server.url) as client:
        peer, _ = await accept(server)
        await peer.receive(ModifyQuerySet)
        client.check_connection()
        querying = asyncio.create_task(client.query("a:a"))
        await peer.receive(ModifyQuerySet)
        await peer.send(peer.transition({0: 1.0}, query_set=2))
        assert await querying == 1.0
        assert client.connection_state.connection_count == 1


async def test_a_dead_connection_is_left_soon_after_a_sleep(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = time.time
    monkeypatch.setattr("yugen_client.connection.TICK_SECONDS", 0.0)
    monkeypatch.setattr("yugen_client.connection.PROBE_SECONDS", 0.01)
    async with AsyncClient(server.url, backoff=at_once):
        peer, _ = await accept(server)
        await peer.receive(ModifyQuerySet)
        transport = peer.socket.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()  # so that no ping is answered
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: wall() + 3600)  # an hour has passed at once
            _, connect = await accept(server)
        assert connect.last_close_reason == "NoAnswerToPing"
        transport.resume_reading()


async def test_a_client_that_waits_to_reconnect_does_so_when_it_wakes() -> None:
    waiting = asyncio.Event()

    def backoff(attempt: int) -> float:
        waiting.set()
        return 3600.0

    async with scripted_server() as server, AsyncClient(server.url, backoff=backoff) as client:
        peer, _ = await accept(server)
        await peer.close()
        await waiting.wait()
        await asyncio.sleep(0)
        client.check_connection()
        _, connect = await accept(server)
        assert connect.connection_count == 1


async def test_a_token_that_has_ended_in_sleep_is_replaced(server: ScriptedServer) -> None:
    made = iter([token(exp=time.time() + 60), "new"])
    wall = time.time
    async with AsyncClient(server.url, auth=lambda: next(made)) as client:
        peer, _ = await accept(server)
        await peer.receive(Authenticate)
        await peer.receive(ModifyQuerySet)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: wall() + 3600)
            client.check_connection()
            assert (await peer.receive(Authenticate)).value == "new"


async def test_what_waits_for_room_is_sent_when_there_is_some(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "IN_FLIGHT_MAX", 1)
    async with AsyncClient(server.url) as client:
        calls = [asyncio.create_task(client.mutation("a:a", {"n": number})) for number in range(3)]
        peer = await server.accept()
        await peer.receive_up_to(ModifyQuerySet)
        for number in range(3):
            message = await peer.receive(Mutation)
            assert message.request_id == number
            failure = MutationResponse(request_id=number, success=False, result="no")
            await peer.send(failure)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(answer) for answer in answers] == ["no"] * 3


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
