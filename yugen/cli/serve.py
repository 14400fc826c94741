"""`yugen dev` and `yugen serve`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from yugen.cli.edge import Outside
from yugen.errors import Refused
from yugen.runtime.memory import give_back_large_blocks
from yugen.server import logs
from yugen.server.limits import parse
from yugen.server.yugen import Yugen
from yugen.storage.interface import StorageError

if TYPE_CHECKING:
    from yugen.server.listen import Server

_LOOK_SECONDS: Final = 0.5
"""How soon it is noticed that a server can commit nothing any more."""

logger = logging.getLogger(__name__)


def serve_forever(
    app: Path,
    *,
    host: str,
    port: int,
    site_port: int | None,
    data: Path | None,
    url: str | None,
    site_url: str | None,
    files: str,
    limits: list[str] | None,
    environment: str,
    development: bool,
    **outside: Any,
) -> None:
    """Serves until it is interrupted or terminated, which ends it with status 0.

    It exits with status 1, and says why, when it cannot begin. What else it takes are the options of `Outside`.
    """
    logs.configure(readable=development)
    allow_many_files()
    give_back_large_blocks()
    try:
        if not app.is_dir():
            raise OSError(
                f"There is no folder {app}; name the folder of your app package, or make a new app with `yugen init`."
            )
        edge = Outside.of(**outside)
        listeners = listen(host, port, site_port)
        url, site_url = listeners.urls(url, site_url, edge.scheme)
        yugen = Yugen(
            app,
            database=data,
            development=development,
            url=url,
            site_url=site_url,
            files=files,
            limits=parse(limits or []),
            docs=docs(),
            environment=environment,
            origins=edge.origins,
            allowed_hosts=edge.hosts(development, host=host, url=url, site_url=site_url),
            hsts_seconds=edge.hsts,
        )
        # While the app is loaded in its process, the rest of the server is loaded in this one.
        yugen.load_early()
        ready = partial(say_ready, yugen, listeners, edge.scheme, development=development)
        run(serve(yugen, listeners, ready, partial(forget_address, yugen), edge, development=development))
    except (Refused, StorageError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def docs() -> bool:
    """Whether to serve what describes the functions: unless YUGEN_DOCS is 0."""
    return os.environ.get("YUGEN_DOCS", "1") != "0"


class Listeners(NamedTuple):
    """Sockets that listen for clients, or have a place for those that do.

    Attributes:
        api: for the API.
        site: for HTTP actions, where they have a port of their own.
    """

    api: socket.socket
    site: socket.socket | None

    def urls(self, url: str | None, site_url: str | None, scheme: str = "http") -> tuple[str, str | None]:
        """The addresses for clients, of the API and of the HTTP actions; by default those that are listened on."""
        if site_url is None and url is None and self.site is not None:
            site_url = address(self.site, scheme)
        return url or address(self.api, scheme), site_url

    @property
    def site_port(self) -> int | None:
        """The port of the HTTP actions, if they have one."""
        return None if self.site is None else int(self.site.getsockname()[1])


Listen = Callable[[str, int], socket.socket]
"""Takes an address and a port."""


def listen(host: str, port: int, site_port: int | None, one: Listen | None = None) -> Listeners:
    """The sockets of a server.

    Args:
        host: the address.
        port: the port of the API, or 0 for one that is free.
        site_port: the port of HTTP actions, likewise. Where none is given it is the one after that of the API, and if
            somebody else has that, there is none.
        one: makes each of them.

    Raises:
        OSError: it cannot listen there; the text says why.
    """
    one = one or listen_on
    api = one(host, port)
    try:
        if site_port is None:
            try:
                site = one(host, port and port + 1)
            except (OSError, OverflowError) as error:
                logger.warning("%s HTTP actions are below /http/ only; --site-port gives them a port.", error)
                site = None
        else:
            site = one(host, site_port)
    except BaseException:
        api.close()
        raise
    return Listeners(api, site)


def listen_on(host: str, port: int) -> socket.socket:
    """A socket that listens for clients.

    Raises:
        OSError: it cannot; the text says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        how = "choose others with --host, --port and --site-port"
        raise OSError(f"Cannot listen on {host}:{port} ({reason}); {how}.") from None


