"""Keeps a session connected: the one place that owns a socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final, Never, TypeAlias

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from yugen_client.address import sync_url
from yugen_client.auth import Auth, fetch_token
from yugen_client.errors import AuthenticationFailed, ProtocolError, ServerRefused
from yugen_client.messages import ClientMessage, decode_server, encode_client
from yugen_client.session import (
    ActionLost,
    QueryChanged,
    Refused,
    RequestResolved,
    Session,
    TokenRefused,
    UpdateDropped,
)
from yugen_client.tokens import AdminAuth, Token, refresh_seconds
from yugen_client.version import __version__
from yugen_client.waking import TICK_SECONDS, Clocks

INACTIVITY_SECONDS: Final = 60.0
"""A server says something at least every 15 s; past this the connection is dead. As in Convex's own clients."""

PROBE_SECONDS: Final = 5.0
"""How long a server may take to answer a ping when it is doubtful whether the connection is still good."""

TOKEN_REFUSALS_MAX: Final = 3
"""Tokens refused in a row, after which asking for another is no use."""

REFRESH_AGAIN_SECONDS: Final = 5.0
"""When to ask again for a token that could not be had. The one that is there is good for a little longer."""

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024

CLOSE_SECONDS: Final = 1.0
"""How long a server may take to answer a close. Nothing depends on the answer, and a dead server gives none."""

_TOKEN_REFUSED: Final = "AuthError"
"""The reason of a connection's end for which the server is not to blame."""

Backoff: TypeAlias = Callable[[int], float]
"""Seconds to wait before reconnect number n, counted from 0."""

Delivery: TypeAlias = QueryChanged | RequestResolved | ActionLost | UpdateDropped
"""The events that matter to a session's user; the others are the connection's own."""

_log = logging.getLogger("yugen_client")


class _Dropped(Exception):
    """Leave this connection and make another; its text is the reason, told to the server and the log."""


class _NoToken(Exception):
    """The auth function failed, because of this error's cause; it may do better next time."""


