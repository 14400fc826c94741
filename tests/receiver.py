"""A host for tests that takes what is posted to it, as those do who collect errors and traces."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


class Receiver:
    """What was sent.

    Attributes:
        url: where to send it.
        sent: the path, the type and the decompressed body of each request.
        status: what they are answered with.
        answers: set while they are answered; others wait.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent: list[tuple[str, str, bytes]] = []
        self.status = 200
        self.answers = Event()
        self.answers.set()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A host at a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            receiver.sent.append((self.path, self.headers.get("Content-Type", ""), body))
            receiver.answers.wait()
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.answers.set()
            server.shutdown()
            thread.join()
