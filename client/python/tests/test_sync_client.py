from __future__ import annotations

import asyncio
import gc
import queue
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from scripted import Peer, ScriptedServer, scripted_server
from websockets.exceptions import ConnectionClosed

from yugen_client import Client, ClientClosed, ConnectionState, FunctionError, LocalStore
from yugen_client.messages import (
    Action,
    ActionResponse,
    AddQuery,
    Authenticate,
    Connect,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    QueryFailed,
    RemoveQuery,
    decode_client,
)


async def accept(server: ScriptedServer) -> Peer:
    peer = await server.accept()
    await peer.receive(Connect)
    return peer


def beside(script: Callable[[ScriptedServer], Awaitable[None]]) -> tuple[str, Future[None]]:
    """Runs a server's part of a conversation on a thread; its address, and its end."""
    url: Future[str] = Future()
    ended: Future[None] = Future()

    async def main() -> None:
        async with scripted_server() as server:
            url.set_result(server.url)
            await script(server)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return url.result(), ended


def test_calls_and_iteration() -> None:
    async def script(server: ScriptedServer) -> None:
        peer = await accept(server)
        await peer.receive(ModifyQuerySet)
        await peer.receive(Mutation)
        await peer.send(MutationResponse(request_id=0, success=True, result="id", ts=1))
        await peer.send(peer.transition(query_set=1, ts=1))
        await peer.receive(Action)
        await peer.send(ActionResponse(request_id=1, success=False, result="no", error_data=[1.0]))
        await peer.receive(ModifyQuerySet)
        await peer.send(peer.transition({0: 1.0}, query_set=2, ts=2))
        await peer.receive(ModifyQuerySet)
        await peer.receive(ModifyQuerySet)
        await peer.send(peer.transition({1: 1.0}, query_set=4, ts=3))
        await peer.receive(Mutation)
        failed = QueryFailed(query_id=1, error_message="broken")
        await peer.send(MutationResponse(request_id=2, success=True, result=None, ts=4))
        await peer.send(peer.transition({1: failed}, ts=4))
        await peer.receive(Mutation)
        await peer.send(MutationResponse(request_id=3, success=True, result=None, ts=5))
        await peer.send(peer.transition({1: 2.0}, ts=5))
        assert (await peer.receive(ModifyQuerySet)).modifications == (RemoveQuery(query_id=1),)
        await peer.finished_by_client()

    url, ended = beside(script)
    with Client(url) as client:
        assert client.mutation("a:add") == "id"
        with pytest.raises(FunctionError, match="no") as raised:
            client.action("a:act")
        assert raised.value.data == [1.0]
        assert client.query("a:get", {"n": 1}) == 1.0
        with client.subscribe("a:list") as subscription:
            assert next(subscription) == 1.0
            client.mutation("a:break")
            with pytest.raises(FunctionError, match="broken"):
                next(subscription)
            client.mutation("a:mend")
            for value in subscription:
                assert value == 2.0
                break
        assert list(subscription) == []
        assert client.connection_state.synced
    ended.result()


def test_closing_ends_iterations_and_calls_on_other_threads() -> None:
    arrived = threading.Event()

    async def script(server: ScriptedServer) -> None:
        peer = await accept(server)
        await peer.receive_up_to(Mutation)
        arrived.set()
        await peer.finished_by_client()

    url, ended = beside(script)
    client = Client(url)
    subscription = client.subscribe("a:list")
    with ThreadPoolExecutor() as threads:
        iterating = threads.submit(lambda: list(subscription))
        mutating = threads.submit(client.mutation, "a:add")
        arrived.wait()
        client.close()
        assert iterating.result() == []
        with pytest.raises(ClientClosed):
            mutating.result()
    client.close()
    subscription.close()
    assert list(subscription) == []
    with pytest.raises(ClientClosed):
        client.query("a:get")
    with pytest.raises(ClientClosed):
        client.subscribe("a:get")
    ended.result()


async def room(server: ScriptedServer) -> None:
    """Answers one client: `a:list` is a list of words, `a:count` their number, `a:add` adds one unless that is bad."""
    with suppress(ConnectionClosed):  # the client may leave while it is answered
        await answer(await accept(server))


async def answer(peer: Peer) -> None:
    words: list[str] = []
    wanted: dict[int, str] = {}
    ts = 1

    def results(query_ids: Iterable[int]) -> dict[int, Any]:
        return {each: words if wanted[each] == "a:list" else float(len(words)) for each in query_ids}

    async for text in peer.socket:
        match decode_client(text):
            case ModifyQuerySet(modifications=modifications, new_version=version):
                added = [change for change in modifications if isinstance(change, AddQuery)]
                wanted |= {change.query_id: change.udf_path for change in added}
                for change in modifications:
                    if isinstance(change, RemoveQuery):
                        del wanted[change.query_id]
                await peer.send(peer.transition(results(each.query_id for each in added), query_set=version, ts=ts))
            case Mutation(request_id=request_id, args=({"word": "bad"},)):
                await peer.send(MutationResponse(request_id=request_id, success=False, result="no"))
            case Mutation(request_id=request_id, args=({"word": word},)):
                ts += 1
                words = [*words, word]
                await peer.send(MutationResponse(request_id=request_id, success=True, result=None, ts=ts))
                await peer.send(peer.transition(results(wanted), ts=ts))
            case Authenticate(base_version=version):
                await peer.send(peer.transition(identity=version + 1))


def add_word(store: LocalStore, args: dict[str, Any]) -> None:
    store.set_query("a:list", {}, [*(store.get_query("a:list") or []), args["word"]])


