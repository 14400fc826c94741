from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from file_server import LARGE, FileServer, file_server

from yugen_client import AsyncClient, Client, ClientClosed, TransferFailed


@pytest.fixture
def storage() -> Iterator[FileServer]:
    with file_server() as server:
        yield server


@pytest.fixture
def client(storage: FileServer) -> Iterator[Client]:
    with Client("http://127.0.0.1:9") as client:
        yield client


class Pipe(io.RawIOBase):
    """A file whose length nobody knows before its end."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(size)


def test_each_kind_of_source(client: Client, storage: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(LARGE)
    with path.open("rb") as file:
        ids = [
            client.upload(storage.url("/upload"), path),
            client.upload(storage.url("/upload"), str(path), content_type="image/x-own"),
            client.upload(storage.url("/upload"), file),
            client.upload(storage.url("/upload"), b"bytes"),
            client.upload(storage.url("/upload"), memoryview(b"more bytes")),
            client.upload(storage.url("/upload"), b"", content_type="text/plain"),
            client.upload(storage.url("/upload"), Pipe(LARGE)),
        ]
        assert not file.closed
    assert [storage.files[storage_id] for storage_id in ids] == [
        (LARGE, "image/png", "512000"),
        (LARGE, "image/x-own", "512000"),
        (LARGE, "image/png", "512000"),
        (b"bytes", "application/octet-stream", "5"),
        (b"more bytes", "application/octet-stream", "10"),
        (b"", "text/plain", "0"),
        (LARGE, "application/octet-stream", None),
    ]


def test_a_file_is_sent_from_where_it_stands(client: Client, storage: FileServer) -> None:
    file = io.BytesIO(b"0123456789")
    file.seek(4)
    storage_id = client.upload(storage.url("/upload"), file)
    assert storage.files[storage_id][0] == b"456789"


def test_what_is_no_file(client: Client, storage: FileServer, tmp_path: Path) -> None:
    source: Any
    with pytest.raises(FileNotFoundError):
        client.upload(storage.url("/upload"), tmp_path / "none")
    for source, complaint in ((1, "int is no file"), (io.StringIO("text"), "open it in binary mode")):
        with pytest.raises(TypeError, match=complaint):
            client.upload(storage.url("/upload"), source)
    assert storage.files == {}


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/expired", 401, r"StorageTokenExpired: The token has expired\. \(status 401\)"),
        ("/moved", 307, r"the server refused the file: .* \(status 307\)"),
        ("/elsewhere", 200, "is no upload address"),
        ("/list", 200, "is no upload address"),
    ],
)
def test_a_refusal(client: Client, storage: FileServer, path: str, status: int, reason: str) -> None:
    with pytest.raises(TransferFailed, match=reason) as raised:
        client.upload(storage.url(path), b"bytes")
    assert raised.value.status == status


def test_downloads(client: Client, storage: FileServer, tmp_path: Path) -> None:
    assert client.download(storage.url("/large")) == LARGE
    assert client.download(storage.url("/moved")) == LARGE
    assert client.download(storage.url("/large"), tmp_path / "large.bin") == tmp_path / "large.bin"
    assert client.download(storage.url("/large"), str(tmp_path / "large.bin")) == tmp_path / "large.bin"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"large.bin": LARGE}


@pytest.mark.parametrize(("path", "status"), [("/none", 404), ("/half", None)])
def test_a_download_that_fails_leaves_nothing(
    client: Client, storage: FileServer, tmp_path: Path, path: str, status: int | None
) -> None:
    (tmp_path / "kept").write_bytes(b"as it was")
    for to in (tmp_path / "new", tmp_path / "kept"):
        with pytest.raises(TransferFailed) as raised:
            client.download(storage.url(path), to)
        assert raised.value.status == status
    with pytest.raises(TransferFailed):
        client.download(storage.url(path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"kept": b"as it was"}


async def test_nobody_there_and_a_closed_client() -> None:
    async with AsyncClient("http://127.0.0.1:9") as client:
        with pytest.raises(TransferFailed, match="could not be sent") as raised:
            await client.upload("http://127.0.0.1:9/upload", b"")
        assert raised.value.status is None
        with pytest.raises(TransferFailed, match="could not be fetched"):
            await client.download("http://127.0.0.1:9/file")
        with pytest.raises(TransferFailed, match="could not be sent"):
            await client.upload("http://host:port/", b"")
        with pytest.raises(TransferFailed, match="could not be fetched"):
            await client.download("http://host:port/")
    with pytest.raises(ClientClosed):
        await client.upload("http://127.0.0.1:9/upload", b"")


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Takes what is sent, and never answers. The event says that a request has come."""
    came, ended = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            came.set()
        writer.close()
        ended.set()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/", came
        await ended.wait()


@pytest.mark.parametrize("way", ["upload", "download"])
async def test_closing_ends_what_is_on_its_way(way: str) -> None:
    async with silent_server() as (url, came), AsyncClient("http://127.0.0.1:9") as client:
        call = client.upload(url, LARGE) if way == "upload" else client.download(url)
        transfer = asyncio.ensure_future(call)
        await came.wait()
        await client.close()
        with pytest.raises(ClientClosed):
            await transfer


async def test_a_caller_who_is_cancelled_while_the_client_closes_is_cancelled() -> None:
    client = AsyncClient("http://127.0.0.1:9")
    async with silent_server() as (url, came):
        transfer = asyncio.ensure_future(client.download(url))
        await came.wait()
        transfer.cancel()
        await client.close()
        with pytest.raises(asyncio.CancelledError):
            await transfer
