"""The action's side of a request: an HTTP action run as Starlette would run it, over the calls of `exchange`.

Starlette's requests and responses are imported with this, by processes that need them.
"""

from __future__ import annotations

import asyncio
import re
from asyncio import Future, Task, get_running_loop, shield
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from yugen.functions.context import ActionCtx
from yugen.functions.http import HttpAction
from yugen.runtime.budget import check_size
from yugen.runtime.exchange import LAST, LEFT, Begun, Head, Wire

PART_SIZE_MAX: Final = 256 * 1024
"""Bytes of the body of a response that go at once."""

_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_VALUE: Final = re.compile(rb"[\r\n\0]")


class ClientLeft(OSError):
    """The client of a request has left, so that nothing can be sent to it."""


class Exchange:
    """The action's side: a request and its response as an ASGI app has them.

    Args:
        head: the request.
        wire: asks the server.
        response_bytes: the most that a response may have.

    Attributes:
        scope: the request for ASGI. It says 2.4, where whoever sends to a client that has left gets an `OSError`.
        left: whether the client has left, as far as is known.
        on_sated: called when nothing more of the response can be used.
        holds_back: whether the end of the response may wait for the end of the action.
    """

    def __init__(self, head: Head, wire: Wire, *, response_bytes: int) -> None:
        self.scope: MutableMapping[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": head.http_version,
            "method": head.method,
            "scheme": head.scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "root_path": head.root_path,
            "query_string": head.query,
            "headers": list(head.headers),
            "client": head.client,
            "server": head.server,
            "path_params": {},
        }
        if head.route.is_prefix:
            self.scope["path_params"]["path"] = head.route.rest_of(head.path.removeprefix(head.root_path))
        self.left = False
        self.on_sated: Callable[[], None] = lambda: None
        self.holds_back = True
        self._wire = wire
        self._response_bytes = response_bytes
        self._head_only = head.method == "HEAD"
        self._first: bytes | None = head.body
        self._complete = head.complete
        self._receiving: Future[bytes] | None = None
        self._watching: Task[None] | None = None
        self._start: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._begun = False
        self._last: bytes | None = None
        self._ended = False
        self._size = 0

    async def receive(self) -> dict[str, Any]:
        """As ASGI's. Whoever stops waiting loses nothing of the body."""
        if self._first is not None:
            body, self._first = self._first, None
            return {"type": "http.request", "body": body, "more_body": not self._complete}
        if self._complete:
            self.watch()
            if self._watching is not None:
                await shield(self._watching)
            return {"type": "http.disconnect"}
        if self._receiving is None:
            self._receiving = get_running_loop().create_task(_awaited(self._wire("receive", b"")))
        part = await shield(self._receiving)
        self._receiving = None
        if part == LEFT:
            self._leave()
            return {"type": "http.disconnect"}
        self._complete = part[:1] == LAST
        return {"type": "http.request", "body": part[1:], "more_body": not self._complete}

    async def send(self, message: Mapping[str, Any]) -> None:
        """As ASGI's.

        Raises:
            ClientLeft: the client has left.
            LimitExceeded: the response is too large.
            ValueError: it cannot be sent like that.
        """
        match message["type"]:
            case "http.response.start":
                self._start = message["status"], _checked(message["status"], message.get("headers", ()))
                for name, value in self._start[1]:
                    if name == b"content-length" and value.isdigit() and not self._head_only:
                        self._check(int(value))
            case "http.response.body":
                await self._send(bytes(message.get("body", b"")), more=message.get("more_body", False))
            case other:
                raise ValueError(f"a response has no message {other!r}")

    def watch(self) -> None:
        """Learns from now on when the client leaves. Before all of the body has been received, nobody can tell."""
        if self._watching is None and not self.left:
            self._watching = get_running_loop().create_task(self._watch())

    def close(self) -> None:
        """Asks for nothing more."""
        for task in (self._watching, self._receiving):
            if task is not None:
                task.cancel()

    def remainder(self) -> bytes:
        """What is still to be sent at the end: a `Begun`, or what comes after what was sent before.

        Raises:
            ValueError: the response did not come to its end.
        """
        if self.left or self._ended:
            return b""
        if self._last is None or self._start is None:
            raise ValueError("the response ended before it was complete")
        return self._last if self._begun else Begun(*self._start, self._last).pack()

    @property
    def sated(self) -> bool:
        """Whether nothing more of the response can be used."""
        return self.left or (self._head_only and self._last is not None)

    async def _send(self, body: bytes, *, more: bool) -> None:
        if self._start is None:
            raise ValueError("a response starts with its status and its headers")
        if self._last is not None:
            raise ValueError("the response has ended")
        if self._head_only:
            self._last = b""
            if more:
                self.on_sated()
            return
        self._size += len(body)
        self._check(self._size)
        parts = [body[start : start + PART_SIZE_MAX] for start in range(0, len(body), PART_SIZE_MAX)] or [b""]
        last = None if more else parts.pop()
        for part in parts:
            await self._put(part)
        self._last = last
        if last is not None and not self.holds_back:
            await self._put(last)
            await self._wire("end", b"")
            self._ended = True

    async def _put(self, part: bytes) -> None:
        self.watch()
        if not self._begun and not self.left:
            assert self._start is not None
            self._begun = True
            answer = await self._wire("begin", Begun(*self._start, part).pack())
        elif not self.left:
            answer = await self._wire("send", part)
        else:
            answer = LEFT
        if answer == LEFT:
            self._leave()
            raise ClientLeft("the client has left")

    def _check(self, size: int) -> None:
        check_size(size, "http_response_bytes", self._response_bytes, "answers a request with")

    async def _watch(self) -> None:
        await self._wire("left", b"")
        self._leave()

    def _leave(self) -> None:
        if not self.left:
            self.left = True
            self.on_sated()


