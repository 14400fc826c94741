"""Servers that are told to stop, as real processes: who is told what, what is waited for, and that nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx2 as httpx
import pytest
import websockets

from reliability.serving import Server, serving
from tests.apps import ENTRIES, write_app
from tests.company import company
from yugen_client import AsyncClient

BUSY = """
    import os
    import time
    from yugen import ActionCtx, Document, MutationCtx, QueryCtx, action, internal_mutation, mutation, query


    class Note(Document, table="notes"):
        text: str


    @query
    async def notes(ctx: QueryCtx) -> list[str]:
        return [note.text async for note in ctx.db.query(Note)]


    @internal_mutation
    async def note(ctx: MutationCtx, text: str) -> None:
        await ctx.db.insert(Note(text=text))


    @mutation
    async def later(ctx: MutationCtx, text: str, seconds: float) -> None:
        await ctx.scheduler.run_after(seconds, note, text=text)


    @mutation
    async def takes(ctx: MutationCtx, seconds: float) -> str:
        await ctx.db.insert(Note(text="took"))
        os.write(2, b"it takes its time\\n")
        time.sleep(seconds)
        return "took"


    @mutation
    async def spins(ctx: MutationCtx) -> None:
        while True:
            pass


    @action
    async def holds_on(ctx: ActionCtx) -> None:
        await ctx.run_mutation(note, text="holds on")
        while True:
            pass
"""


async def is_ready(server: Server) -> int:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{server.url}/ready")).status_code


async def test_whoever_balances_load_is_told_first_and_all_goes_on_until_then(tmp_path: Path) -> None:
    options = ("--limit", "notice_seconds=5")
    async with serving(write_app(tmp_path, f=BUSY), tmp_path / "data", *options, development=False) as server:
        async with AsyncClient(server.url) as client:
            await client.mutation("f:later", {"text": "scheduled", "seconds": 10})
            assert await is_ready(server) == 200
            server.terminate()
            await server.printed("Serving for 5 s more")
            assert await is_ready(server) == 503
            # Who comes all the same is served, on a new connection as on the one from before.
            assert await client.mutation("f:takes", {"seconds": 0}) == "took"
            async with AsyncClient(server.url) as late:
                assert await late.query("f:notes") == ["took"]
            async with websockets.connect(f"{server.url.replace('http', 'ws')}/api/sync") as socket:
                with pytest.raises(websockets.ConnectionClosed):
                    await socket.recv()
                assert (socket.close_code, socket.close_reason) == (1001, "ServerShuttingDown")
        assert await server.ended() == 0
        with pytest.raises(httpx.ConnectError):
            await is_ready(server)
        await server.start()
        async with AsyncClient(server.url) as client:
            async for notes in client.subscribe("f:notes"):
                if notes == ["took", "scheduled"]:  # by the server that comes after
                    break


async def test_a_mutation_under_way_is_answered_and_what_spins_holds_nobody_up(tmp_path: Path) -> None:
    options = ("--limit", "shutdown_seconds=0.3", "--limit", "cleanup_seconds=0.3", "--limit", "transaction_seconds=90")
    async with (
        serving(write_app(tmp_path, f=BUSY), tmp_path / "data", *options, development=False) as server,
        AsyncClient(server.url) as watcher,
        AsyncClient(server.url) as client,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        holding = asyncio.create_task(client.action("f:holds_on"))
        async for notes in watcher.subscribe("f:notes"):
            if notes == ["holds on"]:
                break
        spinning = asyncio.create_task(client.mutation("f:spins"))
        body = {"path": "f:takes", "args": {"seconds": 0.8}}
        taking = asyncio.create_task(http.post("/api/mutation", json=body))
        await server.printed("it takes its time")
        server.terminate()
        assert (await taking).json() == {"status": "success", "value": "took"}
        assert await server.ended() == 0
        for each in (holding, spinning):
            each.cancel()
        await asyncio.wait([holding, spinning])


@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT)])
async def test_a_second_signal_waits_for_nobody(workers: int, number: signal.Signals, tmp_path: Path) -> None:
    options = ["--limit", "shutdown_seconds=600", "--limit", "notice_seconds=600"]
    if workers > 1:
        options += ["--workers", str(workers)]
    async with (
        serving(write_app(tmp_path, f=BUSY), tmp_path / "data", *options, development=False) as server,
        AsyncClient(server.url) as client,
    ):
        holding = asyncio.create_task(client.action("f:holds_on"))
        async for notes in client.subscribe("f:notes"):
            if notes == ["holds on"]:
                break
        server.terminate()
        for _ in range(workers):
            await server.printed("Serving for 600 s more")
        os.kill(server.pid, number)
        assert await server.ended() == 0
        holding.cancel()
        await asyncio.wait([holding])


async def test_clients_that_write_and_watch_see_no_error_while_a_server_is_replaced(tmp_path: Path) -> None:
    """As a service manager does; nodes one after the other are replaced in `tests/test_nodes.py`."""
    app, data = write_app(tmp_path, f=ENTRIES), tmp_path / "data"
    async with (
        serving(app, data, development=False) as server,
        company(server.url, writers=4, watchers=8) as clients,
    ):
        await clients.more(20)
        server.terminate()
        assert await server.ended() == 0
        await server.start()
        await clients.more(20)
