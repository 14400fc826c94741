"""The HTTP actions of an app as an ASGI app: which of them answers, and what is said where none does (protocol.md 4.1).

No user code runs here. A request goes to the process that runs the action, part by part as the action reads it, and the
response comes back part by part as the client takes it.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from yugen import values
from yugen.errors import TokenRejected
from yugen.functions.routing import Routes
from yugen.identity import Identity
from yugen.runtime.exchange import LAST, LEFT, MORE, Begun, Head, What
from yugen.runtime.outcome import Failure
from yugen.runtime.runtime import Runtime
from yugen.server.access import visit_of
from yugen.server.caller import Callers, ProviderUnavailable
from yugen.server.http import Endpoint, HttpError, JsonResponse, error_response, header

PART_SECONDS_MAX: Final = 60.0
"""How long the next part of a request may take to arrive."""

DISCARD_SECONDS_MAX: Final = 2.0
"""How long the rest of a request that is refused may take to arrive."""

BELOW: Final = "/http"
"""Where the site is on the origin of the API."""

HIDDEN: Final = re.compile(rb"%2f|%5c|%00", re.IGNORECASE)
"""What others may read otherwise in a path before it is decoded."""

Identify = Callable[[Request], Awaitable[tuple[Identity | None, str | None]]]
"""Who makes a request; or what is wrong with the token that it came with."""


class ResponseCutOff(Exception):
    """An HTTP action has failed after its response had begun, which can only be shown by breaking off.

    Attributes:
        is_logged: that it was, as the failure of the action.
    """

    is_logged = True


class Site:
    """The ASGI app.

    Args:
        runtime: gives what runs the actions.
        identify: tells who makes a request.
        development: whether callers see the text and the place of errors.
        request_bytes: the most that the body of a request may have.
    """

    def __init__(
        self, runtime: Callable[[], Awaitable[Runtime]], identify: Identify, *, development: bool, request_bytes: int
    ) -> None:
        self._runtime = runtime
        self._identify = identify
        self._development = development
        self._request_bytes = request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                conversation = _Conversation(receive, send, self._request_bytes)
                endpoint = Endpoint(partial(self._answer, conversation))
                await conversation.finish(await endpoint.respond(Request(scope)), scope)
            case "websocket":
                await receive()
                await send({"type": "websocket.close"})
            case "lifespan":
                await _live(receive, send)

    async def _answer(self, conversation: _Conversation, request: Request) -> Response:
        scope, path = request.scope, path_of(request.scope)
        length = header(request, b"content-length") or ""
        if length.isdecimal() and int(length) > self._request_bytes:
            conversation.refuse_body()
            return Response()
        identity, rejected = await self._identify(request)
        body, complete = await conversation.first()
        runtime = await self._runtime()
        # Nothing is awaited until the action is on its way: these are the routes of the code that will run it.
        route = runtime.routes.find(scope["method"], path)
        if route is None:
            return _no_route(runtime.routes, path, scope["method"])
        root = scope.get("root_path", "")
        head = Head(
            route=route,
            method=scope["method"],
            path=root + path,
            raw_path=scope.get("raw_path") or quote(root + path).encode(),
            root_path=root,
            query=scope.get("query_string", b""),
            headers=tuple((bytes(name), bytes(value)) for name, value in scope["headers"]),
            scheme=scope.get("scheme", "http"),
            http_version=scope.get("http_version", "1.1"),
            client=_address(scope.get("client")),
            server=_address(scope.get("server")),
            body=body,
            complete=complete,
            rejected=rejected,
        )
        visit = visit_of(scope)
        visit.route = f"{root}{route.address}"
        answer = await runtime.respond(head, identity, conversation.ask, request_id=visit.id)
        if answer.failure is not None:
            return self._failed(answer.failure)
        assert answer.value is not None
        return conversation.remainder(answer.value)

    def _failed(self, failure: Failure) -> Response:
        """Says that an action has failed, and in development why (protocol.md 4.1)."""
        if failure.data is not None and (limited := _too_many(failure.data)) is not None:
            return limited
        prefix, _, text = failure.message.partition("\n")
        shown = {"code": prefix}
        if self._development and text:
            first = text.partition("\n")[0]
            shown = {"code": f"{prefix}: {first}", "trace": failure.traceback or text}
        body = orjson.dumps({name: text.encode("utf-8", "replace").decode() for name, text in shown.items()})
        if failure.data is not None:
            body = b'%b,"data":%b}' % (body[:-1], failure.data)
        return JsonResponse(body, 500)


class _Conversation:
    """The server's side of `yugen.runtime.exchange`: carries the parts of a request and of its response.

    Args:
        receive: of ASGI.
        send: of ASGI.
        request_bytes: the most that the body of the request may have.
    """

    def __init__(self, receive: Receive, send: Send, request_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._request_bytes = request_bytes
        self._size = 0
        self._complete = False
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watching: asyncio.Task[None] | None = None
        self._refusal: Response | None = None
        self._begun = False
        self._ended = False

    async def first(self) -> tuple[bytes, bool]:
        """The first part of the request's body, and whether that is all."""
        part = await self._next_part()
        return part[1:], self._complete

    async def ask(self, what: What, data: bytes) -> bytes:
        """What the action asks; see `yugen.runtime.exchange.Wire`."""
        match what:
            case "receive":
                return await self._next_part()
            case "left":
                self._watch()
                await asyncio.shield(self._left)
                return LEFT
            case "begin":
                begun = Begun.unpack(data)
                await self._begin(begun.status, begun.headers)
                await self._body(begun.body, more=True)
            case "send":
                await self._body(data, more=True)
            case "end":
                await self._body(b"", more=False)
                self._ended = True
        return LEFT if self._left.done() else b""

    def remainder(self, data: bytes) -> Response:
        """The response that an action has come to the end of, or what there is still to send of it."""
        if self._begun:
            return _Remainder(data)
        if self._left.done():
            return Response()
        begun = Begun.unpack(data)
        response = Response(begun.body, begun.status)
        response.raw_headers = begun.headers
        return response

    def refuse_body(self) -> None:
        """Has the client be told that the body of its request is too large."""
        text = (
            f"The body of a request has at most {self._request_bytes:,} bytes; send less at once, or raise the limit "
            "`http_request_bytes`."
        )
        self._refuse(_refusal(413, "RequestTooLarge", text))

    async def finish(self, response: Response, scope: Scope) -> None:
        """Sends a response, or what there is still to send of it.

        Raises:
            ResponseCutOff: another response has begun already.
        """
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
        if self._left.done() and self._refusal is None:
            return
        self._leave()  # whoever still waits for something of the client waits no more
        if isinstance(response, _Remainder):
            if not self._ended:
                await self._send({"type": "http.response.body", "body": response.body, "more_body": False})
        elif self._begun:
            raise ResponseCutOff("an HTTP action failed when its response had begun")
        elif self._refusal is not None:
            if self._refusal.status_code == 413:
                await self._discard()
            await self._refusal(scope, self._receive, self._send)
        else:
            await response(scope, self._receive, self._send)

    async def _next_part(self) -> bytes:
        if self._complete:
            self._watch()
            await asyncio.shield(self._left)
        if self._left.done():
            return LEFT
        try:
            async with asyncio.timeout(PART_SECONDS_MAX):
                message = await self._receive()
        except TimeoutError:
            text = f"The request did not go on for {PART_SECONDS_MAX:g} s."
            self._refuse(_refusal(408, "RequestTimeout", text))
            return LEFT
        if message["type"] == "http.disconnect":
            self._leave()
            return LEFT
        part: bytes = message.get("body", b"")
        self._size += len(part)
        self._complete = not message.get("more_body", False)
        if self._size > self._request_bytes:
            self.refuse_body()
            return LEFT
        return (LAST if self._complete else MORE) + part

    def _refuse(self, response: Response) -> None:
        """Has the client be told this, and the action that it has left."""
        self._refusal = response
        self._leave()

    async def _discard(self) -> None:
        """Lets what is on its way arrive, for a while: one that still sends when we close might not hear why."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS_MAX):
                while not self._complete:
                    message = await self._receive()
                    self._complete = not message.get("more_body", False)

    def _watch(self) -> None:
        """Notices when the client leaves, once there is nothing else to be had of it."""
        if self._complete and self._watching is None:
            self._watching = asyncio.ensure_future(self._until_left())

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        if not self._left.done():
            self._left.set_result(None)

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if not self._left.done():
            self._begun = True
            await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, body: bytes, *, more: bool) -> None:
        if not self._left.done():
            await self._send({"type": "http.response.body", "body": body, "more_body": more})


class _Remainder(Response):
    """What there is still to send of a response that has begun."""

    def __init__(self, body: bytes) -> None:
        self.body = body


def path_of(scope: Scope) -> str:
    """The path of a request within the site, decoded, without empty parts: the one that all look at.

    Raises:
        HttpError: it has parts that others could read otherwise.
    """
    path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
    hidden = HIDDEN.search(scope.get("raw_path") or b"")
    if hidden or "\\" in path or "\0" in path or {".", ".."} & set(path.split("/")):
        raise HttpError(400, "BadPath", "A path has no encoded slashes, no backslashes, and no parts `.` and `..`.")
    return re.sub("/{2,}", "/", path)


def identify_by(callers: Callable[[], Awaitable[Callers]]) -> Identify:
    """Tells who makes a request by its bearer token. One that is no good keeps no action from running."""

    async def identify(request: Request) -> tuple[Identity | None, str | None]:
        scheme, _, token = (header(request, b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer":
            return None, None
        try:
            return (await (await callers()).user(token.strip())).caller.identity, None
        except (TokenRejected, ProviderUnavailable) as error:
            return None, str(error)

    return identify


def _no_route(routes: Routes, path: str, method: str) -> Response:
    headers = {"X-Content-Type-Options": "nosniff"}
    allowed = routes.allowed(path)
    if not allowed:
        return PlainTextResponse("No HTTP action answers this path.\n", 404, headers)
    headers["Allow"] = ", ".join(allowed)
    return PlainTextResponse(f"Use {' or '.join(allowed)}, not {method}.\n", 405, headers)


def _too_many(data: bytes) -> Response | None:
    """The response where the data of an error is that of a `RateLimited`, which an app has let through."""
    match values.loads(data):
        case {"code": "RateLimited", "name": str(name), "retryAfter": float(wait)} if 0 <= wait < math.inf:
            seconds = math.ceil(wait / 1000)
            shown = {"code": "RateLimited", "message": f"{name} is limited; try again in {seconds} s."}
            response = JsonResponse(b'%b,"data":%b}' % (orjson.dumps(shown)[:-1], data), 429)
            response.headers["Retry-After"] = str(seconds)
            return response
    return None


def _refusal(status: int, code: str, text: str) -> Response:
    """Says that no more of a request is read, so that the connection is of no use any more."""
    response = error_response(status, code, text)
    response.headers["Connection"] = "close"
    return response


def _address(address: Any) -> Any:
    return None if address is None else tuple(address)


async def _live(receive: Receive, send: Send) -> None:
    """Takes part in the lifespan of a server: what is behind this starts with the first request."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
