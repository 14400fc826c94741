"""`yugen dev` and `yugen serve`."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from yugen.errors import Refused
from yugen.server import logs
from yugen.server.limits import parse
from yugen.server.yugen import Yugen
from yugen.storage.interface import StorageError

logger = logging.getLogger(__name__)


def serve_forever(
    app: Path,
    *,
    host: str,
    port: int,
    data: Path | None,
    url: str | None,
    limits: list[str] | None,
    development: bool,
) -> None:
    """Serves until it is interrupted or terminated, which ends it with status 0.

    It exits with status 1, and says why, when it cannot begin.
    """
    logs.configure(readable=development)
    try:
        if not app.is_dir():
            raise OSError(f"There is no folder {app}; name the folder of your app package.")
        listener = listen(host, port)
        yugen = Yugen(
            app, database=data, development=development, url=url or address(listener), limits=parse(limits or [])
        )
        # While the app is loaded in its process, the rest of the server is loaded in this one.
        yugen.load_early()
        run(serve(yugen, listener, lambda: say_ready(yugen, listener), development=development))
    except (Refused, StorageError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens for clients.

    Raises:
        OSError: it cannot; the text says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"Cannot listen on {host}:{port} ({reason}); choose others with --host and --port.") from None


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a server on the fastest event loop there is."""
    try:
        import uvloop
    except ImportError:  # not on every platform
        asyncio.run(main)
    else:
        uvloop.run(main)


async def serve(
    yugen: Yugen, listener: socket.socket, say_ready: Callable[[], None], *, development: bool = False
) -> None:
    """Serves until it is told to stop by a signal."""
    from yugen.server.listen import Server

    gc.enable()

    def ready() -> None:
        # What is loaded by now stays. Collecting it again and again, as Python would for each few hundred messages to
        # clients, took a quarter of the time of a fan-out to 1,000 subscribers.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        say_ready()

    server = Server(yugen, ready)
    main = asyncio.current_task()
    assert main is not None

    def stop(number: int) -> None:
        # Before it serves there is nobody to say goodbye to. A second interrupt does not wait for anybody.
        if server.started:
            server.handle_exit(number, None)
        else:
            main.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        async with yugen, _reloading(yugen) if development else AsyncExitStack():
            await server.serve(sockets=[listener])
    except asyncio.CancelledError:
        pass


def address(listener: socket.socket) -> str:
    """Where the API is for those on this machine."""
    host, port, *_ = listener.getsockname()
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def say_ready(yugen: Yugen, listener: socket.socket) -> None:
    """Tells whoever has started the server where it is, and other commands, by a file beside the data."""
    (yugen.data / "address").write_text(f"{address(listener)}\n")
    print(f"Yugen is ready at {address(listener)} (admin key in {yugen.data / 'admin_key'})", flush=True)


@asynccontextmanager
async def _reloading(yugen: Yugen) -> AsyncIterator[None]:
    """Takes up the code of the app whenever a file of it is saved."""
    watching = asyncio.create_task(_reload_on_save(yugen))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def _reload_on_save(yugen: Yugen) -> None:
    from watchfiles import PythonFilter, awatch

    async for _ in awatch(yugen.app, watch_filter=PythonFilter(), debounce=100, step=20):
        try:
            await yugen.reload()
        except (Refused, StorageError) as error:
            logger.error("Not reloaded: %s", error)
        except Exception:
            logger.exception("Not reloaded")
        else:
            logger.info("Reloaded %s", yugen.app)
