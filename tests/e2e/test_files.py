"""Files against a real server: clients, nodes, an object store, snapshots, crashes, and how much memory it all takes.

`YUGEN_FILE_MB=2048` sends and fetches a file of that many MiB.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import httpx2 as httpx
import pytest

from reliability.serving import YUGEN, Process, Server, serving
from tests.apps import write_app
from tests.object_store import object_store
from yugen_client import AsyncClient, Client

FILE_MB: Final = int(os.environ.get("YUGEN_FILE_MB", "96"))

MEMORY_MAX: Final = 32 * 1024 * 1024
"""Bytes that the server may take beyond what it takes for small files: some pieces for each file on its way."""

APP: Final = """
    from typing import Any

    from yugen import ActionCtx, Document, Id, MutationCtx, QueryCtx, action, mutation, query


    class Picture(Document, table="pictures"):
        file: Id["_storage"]
        title: str


    @mutation
    async def ask(ctx: MutationCtx) -> str:
        return await ctx.storage.generate_upload_url()


    @mutation
    async def add(ctx: MutationCtx, file: Id["_storage"], title: str) -> None:
        await ctx.db.insert(Picture(file=file, title=title))


    @query
    async def pictures(ctx: QueryCtx) -> list[dict[str, Any]]:
        pictures = await ctx.db.query(Picture).collect()
        return [{"title": each.title, "url": await ctx.storage.get_url(each.file)} for each in pictures]


    @query
    async def metadata(ctx: QueryCtx) -> list[dict[str, Any]]:
        return await ctx.db.system.query("_storage").collect()


    @mutation
    async def remove(ctx: MutationCtx, file: Id["_storage"]) -> None:
        await ctx.storage.delete(file)


    @action
    async def double(ctx: ActionCtx, file: Id["_storage"]) -> Id["_storage"]:
        found = await ctx.storage.get(file)
        assert found is not None

        async def twice() -> Any:
            for _ in range(2):
                async for piece in found:
                    yield piece

        return await ctx.storage.store(twice(), content_type=found.content_type)
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path, pictures=APP)


def memory(server: Server) -> int:
    """Bytes that the server process has taken at most."""
    text = Path(f"/proc/{server._process.pid}/status").read_text()
    return 1024 * int(text.partition("VmHWM:")[2].split()[0])


def stored(data: Path) -> list[Path]:
    return [path for path in (data / "files").rglob("*") if path.is_file()]


async def test_the_asynchronous_client(app: Path, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3_000_000)
    source, copy = tmp_path / "picture.png", tmp_path / "copy.png"
    source.write_bytes(content)
    async with serving(app, tmp_path / "data", development=False) as server, AsyncClient(server.url) as client:
        file = await client.upload(await client.mutation("pictures:ask"), source)
        async with client.subscribe("pictures:pictures", {}) as shown:
            assert await anext(shown) == []
            await client.mutation("pictures:add", {"file": file, "title": "Ada"})
            [picture] = await anext(shown)
        assert await client.download(picture["url"], copy) == copy
        assert copy.read_bytes() == content
        twice = await client.action("pictures:double", {"file": file})
        sizes = {each["_id"]: (each["size"], each["contentType"]) for each in await client.query("pictures:metadata")}
        assert sizes == {file: (3_000_000, "image/png"), twice: (6_000_000, "image/png")}
        await client.mutation("pictures:remove", {"file": file})
        assert (await client.query("pictures:pictures"))[0]["url"] is None


async def test_the_synchronous_client(app: Path, tmp_path: Path) -> None:
    def use(url: str) -> None:
        with Client(url) as client:
            file = client.upload(client.mutation("pictures:ask"), b"hello", content_type="text/plain")
            client.mutation("pictures:add", {"file": file, "title": "Ada"})
            [picture] = client.query("pictures:pictures")
            assert client.download(picture["url"]) == b"hello"

    async with serving(app, tmp_path / "data") as server:
        await asyncio.to_thread(use, server.url)


