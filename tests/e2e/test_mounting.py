"""Yugen below a prefix, twice, in an app with middleware and faults of its own: every client, every kind of request."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2 as httpx
import pytest
import pytest_asyncio
import websockets
from convex import ConvexClient
from convex.http_client import ConvexHttpClient

from reliability.serving import ROOT, SECONDS_MAX, YUGEN, Process
from tests.apps import ENTRIES, write_app
from tests.outer import SERVERS, Outer, outside
from yugen_client import AsyncClient

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIN = """
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, WebSocket
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from yugen import Yugen

one, two, last = Yugen("one/app"), Yugen("two/app"), Yugen("last/app")


@asynccontextmanager
async def lifespan(app):
    async with one, two, last:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(GZipMiddleware, minimum_size=1)


@app.middleware("http")
async def stamp(request: Request, call_next):
    response = await call_next(request)
    response.headers["x-stamp"] = "outer"
    return response


@app.get("/boom")
async def boom():
    raise LookupError("the outer app fails")


@app.websocket("/boom")
async def socket_boom(socket: WebSocket):
    await socket.accept()
    raise LookupError("the outer app fails")


@app.get("/total")
async def total():
    return {"one": await one.query("entries:total"), "two": await two.query("entries:total")}


app.mount("/one", one.asgi())
app.mount("/deep", Starlette(routes=[Mount("/er/two", two.asgi())]))
app.mount("/", last.asgi())
"""
JAVASCRIPT = """
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { makeFunctionReference } from "convex/server";
import { YugenClient } from "yugen";
import { WebSocket } from "ws";

const url = process.argv[2];
const [total, append] = ["entries:total", "entries:append"];
const over_http = new ConvexHttpClient(url);
await over_http.mutation(makeFunctionReference(append), { client: "http", number: 1 });
const official = new ConvexClient(url);
const own = new YugenClient(url, { WebSocket });
const both = Promise.all([
  new Promise((done) => official.onUpdate(makeFunctionReference(total), {}, (value) => value === 3 && done())),
  new Promise((done) => own.subscribe(total, {}, (value) => value === 3 && done())),
]);
await official.mutation(makeFunctionReference(append), { client: "official", number: 1 });
await own.mutation(append, { client: "own", number: 1 });
await both;
console.log("all see", await over_http.query(makeFunctionReference(total), {}));
await Promise.all([official.close(), own.close()]);
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Outer]:
    folder = tmp_path_factory.mktemp("mounting")
    for name in ("one", "two", "last"):
        write_app(folder / name, entries=ENTRIES)
    (folder / "main.py").write_text(MAIN)
    async with outside(folder, "main:app", expected_errors=["LookupError: the outer app fails"]) as server:
        yield server


PREFIXES = pytest.mark.parametrize("prefix", ["/one", "/deep/er/two", ""])


async def total(url: str) -> int:
    async with AsyncClient(url) as client:
        return int(await client.query("entries:total"))


@PREFIXES
async def test_clients_of_javascript(outer: Outer, prefix: str) -> None:
    before = await total(f"{outer.url}{prefix}")
    script = JAVASCRIPT.replace("value === 3", f"value === {before + 3}")
    command = ("node", "--input-type=module", "--eval", script, "clients", f"{outer.url}{prefix}")
    async with Process(*command, cwd=ROOT / "tests/conformance") as clients:
        assert await clients.ended() == 0, "\n".join(clients.lines)
    assert f"all see {before + 3}" in clients.lines


@PREFIXES
async def test_clients_of_python(outer: Outer, prefix: str) -> None:
    url = f"{outer.url}{prefix}"

    def over_http() -> object:
        client = ConvexHttpClient(url)
        client.mutation("entries:append", {"client": "python", "number": 1})
        return client.query("entries:numbers", {"client": "python"})

    assert await asyncio.to_thread(over_http) == [1]
    async with asyncio.timeout(SECONDS_MAX), AsyncClient(url + "/") as client:
        numbers = client.subscribe("entries:numbers", {"client": "own of Python"})
        assert await anext(numbers) == []
        await client.mutation("entries:append", {"client": "own of Python", "number": 2})
        assert await anext(numbers) == [2]


async def test_the_official_socket_of_python_drops_the_prefix(outer: Outer) -> None:
    """It opens `/api/sync` whatever the path of the address, so it finds what is mounted at the root."""

    def over_a_socket(prefix: str) -> object:
        client = ConvexClient(f"{outer.url}{prefix}")
        return client.query("entries:numbers", {"client": "rust"})

    async with AsyncClient(outer.url) as client:
        await client.mutation("entries:append", {"client": "rust", "number": 7})
    assert await asyncio.to_thread(over_a_socket, "") == [7]
    assert await asyncio.to_thread(over_a_socket, "/one") == [7]


