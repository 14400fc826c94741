"""The client for programs without an event loop: an `AsyncClient` on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from yugen_client.async_client import AsyncClient, Subscription
from yugen_client.auth import Auth
from yugen_client.connection import Backoff
from yugen_client.errors import ClientClosed
from yugen_client.session import ConnectionState

T = TypeVar("T")


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

    Raises:
        ValueError: `url` is not the address of a deployment.
    """

    def __init__(self, url: str, *, auth: Auth = None, backoff: Backoff | None = None) -> None:
        self._client = AsyncClient(url, auth=auth, backoff=backoff)
        self._thread = _LoopThread(self._client)
        # Also called when the interpreter exits, while the thread still runs.
        self._finalizer = weakref.finalize(self, self._thread.stop)

    @property
    def connection_state(self) -> ConnectionState:
        """How the client stands with its server now."""
        return self._client.connection_state

    def query(self, path: str, args: Mapping[str, Any] | None = None) -> Any:
        """Runs a query once; see `AsyncClient.query`."""
        return self._thread.call(self._client.query(path, args))

    def mutation(self, path: str, args: Mapping[str, Any] | None = None) -> Any:
        """Runs a mutation; see `AsyncClient.mutation`."""
        return self._thread.call(self._client.mutation(path, args))

    def action(self, path: str, args: Mapping[str, Any] | None = None) -> Any:
        """Runs an action; see `AsyncClient.action`."""
        return self._thread.call(self._client.action(path, args))

    def subscribe(self, path: str, args: Mapping[str, Any] | None = None) -> SyncSubscription:
        """Subscribes to a query; see `AsyncClient.subscribe`."""
        return SyncSubscription(self, self._thread.call(self._subscribe(path, args)))

    def close(self) -> None:
        """Closes the connection and ends the thread. Waiting calls raise ClientClosed, subscriptions end."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _subscribe(self, path: str, args: Mapping[str, Any] | None) -> Subscription:
        return self._client.subscribe(path, args)


class SyncSubscription:
    """The results of one query as they change; the blocking twin of `Subscription`."""

    def __init__(self, client: Client, subscription: Subscription) -> None:
        self._client = client  # which lives as long as somebody iterates
        self._thread = client._thread
        self._subscription = subscription

    def close(self) -> None:
        """Unsubscribes; an iteration that waits, on another thread, ends."""
        try:
            self._thread.call(self._close())
        except ClientClosed:
            return  # it ended with its client

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            outcome = self._thread.call(self._subscription._next())
        except ClientClosed:
            outcome = None
        if outcome is None:
            raise StopIteration
        return outcome.unwrap()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _close(self) -> None:
        self._subscription.close()


class _LoopThread:
    """A thread that runs one client's event loop.

    It must not refer to the `Client`, which would then never be collected. It is a daemon, for a program may end
    without closing the client; `stop` is registered for that case.
    """

    def __init__(self, client: AsyncClient) -> None:
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

    def stop(self) -> None:
        """Closes the client, and waits for the thread to end."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
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