async def test_several_nodes_share_them(app: Path, tmp_path: Path) -> None:
    options = ("--workers", "2")
    async with (
        serving(app, tmp_path / "data", *options, development=False) as server,
        AsyncClient(server.url) as client,
    ):
        url = await client.mutation("pictures:ask")

        async def one(number: int) -> None:
            # A connection of its own each time, which any of the nodes may get.
            async with httpx.AsyncClient() as http:
                file = (await http.post(url, content=f"file {number}")).json()["storageId"]
            await client.mutation("pictures:add", {"file": file, "title": str(number)})
            shown = {each["title"]: each["url"] for each in await client.query("pictures:pictures")}
            async with httpx.AsyncClient() as http:
                assert (await http.get(shown[str(number)])).text == f"file {number}"
            await client.mutation("pictures:remove", {"file": file})
            async with httpx.AsyncClient() as http:
                assert (await http.get(shown[str(number)])).status_code == 404

        await asyncio.gather(*(one(number) for number in range(20)))


async def test_an_object_store_has_them(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with object_store() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("YUGEN_FILES", "s3://bucket/files")
        content = random.Random(1).randbytes(20_000_000)
        async with serving(app, tmp_path / "data", development=False) as server, AsyncClient(server.url) as client:
            file = await client.upload(await client.mutation("pictures:ask"), content)
            await client.mutation("pictures:add", {"file": file, "title": "Ada"})
            [picture] = await client.query("pictures:pictures")
            assert await client.download(picture["url"]) == content
            async with httpx.AsyncClient() as http:
                part = await http.get(picture["url"], headers={"Range": "bytes=10000000-10000004"})
                assert part.content == content[10_000_000:10_000_005]
            assert await client.action("pictures:double", {"file": file})
            snapshot = tmp_path / "snapshot.zip"
            await run(server, "export", snapshot, "--include-file-storage")
            with ZipFile(snapshot) as archive:
                assert archive.read(f"_storage/{file}.bin") == content
        assert [len(stored) for stored, _ in store.objects.values()] == [20_000_000, 40_000_000]
        assert stored(tmp_path / "data") == []


async def run(server: Server, *arguments: str | Path) -> list[str]:
    data = server._command[server._command.index("--data") + 1]
    async with Process(YUGEN, *arguments, "--data", data) as process:
        assert await process.ended() == 0, process.lines
        return process.lines


async def test_a_snapshot_with_files_comes_back_byte_for_byte(app: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    kinds = {"a.png": "image/png", "b.txt": "text/plain; charset=utf-8", "c": None, "d.html": "text/html"}
    async with serving(app, tmp_path / "one") as one, serving(app, tmp_path / "two", development=False) as two:
        async with AsyncClient(one.url) as client:
            url = await client.mutation("pictures:ask")
            files = {}
            for name, kind in kinds.items():
                async with httpx.AsyncClient() as http:
                    headers = {} if kind is None else {"Content-Type": kind}
                    answer = await http.post(url, content=name * 1000, headers=headers)
                files[name] = answer.json()["storageId"]
                await client.mutation("pictures:add", {"file": files[name], "title": name})
            before = await client.query("pictures:metadata")
            shown = await client.query("pictures:pictures")
        await run(one, "export", first, "--include-file-storage")
        lines = await run(two, "import", first, "--yes")
        assert any("_storage" in line and "4" in line for line in lines), lines
        await run(two, "export", second, "--include-file-storage")
        assert first.read_bytes() == second.read_bytes()
        with ZipFile(second) as archive:
            assert archive.read(f"_storage/{files['a.png']}.png") == b"a.png" * 1000
            assert f"_storage/{files['c']}" in archive.namelist()
        async with AsyncClient(two.url) as client:
            assert await client.query("pictures:metadata") == before
            there = await client.query("pictures:pictures")
            # The same addresses, on another origin.
            assert [each["url"].replace(two.url, one.url) for each in there] == [each["url"] for each in shown]
            for each in there:
                assert await client.download(each["url"]) == each["title"].encode() * 1000
        # Once more over what is there: its bytes give way to others.
        await run(two, "import", first, "--replace", "--yes")
        await run(two, "export", second, "--force", "--include-file-storage")
        assert first.read_bytes() == second.read_bytes()


async def test_a_crash_in_an_upload_leaves_no_file(app: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with serving(app, data, development=False) as server:
        async with AsyncClient(server.url) as client:
            url = await client.mutation("pictures:ask")
        begun = asyncio.Event()

        async def half() -> AsyncIterator[bytes]:
            for _ in range(200):
                yield bytes(100_000)
            begun.set()
            await asyncio.get_running_loop().create_future()

        async with httpx.AsyncClient(timeout=None) as http:
            sending = asyncio.create_task(http.post(url, content=half()))
            await begun.wait()
            async with asyncio.timeout(60):
                while not stored(data):  # noqa: ASYNC110
                    await asyncio.sleep(0)
            await server.kill()
            sending.cancel()
            await asyncio.wait([sending])
        assert [path.parent.name for path in stored(data)] == ["parts"]
        os.utime(stored(data)[0], (0, 0))
        await server.start()
        async with AsyncClient(server.url) as client:
            assert await client.query("pictures:metadata") == []
            # The address is as good as before, and what was left goes once it is old.
            assert await client.upload(url.replace(url.partition("/api")[0], server.url), b"x")
            async with asyncio.timeout(60):
                while any(path.parent.name == "parts" for path in stored(data)):  # noqa: ASYNC110
                    await asyncio.sleep(0)


@pytest.mark.timeout(120 + FILE_MB // 2)
async def test_large_files_take_little_memory(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up, down, by slow readers, and through an action and a snapshot of it; and others are served meanwhile."""
    monkeypatch.setattr("reliability.serving.SECONDS_MAX", 60 + FILE_MB / 8)
    piece = random.Random(2).randbytes(1024 * 1024)
    digest = hashlib.sha256()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(FILE_MB):
            digest.update(piece)
            yield piece

    limits = httpx.Limits(max_connections=100)
    async with (
        serving(app, tmp_path / "data", development=False) as server,
        AsyncClient(server.url) as client,
        httpx.AsyncClient(timeout=None, limits=limits) as http,
    ):
        url = await client.mutation("pictures:ask")
        small = (await http.post(url, content=piece)).json()["storageId"]
        await client.mutation("pictures:add", {"file": small, "title": "small"})
        [shown] = await client.query("pictures:pictures")
        assert (await http.get(shown["url"])).content == piece
        little = memory(server)

        large = (await http.post(url, content=pieces())).json()["storageId"]
        await client.mutation("pictures:add", {"file": large, "title": "large"})
        *_, shown = await client.query("pictures:pictures")
        sent = memory(server) - little

        slow = [await http.send(http.build_request("GET", shown["url"]), stream=True) for _ in range(10)]
        got = hashlib.sha256()
        async with http.stream("GET", shown["url"]) as response:
            async for part in response.aiter_bytes():
                got.update(part)
        assert got.digest() == digest.digest()
        for each in slow:
            await each.aclose()
        fetched = memory(server) - little
        assert max(sent, fetched) < MEMORY_MAX, f"{sent:,} bytes to take it in, {fetched:,} to send it"


async def test_a_server_that_stops_breaks_off_what_it_sends(app: Path, tmp_path: Path) -> None:
    """A reader that does not read keeps no server from stopping."""
    expected = ("timeout graceful shutdown exceeded",)
    async with (
        serving(app, tmp_path / "data", development=False, expected_errors=expected) as server,
        httpx.AsyncClient(timeout=None) as http,
    ):
        async with AsyncClient(server.url) as client:
            url = await client.mutation("pictures:ask")
            file = (await http.post(url, content=bytes(50_000_000))).json()["storageId"]
            await client.mutation("pictures:add", {"file": file, "title": "large"})
            [shown] = await client.query("pictures:pictures")
        response = await http.send(http.build_request("GET", shown["url"]), stream=True)
        await server.stop()
        with pytest.raises(httpx.HTTPError):
            await response.aread()