@PREFIXES
async def test_other_paths(outer: Outer, prefix: str) -> None:
    async with httpx.AsyncClient(base_url=f"{outer.url}{prefix}") as http:
        script = await http.get("/client.js")
        assert (script.status_code, script.headers["x-stamp"]) == (200, "outer")
        assert "YugenClient" in script.text
        assert (await http.get("/version")).status_code == 200
        assert (await http.get("/nothing")).status_code == 404
        unknown = await http.post("/api/nothing", json={})
        assert (unknown.status_code, unknown.json()["code"]) == (404, "NotFound")
        called = await http.post("/api/run/entries/total", json={"args": {}})
        assert called.json()["status"] == "success"
        batch = {"queries": [{"path": "entries:total", "args": {}}]}
        assert len((await http.post("/api/query_batch", json=batch)).json()["results"]) == 1
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(f"ws://127.0.0.1:{outer.port}{prefix}/elsewhere")


@PREFIXES
async def test_the_command_line_and_an_import(outer: Outer, prefix: str) -> None:
    url = f"{outer.url}{prefix}"
    async with Process(YUGEN, "run", "entries:total", "--url", url) as ran:
        assert await ran.ended() == 0, "\n".join(ran.lines)
    before = json.loads(ran.lines[-1])
    folder = {"/one": "one", "/deep/er/two": "two", "": "last"}[prefix]
    key = (outer._cwd / folder / ".yugen/admin_key").read_text().strip()
    async with httpx.AsyncClient(base_url=f"{url}/api/import", headers={"Authorization": f"Convex {key}"}) as http:
        token = (await http.post("/start_upload")).json()["uploadToken"]
        line = b'{"client": "imported", "number": 9}\n'
        part = await http.post("/upload_part", params={"uploadToken": token, "partNumber": "1"}, content=line)
        wanted = {"format": "jsonLines", "mode": "append", "tableName": "entries"}
        body = {"uploadToken": token, "partTokens": [part.json()], "import": wanted}
        finished = await http.post("/finish_upload", json=body)
        assert finished.status_code == 200, finished.text
    assert await total(url) == before


async def test_faults_of_the_outer_app_are_its_own(outer: Outer) -> None:
    since = len(outer.lines)
    async with asyncio.timeout(SECONDS_MAX), AsyncClient(f"{outer.url}/one") as client:
        numbers = client.subscribe("entries:numbers", {"client": "calm"})
        assert await anext(numbers) == []
        async with httpx.AsyncClient(base_url=outer.url) as http:
            for number in range(3):
                assert (await http.get("/boom")).status_code == 500
                async with websockets.connect(f"ws://127.0.0.1:{outer.port}/boom") as socket:
                    with pytest.raises(websockets.ConnectionClosed):
                        await socket.recv()
                await client.mutation("entries:append", {"client": "calm", "number": number})
                assert await anext(numbers) == list(range(number + 1))
    assert len([line for line in outer.lines[since:] if "/one/api/sync" in line]) == 1  # never connected again


async def test_each_has_its_own_data(outer: Outer) -> None:
    async with AsyncClient(f"{outer.url}/one") as client, httpx.AsyncClient(base_url=outer.url) as http:
        before = (await http.get("/total")).json()
        await client.mutation("entries:append", {"client": "one", "number": 1})
        assert (await http.get("/total")).json() == {"one": before["one"] + 1, "two": before["two"]}


@pytest.mark.parametrize("server", SERVERS)
async def test_without_a_lifespan_it_starts_and_stops_by_itself(tmp_path: Path, server: str) -> None:
    write_app(tmp_path / "one", entries=ENTRIES)
    (tmp_path / "main.py").write_text(
        "from starlette.applications import Starlette\nfrom starlette.routing import Mount\nfrom yugen import Yugen\n\n"
        'app = Starlette(routes=[Mount("/one", Yugen("one/app").asgi())])\n'
    )
    for count in (1, 2):
        async with (
            outside(tmp_path, "main:app", server=server) as process,
            asyncio.timeout(SECONDS_MAX),
            AsyncClient(f"{process.url}/one") as client,
        ):
            await client.mutation("entries:append", {"client": "a", "number": count})
            assert await client.query("entries:total") == count
        if server != "granian":  # which does not shut its event loop down
            assert not (tmp_path / "one/.yugen/data.sqlite3-wal").exists()


async def test_an_app_that_does_not_load_keeps_the_server_from_starting(tmp_path: Path) -> None:
    write_app(tmp_path / "one", entries="def")
    (tmp_path / "main.py").write_text(
        "from starlette.applications import Starlette\nfrom yugen import Yugen\n\n"
        'app = Starlette(lifespan=Yugen("one/app").lifespan)\n'
    )
    async with Process(sys.executable, "-m", "uvicorn", "main:app", "--port", "0", cwd=tmp_path) as server:
        await server.printed(r"entries\.py:1: ")
        assert await server.ended() != 0


async def test_below_the_prefix_of_a_proxy(tmp_path: Path) -> None:
    """The proxy takes its prefix away, and the server is told of it."""
    for name in ("one", "two", "last"):
        write_app(tmp_path / name, entries=ENTRIES)
    (tmp_path / "main.py").write_text(MAIN)
    async with (
        outside(tmp_path, "main:app", "--root-path", "/proxied") as server,
        asyncio.timeout(SECONDS_MAX),
        AsyncClient(f"{server.url}/one") as client,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await client.mutation("entries:append", {"client": "a", "number": 1})
        called = await http.post("/one/api/query", json={"path": "entries:total", "args": {}})
        assert called.json()["value"] == 1
