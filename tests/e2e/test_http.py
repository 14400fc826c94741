"""HTTP actions and running actions of real servers: ports, nodes, new code, and what happens when they stop."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from reliability.serving import SECONDS_MAX, YUGEN, Process, Server, serving
from tests.apps import write_app
from yugen import Yugen
from yugen_client import AsyncClient

HTTP = """
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response, StreamingResponse

    from yugen import ActionCtx, HttpRouter

    http = HttpRouter()


    @http.route("/hello")
    async def hello(ctx: ActionCtx, request: Request) -> Response:
        return PlainTextResponse(f"hello at {request.url}")


    @http.route("/late")
    async def late(ctx: ActionCtx, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            raise ValueError("the tea is cold")

        return StreamingResponse(parts())
"""

WORK = """
    import asyncio
    import subprocess
    import sys
    import threading
    import time

    import httpx2

    from yugen import ActionCtx, MutationCtx, QueryCtx, action, internal_mutation, mutation, query


    @internal_mutation
    async def note(ctx: MutationCtx, text: str) -> None:
        await ctx.db.insert("notes", {"text": text})


    @query
    async def notes(ctx: QueryCtx) -> list[str]:
        return [each["text"] for each in await ctx.db.query("notes").collect()]


    @action
    async def works(ctx: ActionCtx, seconds: float) -> str:
        await ctx.run_mutation(note, text="works")
        await asyncio.sleep(seconds)
        await ctx.run_mutation(note, text="has worked")
        return "done"


    @mutation
    async def works_later(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(0, works, seconds=2)
        await ctx.scheduler.run_after(3600, works, seconds=0)


    @action
    async def waits(ctx: ActionCtx) -> None:
        try:
            await ctx.run_mutation(note, text="waits")
            await asyncio.Event().wait()
        finally:
            await ctx.run_mutation(note, text="has cleaned up")


    @action
    async def holds_out(ctx: ActionCtx) -> None:
        await ctx.run_mutation(note, text="holds out")
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass


    @action
    async def blocks(ctx: ActionCtx, seconds: float) -> float:
        await ctx.run_mutation(note, text="blocks")
        time.sleep(seconds)
        return seconds


    @action
    async def in_threads(ctx: ActionCtx, many: int) -> int:
        together = threading.Barrier(many, timeout=60)
        await asyncio.gather(*(asyncio.to_thread(together.wait) for _ in range(many)))
        return many


    @action
    async def fetches(ctx: ActionCtx, url: str) -> str:
        async with httpx2.AsyncClient() as client, asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(client.get(url)) for _ in range(3)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print('a program')", stdout=subprocess.PIPE
        )
        out, _ = await process.communicate()
        return "; ".join([*(each.result().text for each in asked), out.decode().strip()])
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path, http=HTTP, work=WORK)


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=SECONDS_MAX) as client:
        return await client.get(url)


async def until(client: AsyncClient, note: str) -> None:
    """Waits until an action has written this."""
    async with asyncio.timeout(SECONDS_MAX), client.subscribe("work:notes") as notes:
        async for found in notes:
            if note in found:
                return


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one", "two"])
async def test_a_server_has_a_port_for_http_actions(app: Path, options: tuple[str, ...]) -> None:
    async with serving(app, app.parent / "data", *options, development=False) as server:
        site = await server.site_url()
        for _ in range(4):
            assert (await get(f"{site}/hello")).text == f"hello at {site}/hello"
            assert (await get(f"{server.url}/http/hello")).text == f"hello at {server.url}/http/hello"
        assert (await get(f"{site}/version")).status_code == 404


