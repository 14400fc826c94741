"""uvicorn as Yugen runs it: with deadlines for clients that hang, and a goodbye for those that do not."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, NamedTuple, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_remote_addr

from yugen.server.limits import ServerLimits
from yugen.server.proxies import THIS_MACHINE, VARIABLE, BehindProxies, Proxies
from yugen.server.rounds import Round, Rounds
from yugen.server.sockets import HANDSHAKES_WAITING_MAX, Sockets, TurnedAway, refusal
from yugen.server.tls import Certificate
from yugen.server.unread import Unread
from yugen.server.websocket import WebSocketProtocol
from yugen.server.yugen import Yugen

WS_SIZE_MAX = 64 * 1024 * 1024
"""Bytes of an incoming message: arguments of 16 MiB are more once encoded (protocol.md 9, trap 25)."""

HEADERS_SECONDS_MAX = 30.0
"""How long a request may take up to its body."""

HEAD_BYTES_MAX = 128 * 1024
"""How much may come without a request getting anywhere: its line and headers, what stands between chunks, trailers.

What Yugen takes tokens for has room in it several times, and all cookies of a site.
"""

STALLED_SECONDS_MAX = 60.0
"""How long a client may read nothing of a response when enough of it is on its way."""

PING_SECONDS = 20.0
"""How often a client is sent a ping, and how long it may take to answer.

It keeps the Rust client connected and finds clients that are gone (protocol.md 2.11).
"""


HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
"""A header `Host`: what has more in it is not one, and would end up in the addresses that are made of it."""

logger = logging.getLogger(__name__)

_AUTHORITY = re.compile(rb"https?://([^/?#]*)", re.IGNORECASE)


def config(
    app: ASGIApp, certificate: Certificate | None = None, proxies: str | None = None, yugen: Yugen | None = None
) -> uvicorn.Config:
    """The way uvicorn is to run an app, as far as it is not about where to listen.

    Args:
        app: the app.
        certificate: for TLS, if it is to speak that.
        proxies: whose `X-Forwarded-For` and `X-Forwarded-Proto` to believe, see `Proxies`. By default as
            `FORWARDED_ALLOW_IPS` says, or this machine's.
        yugen: the backend, which counts the sockets that are open.

    Raises:
        BadProxies: that names no proxies.
    """
    trusted = Proxies(os.environ.get(VARIABLE, THIS_MACHINE) if proxies is None else proxies)
    door = None if yugen is None else _Door(yugen.sockets, yugen.limits.server, trusted, yugen.handshakes, yugen.unread)
    return uvicorn.Config(
        BehindProxies(trusted, app, None if yugen is None else yugen.sockets),
        proxy_headers=False,  # uvicorn's own believe the leftmost when all are trusted
        interface="asgi3",
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=5,
        http=cast("type[asyncio.Protocol]", partial(_HttpProtocol, door=door)),
        ws=WebSocketProtocol,
        ws_max_size=WS_SIZE_MAX,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        ssl_context_factory=None if certificate is None else lambda *_: certificate.context,
    )


class Server(uvicorn.Server):
    """Serves one backend until it is told to stop. Signals are left to its owner.

    Args:
        yugen: the backend, started.
        ready: called once clients are accepted.
        site_port: the port of this machine on which only HTTP actions are served, if there is one.
        certificate: as for `config`.
        proxies: as for `config`.
    """

    def __init__(
        self,
        yugen: Yugen,
        ready: Callable[[], None] = lambda: None,
        *,
        site_port: int | None = None,
        certificate: Certificate | None = None,
        proxies: str | None = None,
    ) -> None:
        app = yugen.asgi()
        if certificate is not None:
            yugen.certificate_expires = certificate.expires
        if site_port is not None:
            app = _ByPort(site_port, yugen.site_asgi(), app)
        super().__init__(config(app, certificate, proxies, yugen))
        self._yugen = yugen
        self._ready = ready
        self._waiting: asyncio.Future[None] | None = None  # for what a second signal cuts short

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, after actions have finished and clients have been told; nobody else is let in meanwhile.

        Before that it goes on for `notice_seconds` as if nothing were, while `/ready` says that nobody is to be sent.
        """
        self._yugen.is_leaving = True
        if notice := self._yugen.limits.server.notice_seconds:
            logger.info("Serving for %g s more, for those who look at /ready; interrupt again to stop at once", notice)
            await self._wait(lambda: asyncio.sleep(notice))
        for server in self.servers:
            server.close()
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, HttpToolsProtocol):
                connection.shutdown()  # which has those come to their end that are about something
        self._yugen.runs.close()
        await self._wait(self._yugen.drain)
        await self._yugen.disconnect_all("ServerShuttingDown")
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's. A second one, whichever it is, waits for no action and no request."""
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)
        if self.force_exit:
            self._yugen.is_hurrying = True
            if self._waiting is not None:
                self._waiting.cancel()

    async def _wait(self, what: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Waits for something, unless there is a second signal."""
        if not self.force_exit:
            self._waiting = asyncio.ensure_future(what())
            await asyncio.wait([self._waiting])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: uvicorn would end the process by the signal, before the data is closed."""
        yield


class _ByPort:
    """Tells requests by the port that they came to."""

    def __init__(self, port: int, app: ASGIApp, others: ASGIApp) -> None:
        self._port = port
        self._app = app
        self._others = others

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # Not async: its frame would hold the scope of a connection for as long as that is open.
        server = scope.get("server")
        app = self._app if server is not None and server[1] == self._port else self._others
        return app(scope, receive, send)


_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 34\r\nconnection: close\r\n\r\n"
    b"The headers of a request are small"
)


