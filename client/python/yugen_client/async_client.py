"""The client for asyncio programs."""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
import os
import random
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, assert_never, cast, overload

from yugen_client.arguments import encode_args
from yugen_client.auth import Auth
from yugen_client.backoff import backoff_seconds
from yugen_client.connection import Backoff, Connection, Delivery
from yugen_client.errors import ClientClosed, ClientError, ConnectionLost
from yugen_client.files import Source, Transfers
from yugen_client.frames import to_pandas, to_polars
from yugen_client.functions import Function, FunctionReference, Target, target
from yugen_client.local_store import LocalStore, OptimisticUpdate
from yugen_client.messages import QueryId, RequestId
from yugen_client.optimistic import Draft, Update
from yugen_client.outcome import Outcome
from yugen_client.pages import PagedResults, PaginatedSubscription
from yugen_client.paths import canonical_path
from yugen_client.session import ActionLost, ConnectionState, QueryChanged, RequestResolved, Session, UpdateDropped
from yugen_client.subscriptions import LiveResult, Subscription, SubscriptionGroup, log_error
from yugen_client.values import decode

if TYPE_CHECKING:
    import pandas
    import polars

R = TypeVar("R")
T = TypeVar("T")

Args: TypeAlias = Mapping[str, Any] | None
"""The arguments of a call by name; None is none."""

GroupedQuery: TypeAlias = Function | Sequence[Any]
"""A query of a group: a function, or a tuple of one, its arguments and perhaps the type that its result is to be."""

_log = logging.getLogger("yugen_client")