def two_ports() -> int:
    """A port of 127.0.0.1 that is free, as the one after it is."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listener, suppress(OSError):
            port: int = listener.getsockname()[1]
            socket.create_server(("127.0.0.1", port + 1)).close()
            return port


async def test_the_port_is_the_one_after_that_of_the_api_where_that_is_free(app: Path) -> None:
    port = two_ports()
    site = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port + 1)
    command = (YUGEN, "dev", app, "--port", str(port), "--data", app.parent / "data")
    async with site, Process(*command) as other:
        line = await other.printed("HTTP actions are below /http/ only; --site-port gives them a port")
        assert f"Cannot listen on 127.0.0.1:{port + 1}" in line.string
        await other.printed("Yugen is ready")
        assert (await get(f"http://127.0.0.1:{port}/http/hello")).status_code == 200
    async with Process(*command) as other:
        await other.printed(f"HTTP actions are at http://127.0.0.1:{port + 1}$")
    async with Process(*command, "--site-port", str(port)) as other:
        await other.printed("Cannot listen on")
        assert await other.ended() == 1


async def test_functions_learn_where_http_actions_are(app: Path) -> None:
    async def told(server: Server) -> str:
        key = (app.parent / "data" / "admin_key").read_text().strip()
        async with httpx.AsyncClient() as client:
            response = await client.post(
                f"{server.url}/api/function",
                json={"path": "_system/cli/convexUrl:siteUrl", "args": {}},
                headers={"Authorization": f"Convex {key}"},
            )
        return str(response.json()["value"])

    async with serving(app, app.parent / "data") as server:
        assert await told(server) == await server.site_url()
    async with serving(app, app.parent / "data", "--url", "https://api.example/") as server:
        assert await told(server) == "https://api.example/http"
    async with serving(app, app.parent / "data", "--site-url", "https://hooks.example") as server:
        assert await told(server) == "https://hooks.example"


async def test_new_routes_are_taken_up(app: Path) -> None:
    async with serving(app, app.parent / "data") as server:
        site = await server.site_url()
        assert (await get(f"{site}/bye")).status_code == 404
        file = app / "http.py"
        since = len(server.lines)
        file.write_text(file.read_text().replace("hello", "bye"))
        await server.printed("Reloaded", since=since)
        assert (await get(f"{site}/bye")).text == f"bye at {site}/bye"
        assert (await get(f"{site}/hello")).status_code == 404


async def test_below_another_app_they_are_below_its_mount(app: Path) -> None:
    yugen = Yugen(app, database=app.parent / "data")
    outer = Starlette(routes=[Mount("/backend", yugen.asgi()), Mount("/hooks", yugen.site_asgi())])
    async with yugen, httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://a") as client:
        for path in ("/backend/http/hello", "/hooks/hello"):
            assert (await client.get(path)).text == f"hello at http://a{path}"
        assert (await client.get("/hooks/backend/hello")).status_code == 404


async def test_the_command_line_lists_routes(app: Path) -> None:
    async with Process(YUGEN, "functions", "http:", "--data", app.parent / "data", "--app", app) as process:
        await process.printed("^http GET /hello -> http:hello$")
        assert await process.ended() == 0


async def test_a_response_that_breaks_off_is_logged_once(app: Path) -> None:
    async with serving(app, app.parent / "data") as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await get(f"{server.url}/http/late")
        await server.printed("http GET /late failed")
    assert sum("ValueError: the tea is cold" in line for line in server.lines) == 1


async def test_actions_are_pythons_full_world(app: Path) -> None:
    async with serving(app, app.parent / "data", development=False) as server, AsyncClient(server.url) as client:
        site = await server.site_url()
        hello = f"hello at {site}/hello"
        assert await client.action("work:fetches", {"url": f"{site}/hello"}) == f"{hello}; {hello}; {hello}; a program"
        # More threads than a machine has cores do not wait for one another.
        assert await client.action("work:in_threads", {"many": 50}) == 50


async def test_an_action_that_blocks_holds_up_no_other(app: Path) -> None:
    async with serving(app, app.parent / "data", development=False) as server, AsyncClient(server.url) as client:
        blocking = asyncio.create_task(client.action("work:blocks", {"seconds": 2}))
        await until(client, "blocks")
        assert await asyncio.gather(*(client.action("work:works", {"seconds": 0}) for _ in range(10))) == ["done"] * 10
        assert not blocking.done()
        assert await blocking == 2


@asynccontextmanager
async def stopping(app: Path, function: str, note: str, *options: str) -> AsyncIterator[tuple[Server, Process]]:
    """A server that has been told to stop while an action runs that was asked for by `yugen run`."""
    data = app.parent / "data"
    async with serving(app, data, "--limit", "cleanup_seconds=0.2", *options, development=False) as server:
        name, _, args = function.partition(" ")
        async with Process(YUGEN, "run", name, args or "{}", "--url", server.url) as asking:
            async with AsyncClient(server.url) as client:
                await until(client, note)
            server.terminate()
            yield server, asking
            assert await server.ended() == 0


async def kept(app: Path) -> list[str]:
    """What the actions have written, as it is found when the server is gone."""
    async with serving(app, app.parent / "data", development=False) as server, AsyncClient(server.url) as client:
        return list(await client.query("work:notes"))


async def test_a_server_that_stops_lets_actions_finish(app: Path) -> None:
    async with stopping(app, 'work:works {"seconds": 2}', "works") as (server, asking):
        await server.printed("Waiting 7 s for 1 actions")
        # Its caller gets to know, too.
        await asking.printed("done")
    assert await kept(app) == ["works", "has worked"]


async def test_a_scheduled_one_finishes_too_and_counts_as_done(app: Path) -> None:
    data = app.parent / "data"
    async with serving(app, data, development=False) as server:
        async with AsyncClient(server.url) as client:
            await client.mutation("work:works_later")
            await until(client, "works")
        server.terminate()
        await server.printed("Waiting 7 s for 1 actions")
        assert await server.ended() == 0
    async with Process(YUGEN, "data", "_scheduled_functions", "--json", "--data", data) as process:
        await process.ended()
    states = sorted(json.loads(line)["state"]["kind"] for line in process.lines)
    assert states == ["pending", "success"]
    assert await kept(app) == ["works", "has worked"]


async def test_one_that_does_not_finish_is_cancelled_and_cleans_up(app: Path) -> None:
    async with stopping(app, "work:waits", "waits", "--limit", "shutdown_seconds=0.1") as (_, asking):
        await asking.printed("ActionCancelled: work:waits was cancelled because the server stops")
    assert await kept(app) == ["waits", "has cleaned up"]


async def test_one_that_holds_out_is_killed(app: Path) -> None:
    async with stopping(app, "work:holds_out", "holds out", "--limit", "shutdown_seconds=0.1") as (server, _):
        assert await server.ended() == 0
    assert await kept(app) == ["holds out"]


async def test_a_second_interrupt_waits_for_no_action(app: Path) -> None:
    async with stopping(app, "work:waits", "waits", "--limit", "shutdown_seconds=600") as (server, _):
        await server.printed("Waiting 600 s for 1 actions; interrupt again to stop at once")
        server.interrupt()
        assert await server.ended() == 0


async def test_an_action_goes_on_when_its_client_leaves(app: Path) -> None:
    async with serving(app, app.parent / "data", development=False) as server, AsyncClient(server.url) as client:
        async with AsyncClient(server.url) as other:
            asking = asyncio.create_task(other.action("work:works", {"seconds": 0.5}))
            await until(client, "works")
        asking.cancel()
        await asyncio.wait([asking])
        await until(client, "has worked")


async def test_too_many_actions_wait_and_then_are_refused(app: Path) -> None:
    limits = ("--limit", "actions_max=2", "--limit", "actions_waiting_max=2")
    async with serving(app, app.parent / "data", *limits, development=False) as server:
        async with AsyncClient(server.url) as client:
            asked = [asyncio.create_task(client.action("work:works", {"seconds": 0.3})) for _ in range(5)]
            await asyncio.wait(asked)
        refused = [str(each.exception()) for each in asked if each.exception() is not None]
        assert len(refused) == 1
        assert "2 actions run and 2 wait for their turn; try again in a moment." in refused[0]