class _Request(Request):
    """A request that looks after its client without reading its body."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange.scope, exchange.receive, exchange.send)
        self._exchange = exchange

    async def is_disconnected(self) -> bool:
        self._exchange.watch()
        # So that whoever asks again and again lets the answer come in.
        await asyncio.sleep(0)
        return self._exchange.left


async def respond(action: HttpAction, ctx: ActionCtx, exchange: Exchange) -> bytes:
    """Runs an HTTP action and sends its response; returns what is still to be sent of it, see `Exchange.remainder`.

    When the client leaves, a response that is being sent is cancelled. The action itself goes on, for others may be
    interested in what it does.
    """
    request = _Request(exchange)
    try:
        response = await action.handler(ctx, request)
        if not isinstance(response, Response):
            raise TypeError(
                f"{action.__qualname__} gave {type(response).__name__!r}; an HTTP action returns one of Starlette's "
                "responses, such as JSONResponse({...}) or Response(status_code=204)."
            )
        try:
            async with asyncio.timeout(None) as sending:
                now = asyncio.get_running_loop().time()
                exchange.on_sated = lambda: sending.reschedule(now)
                exchange.holds_back = response.background is None
                await response(exchange.scope, exchange.receive, exchange.send)
        except (TimeoutError, OSError, ClientDisconnect):
            if not exchange.sated:
                raise
        finally:
            exchange.on_sated = lambda: None
            # So that what its `finally` has to do is done by now, and not when it happens to be collected.
            if (close := getattr(getattr(response, "body_iterator", None), "aclose", None)) is not None:
                await close()
        return exchange.remainder()
    finally:
        exchange.close()
        await request.close()


async def _awaited(asked: Awaitable[bytes]) -> bytes:
    return await asked


def _checked(status: Any, headers: Any) -> list[tuple[bytes, bytes]]:
    """The headers of a response, which must not pass for something else on their way.

    Raises:
        ValueError: they could, or there is no such status.
    """
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"a response has the status {status!r}; there are those from 200 to 599")
    checked = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    for name, value in checked:
        if not _NAME.fullmatch(name) or _NO_VALUE.search(value):
            raise ValueError(f"a response has a header {name[:100]!r} that cannot be sent: it holds a line break")
    return checked