class AsyncClient:
    """A live connection to a deployment of Yugen or Convex.

    It connects at first use, and again whenever the connection drops: subscriptions go on, mutations run once all the
    same, and calls made in between wait. Functions are named like `"messages:list"`, or are the function objects of a
    Yugen app; arguments are a dict.

        async with AsyncClient("http://localhost:3210") as client:
            await client.mutation("messages:send", {"body": "hi"})
            async for messages in client.subscribe("messages:list"):
                print(messages)

    A call that is given a function object, or a type as `returns`, validates the result with pydantic, and raises
    InvalidResult if it does not fit.

    Args:
        url: The address of the deployment.
        auth: A token, an `AdminAuth`, or a function (async or not) that gives a token or None. The function is called
            again shortly before a token ends, and when the server refuses the one it gave; then with
            `force_refresh=True`, if it takes that.
        backoff: Seconds to wait before reconnect number n, counted from 0. By default 0.1 s doubling to 16 s, with
            jitter.
        app: The dotted name of the app's package, for function objects whose app is not a package of its own at the
            top.

    Raises:
        ValueError: `url` is not the address of a deployment.
    """

    def __init__(self, url: str, *, auth: Auth = None, backoff: Backoff | None = None, app: str | None = None) -> None:
        self._session = Session(str(uuid.uuid4()))
        self._connection = Connection(
            self._session,
            url,
            auth=auth,
            backoff=backoff or partial(backoff_seconds, rng=random.Random()),
            deliver=self._deliver,
            state_changed=self._state_changed,
        )
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._error: ClientError | None = None
        self._requests: dict[RequestId, tuple[asyncio.Future[Outcome], datetime]] = {}
        self._watchers: dict[QueryId, set[asyncio.Event]] = {}
        self._callbacks: set[asyncio.Task[None]] = set()
        self._list_ids = itertools.count(1)
        self._transfers = Transfers()
        self._state_listeners: dict[object, Callable[[ConnectionState], object]] = {}
        self._published_state = self._session.state
        self._publishing = False

    # Calls

    @overload
    async def query(self, function: FunctionReference[R], args: Args = None) -> R: ...
    @overload
    async def query(self, function: Function, args: Args = None, *, returns: type[T]) -> T: ...
    @overload
    async def query(self, function: str, args: Args = None, *, returns: Any = None) -> Any: ...
    async def query(self, function: Any, args: Args = None, *, returns: Any = None) -> Any:
        """Runs a query once. It sees all mutations of this client that have returned, and no optimistic updates.

        Raises:
            FunctionError: The query failed.
        """
        what = target(function, returns, self._app)
        encoded = encode_args(args)
        self._start()
        query_id = self._session.subscribe(what.path, encoded)
        news = asyncio.Event()
        self._watch((query_id,), news)
        try:
            while (outcome := self._session.outcome(query_id)) is None:
                news.clear()
                await news.wait()
                if isinstance(self._error, ClientClosed):
                    raise ClientClosed("the client was closed while the query was running")
                self._check()
        finally:
            self._unwatch((query_id,), news)
        return what.convert(outcome.unwrap())

    @overload
    async def mutation(
        self,
        function: FunctionReference[R],
        args: Args = None,
        *,
        optimistic_update: OptimisticUpdate | None = None,
    ) -> R: ...
    @overload
    async def mutation(
        self,
        function: Function,
        args: Args = None,
        *,
        returns: type[T],
        optimistic_update: OptimisticUpdate | None = None,
    ) -> T: ...
    @overload
    async def mutation(
        self,
        function: str,
        args: Args = None,
        *,
        returns: Any = None,
        optimistic_update: OptimisticUpdate | None = None,
    ) -> Any: ...
    async def mutation(
        self,
        function: Any,
        args: Args = None,
        *,
        returns: Any = None,
        optimistic_update: OptimisticUpdate | None = None,
    ) -> Any:
        """Runs a mutation, once, also over dropped connections. Mutations run in the order of their calls.

        It returns when this client's subscriptions show what it wrote. A call that is cancelled may run all the same.

        Args:
            function: What to run.
            args: Its arguments.
            returns: The type of the result.
            optimistic_update: Changes what subscriptions show until the mutation has taken place or failed. It is
                called with a `LocalStore` and the arguments, at once and again whenever results below it change; so it
                does nothing else. If it raises at once, the mutation is not sent.

        Raises:
            FunctionError: The mutation failed, and wrote nothing.
        """
        what = target(function, returns, self._app)
        encoded = encode_args(args)
        self._start()
        if optimistic_update is None:
            request_id = self._session.mutation(what.path, encoded)
        else:
            update = _encoded_update(optimistic_update, decode(encoded), self._app)
            request_id, changed = self._session.optimistic_mutation(what.path, encoded, update)
            for event in changed:
                self._deliver(event)
        return what.convert(await self._resolved(request_id))

    @overload
    async def action(self, function: FunctionReference[R], args: Args = None) -> R: ...
    @overload
    async def action(self, function: Function, args: Args = None, *, returns: type[T]) -> T: ...
    @overload
    async def action(self, function: str, args: Args = None, *, returns: Any = None) -> Any: ...
    async def action(self, function: Any, args: Args = None, *, returns: Any = None) -> Any:
        """Runs an action, at most once. A call that is cancelled may run all the same.

        Raises:
            FunctionError: The action failed.
            ConnectionLost: The connection dropped while it ran, so that nobody can tell how it ended.
        """
        what = target(function, returns, self._app)
        encoded = encode_args(args)
        self._start()
        return what.convert(await self._resolved(self._session.action(what.path, encoded)))

    # Live results

    @overload
    def subscribe(
        self,
        function: FunctionReference[R],
        args: Args = None,
        *,
        on_update: Callable[[R], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> Subscription[R]: ...
    @overload
    def subscribe(
        self,
        function: Function,
        args: Args = None,
        *,
        returns: type[T],
        on_update: Callable[[T], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> Subscription[T]: ...
    @overload
    def subscribe(
        self,
        function: str,
        args: Args = None,
        *,
        returns: Any = None,
        on_update: Callable[[Any], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> Subscription[Any]: ...
    def subscribe(
        self,
        function: Any,
        args: Args = None,
        *,
        returns: Any = None,
        on_update: Callable[[Any], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> Subscription[Any]:
        """Subscribes to a query: the result now, and again after each change. Equal subscriptions share the work.

        Args:
            function: What to subscribe to.
            args: Its arguments.
            returns: The type of the results.
            on_update: Called with each result, async or not, one after the other; the subscription then lives until it
                is closed, and is not iterated over.
            on_error: Called when the query fails; it may succeed again. Without it, errors go to the log.
        """
        what = target(function, returns, self._app)
        encoded = encode_args(args)
        self._start()
        query_id = self._session.subscribe(what.path, encoded)
        subscription = Subscription(self, query_id, what.convert, asyncio.get_running_loop())
        return self._subscribed(subscription, on_update, on_error)

    def subscribe_all(
        self,
        queries: Mapping[str, GroupedQuery],
        *,
        return_exceptions: bool = False,
        on_update: Callable[[dict[str, Any]], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> SubscriptionGroup:
        """Subscribes to several queries whose results are always of one moment: what the server has at one timestamp.

            queries = {"messages": ("messages:list", {"channel": "a"}), "users": "users:list"}
            async for results in client.subscribe_all(queries):
                print(results["messages"], results["users"])

        Args:
            queries: By the names that results get: a function, or a tuple of one and its arguments, and perhaps the
                type of its results.
            return_exceptions: Give the error of a query that failed as its result, instead of raising it.
            on_update: As in `subscribe`, with the dict of all results.
            on_error: As in `subscribe`.
        """
        wanted = {name: self._grouped(query) for name, query in queries.items()}
        self._start()
        subscribe = self._session.subscribe
        subscribed = {name: (subscribe(what.path, encoded), what.convert) for name, (what, encoded) in wanted.items()}
        loop = asyncio.get_running_loop()
        group = SubscriptionGroup(self, subscribed, loop, return_exceptions=return_exceptions)
        return self._subscribed(group, on_update, on_error)

    @overload
    def subscribe_pages(
        self,
        function: Function,
        args: Args = None,
        *,
        page_size: int = 20,
        returns: type[T],
        on_update: Callable[[PagedResults[T]], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> PaginatedSubscription[T]: ...
    @overload
    def subscribe_pages(
        self,
        function: Function,
        args: Args = None,
        *,
        page_size: int = 20,
        returns: Any = None,
        on_update: Callable[[PagedResults[Any]], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> PaginatedSubscription[Any]: ...
    def subscribe_pages(
        self,
        function: Function,
        args: Args = None,
        *,
        page_size: int = 20,
        returns: Any = None,
        on_update: Callable[[PagedResults[Any]], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> PaginatedSubscription[Any]:
        """Subscribes to a paginated query as one list, which `load_more` makes longer.

        The list has no gaps and no duplicates, whatever is written meanwhile, and is of one moment. What was loaded
        stays loaded, also over a reconnect.

        Args:
            function: A query that ends in `paginate`.
            args: Its arguments but for the pagination options.
            page_size: How many rows to load first, 1 at least.
            returns: The type of one row.
            on_update: As in `subscribe`.
            on_error: As in `subscribe`.
        """
        if page_size < 1:
            raise ValueError(f"a page has at least one row; page_size is {page_size}")
        what = target(function, None if returns is None else Any, self._app)
        as_rows = _as_they_are if returns is None else target(function, list[returns], self._app).convert
        encoded = encode_args(args)
        self._start()

        def subscribe(options: Mapping[str, Any]) -> QueryId:
            return self._session.subscribe(what.path, {**encoded, "paginationOpts": encode_args(options)})

        def rows(page: Any) -> list[Any]:
            converted = what.convert(page)
            return as_rows(converted["page"] if isinstance(converted, Mapping) else converted.page)

        loop = asyncio.get_running_loop()
        pages: PaginatedSubscription[Any] = PaginatedSubscription(
            self, subscribe, page_size, rows, partial(next, self._list_ids), loop
        )
        return self._subscribed(pages, on_update, on_error)

    # Data frames and files

    async def query_pandas(self, function: Function, args: Args = None, *, returns: Any = None) -> pandas.DataFrame:
        """Runs a query once and gives its rows as a data frame of pandas; see `to_pandas`."""
        return to_pandas(await self.query(cast("Any", function), args, returns=returns))

    async def query_polars(self, function: Function, args: Args = None, *, returns: Any = None) -> polars.DataFrame:
        """Runs a query once and gives its rows as a data frame of polars; see `to_polars`."""
        return to_polars(await self.query(cast("Any", function), args, returns=returns))

    async def upload(self, url: str, source: Source, *, content_type: str | None = None) -> str:
        """Sends a file, and gives its storage id.

        Args:
            url: An upload address, which a mutation of the app got from `ctx.storage.generate_upload_url()`.
            source: A path, bytes, or a file open for reading in binary mode; it is sent piece by piece.
            content_type: By default what the name of the file suggests.

        Raises:
            TransferFailed: The server refused it, or the connection broke; no file was stored.
        """
        self._check()
        return await self._transfers.upload(url, source, content_type)

    @overload
    async def download(self, url: str) -> bytes: ...
    @overload
    async def download(self, url: str, to: str | os.PathLike[str]) -> Path: ...
    async def download(self, url: str, to: str | os.PathLike[str] | None = None) -> bytes | Path:
        """Fetches a file from an address that a function of the app got from `ctx.storage.get_url(id)`.

        Args:
            url: The address.
            to: Where to put it, piece by piece; it is there once it is whole. Without it, its bytes are given.

        Raises:
            TransferFailed: The server refused it, or the connection broke; nothing was written.
        """
        self._check()
        return await self._transfers.download(url, to)

    # The connection

    @property
    def connection_state(self) -> ConnectionState:
        """How the client stands with its server now."""
        started = [started for _, started in list(self._requests.values())[:1]]  # which other threads may look at
        return replace(self._session.state, oldest_in_flight=started[0] if started else None)

    def on_connection_change(self, callback: Callable[[ConnectionState], object]) -> Callable[[], None]:
        """Calls a function whenever the connection state has changed, until the function given back is called."""
        handle = object()
        if not self._state_listeners:
            self._published_state = self.connection_state  # else those who are there may yet have to hear of it
        self._state_listeners[handle] = callback

        def stop() -> None:
            self._state_listeners.pop(handle, None)

        return stop

    def check_connection(self) -> None:
        """Says that the network may have changed. The client then tries its connection, or at once to get one.

        It finds out by itself when the machine has been asleep, and within a minute in all other cases.
        """
        self._start()
        self._connection.check()

    def set_auth(self, auth: Auth) -> None:
        """Goes on as somebody else: see `auth` of the client; None signs out.

        Mutations and actions called before are sent over the present connection as who they were made by. A mutation
        without an answer when that breaks, and what was called while there was none, run after the reconnect as the new
        user. A query without an answer gives the new user's result. Subscriptions show nothing more until the results
        of the new user are there, and nothing of optimistic updates made before.
        """
        self._start()
        self._connection.set_auth(auth)

    async def close(self) -> None:
        """Closes the connection. Waiting calls raise ClientClosed, subscriptions end."""
        self._end(ClientClosed("the client is closed"))
        tasks = self._callbacks - {asyncio.current_task()}
        if self._task is not None:
            tasks.add(self._task)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._transfers.close()

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _start(self) -> None:
        """Sees to it that the client runs, or says why it does not."""
        self._check()
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._run())

    def _check(self) -> None:
        if self._error is not None:
            # A copy: raising one object in several places would pile up their tracebacks on it.
            raise copy.copy(self._error)

    async def _run(self) -> None:
        try:
            await self._connection.run()
        except ClientError as error:
            self._end(error)
        except Exception as error:
            _log.exception("the client stopped")
            self._end(ClientError(f"the client stopped because of {error!r}"))

    def _end(self, error: ClientError) -> None:
        """Nothing more will come: wakes all who wait. The first reason counts."""
        if self._error is not None:
            return
        self._error = error
        for future, _ in self._requests.values():
            if not future.done():
                future.set_exception(copy.copy(error))
        self._requests.clear()
        for watchers in self._watchers.values():
            for news in watchers:
                news.set()

    async def _resolved(self, request_id: RequestId) -> Any:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._requests[request_id] = future, datetime.now(UTC)
        self._connection.wake()
        return (await future).unwrap()

    def _deliver(self, event: Delivery) -> None:
        if self._error is not None:
            return  # all who waited know of it
        match event:
            case QueryChanged(query_id):
                for news in self._watchers.get(query_id, ()):
                    news.set()
            case RequestResolved(request_id, outcome):
                future, _ = self._requests.pop(request_id)
                if not future.done():
                    future.set_result(outcome)
            case ActionLost(request_id):
                future, _ = self._requests.pop(request_id)
                if not future.done():
                    future.set_exception(ConnectionLost("the connection dropped while the action was running"))
            case UpdateDropped(_, error):
                _log.error("an optimistic update failed over newer results and was dropped", exc_info=error)
            case _:
                assert_never(event)

    def _grouped(self, query: GroupedQuery) -> tuple[Target[Any], Any]:
        parts = query if isinstance(query, Sequence) and not isinstance(query, str) else (query,)
        if not 1 <= len(parts) <= 3:
            raise TypeError(f"a query of a group is (function, args) or (function, args, type), not {query!r}")
        function, args, returns = (*parts, None, None)[:3]
        what = target(function, returns, self._app)
        return replace(what, path=canonical_path(what.path)), encode_args(args)

    def _subscribed(
        self,
        live: L,
        on_update: Callable[[Any], object] | None,
        on_error: Callable[[ClientError], object] | None,
    ) -> L:
        self._connection.wake()
        if on_update is not None:
            task = asyncio.get_running_loop().create_task(live._call_back(on_update, on_error or log_error))
            live._called_back = True
            self._callbacks.add(task)
            task.add_done_callback(self._callbacks.discard)
        elif on_error is not None:
            live.close()
            raise TypeError("`on_error` goes with `on_update`; an iteration raises errors where it stands")
        return live

    def _shown(self, query_ids: Iterable[QueryId]) -> tuple[Outcome, ...] | None:
        """What the queries show now; None if one of them shows nothing."""
        outcomes = tuple(map(self._session.shown, query_ids))
        return None if None in outcomes else cast("tuple[Outcome, ...]", outcomes)

    def _watch(self, query_ids: Iterable[QueryId], news: asyncio.Event) -> None:
        for query_id in query_ids:
            self._watchers.setdefault(query_id, set()).add(news)
        self._connection.wake()

    def _unwatch(self, query_ids: Iterable[QueryId], news: asyncio.Event) -> None:
        """Ends a subscription to each of the queries."""
        for query_id in query_ids:
            watchers = self._watchers.get(query_id, set())
            watchers.discard(news)
            if not watchers:
                self._watchers.pop(query_id, None)
            for event in self._session.unsubscribe(query_id):
                self._deliver(event)
        self._connection.wake()
        news.set()

    def _state_changed(self) -> None:
        if self._state_listeners and not self._publishing:
            self._publishing = True
            asyncio.get_running_loop().call_soon(self._publish_state)

    def _publish_state(self) -> None:
        self._publishing = False
        state = self.connection_state
        if state == self._published_state:
            return
        self._published_state = state
        for callback in list(self._state_listeners.values()):
            try:
                callback(state)
            except Exception:
                _log.exception("a callback for the connection state failed")


L = TypeVar("L", bound=LiveResult[Any])


def _as_they_are(rows: list[Any]) -> list[Any]:
    return rows


def _encoded_update(update: OptimisticUpdate, args: dict[str, Any], app: str | None) -> Update:
    """The update as the session runs it; each run gets arguments of its own."""

    def run(draft: Draft) -> None:
        result = cast("Callable[..., object]", update)(LocalStore(draft, app), copy.deepcopy(args))
        if asyncio.iscoroutine(result):
            result.close()
            raise TypeError("an optimistic update runs at once, between two results; it cannot be async")

    return run