class _Door(NamedTuple):
    """What decides who gets in, and when.

    Attributes:
        sockets: counts those that are open.
        limits: how many there may be.
        proxies: whose clients are known by what they ask.
        handshakes: has those of WebSockets wait for one another, so that a rush of them leaves time for all else.
        unread: counts what they are yet to read.
    """

    sockets: Sockets
    limits: ServerLimits
    proxies: Proxies
    handshakes: Rounds
    unread: Unread


class _Ambiguous(ValueError):
    """A request that others may take for another one.

    Raised within the parser, it ends as what is not HTTP does: with 400 and the end of the connection.
    """


class _HttpProtocol(HttpToolsProtocol):
    """uvicorn's, which by itself waits for ever for the rest of a request, and for a client to read a response.

    Nor does uvicorn mind how long headers are, and it takes trailers for headers (RFC 9110, 6.5.1). Here a request also
    says once which host is asked for (RFC 9112, 3.2), which uvicorn leaves to apps, and WebSockets wait for those that
    came before.
    """

    _patience: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _unread_bytes = 0  # of the transport's, as far as they are counted
    _in_head = True
    _came = 0  # bytes since the request last got anywhere
    _answering: RequestResponseCycle | None = None
    _leave: Callable[[], None] | None = None  # counts it as gone
    _awaits_handshake = False

    def __init__(self, config: uvicorn.Config, *args: Any, door: _Door | None = None, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._door = door

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS_MAX, self.transport.abort)
        if self._door is not None:
            self._unread_bytes = self._door.unread.hold(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_on()

    def _read_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
        if self._door is not None:
            self._door.unread.remove(self._unread_bytes)
            self._unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if self._door is not None and not self._enters(self._door, transport):
            return
        super().connection_made(transport)
        self._wait()

    def _enters(self, door: _Door, transport: asyncio.Transport) -> bool:
        remote = get_remote_addr(transport)
        # Whoever comes through a proxy is known by what they ask; see `BehindProxies`.
        address = None if remote is None or door.proxies.trusts(remote[0]) else remote[0]
        reason = door.sockets.enter(address)
        if reason is not None:
            away = TurnedAway(reason, door.limits)
            transport.set_protocol(away)
            away.connection_made(transport)
            return False
        self._leave = partial(door.sockets.leave, address)
        return True

    def data_received(self, data: bytes) -> None:
        awaited = self._awaits_handshake
        if not awaited:
            self._came += len(data)
            super().data_received(data)
        if awaited or (self._awaits_handshake and not data.endswith(b"\n")):
            # A client may send nothing before it has got the answer: what it has sent would be lost without a word.
            self.transport.abort()
            return
        if self._came > HEAD_BYTES_MAX and not self.transport.is_closing():
            if self._in_head:
                self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._wait()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self._check_host()
        self._in_head = False
        self._came = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._came = 0
        super().on_body(body)

    def _check_host(self) -> None:
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1:
            if hosts or self.parser.get_http_version() != "1.0":
                raise _Ambiguous("one Host")
        elif not HOST.fullmatch(hosts[0]):
            raise _Ambiguous("a Host that is one")
        if not self.url.startswith(b"/") and self.url != b"*":
            # With the host in it, as to a proxy. It must be the one of the header, which is what everything else reads.
            named = _AUTHORITY.match(self.url)
            if named is None or [named[1].lower()] != [each.lower() for each in hosts]:
                raise _Ambiguous("another host")

    def handle_websocket_upgrade(self) -> None:
        door = self._door
        if door is None:
            self._upgrade()
        elif door.handshakes.waiting < HANDSHAKES_WAITING_MAX:
            self._awaits_handshake = True
            door.handshakes.add(self)
        else:
            door.sockets.refuse_handshake()
            self.transport.write(refusal("handshakes", door.limits))
            self.transport.close()

    def serve_in(self, round: Round) -> None:
        """As `Due.serve_in`: the turn of its handshake has come."""
        if self.transport.is_closing():
            return
        try:
            self._upgrade()
        except Exception:
            logger.exception("a handshake failed")
            self.transport.abort()

    def _upgrade(self) -> None:
        unread = None if self._door is None else self._door.unread
        protocol = partial(WebSocketProtocol, ended=self._leave, unread=unread)
        self.ws_protocol_class = cast("type[asyncio.Protocol]", protocol)
        super().handle_websocket_upgrade()
        self._read_on()  # the transport is another protocol's from here on
        # The parser holds this protocol and is held by it. Where garbage is collected rarely, they would stay.
        self.parser = None  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._read_on()
        if self._leave is not None:
            self._leave()
        if self._answering is not None:
            # uvicorn tells the newest request, which may be one that waits behind this.
            self._answering.disconnected = not self._answering.response_complete
            self._answering.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _wait(self) -> None:
        self._stop_waiting()
        self._patience = self.loop.call_later(HEADERS_SECONDS_MAX, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
