"""The requests of HTTP as the log, the traces and whoever asks know them: each has an id, and may leave a line.

The id is what a trusted proxy, or a client of Convex's kind, has given it, or else a new one. It goes back in
`X-Request-Id`, stands in the lines of the functions that run for the request, and before the text of their errors.

Of the address only what is no secret is shown: not what comes after `?`, where tokens and signatures are, and not the
parts that let whoever knows them read a file.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from yugen.functions.addresses import PRIVATE_PATH, UPLOAD_PATH
from yugen.server.proxies import REQUEST_ID, client_address, request_id

if TYPE_CHECKING:
    from yugen.server.yugen import Yugen

VARIABLE: Final = "YUGEN_ACCESS_LOG"
"""`1` has every request leave a line; without it only those do that fail by a fault of the server."""

HEADER: Final = b"x-request-id"

_VISIT: Final = "yugen.visit"
_FILES: Final = "/api/storage/"
_FAULT: Final = 500

logger = logging.getLogger("yugen.access")


class Visit:
    """A request that is under way.

    Attributes:
        id: of letters, digits, `-` and `_`.
        route: the route of the app that answers it, once that is known; otherwise its path says what it asks for.
    """

    __slots__ = ("id", "route")

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.route: str | None = None


def visit_of(scope: Scope) -> Visit:
    """The visit that a request is; one of its own where no `Access` is on its way."""
    visit = scope.get(_VISIT)
    return visit if isinstance(visit, Visit) else Visit(_id_of(scope))


class Access:
    """An ASGI app that gives each request its id and takes note of it, and leaves the answer to another.

    Args:
        yugen: whose traces have the requests, if it has any.
        app: the other.
        logs_all: whether those leave a line, too, that go well or fail by the client's fault.
    """

    def __init__(self, yugen: Yugen, app: ASGIApp, *, logs_all: bool) -> None:
        self._yugen = yugen
        self._app = app
        self._logs_all = logs_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            serving = self._app(scope, receive, send)
            del scope  # the headers of an idle connection would be some KiB
            await serving
            return
        visit = scope[_VISIT] = Visit(_id_of(scope))
        given = HEADER, visit.id.encode()
        status, began = 0, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_id(message.get("headers", ()), given)
            await send(message)

        traces, answers = self._yugen.traces, self._yugen.answers
        span = None if traces is None else traces.request(visit.id, scope)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            status = status or _FAULT  # which is what the server answers then
            raise
        finally:
            answers[status // 100] = answers.get(status // 100, 0) + 1
            if traces is not None and span is not None:
                traces.answered(span, visit.id, scope["method"], visit.route or path_shown(scope), status)
            if self._logs_all or status >= _FAULT:
                _log(visit, scope, status, round((time.perf_counter() - began) * 1000, 2))


def path_shown(scope: Scope) -> str:
    """The path of a request without what is a secret in it."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    if path.startswith(_FILES) and path not in (UPLOAD_PATH, PRIVATE_PATH):
        return f"{_FILES}{{id}}"
    return path


def _log(visit: Visit, scope: Scope, status: int, milliseconds: float) -> None:
    """Leaves the line of a request. One whose client has left before it was answered has no status."""
    route = visit.route or path_shown(scope)
    fields: dict[str, Any] = {
        "method": scope["method"],
        "route": route,
        "status": status or None,
        "milliseconds": milliseconds,
        "request_id": visit.id,
        "address": client_address(scope),
    }
    level = logging.WARNING if status >= _FAULT else logging.INFO
    how = status or "not answered"
    logger.log(level, "%s %s %s in %.1f ms", scope["method"], route, how, milliseconds, extra={"fields": fields})


def _id_of(scope: Scope) -> str:
    given: str | None = scope.get(REQUEST_ID)
    if given is None:
        for name, value in scope["headers"]:
            if name == b"convex-request-id":
                given = request_id(value)
    return given or secrets.token_hex(8)


def _with_id(headers: Iterable[tuple[bytes, bytes]], given: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Headers of a response with its id, and without one that an HTTP action has taken from elsewhere."""
    return [*[pair for pair in headers if pair[0] != HEADER], given]
