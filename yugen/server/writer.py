"""Writing to one socket, message after message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from yugen.server.stepping import Done, step
from yugen.server.unread import Unread
from yugen.sync.messages import Message
from yugen.sync.session import Close

SEND_SECONDS_MAX: Final = 60.0
"""How long a client may take to read one message before it counts as gone."""


class NothingRead(Exception):
    """The client has not read a message in time."""


class TooMuchUnread(Exception):
    """The client reads too slowly, and there is no room for what it leaves unread."""


class Sink(Protocol):
    """What is written to. Either call may wait while the client does not read."""

    def send(self, text: bytes) -> Coroutine[Any, Any, None]: ...
    def close(self, code: int, reason: str) -> Coroutine[Any, Any, None]: ...


class Writer:
    """Writes to a client, and knows whether it reads.

    As long as it does, a message is a call: it is sent when `write` returns, and nobody waits. A task comes into it
    only where the transport has the sender wait, and for what is made when it is sent: that takes long, and others have
    their turn in between.

    Args:
        sink: what is written to.
        caught_up: called when a client that lagged has read everything.
        failed: called with the error of the sink, or with `NothingRead`, where `write` has returned before.
        unread: counts what waits to be sent.

    Attributes:
        lags: whether the client is yet to read something; then nothing more can be written.
    """

    __slots__ = ("_caught_up", "_failed", "_finishing", "_sink", "_unread", "_waiting", "lags")

    def __init__(
        self,
        sink: Sink,
        caught_up: Callable[[], None],
        failed: Callable[[BaseException], None],
        unread: Unread | None = None,
    ) -> None:
        self._unread = unread or Unread()
        self._waiting = 0  # bytes
        self._sink = sink
        self._caught_up = caught_up
        self._failed = failed
        self._finishing: asyncio.Task[None] | None = None
        self.lags = False

    def write(self, messages: Sequence[Message], close: Close | None = None) -> None:
        """Sends text messages, and ends the connection after them if that is asked.

        Raises:
            TooMuchUnread: some of it would have to wait, for which there is no room.
            Exception: of the sink.
        """
        assert not self.lags
        for place, message in enumerate(messages):
            sending = step(self._sink.send(bytes(message)))
            if not isinstance(sending, Done):
                self._finish(sending, deque(messages[place:]), close)
                return
            if not isinstance(message, bytes) and place + 1 < len(messages):
                self._finish(None, deque(messages[place:]), close)
                return
        if close is not None:
            closing = step(self._sink.close(close.code, close.reason))
            if not isinstance(closing, Done):
                self._finish(closing, deque(), None)

    def stop(self) -> None:
        """Gives up what is yet to be written; nothing is called any more."""
        if self._finishing is not None:
            self._finishing.cancel()
        # Whoever has this has given it calls that lead back there. With them, neither would go before Python's
        # collector looks, which it seldom does.
        self._caught_up = self._failed = nobody

    def _finish(self, begun: Awaitable[None] | None, messages: deque[Message], close: Close | None) -> None:
        """Goes on with what has begun: with the first of the messages, which may be sent by now, or with the close."""
        waiting = sum(map(len, messages))
        if not self._unread.add(waiting):
            raise TooMuchUnread
        self._waiting = waiting
        self.lags = True
        self._finishing = asyncio.get_running_loop().create_task(self._write_rest(begun, messages, close))
        self._finishing.add_done_callback(self._finished)

    async def _write_rest(self, begun: Awaitable[None] | None, messages: deque[Message], close: Close | None) -> None:
        if begun is not None:
            await _in_time(begun)
        while messages:
            size = len(messages.popleft())  # what is counted no more is held no more
            self._waiting -= size
            self._unread.remove(size)
            if messages:
                await asyncio.sleep(0)
                await _in_time(self._sink.send(bytes(messages[0])))
        if close is not None:
            await _in_time(self._sink.close(close.code, close.reason))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._finishing = None
        self._unread.remove(self._waiting)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.lags = False
            self._caught_up()
        else:
            self._failed(error)


def nobody(*_: object) -> None:
    """Hears what is said, and does nothing."""


async def _in_time(writing: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(SEND_SECONDS_MAX):
            await writing
    except TimeoutError:
        raise NothingRead from None
