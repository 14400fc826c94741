"""Thousands of clients that cost little, in processes of their own: `python -m reliability.loads.crowd URL FIRST ...`.

Each has a WebSocket with queries of its own, and looks at all it is told: whether Transitions follow one another, and
whether what a query shows goes back. One that loses its connection comes back as clients do, later each time, and not
all at once.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import random
import struct
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self, cast
from urllib.parse import urlsplit

import orjson

from reliability.loads.scene import GIVEN_UP_SECONDS
from reliability.resources import allow_many_files
from yugen_client.backoff import backoff_seconds

OPENING_AT_ONCE: Final = 256
"""How many connections of one process may be between SYN and handshake: no more wait to be accepted than may."""

_WRONG_MAX: Final = 20
_TEXT, _CLOSE, _PING = 0x81, 0x88, 0x89


@dataclass
class Seen:
    """What a crowd has seen.

    Attributes:
        transitions: how many.
        results: how many results there were in them.
        connections: how many were made.
        lost: how many ended, by the code and reason, or how else.
        wrong: what must not happen: the first of it, in words.
    """

    transitions: int = 0
    results: int = 0
    connections: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        """Takes in what others have seen."""
        self.transitions += other.transitions
        self.results += other.results
        self.connections += other.connections
        self.lost = dict(Counter(self.lost) + Counter(other.lost))
        self.wrong += other.wrong


class _Process:
    """All clients of one process."""

    def __init__(self, url: str, first: int, clients: int, queries: int) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self.host, self.port = address.hostname, address.port
        self.queries = queries
        self.seen = Seen()
        self.lost: Counter[str] = Counter()
        self.opening = asyncio.Semaphore(OPENING_AT_ONCE)
        self.shown: Counter[int] = Counter()  # how many queries show which number
        self.news = asyncio.Event()
        self.clients = [_Client(self, first + number) for number in range(clients)]
        self._everything = clients * max(queries, 1)

    async def show(self, number: int) -> None:
        """Waits until every query of everybody shows a number."""
        async with asyncio.timeout(GIVEN_UP_SECONDS):
            while self.shown[number] < self._everything:
                self.news.clear()
                await self.news.wait()

    def wrong(self, what: str) -> None:
        if len(self.seen.wrong) < _WRONG_MAX:
            self.seen.wrong.append(what)


class _Client(asyncio.Protocol):
    """One client, over one connection after the other."""

    def __init__(self, process: _Process, number: int) -> None:
        self._process = process
        self._number = number
        self._dice = random.Random(number)
        self._session = str(uuid.UUID(int=self._dice.getrandbits(128), version=4))
        self._shown = [-1] * max(process.queries, 1)  # what each query shows over the connection at hand
        self._newest = -1  # that it has ever shown
        self._connections = 0
        self._failed = 0  # times in a row
        self._reason = "InitialConnect"
        self._ts: str | None = None
        self.leaving = False
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._open = False
        self._version: dict[str, Any] = {}
        self._coming: asyncio.Task[None] | None = None

    def come(self) -> None:
        """Connects, and again whenever the connection is lost."""
        self._coming = asyncio.get_running_loop().create_task(self._connect())

    def leave(self) -> None:
        """Closes the connection for good."""
        self.leaving = True
        self.drop()

    def drop(self) -> None:
        """Breaks the connection without a word."""
        if self._transport is not None:
            self._transport.abort()
        elif self.leaving and self._coming is not None:
            self._coming.cancel()

    async def _connect(self) -> None:
        if self._failed:
            await asyncio.sleep(backoff_seconds(self._failed - 1, self._dice))
        async with self._process.opening:
            loop = asyncio.get_running_loop()
            try:
                await loop.create_connection(lambda: self, self._process.host, self._process.port)
            except OSError as error:
                self._lost(type(error).__name__)
                return
            self._opened = loop.create_future()
            await self._opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._buffer, self._open = b"", False
        self._reason = "ConnectionLost"
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /api/sync HTTP/1.1\r\nHost: {self._process.host}:{self._process.port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._opened.done():
            self._opened.set_result(None)
        for query, number in enumerate(self._shown):
            if number >= 0:
                self._process.shown[number] -= 1
                self._shown[query] = -1
        self._lost(self._reason)

    def _lost(self, why: str) -> None:
        if self.leaving:
            return
        self._process.lost[why] += 1
        self._failed += 1
        self.come()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._open and not self._greeted():
            return
        while (frame := self._frame()) is not None:
            head, payload = frame
            if head == _TEXT:
                self._hear(orjson.loads(payload))
            elif head == _PING:
                self._send(0x8A, payload)
            elif head == _CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                self._reason = f"{code} {payload[2:].decode()}"
                assert self._transport is not None
                self._transport.close()

    def _greeted(self) -> bool:
        """Whether the server has answered the handshake, after which the client says what it wants."""
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        status = head.partition(b"\r\n")[0].decode()
        assert self._transport is not None
        if " 101 " not in status:
            self._reason = status
            self._transport.close()
            return False
        self._opened.set_result(None)
        self._open, self._buffer = True, rest
        self._version = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
        self._process.seen.connections += 1
        connect = {
            "type": "Connect",
            "sessionId": self._session,
            "connectionCount": self._connections,
            "lastCloseReason": self._reason,
            "clientTs": int(time.time() * 1000),
        }
        if self._ts is not None:
            connect["maxObservedTimestamp"] = self._ts
        self._connections += 1
        first = self._number * self._process.queries
        adds = [
            {
                "type": "Add",
                "queryId": query,
                "udfPath": "usage:newest",
                "args": [{"topic": "storm", "count": 1, "reader": first + query}],
            }
            for query in range(self._process.queries)
        ]
        query_set = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": adds}
        self._send(_TEXT, orjson.dumps(connect))
        self._send(_TEXT, orjson.dumps(query_set))
        return True

    def _frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1], 2
        if size == 126:
            size, start = int.from_bytes(buffer[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < start + size:
            return None
        self._buffer = buffer[start + size :]
        return buffer[0], buffer[start : start + size]

    def _send(self, head: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            header = struct.pack("!BB", head, 0x80 | size)
        else:
            header = struct.pack("!BBH" if size < 65536 else "!BBQ", head, 0x80 | (126 if size < 65536 else 127), size)
        assert self._transport is not None
        self._transport.write(header + bytes(4) + payload)

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] != "Transition":
            if message["type"] != "Ping":
                self._process.wrong(f"{self._number} was told {str(message)[:200]}")
            return
        if message["startVersion"] != self._version:
            self._process.wrong(f"{self._number} is at {self._version} and was told {message['startVersion']}")
        self._version = message["endVersion"]
        self._ts = self._version["ts"]
        self._process.seen.transitions += 1
        for modification in message["modifications"]:
            self._see(modification)
        if not self._process.queries and self._shown[0] < 0:
            self._show(0, 0)
        if -1 not in self._shown:
            self._failed = 0
        self._process.news.set()

    def _see(self, modification: dict[str, Any]) -> None:
        self._process.seen.results += 1
        if modification["type"] != "QueryUpdated":
            self._process.wrong(f"{self._number} was told {str(modification)[:200]}")
            return
        notes = modification["value"]
        number = int(notes[0]["number"]) if notes else 0
        if number < self._newest:
            self._process.wrong(f"{self._number} was shown {number} after {self._newest}")
        self._newest = max(self._newest, number)
        self._show(modification["queryId"], number)

    def _show(self, query: int, number: int) -> None:
        shown = self._process.shown
        if (before := self._shown[query]) >= 0:
            shown[before] -= 1
        self._shown[query] = number
        shown[number] += 1


class Crowd:
    """Clients in processes of their own.

    Args:
        url: the server.
        clients: how many there are.
        queries: how many queries each has.
        processes: how many processes share them.
    """

    def __init__(self, url: str, clients: int, queries: int, *, processes: int = 2) -> None:
        self._url = url
        self._clients = clients
        self._queries = queries
        self._count = min(processes, clients)
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        starts = [self._clients * number // self._count for number in range(self._count + 1)]
        for first, end in pairwise(starts):
            self._processes.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "reliability.loads.crowd", self._url, str(first), str(end - first), str(self._queries)),
                    cwd=Path(__file__).parent.parent.parent,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
            )
        await self._all("ready")
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def come(self) -> None:
        """Has everybody connect, all at once."""
        await self._all("come")

    async def drop(self) -> None:
        """Has everybody lose their connection, all at once, and come back."""
        await self._all("drop")

    async def show(self, number: int) -> float:
        """Waits until all show a number: after how many seconds they did, or infinity if they do not."""
        began = time.monotonic()
        told = await self._all(f"show {number}")
        return time.monotonic() - began if all(told) else float("inf")

    async def leave(self) -> Seen:
        """Has everybody leave; what they have seen."""
        seen = Seen()
        for each in await self._all("leave"):
            seen.add(Seen(**each))
        return seen

    async def _all(self, command: str) -> list[Any]:
        return await asyncio.gather(*(_told(process, command) for process in self._processes))


async def _told(process: asyncio.subprocess.Process, command: str) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{command}\n".encode())
    return json.loads(await process.stdout.readline())


async def _obey(url: str, first: int, clients: int, queries: int) -> None:
    allow_many_files()
    process = _Process(url, first, clients, queries)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while command := (await commands.readline()).decode().split():
        told: Any = True
        match command:
            case ["come"]:
                for client in process.clients:
                    client.come()
            case ["drop"]:
                for client in process.clients:
                    client.drop()
            case ["show", number]:
                try:
                    await process.show(int(number))
                except TimeoutError:
                    told = False
            case ["leave"]:
                for client in process.clients:
                    client.leave()
                process.seen.lost = dict(process.lost)
                told = dataclasses.asdict(process.seen)
        print(json.dumps(told), flush=True)


def main(words: Sequence[str]) -> None:
    """`URL FIRST CLIENTS QUERIES`: does what it is told by lines, and answers each with a line of JSON."""
    url, *numbers = words
    asyncio.run(_obey(url, *map(int, numbers)))


if __name__ == "__main__":
    main(sys.argv[1:])
