"""`Yugen`: an app, its data and its server as one object."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from yugen import __version__
from yugen.runtime.limits import RunLimits
from yugen.runtime.pool import Nursery, WorkerPool
from yugen.runtime.runtime import Runtime
from yugen.server.caller import AdminKey
from yugen.server.connection import Connection
from yugen.server.http import HttpApi
from yugen.server.logs import LoggedRunner
from yugen.server.socket import StarletteSocket
from yugen.storage.sqlite import SqliteStore
from yugen.sync.session import SessionLimits

logger = logging.getLogger(__name__)

GOODBYE_SECONDS_MAX = 2.0
"""How long clients may take to hear that the server leaves."""

CLIENT_JS = Path(__file__).parent / "static" / "client.js"


class Yugen:
    """A reactive backend for the app in a folder.

    Run it with `yugen dev` or `yugen serve`, mount `.asgi()` in another ASGI app, or use it as an async context
    manager.

    Args:
        app: the folder of the app package.
        database: the folder for its data; `.yugen` beside the app by default.
        development: show clients the text and place of errors.
        run_limits: how long and how much functions may run.
        session_limits: what one connection may ask for at once.
    """

    def __init__(
        self,
        app: str | Path,
        *,
        database: str | Path | None = None,
        development: bool = False,
        run_limits: RunLimits | None = None,
        session_limits: SessionLimits | None = None,
    ) -> None:
        self.app = Path(app).resolve()
        self.data = Path(database).resolve() if database is not None else self.app.parent / ".yugen"
        self._development = development
        self._run_limits = run_limits or RunLimits()
        self._session_limits = session_limits
        self._nursery: Nursery | None = None
        self._runtime: Runtime | None = None
        self._admin_key: AdminKey | None = None
        self._connections: set[Connection] = set()
        self._starting = asyncio.Lock()

    def load_early(self) -> None:
        """Begins to load the app in its own process, so that this one can get ready meanwhile."""
        if self._nursery is None:
            self._nursery = Nursery(
                self.app, self._database, development=self._development, limits=self._run_limits
            )

    async def start(self) -> None:
        """Loads the app and opens its data. Does nothing when it has started.

        Raises:
            Refused: the app does not load, or does not fit the stored documents.
            StorageError: the data cannot be opened.
        """
        async with self._starting:
            if self._runtime is None:
                self.load_early()
                await self._start(await self._loaded())

    async def reload(self) -> None:
        """Takes up the code of the app as it is now. Clients connect again by themselves.

        Raises:
            Refused: the app does not load, and all is as before; or it does not fit the stored documents.
        """
        async with self._starting:
            self.load_early()
            pool = await self._loaded()
            runtime, self._runtime = self._runtime, None
            await self.disconnect_all(1012, "NewCode")
            if runtime is not None:
                await runtime.close()
            await self._start(pool)

    async def close(self) -> None:
        """Says goodbye to every client, finishes what is being committed, and lets go of the data."""
        async with self._starting:
            await self.disconnect_all(1001, "ServerShuttingDown")
            runtime, self._runtime = self._runtime, None
            if runtime is not None:
                await runtime.close()

    async def disconnect_all(self, code: int, reason: str) -> None:
        """Closes every connection and waits until they are gone."""
        for connection in self._connections:
            connection.shut_down(code, reason)
        if self._connections:
            await asyncio.wait([connection.gone for connection in self._connections], timeout=GOODBYE_SECONDS_MAX)

    async def _loaded(self) -> WorkerPool:
        nursery, self._nursery = self._nursery, None
        assert nursery is not None
        try:
            return WorkerPool(nursery, await nursery.load(), limits=self._run_limits)
        except BaseException:
            await nursery.close()
            raise

    async def _start(self, pool: WorkerPool) -> None:
        self._admin_key = AdminKey(self.data / "admin_key")
        runtime = Runtime(SqliteStore(self._database), LoggedRunner(pool))
        await runtime.start()
        self._runtime = runtime

    async def __aenter__(self) -> Yugen:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def runtime(self) -> Runtime:
        """The engine, once started."""
        assert self._runtime is not None, "start() comes first"
        return self._runtime

    @property
    def admin_key(self) -> AdminKey:
        """The key of this deployment, once started."""
        assert self._admin_key is not None, "start() comes first"
        return self._admin_key

    @property
    def _database(self) -> Path:
        return self.data / "data.sqlite3"

    def asgi(self) -> ASGIApp:
        """The server as an ASGI app. It starts with its lifespan, or with the first request where that is not run."""
        api = HttpApi(lambda: self.runtime, lambda: self.admin_key)
        routes = [
            WebSocketRoute("/api/sync", self._sync),
            WebSocketRoute("/api/{version}/sync", self._sync),
            *api.routes(),
            Route("/client.js", _client_js, methods=["GET"]),
        ]
        public = self.app.parent / "public"
        if public.is_dir():
            routes.append(Mount("/", StaticFiles(directory=public, html=True)))
        else:
            routes.append(Route("/", _nothing_here, methods=["GET"]))
        # Clients may come from any origin: no cookie is ever read, what they may do depends on the token they send.
        cors = Middleware(
            CORSMiddleware,
            allow_origin_regex=".*",
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
            allow_headers=["*"],
            allow_credentials=True,
            max_age=86400,
        )
        return _Front(self, Starlette(routes=routes, middleware=[cors], lifespan=self._lifespan))

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with self:
            yield

    async def _sync(self, websocket: WebSocket) -> None:
        await websocket.accept()
        connection = Connection(
            StarletteSocket(websocket), self.runtime, self.admin_key, limits=self._session_limits
        )
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)


class _Front:
    """What every request passes first: paths are made plain, and the backend is there."""

    def __init__(self, yugen: Yugen, app: ASGIApp) -> None:
        self._yugen = yugen
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            if self._yugen._runtime is None:
                await self._yugen.start()
            if "//" in scope["path"]:
                # The JavaScript client puts "/api" after an address that ends in a slash already.
                scope = {**scope, "path": "/" + "/".join(part for part in scope["path"].split("/") if part)}
        await self._app(scope, receive, send)


async def _client_js(request: Request) -> Response:
    if not CLIENT_JS.exists():
        return PlainTextResponse("The browser client is not built; run `make setup`.", 404)
    return FileResponse(CLIENT_JS, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


async def _nothing_here(request: Request) -> Response:
    return PlainTextResponse(f"Yugen {__version__} is running. Put a page into public/ beside the app.\n")
