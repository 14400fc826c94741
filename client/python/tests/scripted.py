"""The server's side of a conversation, spoken by the test: in memory, or over a real WebSocket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from websockets.asyncio.server import ServerConnection, serve

from yugen_client.messages import (
    ClientMessage,
    Modification,
    QueryFailed,
    QueryRemoved,
    QueryUpdated,
    ServerMessage,
    StateVersion,
    Transition,
    decode_client,
    encode_server,
)

M = TypeVar("M", bound=ClientMessage)


def token(**claims: Any) -> str:
    """A token as it looks to those who cannot verify it."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.signature"


class Versions:
    """Makes the Transitions of one connection, each of which starts where the one before it ended."""

    def __init__(self) -> None:
        self.version = StateVersion()

    def transition(
        self,
        results: Mapping[int, Any] | None = None,
        *,
        ts: int | None = None,
        query_set: int | None = None,
        identity: int | None = None,
    ) -> Transition:
        """A Transition with the given results; a result is a value, or a modification as it is."""
        start = self.version
        self.version = StateVersion(
            query_set=start.query_set if query_set is None else query_set,
            identity=start.identity if identity is None else identity,
            ts=start.ts if ts is None else ts,
        )
        return Transition(
            start_version=start,
            end_version=self.version,
            modifications=tuple(_modification(query_id, result) for query_id, result in (results or {}).items()),
        )


def _modification(query_id: int, result: Any) -> Modification:
    if isinstance(result, QueryFailed | QueryRemoved | QueryUpdated):
        return result
    return QueryUpdated(query_id=query_id, value=result, journal=None)


class Peer(Versions):
    """One connection that a client made."""

    def __init__(self, socket: ServerConnection) -> None:
        super().__init__()
        self.socket = socket
        self.finished = asyncio.Event()

    async def receive(self, kind: type[M]) -> M:
        """The next message, which must be of this kind."""
        text = await self.socket.recv()
        message = decode_client(text)
        assert isinstance(message, kind), f"expected {kind.__name__}, received {text!r}"
        return message

    async def receive_up_to(self, kind: type[M]) -> M:
        """The next message of this kind, past all others."""
        while True:
            message = decode_client(await self.socket.recv())
            if isinstance(message, kind):
                return message

    async def send(self, *messages: ServerMessage) -> None:
        for message in messages:
            await self.socket.send(encode_server(message))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.socket.close(code, reason)
        self.finished.set()

    async def finished_by_client(self) -> None:
        """Waits until the client has left."""
        await self.socket.wait_closed()
        self.finished.set()

    def abort(self) -> None:
        """Breaks the connection without a word."""
        self.socket.transport.abort()
        self.finished.set()


class ScriptedServer:
    """Listens on a port of its own and hands each connection to the test."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def accept(self) -> Peer:
        """The next connection."""
        return await self.peers.get()


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    peers: list[Peer] = []

    async def handle(socket: ServerConnection) -> None:
        peer = Peer(socket)
        peers.append(peer)
        server.peers.put_nowait(peer)
        await peer.finished.wait()

    listening = await serve(handle, "127.0.0.1", 0, close_timeout=1)
    server = ScriptedServer(listening.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        for peer in peers:
            peer.finished.set()
        listening.close()
        await listening.wait_closed()
