"""The WebSocket transport alone: an ASGI app that does next to nothing, on Yugen's protocol class and on uvicorn's own.

`python -m benchmarks.transport STACK PORT` serves that app.
"""

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import uvloop

from benchmarks.figures import Figure
from benchmarks.load import frame, upgrade
from benchmarks.servers import Server, free_port
from benchmarks.serving import memory_kib

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

MESSAGE = "x" * 200
LISTENERS = 1000
ROUNDS = 200
WARM_UP = 20
ECHO_CLIENTS = 50
ECHO_SECONDS = 2.0
IDLE = 1000

listeners: set[Send] = set()


async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
    """`/echo` sends back what comes, `/broadcast` sends it to everyone who is there."""
    if scope["type"] != "websocket":
        return
    broadcasts = scope["path"] == "/broadcast"
    del scope
    await receive()
    await send({"type": "websocket.accept"})
    if broadcasts:
        listeners.add(send)
    try:
        while (message := await receive())["type"] == "websocket.receive":
            answer = {"type": "websocket.send", "text": message["text"]}
            if broadcasts:
                for listener in listeners:
                    await listener(answer)
            else:
                await send(answer)
    finally:
        listeners.discard(send)


def serve(stack: str, port: int) -> None:
    """Serves until it is killed."""
    import uvicorn  # noqa: PLC0415 -- this is for the servers

    from yugen.server.listen import config  # noqa: PLC0415

    settings = config(app)
    settings.port = port
    if stack != "yugen":
        settings = uvicorn.Config(app, port=port, log_config=None, access_log=False, lifespan="off", ws=stack)
    uvloop.run(uvicorn.Server(settings).serve())


@contextmanager
def transport_server(stack: str) -> Iterator[Server]:
    """The app on a stack: `yugen`, or what uvicorn takes as `ws`."""
    port = free_port()
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "benchmarks.transport", stack, str(port)]) as server:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert server.poll() is None
                time.sleep(0.02)
        try:
            yield Server(port, server.pid, time.perf_counter() - started)
        finally:
            server.terminate()


class Counter(asyncio.BufferedProtocol):
    """A client that counts bytes: what a broadcast is made of is known, and reading it should cost next to nothing."""

    def __init__(self, path: str, arrived: Callable[[int], None]) -> None:
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._path = path
        self._arrived = arrived
        self._buffer = bytearray(64 * 1024)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(upgrade(self._path))

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.open.done():
            self._arrived(nbytes)
        else:
            assert self._buffer.startswith(b"HTTP/1.1 101"), self._buffer
            assert self._buffer[nbytes - 4 : nbytes] == b"\r\n\r\n"
            self.open.set_result(None)


async def counter(port: int, path: str, arrived: Callable[[int], None]) -> Counter:
    """An open connection whose bytes are counted."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Counter(path, arrived), "127.0.0.1", port)
    await client.open
    return client


async def broadcast(server: Server) -> tuple[float, float]:
    """A message to every listener: messages a second, and the server's processor time for one, in microseconds."""
    left = 0
    done = asyncio.Event()

    def arrived(size: int) -> None:
        nonlocal left
        left -= size
        if left == 0:
            done.set()

    clients = [await counter(server.port, "/broadcast", arrived) for _ in range(LISTENERS)]
    sending = frame(MESSAGE.encode())
    seconds = processor = 0.0
    for number in range(-WARM_UP, ROUNDS):
        if number == 0:
            seconds, processor = time.perf_counter(), processor_seconds(server.pid)
        left = LISTENERS * (4 + len(MESSAGE))
        done.clear()
        clients[0].transport.write(sending)
        await done.wait()
    seconds, processor = time.perf_counter() - seconds, processor_seconds(server.pid) - processor
    for client in clients:
        client.transport.abort()
    return ROUNDS * LISTENERS / seconds, processor * 1e6 / (ROUNDS * LISTENERS)


async def echo(server: Server, clients: int) -> tuple[float, float, float]:
    """Clients that wait for each answer: messages a second, median seconds, processor time in microseconds."""
    waits: list[float] = []
    finished = asyncio.Event()
    running = clients

    async def one() -> None:
        started = 0.0
        left = 0

        def arrived(size: int) -> None:
            nonlocal left, started, running
            left -= size
            if left == 0:
                now = time.perf_counter()
                waits.append(now - started)
                if now >= end:
                    running -= 1
                    if running == 0:
                        finished.set()
                    return
                send()

        def send() -> None:
            nonlocal left, started
            left = 4 + len(MESSAGE)
            started = time.perf_counter()
            client.transport.write(sending)

        client = await counter(server.port, "/echo", arrived)
        send()

    sending = frame(MESSAGE.encode())
    began, processor = time.perf_counter(), processor_seconds(server.pid)
    end = began + ECHO_SECONDS
    await asyncio.gather(*(one() for _ in range(clients)))
    await finished.wait()
    seconds, processor = time.perf_counter() - began, processor_seconds(server.pid) - processor
    return len(waits) / seconds, statistics.median(waits), processor * 1e6 / len(waits)


async def idle_kib(server: Server) -> float:
    """Memory that one idle connection takes."""
    before = memory_kib(server.pid)
    clients = [await counter(server.port, "/echo", lambda size: None) for _ in range(IDLE)]
    after = memory_kib(server.pid)
    for client in clients:
        client.transport.abort()
    return (after - before) / IDLE


def processor_seconds(pid: int) -> float:
    """Processor time of a process until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure() -> tuple[list[Figure], dict[str, float]]:
    """All figures. The two sides of each are measured one right after the other."""
    figures: list[Figure] = []
    peer = "uvicorn's own"
    with transport_server("yugen") as ours, transport_server("websockets-sansio") as stock:
        kib = [await idle_kib(server) for server in (ours, stock)]
        figures.append(Figure("memory of an idle connection", "KiB", kib[0], kib[1], peer))
        sent = [await broadcast(server) for server in (ours, stock)]
        figures.append(Figure(f"messages to {LISTENERS} listeners", "1/s", sent[0][0], sent[1][0], peer))
        figures.append(Figure("the same, processor time of one", "µs", sent[0][1], sent[1][1], peer))
        many = [await echo(server, ECHO_CLIENTS) for server in (ours, stock)]
        figures.append(Figure(f"echoes to {ECHO_CLIENTS} clients", "1/s", many[0][0], many[1][0], peer))
        figures.append(Figure("the same, processor time of one", "µs", many[0][2], many[1][2], peer))
        one = [await echo(server, 1) for server in (ours, stock)]
        figures.append(Figure("an echo to one client, p50", "µs", one[0][1] * 1e6, one[1][1] * 1e6, peer))
    return figures, {}


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
