"""A WebSocket client for load: frames by hand on asyncio protocols, so that the server is what is measured."""

import asyncio
import base64
import json
import os
from collections.abc import Callable
from typing import Any, cast

Handler = Callable[[bytes], None]

_MASK = b"\x00\x00\x00\x00"  # a mask of zeros leaves the payload as it is, which RFC 6455 allows


def upgrade(path: str) -> bytes:
    """The request for a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: benchmark\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def frame(text: bytes) -> bytes:
    """A masked text frame."""
    size = len(text)
    if size < 126:
        return bytes([0x81, 0x80 | size]) + _MASK + text
    if size < 65536:
        return bytes([0x81, 0x80 | 126]) + size.to_bytes(2, "big") + _MASK + text
    return bytes([0x81, 0x80 | 127]) + size.to_bytes(8, "big") + _MASK + text


class LoadSocket(asyncio.Protocol):
    """One connection; `on_text` gets each text message."""

    def __init__(self, path: str, on_text: Handler) -> None:
        self.on_text = on_text
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._path = path
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(upgrade(self._path))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.open.done():
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.open.set_exception(ConnectionError(head.decode(errors="replace")))
                return
            self._buffer = rest
            self.open.set_result(None)
        self._read_frames()

    def _read_frames(self) -> None:
        place = 0
        buffer = self._buffer
        while len(buffer) - place >= 2:
            size, start = buffer[place + 1] & 0x7F, place + 2
            if size == 126:
                size, start = int.from_bytes(buffer[start : start + 2], "big"), start + 2
            elif size == 127:
                size, start = int.from_bytes(buffer[start : start + 8], "big"), start + 8
            if len(buffer) < start + size:
                break
            opcode, payload = buffer[place] & 0x0F, buffer[start : start + size]
            place = start + size
            if opcode == 1:
                self.on_text(payload)
            elif opcode == 9:
                self.transport.write(bytes([0x8A, 0x80 | len(payload)]) + _MASK + payload)
        self._buffer = buffer[place:]

    def send(self, text: bytes) -> None:
        """Sends a text message."""
        self.transport.write(frame(text))

    def close(self) -> None:
        """Drops the connection."""
        self.transport.abort()


async def connect(port: int, path: str, on_text: Handler) -> LoadSocket:
    """An open connection to a server on this machine."""
    loop = asyncio.get_running_loop()
    _, sock = await loop.create_connection(lambda: LoadSocket(path, on_text), "127.0.0.1", port)
    await sock.open
    return sock


class SyncClient:
    """Just enough of a sync client: calls in order, and one count of transitions."""

    def __init__(self) -> None:
        self.transitions = 0
        self.on_transition: Callable[[], None] = lambda: None
        self._requests = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def open(self, port: int) -> "SyncClient":
        """Connects, with no queries."""
        self.socket = await connect(port, "/api/sync", self._received)
        session = base64.b16encode(os.urandom(16)).decode().lower()
        uuid = f"{session[:8]}-{session[8:12]}-{session[12:16]}-{session[16:20]}-{session[20:]}"
        self._send({"type": "Connect", "sessionId": uuid, "connectionCount": 0, "lastCloseReason": "InitialConnect"})
        return self

    def subscribe(self, *queries: tuple[str, dict[str, Any]]) -> None:
        """Adds queries, once."""
        adds = [
            {"type": "Add", "queryId": number, "udfPath": path, "args": [args]}
            for number, (path, args) in enumerate(queries)
        ]
        self._send({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": adds})

    async def transition(self) -> None:
        """Waits for the next transition."""
        arrived = asyncio.get_running_loop().create_future()
        before, self.on_transition = self.on_transition, lambda: arrived.set_result(None)
        await arrived
        self.on_transition = before

    async def mutate(self, path: str, args: dict[str, Any]) -> Any:
        """Calls a mutation; gives its result when the response is here."""
        number = self._requests
        self._requests += 1
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send({"type": "Mutation", "requestId": number, "udfPath": path, "args": [args]})
        return await answer

    def _send(self, message: dict[str, Any]) -> None:
        self.socket.send(json.dumps(message).encode())

    def _received(self, text: bytes) -> None:
        if text.startswith(b'{"type":"Transition"'):
            self.transitions += 1
            self.on_transition()
        elif text.startswith(b'{"type":"MutationResponse"'):
            message = json.loads(text)
            answer = self._waiting.pop(message["requestId"])
            if message["success"]:
                answer.set_result(message["result"])
            else:
                answer.set_exception(RuntimeError(message["result"]))
