"""A server of files, as Convex's storage is seen by clients."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = bytes(range(256)) * 2000


class FileServer(ThreadingHTTPServer):
    """It takes what is posted to `/upload`, and gives it back at `/file/<storage id>`; made by `file_server`.

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
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/expired":
            self._answer(401, b'{"code": "StorageTokenExpired", "message": "The token has expired."}')
        elif self.path == "/moved":
            self.send_response(307)
            self.send_header("Location", "/upload")
            self.send_header("Content-Length", "0")
            self.end_headers()
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
        elif (file := self.server.files.get(self.path.removeprefix("/file/"))) is not None:
            self._answer(200, file[0])
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


@contextmanager
def file_server() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