def allow_many_files() -> None:
    """Raises how many files this process may have open, of which each socket is one, to what it may be.

    Shells give out 1,024 for the sake of programs that use `select`, which is less than a server takes on.
    """
    try:
        import resource
    except ImportError:  # not on every platform
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:  # what is unlimited is more than some systems give
        logger.warning("This process may have %d files and sockets open, and that cannot be raised: %s.", soft, error)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a server on the fastest event loop there is."""
    try:
        import uvloop
    except ImportError:  # not on every platform
        asyncio.run(main)
    else:
        uvloop.run(main)


async def serve(
    yugen: Yugen,
    listeners: Listeners,
    say_ready: Callable[[], None],
    say_gone: Callable[[], None],
    edge: Outside,
    *,
    development: bool = False,
    signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
) -> None:
    """Serves until it is told to stop by a signal.

    Args:
        yugen: what to serve.
        listeners: where.
        say_ready: called when it serves.
        say_gone: called when it no longer does, while no other server can have the data yet.
        edge: how the way there is secured.
        development: whether to take up what is saved.
        signals: which tell it to stop; a second one does not wait for anybody.
    """
    from yugen.cli.dev import started
    from yugen.server.listen import Server

    gc.enable()

    def ready() -> None:
        # What is loaded by now stays. Collecting it again and again, as Python would for each few hundred messages to
        # clients, took a quarter of the time of a fan-out to 1,000 subscribers.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        if yugen.is_serving:
            say_ready()

    server = Server(yugen, ready, site_port=listeners.site_port, certificate=edge.certificate, proxies=edge.proxies)
    main = asyncio.current_task()
    assert main is not None

    def stop(number: int) -> None:
        # Before it serves there is nobody to say goodbye to.
        if server.started:
            server.handle_exit(number, None)
        else:
            main.cancel()

    for number in signals:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        async with started(yugen, say_ready) if development else yugen:
            watching = asyncio.get_running_loop().create_task(_end_when_failed(yugen, server))
            try:
                await server.serve(sockets=[each for each in listeners if each is not None])
            finally:
                watching.cancel()
                say_gone()
            if yugen.has_failed:
                raise StorageError("The server has ended because it could not write any more: see its log.")
    except asyncio.CancelledError:
        pass


async def _end_when_failed(yugen: Yugen, server: Server) -> None:
    """Ends a server that can commit nothing any more, so that whoever supervises it starts another."""
    while not yugen.has_failed:  # noqa: ASYNC110 -- which threads, too, may be the first to know
        await asyncio.sleep(_LOOK_SECONDS)
    logger.critical("nothing can be committed any more: the server ends, and is to be started again")
    server.handle_exit(signal.SIGTERM, None)


def address(listener: socket.socket, scheme: str = "http") -> str:
    """Where the API is for those on this machine."""
    host, port, *_ = listener.getsockname()
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{scheme}://{shown}:{port}"


def say_ready(yugen: Yugen, listeners: Listeners, scheme: str, *, development: bool = False) -> None:
    """Tells whoever has started the server where it is, and in development what to look at.

    Other commands find it by a file beside the data.
    """
    from yugen.cli.dev import what_to_open

    # A certificate is for the name that clients use, not for where it is listened on.
    at = yugen.url if scheme == "https" else address(listeners.api)
    (yugen.data / "address").write_text(f"{at}\n")

    lines = [f"Yugen is ready at {at} (admin key in {yugen.data / 'admin_key'})"]
    if listeners.site is not None and (yugen.app / "http.py").is_file():
        lines.append(f"HTTP actions are at {address(listeners.site, scheme)}")
    if development:
        lines += what_to_open(yugen, at)
    print("\n".join(lines), flush=True)


def forget_address(yugen: Yugen) -> None:
    """Takes away the file by which other commands find the server."""
    (yugen.data / "address").unlink(missing_ok=True)
