"""`Yugen`: an app and its data, running."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from yugen.errors import Refused
from yugen.files.place import check_place
from yugen.functions.providers import OwnProvider, Provider
from yugen.functions.storage import FilePlace
from yugen.runtime.meters import Outcomes
from yugen.runtime.outcome import Answer
from yugen.runtime.own import CallRefused, value_of
from yugen.runtime.pool import Nursery, WorkerPool
from yugen.runtime.retention import Retention
from yugen.runtime.runner import Overloaded, Runner
from yugen.runtime.runtime import Runtime
from yugen.runtime.scheduler import Scheduler
from yugen.runtime.setup import LOCAL_URL, Setup, site_below
from yugen.server.backend import Backend, NotServing
from yugen.server.caller import AdminKey, Callers, Standing, Verifier
from yugen.server.connection import Connection, Socket
from yugen.server.edge import Edge
from yugen.server.everywhere import Everywhere, ExportsElsewhere, ImportsElsewhere, first_handlers
from yugen.server.exchange import Exchange
from yugen.server.exports import Exports
from yugen.server.files import FileService
from yugen.server.imports import Imports
from yugen.server.in_process import InProcessCaller
from yugen.server.lag import LoopLag
from yugen.server.limits import Limits, Requests
from yugen.server.logs import RunLog
from yugen.server.metrics import Measured, RunMeters, measure
from yugen.server.newcomers import Newcomers
from yugen.server.nodes import Node, NodeSessions
from yugen.server.reports import Reports
from yugen.server.rounds import Rounds
from yugen.server.runs import Runs
from yugen.server.sessions import Sessions
from yugen.server.telemetry import traces_of
from yugen.server.unread import Unread
from yugen.server.variables import EnvironmentVariables, Sealed
from yugen.storage.interface import StorageError
from yugen.storage.sqlite import SqliteStore
from yugen.storage.sqlite_nodes import NodeStore
from yugen.sync.client import ClientInfo
from yugen.system.deployment import Deployment

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from yugen.server.rate_limits import AddressLimits
    from yugen.server.sockets import Sockets
    from yugen.server.traces import Traces

GOODBYE_SECONDS_MAX = 2.0
"""How long clients may take to hear that the server leaves."""

logger = logging.getLogger(__name__)


class Yugen(InProcessCaller):
    """A reactive backend for the app in a folder.

    Run it with `yugen dev` or `yugen serve`, mount `asgi()` in another ASGI app, or use it as an async context manager.
    Functions are called from the same process with `query`, `mutation`, `action` and `subscribe`, as nobody, or as
    `as_user(...)`. It belongs to the event loop that it starts in.

    Args:
        app: the folder of the app package.
        database: the folder for its data; `.yugen` beside the app by default.
        development: show clients the text and place of errors, and what functions log.
        url: the address of the API, as clients should write it.
        site_url: the address of the HTTP actions, likewise; below `/http` of the API by default.
        limits: how much functions may run, and clients ask for at once, by the names of `yugen.server.limits.Limits`.
        node: which of several server processes over the same data this one is.
        files: where the bytes of files are: `s3://bucket/prefix` or the like, or the path of a folder; beside the data
            by default.
        docs: serve `/openapi.json` and the page `/docs`, which show the functions that clients may call.
        environment: which of `dev`, `test` and `prod` the data is opened for. It belongs to the first that was said,
            and is not opened for another; by default it is taken as it is.
        origins: whose pages may use the API: `https://app.example.com`, `https://*.example.com`. By default all.
        allowed_hosts: the names under which it may be asked: `api.example.com`, `*.example.com`, addresses, networks.
            By default all.
        hsts_seconds: how long browsers that have come over HTTPS are told to come over nothing else. 0 for not at all.

    Attributes:
        edge: what is asked of every request, by the last three.
        docs: whether it serves what describes the functions.
        limits: all limits.
        runs: the last runs of functions.
        everywhere: what other nodes remember too, if there are any.
        loop: the event loop that it serves in, if any.
        obstacle: why there is no backend, when it is not because nobody has asked for one yet.
        has_closed: whether it was closed, and not started again.
        is_leaving: whether its server has been told to stop, and goes on for a moment.
        is_hurrying: whether it closes without waiting for actions.
        run_meters: counts runs.
        answers: counts answers over HTTP by the first digit of their status; 0 for those that were not given.
        key_fetches: counts how often the keys of providers of tokens were asked for.
        loop_lag: how late the event loop is.
        certificate_expires: says until when a certificate for TLS is good, if there is one.
        reports: tells Sentry of errors, where the environment asks for it.
        traces: has spans of requests and runs, where the environment asks for it.
        connections_refused: how many, because there were too many.
        handshakes: those of new connections that wait.
        newcomers: connections that wait for their first results.
        unread: counts what clients are yet to read.
        http_requests: how many of the HTTP API are under way, and were refused.

    Raises:
        BadLimit: there is no such limit.
        BadEnvironment: there is no such environment.
        BadKey: `YUGEN_ENCRYPTION_KEY`, or the file of the key, holds something else.
        BadFileStore: files cannot be kept there.
        BadOrigin: an origin is none.
        BadHost: an allowed host is none.
    """

    def __init__(
        self,
        app: str | Path,
        *,
        database: str | Path | None = None,
        development: bool = False,
        url: str = LOCAL_URL,
        site_url: str | None = None,
        limits: Mapping[str, float] | None = None,
        node: Node | None = None,
        files: str | Path = "",
        docs: bool = True,
        environment: str | None = None,
        origins: Sequence[str] = (),
        allowed_hosts: Sequence[str] = (),
        hsts_seconds: int = 0,
    ) -> None:
        super().__init__(self, None)
        self.docs = docs
        self.app = Path(app).resolve()
        self.data = Path(database).resolve() if database is not None else self.app.parent / ".yugen"
        self._development = development
        self._url = url
        self._site_url = site_url or site_below(url)
        self.edge = Edge.of(origins, allowed_hosts, hsts_seconds, url, self._site_url)
        self._sealed = Sealed.of(
            self.data,
            url=url,
            site_url=self._site_url,
            environment=environment,
            default="dev" if development else "prod",
        )
        self._files = check_place(str(files))
        self.runs = Runs()
        self.limits = Limits.of(limits or {})
        self._nursery: Nursery | None = None
        self._backend: Backend | None = None
        self.obstacle: str | None = None
        self._changing = asyncio.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.has_closed = False
        self.is_leaving = self.is_hurrying = False
        # Closes this with the event loop, where it has started by itself and so perhaps nobody else will.
        self._guard: AsyncGenerator[None, None] | None = None
        self._connections: set[Connection] = set()
        self.connections_refused = 0
        self.http_requests = Requests()
        self.run_meters = RunMeters()
        self.answers = dict.fromkeys((0, 2, 3, 4, 5), 0)
        self.key_fetches = Outcomes()
        self.loop_lag = LoopLag()
        self.certificate_expires: Callable[[], float] | None = None
        self.reports: Reports | None = None
        self.traces: Traces | None = None
        self._node = node
        self._sessions = Sessions() if node is None else NodeSessions(node, self._settled)
        self._exchange = None if node is None else Exchange(node.folder, node.number)
        self.everywhere = (
            None
            if node is None or self._exchange is None
            else Everywhere(self._exchange, node.mail.others(node.number), self.runs)
        )
        self._rounds = Rounds()
        self.handshakes = Rounds()
        self.newcomers = Newcomers()
        self.unread = Unread(self.limits.server.unread_bytes)

    def load_early(self) -> None:
        """Begins to load the app in a process of its own, so that this one can get ready meanwhile."""
        if self._nursery is None:
            secret = AdminKey(self.data / "admin_key").derive("cursors")
            setup = Setup(
                app=self.app,
                database=self.database,
                secret=secret,
                development=self._development,
                limits=self.limits.run,
                url=self._url,
                site_url=self._site_url,
                files=self._files,
            )
            self._nursery = Nursery(setup)

    async def start(self) -> None:
        """Loads the app and opens its data. Does nothing when it has started.

        Raises:
            Refused: the app does not load, or does not fit the stored documents.
            StorageError: the data cannot be opened.
        """
        async with self._changing:
            if self._backend is None:
                await self._join(await self._open(await self._load()))

    def wait_for_reload(self, error: Exception) -> None:
        """Has clients hear why there is no backend, until `reload` has made one."""
        self._cannot(error)

    async def reload(self) -> None:
        """Takes up the code of the app as it is now, or starts it. Clients stay connected, and get what has changed.

        Those who are signed in with a token are asked for another if the app trusts other providers now.

        Raises:
            Refused: the app does not load, or the stored documents do not fit it; all is as before, but for what
                migrations have done by then.
            StorageError: the data cannot be used.
            NotServing: this has been closed.
        """
        assert self._node is None, "several nodes take up new code by being started anew"
        async with self._changing:
            backend = self._backend
            if backend is None and self.has_closed:
                raise NotServing(self.obstacle)
            pool = await self._load()
            if backend is None:
                await self._open(pool)
                return
            before = backend.runtime.providers
            await backend.variables.make(pool.info.secrets)
            await backend.runtime.take_up(pool)
            if backend.scheduler is not None:
                await backend.scheduler.take_up_crons()
            if pool.info.providers != before:
                await backend.callers.trust(self._verifier(pool.info.providers, backend.runtime))
                for connection in tuple(self._connections):
                    connection.expire_token("The app trusts other providers now; sign in again.")

    async def close(self) -> None:
        """Waits for running actions, says goodbye to every client, finishes what is being committed, and lets go."""
        async with self._changing:
            await self.drain()
            self.obstacle = "This deployment is shutting down; try again in a moment."
            self.has_closed = True
            await self._stop("ServerShuttingDown")
            await self._part()
            await self._tell_the_rest()
            self.loop_lag.stop()
            self.loop = None
        guard, self._guard = self._guard, None
        if guard is not None:
            await guard.aclose()

    async def backend(self) -> Backend:
        """What serves now. It is started where nobody has done so.

        Raises:
            NotServing: it could not be started, or has been closed.
        """
        if self._backend is None:
            async with self._changing:
                if self._backend is None and self.obstacle is None:  # type: ignore[redundant-expr]  # another task has started it
                    await self._start_unasked()
        if self._backend is None:
            raise NotServing(self.obstacle)
        return self._backend

    @property
    def is_serving(self) -> bool:
        """Whether there is a backend."""
        return self._backend is not None

    @property
    def lagging(self) -> int:
        """How many connections have clients that are yet to read what was sent to them."""
        return sum(connection.lags for connection in self._connections)

    @property
    def connection_count(self) -> int:
        """How many sync connections are open."""
        return len(self._connections)

    @property
    def elsewhere(self) -> int:
        """How many clients are known to be on other nodes."""
        return self._sessions.elsewhere

    async def measure(self) -> dict[int, Measured]:
        """What there is to be measured of each node, by its number; of those that answer.

        Raises:
            NotServing: there is no backend.
        """
        own = measure(self, await self.backend())
        if self._node is None or self.everywhere is None:
            return {0: own}
        return {self._node.number: own, **await self.everywhere.measure()}

    @property
    def is_draining(self) -> bool:
        """Whether it is closing, or is going to before long, or has closed."""
        return self.has_closed or self.is_leaving or (self._backend is not None and self._backend.runtime.is_draining)

    @property
    def has_failed(self) -> bool:
        """Whether only a new process can do what this one is to do."""
        return self._backend is not None and self._backend.runtime.has_failed

    async def serve_socket(self, socket: Socket, client: ClientInfo | None = None) -> None:
        """Serves one sync connection to its end.

        Raises:
            NotServing: there is no backend.
            Overloaded: there are too many connections.
        """
        backend = await self.backend()
        if len(self._connections) >= self.limits.server.connections:
            self.connections_refused += 1
            raise Overloaded(f"There are {len(self._connections)} connections already.")
        connection = Connection(
            socket,
            backend.runtime,
            backend.callers,
            client=client,
            limits=self.limits.session,
            sessions=self._sessions,
            newcomers=self.newcomers,
            rounds=self._rounds,
            unread=self.unread,
        )
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)

    async def disconnect_all(self, reason: str) -> None:
        """Closes every connection with code 1001, and cuts off those that take too long over it."""
        connections = tuple(self._connections)
        for connection in connections:
            connection.shut_down(1001, reason)
        if connections:
            await asyncio.wait([connection.gone for connection in connections], timeout=GOODBYE_SECONDS_MAX)
        for connection in connections:
            connection.abort()

    @cached_property
    def address_limits(self) -> AddressLimits:
        """What each address may ask for."""
        from yugen.server.rate_limits import AddressLimits  # noqa: PLC0415 -- as for `asgi`

        return AddressLimits(self.limits.server)

    @cached_property
    def sockets(self) -> Sockets:
        """How many sockets are open."""
        from yugen.server.sockets import Sockets  # noqa: PLC0415 -- as for `asgi`

        return Sockets(self.limits.server)

    def asgi(self) -> ASGIApp:
        """The server as an ASGI app. It starts with its lifespan, or with the first request where that is not run."""
        from yugen.server.asgi import make_asgi  # noqa: PLC0415 -- a process loads its app while this is imported

        return make_asgi(self)

    def site_asgi(self) -> ASGIApp:
        """The app's HTTP actions as an ASGI app, for an origin of their own. `asgi()` has them below `/http/` too."""
        from yugen.server.asgi import make_site  # noqa: PLC0415

        return make_site(self)

    async def drain(self) -> None:
        """Begins no more actions, and waits for those that run, as long as they may take when a server stops."""
        backend = self._backend
        if backend is None or backend.runtime.is_draining or self.is_hurrying:
            return
        if backend.scheduler is not None:
            await backend.scheduler.rest()
        await backend.runtime.drain()
        if backend.scheduler is not None:
            await backend.scheduler.finish()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """The lifespan of an app that this is mounted in: `FastAPI(lifespan=board.lifespan)`. Starts and closes.

        Mounted apps are not told of their lifespan, so it is for the outer app to start them. Where it does not, this
        starts with the first request, socket or call, and closes with the event loop.

        Args:
            app: the outer app, whichever it is.
        """
        async with self:
            yield

    async def __aenter__(self) -> Yugen:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _start_unasked(self) -> None:
        try:
            await self._open(await self._load())
        except (Refused, StorageError) as error:
            logger.error("cannot start: %s", error)
            self._cannot(error)
        except Exception as error:
            logger.exception("cannot start")
            self._cannot(error)
        else:
            self._guard = self._until_the_loop_ends()
            await anext(self._guard)

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        """Waits at its `yield`, until the event loop that shuts down closes it, as it does all such generators."""
        try:
            yield
        finally:
            if self._guard is not None:
                self._guard = None
                await self.close()
                self.obstacle = None  # nobody has asked for this; another loop may start it again

    async def _load(self) -> WorkerPool:
        if self.traces is None:
            self.traces = traces_of(os.environ)
        self.load_early()
        nursery, self._nursery = self._nursery, None
        assert nursery is not None
        try:
            info = await nursery.load()
            cores = None
            if self._node is not None:
                self._node.check_code(info)
                cores = self._node.cores
            return WorkerPool(nursery, info, limits=self.limits.run, cores=cores)
        except BaseException:
            await nursery.close()
            raise

    async def _open(self, pool: WorkerPool) -> Backend:
        if self.reports is None and (reports := Reports.of(os.environ)) is not None:
            self.reports = reports
            reports.open()
        runtime, node = self._runtime(pool), self._node
        try:
            await runtime.start(deployed=node is not None and node.deployed, reindexes=node is None or node.first)
            deployment = Deployment(self._url, self.data, self._site_url, self._files)
            if self._exchange is None or (node is not None and node.first):
                exports, imports = Exports(runtime, deployment), Imports(runtime, deployment)
            else:
                exports = ExportsElsewhere(runtime, deployment, self._exchange)
                imports = ImportsElsewhere(runtime, deployment, self._exchange)
            variables = EnvironmentVariables(runtime, self._sealed)
            variables.start()
            if node is None or node.first:
                await variables.make(pool.info.secrets)
            await exports.start()
            await imports.start()
            verifier = self._verifier(pool.info.providers, runtime)
            callers = Callers(AdminKey(self.data / "admin_key"), verifier)
            files = FileService(
                runtime,
                FilePlace(AdminKey(self.data / "admin_key").derive("cursors"), self._url, self._files, self.data),
                collects=node is None or node.first,
                exporting=lambda: exports.busy,
            )
            files.start()
            scheduler = retention = None
            if node is None or node.first:
                scheduler = Scheduler(runtime, self.limits.run)
                retention = Retention(runtime, self.limits.server.log_seconds)
            self._backend = Backend(
                runtime, callers, exports, imports, files, variables, scheduler, retention, self.everywhere
            )
            if scheduler is not None and retention is not None:
                scheduler.serve()
                retention.serve()
        except BaseException as error:
            self._backend = None
            await runtime.close()
            self._cannot(error)
            raise
        self.loop, self.has_closed = asyncio.get_running_loop(), False
        self.loop_lag.start()
        self.obstacle = None
        return self._backend

    def _runtime(self, runner: Runner) -> Runtime:
        log = RunLog(
            lines_to_callers=self._development,
            runs=self.runs,
            listeners=[each for each in (self.run_meters, self.reports, self.traces) if each is not None],
            tells_why=self._development,
        )
        node, (_, variables, founding) = self._node, self._sealed
        if node is None:
            kept = log.kept if self._development else None
            store, peers = SqliteStore(self.database), None
        else:
            kept = None
            store = peers = NodeStore(self.database, node.board, node.number, tends=node.first)
        runtime = Runtime(
            store,
            runner,
            variables=variables,
            founding=founding,
            ended=log.ended,
            committed=None if self.traces is None else self.traces.committed,
            kept=kept,
            peers=peers,
            live_bytes_max=self.limits.server.live_bytes,
        )
        log.catalog = lambda: runtime.catalog
        if self.reports is not None:
            self.reports.environment = lambda: runtime.catalog.environment.get("YUGEN_ENVIRONMENT")
        return runtime

    async def _join(self, backend: Backend) -> None:
        """Hears other nodes from now on, and answers them."""
        if isinstance(self._sessions, NodeSessions):
            self._sessions.listen()
        if self._exchange is not None and self.everywhere is not None:
            assert self._node is not None
            answers = self.everywhere.handlers(backend.runtime, lambda: measure(self, backend))
            if self._node.first:
                answers |= first_handlers(backend.exports, backend.imports)
            await self._exchange.open(answers)

    async def _part(self) -> None:
        """Hears other nodes no more."""
        if isinstance(self._sessions, NodeSessions):
            await self._sessions.close()
        if self._exchange is not None:
            await self._exchange.close()

    async def _settled(self, session: str) -> None:
        """Waits until no mutation runs that a client has sent under this session."""
        if self._backend is not None:
            await self._backend.runtime.settled(session)

    def _verifier(self, providers: Sequence[Provider], runtime: Runtime) -> Verifier | None:
        """What checks tokens of these providers, if there are any."""
        own = next((each for each in providers if isinstance(each, OwnProvider)), None)
        others = [each for each in providers if not isinstance(each, OwnProvider)]
        verifier: Verifier | None = None
        if others:
            from yugen.server.tokens import TokenVerifier  # noqa: PLC0415 -- loads cryptography and an HTTP client

            verifier = TokenVerifier(others, fetches=self.key_fetches)
        if own is not None:
            from yugen.server.own_tokens import OwnTokens  # noqa: PLC0415 -- as above

            async def ask(standing: Standing) -> Answer:
                return await runtime.query(standing.path, standing.args, public=False)

            async def note(path: str, args: bytes) -> None:
                try:
                    value_of((await runtime.mutate(path, args, public=False)).answer)
                except (CallRefused, Overloaded, StorageError) as error:
                    logger.warning("that a key was used is not written down: %s", error)

            verifier = OwnTokens(own, lambda: self._site_url, ask, note, verifier)
        return verifier

    async def _tell_the_rest(self) -> None:
        """Sends what reports and traces there are to those who take them, as far as they take them at once."""
        told = [each for each in (self.reports, self.traces) if each is not None]
        self.reports = self.traces = None
        await asyncio.gather(*(asyncio.to_thread(each.close) for each in told))

    async def _stop(self, reason: str) -> None:
        backend, self._backend = self._backend, None
        await self.disconnect_all(reason)
        if backend is not None:
            await backend.close()

    def _cannot(self, error: BaseException) -> None:
        self.obstacle = str(error) if self._development else "This deployment cannot start; its log says why."

    @property
    def url(self) -> str:
        """The address of the API, as clients should write it."""
        return self._url

    @property
    def development(self) -> bool:
        """Whether it is run by somebody who works on the app."""
        return self._development

    @property
    def database(self) -> Path:
        """The file of the data."""
        return self.data / "data.sqlite3"