def test_groups_and_optimistic_updates() -> None:
    url, ended = beside(room)
    with Client(url) as client:
        group = client.subscribe_all({"list": "a:list", "count": "a:count"})
        assert next(group) == {"list": [], "count": 0.0}
        with pytest.raises(FunctionError, match="no"):
            client.mutation("a:add", {"word": "bad"}, optimistic_update=add_word)
        client.mutation("a:add", {"word": "good"}, optimistic_update=add_word)
        assert next(group) == {"list": ["good"], "count": 1.0}
        group.close()
        assert list(group) == []
    ended.result()


def test_callbacks_may_wait_for_the_client() -> None:
    updates: queue.Queue[Any] = queue.Queue()
    states: queue.Queue[ConnectionState] = queue.Queue()

    def on_update(value: Any) -> None:
        updates.put((value, client.query("a:count"), threading.current_thread().name))

    url, ended = beside(room)
    with Client(url) as client:
        stop = client.on_connection_change(states.put)
        subscription = client.subscribe("a:list", on_update=on_update)
        client.subscribe_all({"count": "a:count"}, on_update=print, on_error=print).close()
        with pytest.raises(TypeError, match="gives its results to `on_update`"):
            iter(subscription)
        assert updates.get() == ([], 0.0, "yugen-client-callbacks")
        client.mutation("a:add", {"word": "a"})
        assert updates.get() == (["a"], 1.0, "yugen-client-callbacks")
        assert states.get().connected
        stop()
        client.check_connection()
    ended.result()


def test_closing_ends_a_callback_that_waits_for_the_client(caplog: pytest.LogCaptureFixture) -> None:
    waiting, ended_waiting = threading.Event(), threading.Event()

    def on_update(value: Any) -> None:
        waiting.set()
        try:
            client.action("a:never")
        finally:
            ended_waiting.set()

    url, ended = beside(room)
    with Client(url) as client:
        client.subscribe("a:list", on_update=on_update)
        waiting.wait()
    ended_waiting.wait()
    ended.result()
    assert "a callback failed" not in caplog.text


def test_the_client_is_not_to_be_called_on_its_own_thread() -> None:
    def update(store: LocalStore, args: dict[str, Any]) -> None:
        client.query("a:list")

    with Client("http://127.0.0.1:9") as client, pytest.raises(RuntimeError, match="cannot wait for itself"):
        client.mutation("a:add", optimistic_update=update)


def test_another_user_and_data_frames() -> None:
    url, ended = beside(room)
    with Client(url) as client:
        client.mutation("a:add", {"word": "a"})
        client.set_auth(lambda: "ada")
        assert client.query_pandas("a:list")["value"].tolist() == ["a"]
        assert client.connection_state.authenticated
        assert client.query_polars("a:list")["value"].to_list() == ["a"]
    ended.result()


def test_callbacks_keep_their_client_alive() -> None:
    heard = threading.Event()

    async def script(server: ScriptedServer) -> None:
        peer = await accept(server)
        await peer.receive_up_to(ModifyQuerySet)
        gc.collect()
        await peer.send(peer.transition({0: 1.0}, query_set=1, ts=1))
        await peer.finished_by_client()

    url, ended = beside(script)
    ended_callback = Client(url).subscribe("a:list", on_update=lambda value: heard.set())
    gc.collect()
    heard.wait()
    ended_callback.close()
    del ended_callback
    gc.collect()
    ended.result()


def threads_of_clients() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "yugen-client"]


def test_a_forgotten_client_ends_its_thread() -> None:
    client = Client("http://127.0.0.1:9")
    [thread] = threads_of_clients()
    del client
    gc.collect()
    thread.join()
    assert threads_of_clients() == []


def test_a_client_may_be_collected_on_its_own_thread() -> None:
    forgotten = threading.Event()

    async def auth() -> None:
        await asyncio.to_thread(forgotten.wait)
        gc.collect()

    client = Client("http://127.0.0.1:9", auth=auth)
    client.subscribe("a:list")
    cycle: list[object] = [client]
    cycle.append(cycle)
    [thread] = threads_of_clients()
    gc.disable()
    try:
        del client, cycle
        forgotten.set()
        thread.join()
    finally:
        gc.enable()


def test_a_subscription_keeps_its_client_alive() -> None:
    async def script(server: ScriptedServer) -> None:
        peer = await accept(server)
        await peer.receive(ModifyQuerySet)
        await peer.send(peer.transition({0: 1.0}, query_set=1))
        await peer.finished_by_client()

    url, ended = beside(script)
    for value in Client(url).subscribe("a:list"):
        assert value == 1.0
        break
    gc.collect()
    ended.result()


INTERRUPTED = """
import os, signal, threading
try:
    threading.Timer(0, os.kill, [os.getpid(), signal.SIGINT]).start()
    next(subscription)
except KeyboardInterrupt:
    pass
"""


@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)", INTERRUPTED], ids=["end", "exit", "interrupt"])
def test_a_program_that_closes_nothing_ends(ending: str) -> None:
    async def script(server: ScriptedServer) -> None:
        peer = await accept(server)
        await peer.receive(ModifyQuerySet)
        await peer.send(peer.transition({0: 1.0}, query_set=1))
        await peer.finished_by_client()

    url, ended = beside(script)
    program = f"""
from yugen_client import Client
client = Client({url!r})
subscription = client.subscribe("a:list")
print(next(subscription))
{ending}
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1.0\n", "")
    ended.result()
