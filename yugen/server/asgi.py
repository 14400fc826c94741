"""The server as an ASGI app: the sync endpoint, the HTTP API, and the files beside the app."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from yugen import __version__
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.server.access import VARIABLE, Access
from yugen.server.api import HttpApi
from yugen.server.backend import Backend, NotServing
from yugen.server.caller import Callers
from yugen.server.deployment import DeploymentApi
from yugen.server.direct import Direct
from yugen.server.docs import docs_routes
from yugen.server.file_api import FileApi
from yugen.server.gate import PAGE_HEADERS, at_the_door, for_pages
from yugen.server.health import Health
from yugen.server.http import Endpoints, admin_of, error_response
from yugen.server.metrics import CONTENT_TYPE, render
from yugen.server.rate_limits import LimitedByAddress
from yugen.server.site import BELOW, HIDDEN, Site, identify_by
from yugen.server.socket import AsgiSocket
from yugen.server.yugen import Yugen
from yugen.sync.client import ClientInfo

STATIC = Path(__file__).parent / "static"

ANYWHERE = ("/auth/", "/.well-known/")
"""What the paths of HTTP actions begin with that are answered without `/http` before them too."""

CLIENT_FILES = ("client.js", "client.global.js", "auth-client.js")
"""The browser client, as an ES module and as a script."""

logger = logging.getLogger(__name__)


def make_asgi(yugen: Yugen) -> ASGIApp:
    """The ASGI app of a backend, to be mounted at the root of an origin or below."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with yugen:
            yield

    endpoints = Endpoints(yugen.backend, requests_max=yugen.limits.server.requests, requests=yugen.http_requests)
    api = HttpApi(endpoints)
    public = yugen.app.parent / "public"
    routes = [
        *DeploymentApi(endpoints, yugen.everywhere or yugen.runs, yugen.reload if yugen.development else None).routes(),
        *FileApi(endpoints).routes(),
        Route("/metrics", endpoints.make(_metrics_of(yugen), "GET")),
        *api.routes(),
        *(Route(f"/{file}", _client_file, methods=["GET"]) for file in CLIENT_FILES),
        *(docs_routes(endpoints, public) if yugen.docs else ()),
        Mount("/", _Files(directory=public, html=True, check_dir=False)),
    ]
    # Which pages may ask at all is for the edge to say. To those that may all answers are open, also with credentials:
    # no cookie is ever read, what clients may do depends on the token they send.
    cors = Middleware(
        CORSMiddleware,
        allow_origin_regex=".*",
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=["*"],
        allow_credentials=True,
        max_age=86400,
    )
    routed = Starlette(
        routes=routes, middleware=[cors], exception_handlers={HTTPException: _error_page}, lifespan=lifespan
    )
    http = _WithSite(yugen, _site(yugen), for_pages(yugen.edge, Direct(api.calls, routed)))
    root = _Root(http, for_pages(yugen.edge, _Sync(yugen)))
    return Health(yugen, at_the_gate(yugen, at_the_door(yugen.edge, root)))


def _metrics_of(yugen: Yugen) -> Callable[[Request, Backend], Awaitable[Response]]:
    async def metrics(request: Request, backend: Backend) -> Response:
        """What is measured, for administrators: Prometheus can be told to send `Authorization: Convex <key>`."""
        await admin_of(request, backend.callers)
        return Response(render((await yugen.measure()).items()), headers={"content-type": CONTENT_TYPE})

    return metrics


def make_site(yugen: Yugen) -> ASGIApp:
    """The ASGI app of the HTTP actions of a backend, for an origin of their own."""
    return at_the_gate(yugen, at_the_door(yugen.edge, _site(yugen)))


def at_the_gate(yugen: Yugen, app: ASGIApp) -> ASGIApp:
    """An app of whose requests note is taken, and to which no address comes too often."""
    logs_all = os.environ.get(VARIABLE, "0") not in ("", "0")
    return Access(yugen, LimitedByAddress(yugen.address_limits, app), logs_all=logs_all)


def _site(yugen: Yugen) -> Site:
    async def runtime() -> Runtime:
        return (await yugen.backend()).runtime

    async def callers() -> Callers:
        return (await yugen.backend()).callers

    request_bytes = yugen.limits.run.http_request_bytes
    return Site(runtime, identify_by(callers), development=yugen.development, request_bytes=request_bytes)


