"""A cached query over HTTP, beside a bare Starlette route that returns the same bytes.

Run as `python -m benchmarks.http PORT BODY` it is that route, under the server as Yugen runs it.
"""

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.figures import Figure
from benchmarks.load import SyncClient
from benchmarks.servers import free_port, yugen_server
from benchmarks.serving import MESSAGE

CLIENTS = 16
REQUESTS = 10_000
ROUNDS = 5
QUERY = json.dumps({"path": "notes:newest", "args": {"topic": "a"}}).encode()


class HttpClient(asyncio.Protocol):
    """Sends one request again and again over one connection, each when the one before is answered."""

    def __init__(self, requests: int) -> None:
        self.body = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = requests
        self._buffer = b""
        self._request = (
            b"POST /api/query HTTP/1.1\r\nHost: benchmark\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(QUERY), QUERY)
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        size = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(size):
            return
        assert head.startswith(b"HTTP/1.1 200"), self._buffer
        self.body, self._buffer = body, b""
        self._left -= 1
        if self._left:
            self._transport.write(self._request)
        else:
            self._transport.close()
            self.done.set_result(None)


async def ask(port: int, requests: int) -> bytes:
    """Has each of the clients send so many requests; gives the body of an answer."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: HttpClient(requests), "127.0.0.1", port) for _ in range(CLIENTS)]
    await asyncio.gather(*(client.done for _, client in made))
    return made[0][1].body


def cpu_seconds(pid: int) -> float:
    """What the first thread of a process, which has its event loop, has used of a processor."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def bare_route(body: bytes) -> Iterator[tuple[int, int]]:
    """A server with the bare route: its port and its process id."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "benchmarks.http", str(port), body.decode()]) as server:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert server.poll() is None
        try:
            yield port, server.pid
        finally:
            server.terminate()


async def measure() -> tuple[list[Figure], dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder, yugen_server(Path(folder)) as yugen:
        client = await SyncClient().open(yugen.port)
        await client.mutate("notes:add", {"topic": "a", "body": MESSAGE})
        client.socket.close()
        with bare_route(await ask(yugen.port, 1)) as bare:
            servers = {"yugen": (yugen.port, yugen.pid), "bare": bare}
            rates: dict[str, list[float]] = {name: [] for name in servers}
            costs: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(ROUNDS):
                for name, (port, pid) in servers.items():
                    started, used = time.perf_counter(), cpu_seconds(pid)
                    await ask(port, REQUESTS // CLIENTS)
                    rates[name].append(REQUESTS / (time.perf_counter() - started))
                    costs[name].append((cpu_seconds(pid) - used) / REQUESTS * 1e6)
    rate = {name: statistics.median(found) for name, found in rates.items()}
    cost = {name: statistics.median(found) for name, found in costs.items()}
    return [
        Figure("cached query over HTTP", "a second", rate["yugen"], rate["bare"], "bare Starlette route"),
        Figure("its processor time", "µs", cost["yugen"], cost["bare"], "bare Starlette route"),
    ], {}


def serve(port: int, body: bytes) -> None:
    """Serves the bare route."""

    async def route(request: Request) -> Response:
        return Response(body, media_type="application/json")

    app = Starlette(routes=[Route("/api/query", route, methods=["POST"])])
    uvicorn.run(app, port=port, log_config=None, access_log=False, server_header=False, lifespan="off")


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2].encode())
