from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from yugen_client import AsyncClient, Client, ClientClosed, TransferFailed

LARGE = bytes(range(256)) * 2000


class Storage(ThreadingHTTPServer):
    """A server of files, as protocol and as simple as Convex's.

    Attributes:
        files: what was sent, by storage id, with its type and the length that was announced.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, tuple[bytes, str | None, str | None]] = {}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Storage
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/expired":
            self._answer(401, b'{"code": "StorageTokenExpired", "message": "The token has expired."}')
        elif self.path == "/elsewhere":
            self._answer(200, b"<html>")
        elif self.path == "/list":
            self._answer(200, b"[]")
        else:
            storage_id = f"kg{len(self.server.files)}"
            self.server.files[storage_id] = body, self.headers["Content-Type"], self.headers["Content-Length"]
            self._answer(200, json.dumps({"storageId": storage_id}).encode())

    def do_GET(self) -> None:
        if self.path == "/half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 500)
            self.close_connection = True
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/large")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/large":
            self._answer(200, LARGE)
        else:
            self._answer(404, b"")

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers["Content-Length"] is not None:
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def storage() -> Iterator[Storage]:
    with Storage() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(storage: Storage) -> Iterator[Client]:
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


def test_each_kind_of_source(client: Client, storage: Storage, tmp_path: Path) -> None:
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


def test_a_file_is_sent_from_where_it_stands(client: Client, storage: Storage) -> None:
    file = io.BytesIO(b"0123456789")
    file.seek(4)
    storage_id = client.upload(storage.url("/upload"), file)
    assert storage.files[storage_id][0] == b"456789"


def test_what_is_no_file(client: Client, storage: Storage, tmp_path: Path) -> None:
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
        ("/elsewhere", 200, "is no upload address"),
        ("/list", 200, "is no upload address"),
    ],
)
def test_a_refusal(client: Client, storage: Storage, path: str, status: int, reason: str) -> None:
    with pytest.raises(TransferFailed, match=reason) as raised:
        client.upload(storage.url(path), b"bytes")
    assert raised.value.status == status


def test_downloads(client: Client, storage: Storage, tmp_path: Path) -> None:
    assert client.download(storage.url("/large")) == LARGE
    assert client.download(storage.url("/moved")) == LARGE
    assert client.download(storage.url("/large"), tmp_path / "large.bin") == tmp_path / "large.bin"
    assert client.download(storage.url("/large"), str(tmp_path / "large.bin")) == tmp_path / "large.bin"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"large.bin": LARGE}


@pytest.mark.parametrize(("path", "status"), [("/none", 404), ("/half", None)])
def test_a_download_that_fails_leaves_nothing(
    client: Client, storage: Storage, tmp_path: Path, path: str, status: int | None
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
    with pytest.raises(ClientClosed):
        await client.upload("http://127.0.0.1:9/upload", b"")
