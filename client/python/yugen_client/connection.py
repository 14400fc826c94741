"""Keeps a session connected: the one place that owns a socket."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Never, TypeAlias

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from yugen_client.address import sync_url
from yugen_client.auth import Auth, fetch_token
from yugen_client.errors import AuthenticationFailed, ProtocolError, ServerRefused
from yugen_client.messages import ClientMessage, decode_server, encode_client
from yugen_client.session import ActionLost, QueryChanged, Refused, RequestResolved, Session, TokenRefused
from yugen_client.version import __version__

INACTIVITY_SECONDS: Final = 60.0
"""A server says something at least every 15 s; past this the connection is dead. As in Convex's own clients."""

TOKEN_REFUSALS_MAX: Final = 3
"""Tokens refused in a row, after which asking for another is no use."""

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024

CLOSE_SECONDS: Final = 1.0
"""How long a server may take to answer a close. Nothing depends on the answer, and a dead server gives none."""

Backoff: TypeAlias = Callable[[int], float]
"""Seconds to wait before reconnect number n, counted from 0."""

Delivery: TypeAlias = QueryChanged | RequestResolved | ActionLost
"""The events that matter to a session's user; the others are the connection's own."""

_log = logging.getLogger("yugen_client")


class _Dropped(Exception):
    """Leave this connection and make another; its text is the reason, told to the server and the log."""


class Connection:
    """Connects a session to its server, again and again.

    Args:
        session: What to say, and what to make of the answers.
        url: The address of the deployment.
        auth: Where the token comes from.
        backoff: How long to wait after a failure.
        deliver: Called with each event.

    Raises:
        ValueError: `url` is not the address of a deployment.
    """

    def __init__(
        self, session: Session, url: str, *, auth: Auth, backoff: Backoff, deliver: Callable[[Delivery], None]
    ) -> None:
        self._session = session
        self._url = sync_url(url)
        self._auth = auth
        self._backoff = backoff
        self._deliver = deliver
        self._token: str | None = None
        self._token_wanted = True
        self._refusal: TokenRefused | None = None
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Says that the session may have messages to send."""
        self._wake.set()

    async def run(self) -> Never:
        """Runs until cancelled.

        Raises:
            ServerRefused: The server wants nothing more from this client.
            AuthenticationFailed: The server refuses the token, and there is no better one.
        """
        while True:
            reason = "ClientStopped"
            try:
                reason = await self._connect_once()
            finally:
                for event in self._session.closed(reason):
                    self._deliver(event)
            seconds = self._backoff(self._session.state.retries - 1)
            _log.info("not connected to %s: %s; trying again in %.1f s", self._url, reason, seconds)
            await asyncio.sleep(seconds)

    async def _connect_once(self) -> str:
        """One connection from beginning to end, and the reason of its end."""
        try:
            await self._present_token()
            async with connect(
                self._url,
                additional_headers={"Convex-Client": f"yugen-python-{__version__}"},
                max_size=MESSAGE_BYTES_MAX,
                # The server's pings already tell a dead connection, and a program that is busy for a while answers
                # none of ours in time.
                ping_interval=None,
                close_timeout=CLOSE_SECONDS,
            ) as socket:
                await self._talk(socket)
        except ConnectionClosed as closed:
            return _close_reason(closed)
        except (_Dropped, ProtocolError) as dropped:
            return str(dropped)
        except (OSError, WebSocketException) as error:
            _log.warning("cannot connect to %s: %s", self._url, error)
            return f"{type(error).__name__} while connecting"

    async def _present_token(self) -> None:
        """Gives the session a token if it has none yet, or another one if the server refused it."""
        if not self._token_wanted:
            return
        try:
            token = await fetch_token(self._auth)
        except Exception as error:
            _log.warning("the auth function failed", exc_info=True)
            raise _Dropped("NoToken") from error
        if self._refusal is not None:
            if self._refusal.times > TOKEN_REFUSALS_MAX:
                raise AuthenticationFailed(
                    f"the server refused {self._refusal.times} tokens in a row, the last one with: "
                    f"{self._refusal.error}"
                )
            if token == self._token:
                raise AuthenticationFailed(
                    f"the server refused the token: {self._refusal.error}; pass `auth` a function that gives a new one"
                )
        self._token = token
        self._token_wanted = False
        self._session.authenticate(token)

    async def _talk(self, socket: ClientConnection) -> Never:
        """Reads and writes at once, until reading ends."""
        opening = self._session.open(now_ms=int(time.time() * 1000))
        reading = asyncio.create_task(self._read(socket))
        writing = asyncio.create_task(self._write(socket, opening))
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_EXCEPTION)
            if writing.done():
                writing.result()
            await reading
        finally:
            reading.cancel()
            writing.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    async def _write(self, socket: ClientConnection, messages: list[ClientMessage]) -> None:
        try:
            while True:
                for message in messages:
                    await socket.send(encode_client(message))
                await self._wake.wait()
                self._wake.clear()
                messages = self._session.messages_to_send()
        except ConnectionClosed:
            return  # the reader meets it too, but only after all that came before it

    async def _read(self, socket: ClientConnection) -> Never:
        while True:
            try:
                async with asyncio.timeout(INACTIVITY_SECONDS):
                    text = await socket.recv()
            except TimeoutError:
                raise _Dropped("InactiveServer") from None
            message = decode_server(text)
            if message is None:
                _log.debug("ignored a message of an unknown kind: %.200s", text)
                continue
            for event in self._session.receive(message):
                match event:
                    case Refused(error):
                        raise ServerRefused(error)
                    case TokenRefused():
                        self._refusal = event
                        self._token_wanted = True
                        raise _Dropped("AuthError")
                    case _:
                        self._deliver(event)


def _close_reason(closed: ConnectionClosed) -> str:
    if closed.rcvd is None:
        return "the connection broke"
    return closed.rcvd.reason or f"closed with code {closed.rcvd.code}"
