"""The server on real sockets, at the level of bytes where clients are hostile."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import gc
import json
import logging
import os
import resource
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2 as httpx
import pytest
import websockets

from tests.engine import change
from tests.server.peers import SECONDS_MAX, Bench, LoopTime, bench, until_blocked
from yugen.runtime import queries
from yugen.server import listen, websocket
from yugen.server.connection import Connection
from yugen.server.limits import ServerLimits
from yugen.server.listen import Server
from yugen.server.websocket import WebSocketProtocol
from yugen.server.yugen import Yugen
from yugen.sync.session import PING_SECONDS, ServerSession

TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9
FIN, RSV1 = 0x80, 0x40


@dataclass
class Site:
    """A server that runs, and the engine behind it."""

    notes: Bench
    yugen: Yugen
    server: Server
    serving: asyncio.Task[None]
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"{self.host}:{self.port}"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    # monkeypatch: a clock that a test puts forward stays so until the server has ended
    async with bench(tmp_path) as notes:
        yugen = Yugen(tmp_path / "app")
        yugen._backend = notes.backend
        ready = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        server = Server(yugen, ready.set)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await ready.wait()
        yield Site(notes, yugen, server, serving, *listener.getsockname())
        server.should_exit = True
        async with asyncio.timeout(SECONDS_MAX):
            await serving


class RawSocket:
    """A WebSocket whose client masks, frames and measures as it pleases."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, site: Site, path: str = "/api/sync") -> Self:
        reader, writer = await asyncio.open_connection(site.host, site.port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: yugen\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101"), answer
        assert b"sec-websocket-protocol" not in answer.lower()
        return cls(reader, writer)

    def frame(self, head: int, payload: bytes = b"", *, masked: bool = True, claim: int | None = None) -> None:
        """Sends a frame, which may claim to be of another length than it is."""
        size = len(payload) if claim is None else claim
        mask = 0x80 if masked else 0
        if size < 126:
            header = struct.pack("!BB", head, mask | size)
        elif size < 65536:
            header = struct.pack("!BBH", head, mask | 126, size)
        else:
            header = struct.pack("!BBQ", head, mask | 127, size)
        self._writer.write(header + (b"\0\0\0\0" if masked else b"") + payload)

    async def received(self) -> tuple[int, bytes]:
        """The opcode and the payload of the next frame of the server."""
        async with asyncio.timeout(SECONDS_MAX):
            head, size = await self._reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self._reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
            return head & 0x0F, await self._reader.readexactly(size)

    async def closed(self) -> int:
        """The code of the server's close frame, after which the connection must end."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                opcode, payload = await self.received()
                if opcode == CLOSE:
                    self._writer.close()
                    return int(struct.unpack("!H", payload[:2])[0])

    def pause(self) -> None:
        """Reads nothing any more."""
        assert isinstance(self._writer.transport, asyncio.Transport)
        self._writer.transport.pause_reading()

    def abort(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def canary(site: Site) -> AsyncIterator[Any]:
    """A well-behaved client; leaving the block checks that it still hears of writes."""
    async with websockets.connect(f"ws://{site.url}/api/1.48.0/sync") as client:
        add = {"type": "Add", "queryId": 0, "udfPath": "notes:count", "args": [{"book": "canary"}]}
        query_set = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]}
        await client.send(json.dumps(query_set))
        assert await _count(client) == 0
        yield client
        await change(site.notes.runtime, "notes:add", book="canary", text="x")
        async with asyncio.timeout(SECONDS_MAX):
            assert await _count(client) == 1


async def _count(client: Any) -> Any:
    return json.loads(await client.recv())["modifications"][0]["value"]


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize("path", ["/api/sync", "/api/1.48.0/sync", "//api/sync", "/api/any%20thing/sync"])
async def test_clients_find_the_endpoint(site: Site, path: str) -> None:
    client = await RawSocket.open(site, path)
    client.frame(FIN | TEXT, b'{"type": "Mutation", "requestId": 0, "udfPath": "notes:crash", "args": [{}]}')
    opcode, payload = await client.received()
    assert opcode == TEXT
    assert json.loads(payload)["type"] == "MutationResponse"
    client.abort()


@pytest.mark.parametrize("polite", [True, False])
async def test_what_has_ended_need_not_be_collected(site: Site, polite: bool) -> None:
    kinds = (WebSocketProtocol, Connection, ServerSession, queries._Slot)
    gc.collect()
    others = [each for each in gc.get_objects() if isinstance(each, kinds)]  # which earlier tests may still hold
    ids = {id(each) for each in others}
    gc.disable()  # a server looks for what holds itself once in a million objects, and less for what is older
    try:
        for number in range(3):
            client = await RawSocket.open(site)
            args = [{"book": f"{number}", "text": "x"}]
            add = {"type": "Add", "queryId": 0, "udfPath": "notes:count", "args": [{"book": f"{number}"}]}
            query_set = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]}
            write = {"type": "Mutation", "requestId": 0, "udfPath": "notes:add", "args": args}
            client.frame(FIN | TEXT, json.dumps(query_set).encode())
            await client.received()
            client.frame(FIN | TEXT, json.dumps(write).encode())
            await client.received()
            await client.received()
            [connection] = site.yugen._connections
            there = [each for each in gc.get_objects() if isinstance(each, kinds) and id(each) not in ids]
            assert len(there) >= len(kinds)
            gone = connection.gone
            del there, connection
            if polite:
                client.frame(FIN | CLOSE, b"\x03\xe8")
                await client.closed()
            else:
                client.abort()
            await gone
            # The answer is kept until it ends.
            await change(site.notes.runtime, "notes:add", book=f"{number}", text="y")
            await until_blocked()
        assert [each for each in gc.get_objects() if isinstance(each, kinds) and id(each) not in ids] == []
    finally:
        gc.enable()


async def test_of_connections_and_requests_there_are_so_many(site: Site) -> None:
    site.yugen.limits = dataclasses.replace(site.yugen.limits, server=ServerLimits(connections=1))
    async with canary(site), httpx.AsyncClient(base_url=f"http://{site.url}") as client:
        async with websockets.connect(f"ws://{site.url}/api/sync") as other:
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await other.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "TooManyConcurrentRequests:connections")
        assert site.yugen.connections_refused == 1
        call = {"path": "notes:count", "args": {"book": "a"}}
        site.yugen.http_requests.under_way = ServerLimits().requests
        answer = await client.post("/api/query", json=call)
        assert (answer.status_code, answer.json()["code"]) == (503, "TooManyConcurrentRequests")
        assert site.yugen.http_requests.refused == 1
        site.yugen.http_requests.under_way -= 1
        assert (await client.post("/api/query", json=call)).json()["value"] == 0
        assert site.yugen.http_requests.under_way == ServerLimits().requests - 1


async def test_there_is_no_other_socket(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/", "/api/query", "/sync", "/api/a/b/sync"):
        with pytest.raises(websockets.InvalidStatus) as refusal:
            await websockets.connect(f"ws://{site.url}{path}")
        assert refusal.value.response.status_code == 403
    assert not faults(caplog)


@pytest.mark.parametrize("line", [b"GET /\xc3\xa9 HTTP/1.1", b"GET /%ff%zz HTTP/1.1", b"POST / HTTP/1.1"])
async def test_an_odd_handshake_ends_only_its_connection(
    site: Site, caplog: pytest.LogCaptureFixture, line: bytes
) -> None:
    async with canary(site):
        reader, writer = await asyncio.open_connection(site.host, site.port)
        writer.write(
            line + b"\r\nHost: yugen\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: \xff\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        async with asyncio.timeout(SECONDS_MAX):
            assert (await reader.read()).startswith(b"HTTP/1.1 4")
        writer.close()
    assert not [text for text in faults(caplog) if "Invalid HTTP request" not in text]


async def test_what_comes_with_a_handshake_is_not_lost_without_a_word(site: Site) -> None:
    async with canary(site):
        reader, writer = await asyncio.open_connection(site.host, site.port)
        writer.write(
            b"GET /api/sync HTTP/1.1\r\nHost: yugen\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            b"\x81\x82\0\0\0\0{}"
        )
        async with asyncio.timeout(SECONDS_MAX):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(
    ("head", "payload", "options", "code"),
    [
        (FIN | TEXT, b'{"type": "Event"}', {"masked": False}, {1002}),
        (FIN | TEXT, b'{"a": "\xff"}', {}, {1007}),
        (FIN | BINARY, b"\x00\x01", {}, {1003}),
        (FIN | RSV1 | TEXT, b"{}", {}, {1002}),
        (FIN | 0x3, b"", {}, {1002}),
        (FIN | 0x0, b"{}", {}, {1002}),
        (PING, b"", {}, {1002}),
        (FIN | PING, b"x" * 126, {}, {1002}),
        (FIN | TEXT, b"", {"claim": 2**31}, {1009}),
        (FIN | TEXT, b"", {"claim": 2**63 - 1}, {1009}),
        (FIN | TEXT, b"", {"claim": 2**64 - 1}, {1002, 1009}),
        (FIN | TEXT, b"", {"claim": listen.WS_SIZE_MAX + 1}, {1009}),
        (FIN | TEXT, b"not json", {}, {1008}),
    ],
)
async def test_a_bad_frame_ends_only_its_connection(
    site: Site,
    caplog: pytest.LogCaptureFixture,
    head: int,
    payload: bytes,
    options: dict[str, Any],
    code: set[int],
) -> None:
    async with canary(site):
        client = await RawSocket.open(site)
        client.frame(head, payload, **options)
        assert await client.closed() in code
    assert [text for text in faults(caplog) if "Invalid UTF-8" not in text] == []


async def test_a_message_may_come_in_fragments(site: Site) -> None:
    client = await RawSocket.open(site)
    text = '{"type": "Mutation", "requestId": 0, "udfPath": "notes:é", "args": [{}]}'.encode()
    client.frame(TEXT, text[:1])
    for place in range(1, len(text)):
        client.frame(0x0, text[place : place + 1])
        if place % 10 == 0:
            client.frame(FIN | PING, b"in between")
    client.frame(FIN | 0x0)
    opcodes = []
    while True:
        opcode, payload = await client.received()
        opcodes.append(opcode)
        if opcode == TEXT:
            break
    assert json.loads(payload)["success"] is False
    assert 0xA in opcodes
    client.abort()


async def test_a_message_does_not_begin_within_another(site: Site) -> None:
    client = await RawSocket.open(site)
    client.frame(TEXT, b"{")
    client.frame(FIN | TEXT, b"{}")
    assert await client.closed() == 1002


async def test_fragments_have_a_size_together(site: Site) -> None:
    client = await RawSocket.open(site)
    client.frame(TEXT, b'"')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(ConnectionError):
        for _ in range(65):
            client.frame(0x0, b"x" * 1024 * 1024)
            await client._writer.drain()
    assert await client.closed() == 1009
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


async def test_silent_sockets_keep_nobody_waiting(site: Site) -> None:
    silent = [await RawSocket.open(site) for _ in range(150)]
    halves = [await asyncio.open_connection(site.host, site.port) for _ in range(150)]
    for number, (_, writer) in enumerate(halves):
        writer.write([b"", b"GET /", b"POST /api/query HTTP/1.1\r\nContent-Length: 9\r\n"][number % 3])
    for client in silent[::2]:
        client._writer.write(b"\x81\xfe")
    async with canary(site):
        pass
    for client in silent:
        client.abort()
    for _, writer in halves:
        writer.transport.abort()


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET / HT",
        b"POST /api/query HTTP/1.1\r\nHost: x\r\nX: ",
        b"GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /",
    ],
)
async def test_half_a_request_is_given_up(site: Site, start: bytes) -> None:
    time = LoopTime()
    reader, writer = await asyncio.open_connection(site.host, site.port)
    writer.write(start)
    if b"\r\n\r\n" in start:
        await reader.readuntil(b"\r\n\r\n0.")
    async with httpx.AsyncClient() as client:  # by its answer the server has seen the other connection too
        await client.get(f"http://{site.url}/version")
    time.forward(listen.HEADERS_SECONDS_MAX + 1)
    async with asyncio.timeout(SECONDS_MAX):
        with suppress(ConnectionError):
            while await reader.read(1024):
                pass
    writer.close()


@pytest.mark.parametrize("room", [True, False])
async def test_what_is_unread_of_a_response_is_counted(site: Site, room: bool) -> None:
    unread = site.yugen.unread
    if not room:
        unread.bytes_max = 1_000_000
    for _ in range(12):  # more than any socket buffers
        await change(site.notes.runtime, "notes:add", book="a", text="x" * 900_000)
    counted, gone = asyncio.Event(), asyncio.Event()
    add, remove = unread.add, unread.remove

    def adding(size: int) -> bool:
        counted.set()
        return add(size)

    def removing(size: int) -> None:
        remove(size)
        if size:
            gone.set()

    unread.add, unread.remove = adding, removing  # type: ignore[method-assign]
    reader, writer = await asyncio.open_connection(site.host, site.port, limit=1024)
    call = b'{"path": "notes:texts", "args": {"book": "a"}}'
    writer.write(b"POST /api/query HTTP/1.1\r\nHost: yugen\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(call), call))
    async with asyncio.timeout(SECONDS_MAX):
        await counted.wait()
        if room:
            assert unread.bytes > 1_000_000
            writer.transport.abort()
            await gone.wait()
        else:
            with suppress(ConnectionResetError):
                assert len(await reader.read()) < 10_000_000
            assert unread.refused == 1
    assert unread.bytes == 0
    writer.close()


async def test_who_reads_nothing_is_gone_in_the_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = asyncio.Event()
    connection_lost = WebSocketProtocol.connection_lost

    def losing(self: WebSocketProtocol, error: Exception | None) -> None:
        connection_lost(self, error)
        lost.set()

    monkeypatch.setattr(WebSocketProtocol, "connection_lost", losing)
    client = await RawSocket.open(site)
    client.pause()
    add = b'{"type": "Add", "queryId": 0, "udfPath": "notes:texts", "args": [{"book": "a"}]}'
    modify = b'{"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [%b]}' % add
    client.frame(FIN | TEXT, modify)
    [connection] = site.yugen._connections
    for _ in range(20):  # more than any socket buffers
        await change(site.notes.runtime, "notes:add", book="a", text="x" * 900_000)
    await until_blocked()
    assert connection._writer.lags
    connection.abort()
    await connection.gone
    await until_blocked()
    assert not lost.is_set()
    time = LoopTime()
    time.forward(websocket.CLOSE_SECONDS_MAX + 1)
    await asyncio.wait_for(lost.wait(), SECONDS_MAX)
    client.abort()


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST /api/query HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /api/query HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/query HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused(site: Site, request_: bytes) -> None:
    reader, writer = await asyncio.open_connection(site.host, site.port)
    writer.write(request_)
    async with asyncio.timeout(SECONDS_MAX):
        assert (await reader.read(12)) in (b"HTTP/1.1 400", b"HTTP/1.1 404")
    writer.close()
    async with canary(site):
        pass


UPGRADE = (
    b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ODD = [
    # What a proxy before us may read as one request and we as two, or the other way round (faults.md 42).
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 5\r\n\r\nabcd",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nabcd",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    b"POST /api/query HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: a\r\nX: y\r\n folded: z\r\n\r\n",
    b"GET /version HTTP/1.1\nHost: a\n\n",
    b"GET /version HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: a\r\nb\r\n\r\n",
    b"GET /ver sion HTTP/1.1\r\nHost: a\r\n\r\n",
    # Which host is meant
    b"GET /version HTTP/1.1\r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: a\r\nHost: evil.example\r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: \r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: a/evil\r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: a@evil.example\r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: a, evil.example\r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: a?x#\r\n\r\n",
    b"GET /version HTTP/1.1\r\nHost: a:80:90\r\n\r\n",
    b"GET http://evil.example/version HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a@evil.example/version HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a:81/version HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http:///version HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET ftp://a/version HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://evil.example/version HTTP/1.0\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /api/sync HTTP/1.1" + UPGRADE,
    b"GET http://evil.example/api/sync HTTP/1.1\r\nHost: a" + UPGRADE,
]


@pytest.mark.parametrize("request_", ODD)
async def test_what_can_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(
    site: Site, request_: bytes
) -> None:
    reader, writer = await asyncio.open_connection(site.host, site.port)
    writer.write(request_ + b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(SECONDS_MAX):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1  # and the connection is over
    writer.close()


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"GET http://a/version HTTP/1.1\r\nHost: a", 200),
        (b"GET HTTP://A:80/version?x HTTP/1.1\r\nHost: a:80", 200),
        (b"GET //version HTTP/1.1\r\nHost: a", 200),
        (b"GET /version HTTP/1.0\r\nX: y", 200),
        (b"GET /version HTTP/1.1\r\nHost: [::1]:80", 200),
        (b"GET /version HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade", 200),
        (b"GET /%2fversion HTTP/1.1\r\nHost: a", 400),
        (b"GET /api%2fsync HTTP/1.1\r\nHost: a", 400),
        (b"GET /api/..%5cversion HTTP/1.1\r\nHost: a", 400),
        (b"GET /version%00 HTTP/1.1\r\nHost: a", 400),
        (b"TRACE /version HTTP/1.1\r\nHost: a", 405),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\nCookie: session=secret", 405),
        (b"TRACE /api/query HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret", 405),
        (b"DELETE /api/query HTTP/1.1\r\nHost: a", 405),
        (b"OPTIONS * HTTP/1.1\r\nHost: a", 404),
    ],
)
async def test_what_is_odd_has_one_answer(site: Site, start: bytes, status: int) -> None:
    reader, writer = await asyncio.open_connection(site.host, site.port)
    writer.write(start + b"\r\nConnection: close\r\n\r\n" if b"h2c" not in start else start + b"\r\n\r\n")
    async with asyncio.timeout(SECONDS_MAX):
        answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"secret" not in answer
    writer.close()


_CHUNKED = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /", b"a" * 0x10000),
        (b"GET /version HTTP/1.1\r\nHost: a\r\nX: ", b"a" * 0x10000),
        (b"GET /version HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n" * 0x2000),
        (b"", b"\r\n" * 0x8000),
        (_CHUNKED + b"1;", b"a" * 0x10000),
        (_CHUNKED + b"0\r\nX: ", b"a" * 0x10000),
        (_CHUNKED + b"0\r\n", b"X: y\r\n" * 0x2000),
    ],
    ids=["line", "header", "headers", "lines", "extension", "trailer", "trailers"],
)
async def test_what_gets_a_request_nowhere_is_not_taken_for_ever(site: Site, start: bytes, more: bytes) -> None:
    reader, writer = await asyncio.open_connection(site.host, site.port)

    async def answered() -> bytes:
        with suppress(ConnectionError):
            return await reader.read()
        return b""

    answering, sent = asyncio.ensure_future(answered()), 0
    writer.write(start)
    async with asyncio.timeout(SECONDS_MAX):
        with suppress(ConnectionError):
            while not answering.done():
                writer.write(more)
                await writer.drain()
                sent += len(more)
                assert sent < 64 * 1024 * 1024
                await asyncio.sleep(0)
        answer = await answering
    # Where the rest is still on its way, the connection may be over before its client has read why.
    assert answer == b"" or answer.split()[1] in (b"400", b"431"), answer
    writer.transport.abort()


@pytest.mark.parametrize(("place", "status"), [("header", b"200"), ("trailer", b"403")])
async def test_what_trailers_say_is_no_header(site: Site, place: str, status: bytes) -> None:
    key = b"Authorization: Convex %b\r\n" % site.notes.admin_key.file.read_text().strip().encode()
    header, trailer = (key, b"") if place == "header" else (b"", key)
    body = b'{"path":"notes:odd","args":{}}'
    reader, writer = await asyncio.open_connection(site.host, site.port)
    writer.write(
        b"POST /api/function HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
        + header
        + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailer)
    )
    async with asyncio.timeout(SECONDS_MAX):
        assert (await reader.read()).split()[1] == status
    writer.close()


@pytest.mark.parametrize("path", ["/api/query", "/api/storage/upload?token=x", "/http/x", "/nothing"])
async def test_no_body_without_an_end_is_read_for_ever(site: Site, path: str) -> None:
    reader, writer = await asyncio.open_connection(site.host, site.port)
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(SECONDS_MAX):
        answering = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        with suppress(ConnectionError):
            for _ in range(64):  # MiB, of which no request has as many
                writer.write(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
                await writer.drain()
                if answering.done():
                    break
        assert int((await answering).split()[1]) in (400, 401, 404, 405, 413)
    writer.transport.abort()


async def test_a_body_that_is_too_large_is_answered(site: Site) -> None:
    async with httpx.AsyncClient() as client:
        headers = {"Content-Type": "application/json"}
        response = await client.post(f"http://{site.url}/api/query", content=b" " * 18_000_000, headers=headers)
    assert response.status_code == 413
    assert response.json()["code"] == "RequestTooLarge"


async def test_trap_29_a_ping_is_a_message(site: Site) -> None:
    client = await RawSocket.open(site)
    client.frame(FIN | TEXT, b'{"type": "Action", "requestId": 0, "udfPath": "notes:none", "args": [{}]}')
    await client.received()
    LoopTime().forward(PING_SECONDS)
    assert await client.received() == (TEXT, b'{"type":"Ping"}')
    client.abort()


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("call", ["query", "mutation", "action"])
async def test_trap_33_no_close_waits_for_what_still_runs(site: Site, call: str, refused: bool) -> None:
    add = {"type": "Add", "queryId": 0, "udfPath": "notes:count", "args": [{"book": "a"}]}
    note = {"requestId": 0, "args": [{"book": "a", "text": "x"}]}
    message = {
        "query": {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]},
        "mutation": {"type": "Mutation", "udfPath": "notes:add", **note},
        "action": {"type": "Action", "udfPath": "notes:post", **note},
    }[call]
    site.notes.probe.gate.clear()
    client = await RawSocket.open(site)
    client.frame(FIN | TEXT, json.dumps(message).encode())
    async with asyncio.timeout(SECONDS_MAX):
        await site.notes.probe.entered.wait()
    if refused:
        client.frame(FIN | TEXT, b'{"type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": "eyJ"}')
    else:
        client.frame(FIN | CLOSE, struct.pack("!H", 1000))
    assert await client.closed() == 1000
    site.notes.probe.gate.set()


async def test_stopping_says_goodbye(site: Site) -> None:
    clients = [await websockets.connect(f"ws://{site.url}/api/sync") for _ in range(10)]
    site.server.should_exit = True
    for client in clients:
        with pytest.raises(websockets.ConnectionClosed) as end:
            await asyncio.wait_for(client.recv(), SECONDS_MAX)
        assert end.value.rcvd is not None
        assert (end.value.rcvd.code, end.value.rcvd.reason) == (1001, "ServerShuttingDown")
    await asyncio.wait_for(site.serving, SECONDS_MAX)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(site.host, site.port)