class _WithSite:
    """Hands what is below `/http/` to the HTTP actions, which say for themselves which origins may ask.

    So it does with what an extension of the app answers everywhere, such as the pages of those who sign in.
    """

    def __init__(self, yugen: Yugen, site: ASGIApp, others: ASGIApp) -> None:
        self._yugen = yugen
        self._site = site
        self._others = others

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root) if scope["type"] == "http" else ""
        if f"{path}/".startswith(f"{BELOW}/"):
            return self._site({**scope, "root_path": root + BELOW}, receive, send)
        if path.startswith(ANYWHERE):
            return self._answered_anywhere(path, scope, receive, send)
        return self._others(scope, receive, send)

    async def _answered_anywhere(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            is_route = bool((await self._yugen.backend()).runtime.anywhere.allowed(path))
        except NotServing:
            is_route = True  # and says why not
        await (self._site if is_route else self._others)(scope, receive, send)


class _Root:
    """Tells sockets from requests, and makes `//api` into `/api`: clients append to what may end in a slash.

    A path that has an encoded slash is refused: a proxy before us would not know it for what it is (`/api%2fquery`).
    """

    def __init__(self, http: ASGIApp, sync: ASGIApp) -> None:
        self._http = http
        self._sync = sync

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "//" in scope.get("path", ""):
            scope = {**scope, "path": re.sub("/{2,}", "/", scope["path"])}
        if b"%" in (scope.get("raw_path") or b"") and HIDDEN.search(scope["raw_path"]):
            await self._refuse(scope, receive, send)
        elif scope["type"] == "websocket":
            serving = self._sync(scope, receive, send)
            del scope  # the headers of an idle connection would be some KiB
            await serving
        else:
            await self._http(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
        else:
            text = "A path has no encoded slashes, backslashes or zeros; send it as it is written in the documentation."
            await error_response(400, "BadPath", text)(scope, receive, send)


class _Sync:
    """The sync endpoint, in plain ASGI: of a socket that stays open for days, every object between is one too many."""

    def __init__(self, yugen: Yugen) -> None:
        self._yugen = yugen

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serves a socket, or refuses it if it asks for another path."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        endpoint = re.fullmatch("/api(?:/([^/]+))?/sync", path)
        if endpoint is None:
            return self._refuse(receive, send)
        return self._talk(_client(scope, endpoint[1]), receive, send)

    async def _refuse(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})

    async def _talk(self, client: ClientInfo, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        socket = AsgiSocket(receive, send)
        try:
            await self._yugen.serve_socket(socket, client)
        except NotServing:
            await socket.close(1013, "NotServing")
        except Overloaded:
            # By how a reason begins, clients choose how long they wait (protocol.md 2.7).
            await socket.close(1013, "TooManyConcurrentRequests:connections")
        except Exception:
            logger.exception("a connection failed")
            await socket.close(1011, "InternalServerError")


def _client(scope: Scope, version: str | None) -> ClientInfo:
    """The client, which says in a header what it is; a browser cannot set one, and writes its version into the path."""
    for name, value in scope["headers"]:
        if name == b"convex-client":
            return ClientInfo.parse(value.decode("latin-1"))
    return ClientInfo.parse(version, name="npm")


class _Files(StaticFiles):
    """Files that a browser asks about each time, and gets again when they have changed."""

    async def check_config(self) -> None:
        """Nothing: the folder may be made later."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            response = await super().get_response(path, scope)
        except ValueError:  # a path that no file can have
            raise HTTPException(404) from None
        except HTTPException as error:
            if path != "." or error.status_code != 404:
                raise
            greeting = f"Yugen {__version__} is running. Put a page into public/ beside the app.\n"
            return PlainTextResponse(greeting, headers=PAGE_HEADERS)
        if isinstance(response, RedirectResponse):
            # By a path: which host it is, anybody may have said. A proxy may know it better, too.
            query = scope["query_string"].decode("latin-1")
            return RedirectResponse(f"{quote(scope['path'])}/{query and '?'}{query}", headers=PAGE_HEADERS)
        return response

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update({"Cache-Control": "no-cache", **PAGE_HEADERS})
        return response


async def _error_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = {**(error.headers or {}), **PAGE_HEADERS}
    return PlainTextResponse(error.detail, error.status_code, headers)


async def _client_file(request: Request) -> Response:
    file = request.url.path.rpartition("/")[2]
    if not (STATIC / file).exists():
        return PlainTextResponse("The browser client is not built; run `make setup`.\n", 404)
    return await _Files(directory=STATIC).get_response(file, request.scope)
