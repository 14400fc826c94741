"""`yugen dev` and `yugen serve`."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvicorn
from watchfiles import PythonFilter, awatch

from yugen.errors import Refused
from yugen.server import logs
from yugen.server.yugen import Yugen
from yugen.storage.interface import StorageError

logger = logging.getLogger("yugen")

WS_SIZE_MAX = 64 * 1024 * 1024
"""Bytes of an incoming message: arguments of 16 MiB are more once encoded (protocol.md 9, trap 25)."""


def serve_forever(app: Path, *, host: str, port: int, data: Path | None, development: bool) -> None:
    """Serves until interrupted. Exits with status 1, and says why, when it cannot begin."""
    yugen = Yugen(app, database=data, development=development)
    yugen.load_early()
    logs.configure(readable=development)
    try:
        _runner()(_serve(yugen, host, port, development=development))
    except (Refused, StorageError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        pass


def _runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    try:
        import uvloop
    except ImportError:  # not on every platform
        return asyncio.run
    return uvloop.run


async def _serve(yugen: Yugen, host: str, port: int, *, development: bool) -> None:
    try:
        listener = socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise OSError(f"Cannot listen on {host}:{port} ({error.strerror}); choose another port with --port.") from None
    config = uvicorn.Config(
        yugen.asgi(),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=5,
        ws="websockets-sansio",
        ws_max_size=WS_SIZE_MAX,
        # A ping every 20 s keeps the Rust client connected and finds clients that are gone (protocol.md 2.11).
        ws_ping_interval=20,
        ws_ping_timeout=20,
    )
    async with yugen:
        reloading = asyncio.create_task(_reload_on_save(yugen)) if development else None
        try:
            await _Server(config, yugen).serve(sockets=[listener])
        finally:
            if reloading is not None:
                reloading.cancel()


class _Server(uvicorn.Server):
    """uvicorn, saying when it is ready, and goodbye to clients before it closes their sockets."""

    def __init__(self, config: uvicorn.Config, yugen: Yugen) -> None:
        super().__init__(config)
        self._yugen = yugen

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        host, port = sockets[0].getsockname()[:2]
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        print(f"Yugen is ready at http://{shown}:{port} (admin key in {self._yugen.admin_key.file})", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._yugen.disconnect_all(1001, "ServerShuttingDown")
        await super().shutdown(sockets)


async def _reload_on_save(yugen: Yugen) -> None:
    async for _ in awatch(yugen.app, watch_filter=PythonFilter(), debounce=100, step=20):
        try:
            await yugen.reload()
        except Refused as error:
            logger.error("Not reloaded; the code from before goes on: %s", error)
        else:
            logger.info("Reloaded %s", yugen.app)
