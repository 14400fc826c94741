"""uvicorn as Yugen runs it: with deadlines for clients that hang, and a goodbye for those that do not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from yugen.server.websocket import WebSocketProtocol
from yugen.server.yugen import Yugen

WS_SIZE_MAX = 64 * 1024 * 1024
"""Bytes of an incoming message: arguments of 16 MiB are more once encoded (protocol.md 9, trap 25)."""

HEADERS_SECONDS_MAX = 30.0
"""How long a request may take up to its body."""

PING_SECONDS = 20.0
"""How often a client is sent a ping, and how long it may take to answer.

It keeps the Rust client connected and finds clients that are gone (protocol.md 2.11).
"""


def config(app: ASGIApp) -> uvicorn.Config:
    """The way uvicorn is to run an app, as far as it is not about where to listen."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=5,
        http=_HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=WS_SIZE_MAX,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
    )


class Server(uvicorn.Server):
    """Serves one backend until it is told to stop. Signals are left to its owner.

    Args:
        yugen: the backend, started.
        ready: called once clients are accepted.
    """

    def __init__(self, yugen: Yugen, ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(config(yugen.asgi()))
        self._yugen = yugen
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, after clients have been told; those who come back meanwhile are not let in."""
        for server in self.servers:
            server.close()
        self._yugen.runs.close()
        await self._yugen.disconnect_all("ServerShuttingDown")
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: uvicorn would end the process by the signal, before the data is closed."""
        yield


class _HttpProtocol(HttpToolsProtocol):
    """uvicorn's, which by itself waits for the rest of a request for ever."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        # The parser holds this protocol and is held by it. Where garbage is collected rarely, they would stay.
        self.parser = None  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._stop_waiting()
        self._patience = self.loop.call_later(HEADERS_SECONDS_MAX, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
