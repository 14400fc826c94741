"""What the guide to the Python client shows, against a real server of the guestbook."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from file_server import file_server
from pydantic import BaseModel, Field

from examples.guestbook.app import guestbook
from reliability.serving import ROOT, Server, serving
from yugen_client import (
    AdminAuth,
    AsyncClient,
    Client,
    ClientError,
    ConnectionState,
    FunctionError,
    LocalStore,
    to_pandas,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = """
from yugen import MutationCtx, QueryCtx, mutation, query


@mutation
async def generate_upload_url(ctx: MutationCtx) -> str:
    return "{url}/upload"


@query
async def url(ctx: QueryCtx, file: str) -> str:
    return f"{url}/file/{{file}}"
"""

PAGES = """
from yugen import PaginationOptions, PaginationResult, QueryCtx, query

from .schema import Entry


@query
async def entries(ctx: QueryCtx, page: PaginationOptions) -> PaginationResult[Entry]:
    return await ctx.db.query(Entry).paginate(page)


@query
async def count(ctx: QueryCtx) -> int:
    return await ctx.db.query(Entry).count()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guestbook")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(folder: Path) -> AsyncIterator[Server]:
    shutil.copytree(ROOT / "examples/guestbook/app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    with file_server() as files:
        (folder / "app/files.py").write_text(FILES.format(url=files.url("")))
        (folder / "app/pages.py").write_text(PAGES)
        async with serving(folder / "app", folder / "data") as server:
            yield server


@pytest.fixture
def url(server: Server) -> str:
    return server.url


async def test_calls(url: str) -> None:
    async with AsyncClient(url) as client:
        await client.mutation("guestbook:sign", {"name": "Ada", "text": "hello"})
        print(await client.query("guestbook:latest", {"count": 3}))
        async for entries in client.subscribe("guestbook:latest", {"count": 3}):
            print([entry["text"] for entry in entries])
            break
    assert entries[0]["text"] == "hello"


async def test_callbacks(url: str) -> None:
    came: asyncio.Queue[Any] = asyncio.Queue()

    def show(entries: list[dict[str, Any]]) -> None:
        came.put_nowait([entry["text"] for entry in entries])

    def complain(error: ClientError) -> None:
        came.put_nowait(error)

    async with AsyncClient(url) as client:
        subscription = client.subscribe("guestbook:latest", on_update=show, on_error=complain)
        before = await came.get()
        await client.mutation("guestbook:sign", {"name": "Ada", "text": "called back"})
        assert await came.get() == ["called back", *before]
        subscription.close()
        await client.mutation("guestbook:sign", {"name": "Ada", "text": "to nobody"})
        assert came.empty()


async def test_a_group(url: str) -> None:
    async with AsyncClient(url) as client:
        await client.mutation("guestbook:sign", {"name": "Ada", "text": "one more"})
        queries = {"entries": ("guestbook:latest", {"count": 3}), "count": "pages:count"}
        async for results in client.subscribe_all(queries):
            print(results["count"], [entry["text"] for entry in results["entries"]])
            break
    assert results["count"] >= len(results["entries"]) >= 1


async def test_pages(url: str) -> None:
    async with AsyncClient(url) as client:
        for number in range(5):
            await client.mutation("guestbook:sign", {"name": "Ada", "text": str(number)})
        entries = client.subscribe_pages("pages:entries", page_size=2)
        async for shown in entries:
            print(len(shown.results))
            if shown.is_done:
                break
            entries.load_more()
        assert len(shown.results) == await client.query("pages:count")


class Entry(BaseModel):
    id: str = Field(alias="_id")
    name: str
    text: str


async def test_types(url: str) -> None:
    async with AsyncClient(url) as client:
        await client.mutation("guestbook:sign", {"name": "Ada", "text": "typed"})
        entries = await client.query("guestbook:latest", {"count": 3}, returns=list[Entry])
        print(entries[0].text)  # an editor knows that this is a str
        assert entries[0].text == "typed"


async def test_function_objects(url: str) -> None:
    async with AsyncClient(url, app="examples.guestbook.app") as client:
        entry_id = await client.mutation(guestbook.sign, {"name": "Ada", "text": "by its object"})
        async for entries in client.subscribe(guestbook.latest, {"count": 3}):
            print(entries[0].text, entries[0].creation_time)
            break
    assert (entries[0].id, entries[0].text) == (entry_id, "by its object")


def show_entry(store: LocalStore, args: dict[str, Any]) -> None:
    entry = {"_id": "not yet", "_creationTime": 0, **args}
    for shown_args, entries in store.get_all_queries("guestbook:latest"):
        if entries is not None:
            count = int(shown_args.get("count", 20))
            store.set_query("guestbook:latest", shown_args, [entry, *entries][:count])


async def test_an_optimistic_update(url: str) -> None:
    async with AsyncClient(url) as client:
        live = client.subscribe("guestbook:latest", {"count": 1})
        await anext(live)
        entry = {"name": "Ada", "text": "at once"}
        signing = asyncio.create_task(client.mutation("guestbook:sign", entry, optimistic_update=show_entry))
        first = await anext(live)
        assert (first[0]["_id"], first[0]["text"]) == ("not yet", "at once")
        await signing
        (real,) = await anext(live)
        assert (real["_id"] != "not yet", real["text"]) == (True, "at once")
        refused = client.mutation("guestbook:sign", {"name": "Ada", "text": " "}, optimistic_update=show_entry)
        with pytest.raises(FunctionError) as raised:
            await refused
        assert raised.value.data == "Write something first."
        assert await client.query("guestbook:latest", {"count": 1}) == [real]


async def fetch_token(*, force_refresh: bool) -> str | None:
    return await my_provider.token(use_cache=not force_refresh)


class MyProvider:
    async def token(self, *, use_cache: bool) -> str | None:
        return None


my_provider = MyProvider()


async def test_who_you_are(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YUGEN_ADMIN_KEY", (folder / "data/admin_key").read_text().strip())
    async with AsyncClient(url, auth=fetch_token) as client:
        await client.query("guestbook:latest")
        client.set_auth(None)  # signed out
        await client.query("guestbook:latest")
        assert not client.connection_state.authenticated
    admin = AdminAuth(os.environ["YUGEN_ADMIN_KEY"])
    async with AsyncClient(url, auth=admin) as client:
        await client.query("guestbook:latest")
        assert client.connection_state.authenticated


async def test_files(url: str, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"picture")
    async with AsyncClient(url) as client:
        upload_url = await client.mutation("files:generate_upload_url")
        storage_id = await client.upload(upload_url, picture)

        file_url = await client.query("files:url", {"file": storage_id})
        await client.download(file_url, to=tmp_path / "copy.png")
    assert (tmp_path / "copy.png").read_bytes() == b"picture"


async def test_data_frames(url: str) -> None:
    def read() -> None:
        client = Client(url)
        client.mutation("guestbook:sign", {"name": "Ada", "text": "a row"})

        frame = client.query_pandas("guestbook:latest", {"count": 100})
        print(frame.groupby("name").size())
        print(frame["_creationTime"].dt.date.max())

        page = client.query("pages:entries", {"paginationOpts": {"numItems": 50, "cursor": None}})
        print(to_pandas(page).shape)
        assert len(frame) == len(to_pandas(page))
        client.close()

    await asyncio.to_thread(read)


async def test_the_state_of_the_connection(url: str) -> None:
    states: list[ConnectionState] = []

    def show_state(state: ConnectionState) -> None:
        print("connected" if state.connected else f"trying again, {state.retries} failed")
        states.append(state)

    async with AsyncClient(url) as client:
        stop = client.on_connection_change(show_state)
        await client.query("guestbook:latest")
        print(client.connection_state.in_flight_mutations)
        client.check_connection()
        await client.query("guestbook:latest")
        stop()
    assert states[0].connected


async def test_errors(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with AsyncClient(url) as client:
        try:
            await client.mutation("guestbook:sign", {"name": "Ada", "text": ""})
        except FunctionError as error:
            print(error.data)
    assert capsys.readouterr().out == "Write something first.\n"
