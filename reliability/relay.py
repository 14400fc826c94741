"""A connection that fails at the worst moment: the server has done what it was asked, and its answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Relay:
    """Passes bytes between clients and a server; made by `relaying`.

    Attributes:
        url: what clients connect to instead of the server.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._armed = False
        self._losing = False
        self._writers: set[asyncio.StreamWriter] = set()

    def lose_answers(self) -> None:
        """From the next bytes of a client on, which still arrive, nothing gets back from the server."""
        self._armed = True

    def cut(self) -> None:
        """Breaks all connections. Those that come after are good."""
        self._armed = self._losing = False
        for writer in self._writers:
            writer.transport.abort()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        both = {to_client, to_server}
        self._writers |= both
        with suppress(ConnectionError):
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._upward(client, to_server))
                directions.create_task(self._downward(server, to_client))
        self._writers -= both
        for writer in both:
            writer.close()

    async def _upward(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        while data := await client.read(2**16):
            self._losing = self._losing or self._armed
            to_server.write(data)
        to_server.transport.abort()

    async def _downward(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while data := await server.read(2**16):
            if not self._losing:
                to_client.write(data)
        to_client.transport.abort()


@asynccontextmanager
async def relaying(port: int) -> AsyncIterator[Relay]:
    """Runs a relay in front of the server on a port of 127.0.0.1."""
    relay = Relay(port)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.close()
