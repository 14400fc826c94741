from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from scripted import Peer, ScriptedServer, scripted_server

from yugen_client import Client, ClientClosed, FunctionError
from yugen_client.messages import (
    Action,
    ActionResponse,
    Connect,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    QueryFailed,
    RemoveQuery,
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
        timeout=30,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "1.0\n", "")
    ended.result()
