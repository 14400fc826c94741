"""Worker processes played by a test: the pool's ends are real, the processes are sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

from yugen.runtime.channel import Message, Unpacker, pack
from yugen.runtime.processes import Role
from yugen.runtime.run import Run

NO_PROCESS = 2**22 + 1
"""Greater than any process id of Linux: to kill it does nothing."""


class Peer:
    """The process's end of a worker's channel."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unpacker = Unpacker()
        self._messages: list[Message] = []

    def send(self, *message: Any) -> None:
        self._writer.write(pack(message))

    async def receive(self) -> Message:
        """The next message other than of the catalog; empty when the pool has ended this worker."""
        while not self._messages:
            try:
                data = await self._reader.read(2**16)
            except ConnectionError:
                data = b""
            if not data:
                return ()
            self._messages += [each for each in self._unpacker.feed(data) if each[0] not in ("table", "environment")]
        return self._messages.pop(0)

    async def runs(self) -> tuple[int, str]:
        """The number and the path of the next run it is given."""
        what, number, run, *_ = await self.receive()
        assert what in ("run", "act", "mutate")
        return number, run[1]

    def end(self) -> None:
        """The process ends."""
        self._writer.close()

    async def closed(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


class Forks:
    """What makes the processes of a pool: gives a test the other end of each."""

    def __init__(self, *, ready: bool = True) -> None:
        self._ready = ready
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._all: list[Peer] = []

    async def __call__(self, role: Role) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair()
        peer = Peer(*await asyncio.open_connection(sock=theirs))
        if self._ready:
            peer.send("ready")
        self._all.append(peer)
        self._peers.put_nowait(peer)
        return NO_PROCESS, ours

    async def next(self) -> Peer:
        """The next process that is made."""
        return await self._peers.get()

    async def close(self) -> None:
        for peer in self._all:
            await peer.closed()


def query(path: str) -> Run:
    return Run("query", path, b"{}", True, 0, 0.0, b"", "0" * 16)


def action(path: str) -> Run:
    return Run("action", path, b"{}", True, 0, 0.0, b"", "0" * 16)