class Connection:
    """Connects a session to its server, again and again.

    Args:
        session: What to say, and what to make of the answers.
        url: The address of the deployment.
        auth: Where the token comes from.
        backoff: How long to wait after a failure.
        deliver: Called with each event.
        state_changed: Called whenever the session's state may have changed.

    Raises:
        ValueError: `url` is not the address of a deployment.
    """

    def __init__(
        self,
        session: Session,
        url: str,
        *,
        auth: Auth,
        backoff: Backoff,
        deliver: Callable[[Delivery], None],
        state_changed: Callable[[], None],
    ) -> None:
        self._session = session
        self._url = sync_url(url)
        self._backoff = backoff
        self._deliver = deliver
        self._state_changed = state_changed
        self._wake = asyncio.Event()
        self._doubt = asyncio.Event()
        self._auth = auth
        self._auth_count = 0
        self._auth_changed = asyncio.Event()
        self._fetching = asyncio.Lock()
        self._token: Token = None
        self._token_wanted = True
        self._refresh_at: float | None = None
        self._refresh_at_wall = 0.0
        self._refusal: TokenRefused | None = None
        session.hold()  # for the first token; what is asked until it is there is asked by whom it is for

    def wake(self) -> None:
        """Says that the session may have messages to send."""
        self._wake.set()
        self._state_changed()

    def check(self) -> None:
        """Says that the connection may be dead without a sign, or that a new one may be possible before its time."""
        self._doubt.set()
        if self._refresh_at is not None and time.time() >= self._refresh_at_wall:
            self._refresh_at = 0.0
            self._auth_changed.set()

    def set_auth(self, auth: Auth) -> None:
        """Goes on as somebody else. Over the present connection, what was asked before is asked by the one before."""
        self._auth = auth
        self._auth_count += 1
        self._refusal = None
        self._refresh_at = None
        self._session.hold()
        if auth is None or isinstance(auth, str | AdminAuth):
            self._token_wanted = False
            self._token = auth
            self._deliver_all(self._session.become(auth))
        else:
            self._token_wanted = True
        self._auth_changed.set()
        self.wake()

    async def run(self) -> Never:
        """Runs until cancelled.

        Raises:
            ServerRefused: The server wants nothing more from this client.
            AuthenticationFailed: The server refuses the token, and there is no better one.
        """
        beside = [asyncio.create_task(each) for each in (self._keep_token(), self._watch_clocks())]
        try:
            while True:
                reason = "ClientStopped"
                try:
                    reason = await self._connect_once()
                finally:
                    for event in self._session.closed(reason):
                        self._deliver(event)
                    self._state_changed()
                if reason == _TOKEN_REFUSED and self._refusal is not None and self._refusal.times == 1:
                    continue  # it is not the server that is in trouble
                seconds = self._backoff(self._session.state.retries - 1)
                _log.info("not connected to %s: %s; trying again in %.1f s", self._url, reason, seconds)
                self._doubt.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._doubt.wait()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _connect_once(self) -> str:
        """One connection from beginning to end, and the reason of its end."""
        try:
            await self._fetch_wanted()
            socket = await connect(
                self._url,
                additional_headers={"Convex-Client": f"yugen-python-{__version__}"},
                max_size=MESSAGE_BYTES_MAX,
                # The server's pings already tell a dead connection, and a program that is busy for a while answers
                # none of ours in time.
                ping_interval=None,
                close_timeout=CLOSE_SECONDS,
            )
            try:
                await self._talk(socket)
            finally:
                await socket.close()  # with code 1000, whatever the reason: the fault is not in this client
        except ConnectionClosed as closed:
            return _close_reason(closed)
        except (_Dropped, ProtocolError) as dropped:
            return str(dropped)
        except _NoToken as failed:
            _log.warning("the auth function failed", exc_info=failed.__cause__)
            return "NoToken"
        except (OSError, WebSocketException) as error:
            _log.warning("cannot connect to %s: %s", self._url, error)
            return f"{type(error).__name__} while connecting"

    # Who it is

    async def _fetch_wanted(self) -> None:
        """Fetches a token if there is none yet, or another one if the server refused it, and goes on with it."""
        async with self._fetching:
            while self._token_wanted:
                count, refusal = self._auth_count, self._refusal
                if refusal is not None and refusal.times > TOKEN_REFUSALS_MAX:
                    raise AuthenticationFailed(
                        f"the server refused {refusal.times} tokens in a row, the last one with: {refusal.error}"
                    )
                try:
                    token = await fetch_token(self._auth, force_refresh=refusal is not None)
                except Exception as error:  # of this package too, for it may well use a client
                    raise _NoToken from error
                if count != self._auth_count:
                    continue  # that was the token of somebody else
                if refusal is not None and token == self._token:
                    raise AuthenticationFailed(
                        f"the server refused the token: {refusal.error}; pass `auth` a function that gives a new one"
                    )
                self._token_wanted = False
                self._take(token, fresh=refusal is not None)

    async def _keep_token(self) -> Never:
        """Replaces tokens before they end, and fetches those of users who come while there is a connection."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._refresh_at):
                    await self._auth_changed.wait()
            self._auth_changed.clear()
            try:
                if self._token_wanted and self._session.state.connected:
                    await self._fetch_wanted()
                elif self._refresh_at is not None and loop.time() >= self._refresh_at:
                    await self._refresh()
            except Exception:
                _log.warning("the auth function failed; asking again in %.0f s", REFRESH_AGAIN_SECONDS, exc_info=True)
                self._refresh_at = loop.time() + REFRESH_AGAIN_SECONDS

    async def _refresh(self) -> None:
        count = self._auth_count
        self._refresh_at = None
        token = await fetch_token(self._auth, force_refresh=True)
        # If it is the same there is none but this; the server will say when it has enough of it.
        if token != self._token and count == self._auth_count and not self._token_wanted:
            self._take(token, fresh=True)

    def _take(self, token: Token, *, fresh: bool) -> None:
        """Goes on with a token of this moment."""
        now = time.time()
        is_other = self._token is None or token is None
        self._token = token
        seconds = None if not callable(self._auth) else refresh_seconds(token, fresh=fresh, now=now)
        self._refresh_at = None if seconds is None else asyncio.get_running_loop().time() + seconds
        self._refresh_at_wall = now + (seconds or 0.0)
        self._auth_changed.set()
        if self._session.is_held or is_other:
            self._deliver_all(self._session.become(token))
        else:
            self._session.authenticate(token)
        self.wake()

    # What is said

    async def _talk(self, socket: ClientConnection) -> Never:
        """Reads and writes at once, until reading ends."""
        self._doubt.clear()
        opening = self._session.open(now_ms=int(time.time() * 1000))
        self._auth_changed.set()  # a user may have come while there was no connection
        self._state_changed()
        reading = asyncio.create_task(self._read(socket))
        others = [asyncio.create_task(each) for each in (self._write(socket, opening), self._probe(socket))]
        try:
            await asyncio.wait({reading, *others}, return_when=asyncio.FIRST_EXCEPTION)
            for other in others:
                if other.done():
                    other.result()
            await reading
        finally:
            for task in (reading, *others):
                task.cancel()
            await asyncio.gather(reading, *others, return_exceptions=True)

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
                        raise _Dropped(_TOKEN_REFUSED)
                    case _:
                        self._deliver(event)
            if self._session.may_send:
                self._wake.set()
            self._state_changed()

    async def _probe(self, socket: ClientConnection) -> None:
        """Leaves a connection that is in doubt and does not answer soon."""
        try:
            while True:
                await self._doubt.wait()
                self._doubt.clear()
                async with asyncio.timeout(PROBE_SECONDS):
                    await (await socket.ping())
        except TimeoutError:
            raise _Dropped("NoAnswerToPing") from None
        except ConnectionClosed:
            return

    async def _watch_clocks(self) -> Never:
        """Doubts the connection whenever the machine has been asleep."""
        clocks = Clocks(steady=time.monotonic(), wall=time.time())
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if clocks.tick(steady=time.monotonic(), wall=time.time()):
                self.check()

    def _deliver_all(self, events: Iterable[Delivery]) -> None:
        for event in events:
            self._deliver(event)


def _close_reason(closed: ConnectionClosed) -> str:
    if closed.rcvd is None:
        return "the connection broke"
    return closed.rcvd.reason or f"closed with code {closed.rcvd.code}"
