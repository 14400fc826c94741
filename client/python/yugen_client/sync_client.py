"""The client for programs without an event loop: an `AsyncClient` on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload

from yugen_client.async_client import Args, AsyncClient, GroupedQuery
from yugen_client.auth import Auth
from yugen_client.connection import Backoff
from yugen_client.errors import ClientClosed, ClientError
from yugen_client.files import Source
from yugen_client.frames import to_pandas, to_polars
from yugen_client.functions import Function, FunctionReference
from yugen_client.local_store import OptimisticUpdate
from yugen_client.pages import PagedResults, PaginatedSubscription
from yugen_client.session import ConnectionState
from yugen_client.subscriptions import LiveResult, Subscription, SubscriptionGroup

if TYPE_CHECKING:
    import pandas
    import polars

R = TypeVar("R")
T = TypeVar("T")

_log = logging.getLogger("yugen_client")


class Client:
    """A live connection to a deployment of Yugen or Convex, like `AsyncClient` but blocking.

    Threads may share it.

        with Client("http://localhost:3210") as client:
            client.mutation("messages:send", {"body": "hi"})
            for messages in client.subscribe("messages:list"):
                print(messages)

    Without a `with` block or `close` it ends with the program, or when nothing refers to it any more.

    Args:
        url: The address of the deployment.
        auth: As in `AsyncClient`; a function is called on the client's thread.
        backoff: As in `AsyncClient`.
        app: As in `AsyncClient`.

    Raises:
        ValueError: `url` is not the address of a deployment.
    """

    def __init__(self, url: str, *, auth: Auth = None, backoff: Backoff | None = None, app: str | None = None) -> None:
        self._client = AsyncClient(url, auth=auth, backoff=backoff, app=app)
        self._thread = _LoopThread(self._client)
        # Also called when the interpreter exits, while the thread still runs.
        self._finalizer = weakref.finalize(self, self._thread.stop)

    # Calls

    @overload
    def query(self, function: FunctionReference[R], args: Args = None) -> R: ...
    @overload
    def query(self, function: Function, args: Args = None, *, returns: type[T]) -> T: ...
    @overload
    def query(self, function: str, args: Args = None, *, returns: Any = None) -> Any: ...
    def query(self, function: Any, args: Args = None, *, returns: Any = None) -> Any:
        """Runs a query once; see `AsyncClient.query`."""
        return self._thread.call(self._client.query(function, args, returns=returns))

    @overload
    def mutation(
        self,
        function: FunctionReference[R],
        args: Args = None,
        *,
        optimistic_update: OptimisticUpdate | None = None,
    ) -> R: ...
    @overload
    def mutation(
        self,
        function: Function,
        args: Args = None,
        *,
        returns: type[T],
        optimistic_update: OptimisticUpdate | None = None,
    ) -> T: ...
    @overload
    def mutation(
        self,
        function: str,
        args: Args = None,
        *,
        returns: Any = None,
        optimistic_update: OptimisticUpdate | None = None,
    ) -> Any: ...
    def mutation(
        self,
        function: Any,
        args: Args = None,
        *,
        returns: Any = None,
        optimistic_update: OptimisticUpdate | None = None,
    ) -> Any:
        """Runs a mutation; see `AsyncClient.mutation`. The optimistic update runs on the client's thread."""
        return self._thread.call(
            self._client.mutation(function, args, returns=returns, optimistic_update=optimistic_update)
        )

    @overload
    def action(self, function: FunctionReference[R], args: Args = None) -> R: ...
    @overload
    def action(self, function: Function, args: Args = None, *, returns: type[T]) -> T: ...
    @overload
    def action(self, function: str, args: Args = None, *, returns: Any = None) -> Any: ...
    def action(self, function: Any, args: Args = None, *, returns: Any = None) -> Any:
        """Runs an action; see `AsyncClient.action`."""
        return self._thread.call(self._client.action(function, args, returns=returns))

    # Live results

    @overload
    def subscribe(
        self,
        function: FunctionReference[R],
        args: Args = None,
        *,
        on_update: Callable[[R], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> SyncSubscription[R]: ...
    @overload
    def subscribe(
        self,
        function: Function,
        args: Args = None,
        *,
        returns: type[T],
        on_update: Callable[[T], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> SyncSubscription[T]: ...
    @overload
    def subscribe(
        self,
        function: str,
        args: Args = None,
        *,
        returns: Any = None,
        on_update: Callable[[Any], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> SyncSubscription[Any]: ...
    def subscribe(
        self,
        function: Any,
        args: Args = None,
        *,
        returns: Any = None,
        on_update: Callable[[Any], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> SyncSubscription[Any]:
        """Subscribes to a query; see `AsyncClient.subscribe`.

        Callbacks are called on a thread for them, one after the other, and may use the client. As long as such a
        subscription is open, the client lives.
        """

        async def subscribe() -> Subscription[Any]:
            return self._client.subscribe(
                function,
                args,
                returns=returns,
                on_update=self._called_back(on_update),
                on_error=self._called_back(on_error),
            )

        return SyncSubscription(self, self._thread.call(subscribe()))

    def subscribe_all(
        self,
        queries: Mapping[str, GroupedQuery],
        *,
        return_exceptions: bool = False,
        on_update: Callable[[dict[str, Any]], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> SyncSubscriptionGroup:
        """Subscribes to several queries whose results are always of one moment; see `AsyncClient.subscribe_all`."""

        async def subscribe() -> SubscriptionGroup:
            return self._client.subscribe_all(
                queries,
                return_exceptions=return_exceptions,
                on_update=self._called_back(on_update),
                on_error=self._called_back(on_error),
            )

        return SyncSubscriptionGroup(self, self._thread.call(subscribe()))

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
    ) -> SyncPaginatedSubscription[T]: ...
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
    ) -> SyncPaginatedSubscription[Any]: ...
    def subscribe_pages(
        self,
        function: Function,
        args: Args = None,
        *,
        page_size: int = 20,
        returns: Any = None,
        on_update: Callable[[PagedResults[Any]], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
    ) -> SyncPaginatedSubscription[Any]:
        """Subscribes to a paginated query as one list; see `AsyncClient.subscribe_pages`."""

        async def subscribe() -> PaginatedSubscription[Any]:
            return self._client.subscribe_pages(
                function,
                args,
                page_size=page_size,
                returns=returns,
                on_update=self._called_back(on_update),
                on_error=self._called_back(on_error),
            )

        return SyncPaginatedSubscription(self, self._thread.call(subscribe()))

    # Data frames and files

    def query_pandas(self, function: Function, args: Args = None, *, returns: Any = None) -> pandas.DataFrame:
        """Runs a query once and gives its rows as a data frame of pandas; see `to_pandas`."""
        return to_pandas(self.query(cast("Any", function), args, returns=returns))

    def query_polars(self, function: Function, args: Args = None, *, returns: Any = None) -> polars.DataFrame:
        """Runs a query once and gives its rows as a data frame of polars; see `to_polars`."""
        return to_polars(self.query(cast("Any", function), args, returns=returns))

    def upload(self, url: str, source: Source, *, content_type: str | None = None) -> str:
        """Sends a file, and gives its storage id; see `AsyncClient.upload`."""
        return self._thread.call(self._client.upload(url, source, content_type=content_type))

    @overload
    def download(self, url: str) -> bytes: ...
    @overload
    def download(self, url: str, to: str | os.PathLike[str]) -> Path: ...
    def download(self, url: str, to: str | os.PathLike[str] | None = None) -> bytes | Path:
        """Fetches a file; see `AsyncClient.download`."""
        if to is None:
            return self._thread.call(self._client.download(url))
        return self._thread.call(self._client.download(url, to))

    # The connection

    @property
    def connection_state(self) -> ConnectionState:
        """How the client stands with its server now."""
        return self._client.connection_state

    def on_connection_change(self, callback: Callable[[ConnectionState], object]) -> Callable[[], None]:
        """Calls a function, on the thread for callbacks, whenever the state has changed, until the one given back."""

        async def listen() -> Callable[[], None]:
            return self._client.on_connection_change(partial(self._thread.callbacks.post, callback))

        stop = self._thread.call(listen())
        return partial(self._thread.post, stop)

    def check_connection(self) -> None:
        """Says that the network may have changed; see `AsyncClient.check_connection`."""
        self._thread.call(_called(self._client.check_connection))

    def set_auth(self, auth: Auth) -> None:
        """Goes on as somebody else; see `AsyncClient.set_auth`."""
        self._thread.call(_called(partial(self._client.set_auth, auth)))

    def close(self) -> None:
        """Closes the connection and ends the thread. Waiting calls raise ClientClosed, subscriptions end."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _called_back(self, callback: Callable[[T], object] | None) -> Callable[[T], Awaitable[None]] | None:
        """The callback as the asynchronous client calls it: on the thread for callbacks, and awaited."""
        if callback is None:
            return None

        async def call(value: T) -> None:
            # `self` is referred to here, so that the client lives as long as it is wanted.
            await asyncio.wrap_future(self._thread.callbacks.post(callback, value))

        return call


class _SyncLiveResult(Generic[T]):
    """The blocking twin of `LiveResult`."""

    def __init__(self, client: Client, live: LiveResult[T]) -> None:
        self._client = client  # which lives as long as somebody iterates
        self._thread = client._thread
        self._live = live

    def close(self) -> None:
        """Unsubscribes; an iteration that waits, on another thread, ends."""
        try:
            self._thread.call(_called(self._live.close))
        except ClientClosed:
            return  # it ended with its client

    def __iter__(self) -> Self:
        aiter(self._live)  # says so if it is not to be iterated over
        return self

    def __next__(self) -> T:
        try:
            outcomes = self._thread.call(self._live._next())
        except ClientClosed:
            outcomes = None
        if outcomes is None:
            raise StopIteration
        return self._live._value(outcomes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class SyncSubscription(_SyncLiveResult[T]):
    """The results of one query as they change; the blocking twin of `Subscription`."""


class SyncSubscriptionGroup(_SyncLiveResult[dict[str, Any]]):
    """The results of several queries, always of one moment; the blocking twin of `SubscriptionGroup`."""


class SyncPaginatedSubscription(_SyncLiveResult[PagedResults[T]]):
    """A list that follows a paginated query; the blocking twin of `PaginatedSubscription`."""

    def __init__(self, client: Client, live: PaginatedSubscription[T]) -> None:
        super().__init__(client, live)
        self._paginated = live

    def load_more(self, count: int | None = None) -> bool:
        """Loads another page; see `PaginatedSubscription.load_more`."""
        return self._thread.call(_called(partial(self._paginated.load_more, count)))


async def _called(function: Callable[[], T]) -> T:
    return function()


class _CallbackThread:
    """A thread on which callbacks run one after the other; it begins with the first. They may wait for the client.

    Only the client's own thread posts them.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def post(self, callback: Callable[[T], object], value: T) -> Future[None]:
        """Has a callback called; the future is done when it has returned, whatever it raised."""
        done: Future[None] = Future()

        def call() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                callback(value)
            except ClientClosed:
                pass  # it was waiting for the client, which is closed; there is nothing more to say
            except Exception:
                _log.exception("a callback failed")
            done.set_result(None)

        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="yugen-client-callbacks", daemon=True)
            self._thread.start()
        self._calls.put(call)
        return done

    def stop(self) -> None:
        """Ends the thread, after the callbacks that were posted."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


class _LoopThread:
    """A thread that runs one client's event loop.

    It must not refer to the `Client`, which would then never be collected. It is a daemon, for a program may end
    without closing the client; `stop` is registered for that case.
    """

    def __init__(self, client: AsyncClient) -> None:
        self.callbacks = _CallbackThread()
        self._client = client
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="yugen-client", daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the thread and waits for it.

        Raises:
            ClientClosed: The thread has stopped.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError(
                "this function runs on the client's own thread, which cannot wait for itself; do not call the client "
                "from an optimistic update or an auth function"
            )
        with self._lock:
            if self._stopped:
                coroutine.close()
                raise ClientClosed("the client is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # the caller was interrupted, so nobody waits for the coroutine any more
            raise

    def post(self, function: Callable[[], object]) -> None:
        """Has a function called on the thread, if that still runs."""
        with self._lock:
            if not self._stopped:
                self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Closes the client, and waits for the thread to end."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self.callbacks.stop()
                self._loop.call_soon_threadsafe(self._stopping.set)
        if threading.current_thread() is not self._thread:  # which a collection of garbage may choose
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        await self._stopping.wait()
        await self._client.close()
        # Each call that still waits ends by itself now that the client is closed.
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        if calls:
            await asyncio.wait(calls)
