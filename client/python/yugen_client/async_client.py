"""The client for asyncio programs."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import random
import uuid
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, assert_never

from yugen_client.auth import Auth
from yugen_client.backoff import backoff_seconds
from yugen_client.connection import Backoff, Connection, Delivery
from yugen_client.errors import ClientClosed, ClientError, ConnectionLost, InvalidValue
from yugen_client.messages import QueryId, RequestId
from yugen_client.outcome import Outcome
from yugen_client.session import ActionLost, ConnectionState, QueryChanged, RequestResolved, Session
from yugen_client.values import Json, encode

_log = logging.getLogger("yugen_client")


class AsyncClient:
    """A live connection to a deployment of Yugen or Convex.

    It connects at first use, and again whenever the connection drops: subscriptions go on, mutations run once all the
    same, and calls made in between wait. Functions are named like `"messages:list"`, arguments are a dict.

        async with AsyncClient("http://localhost:3210") as client:
            await client.mutation("messages:send", {"body": "hi"})
            async for messages in client.subscribe("messages:list"):
                print(messages)

    Args:
        url: The address of the deployment.
        auth: A token, or a function (async or not) that gives one or None; it is called again when the server refuses
            the token it gave.
        backoff: Seconds to wait before reconnect number n, counted from 0. By default 0.1 s doubling to 16 s, with
            jitter.

    Raises:
        ValueError: `url` is not the address of a deployment.
    """

    def __init__(self, url: str, *, auth: Auth = None, backoff: Backoff | None = None) -> None:
        self._session = Session(str(uuid.uuid4()))
        self._connection = Connection(
            self._session,
            url,
            auth=auth,
            backoff=backoff or partial(backoff_seconds, rng=random.Random()),
            deliver=self._deliver,
        )
        self._task: asyncio.Task[None] | None = None
        self._error: ClientError | None = None
        self._requests: dict[RequestId, asyncio.Future[Outcome]] = {}
        self._changes: dict[QueryId, asyncio.Event] = {}

    @property
    def connection_state(self) -> ConnectionState:
        """How the client stands with its server now."""
        return self._session.state

    async def query(self, path: str, args: Mapping[str, Any] | None = None) -> Any:
        """Runs a query once. It sees all mutations of this client that have returned.

        Raises:
            FunctionError: The query failed.
        """
        with self.subscribe(path, args) as subscription:
            outcome = await subscription._next()
        if outcome is None:
            raise ClientClosed("the client was closed while the query was running")
        return outcome.unwrap()

    async def mutation(self, path: str, args: Mapping[str, Any] | None = None) -> Any:
        """Runs a mutation, once, also over dropped connections. Mutations run in the order of their calls.

        It returns when this client's subscriptions show what it wrote. A call that is cancelled may run all the same.

        Raises:
            FunctionError: The mutation failed, and wrote nothing.
        """
        encoded = _encode_args(args)
        self._start()
        return await self._resolved(self._session.mutation(path, encoded))

    async def action(self, path: str, args: Mapping[str, Any] | None = None) -> Any:
        """Runs an action, at most once. A call that is cancelled may run all the same.

        Raises:
            FunctionError: The action failed.
            ConnectionLost: The connection dropped while it ran, so that nobody can tell how it ended.
        """
        encoded = _encode_args(args)
        self._start()
        return await self._resolved(self._session.action(path, encoded))

    def subscribe(self, path: str, args: Mapping[str, Any] | None = None) -> Subscription:
        """Subscribes to a query: the result now, and again after each change. Equal subscriptions share the work."""
        encoded = _encode_args(args)
        self._start()
        query_id = self._session.subscribe(path, encoded)
        self._connection.wake()
        return Subscription(self, query_id, asyncio.get_running_loop())

    async def close(self) -> None:
        """Closes the connection. Waiting calls raise ClientClosed, subscriptions end."""
        self._end(ClientClosed("the client is closed"))
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

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
        for future in self._requests.values():
            if not future.done():
                future.set_exception(copy.copy(error))
        self._requests.clear()
        for change in self._changes.values():
            change.set()
        self._changes.clear()

    async def _resolved(self, request_id: RequestId) -> Any:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._requests[request_id] = future
        self._connection.wake()
        return (await future).unwrap()

    def _deliver(self, event: Delivery) -> None:
        match event:
            case QueryChanged(query_id):
                self._wake_readers(query_id)
            case RequestResolved(request_id, outcome):
                future = self._requests.pop(request_id)
                if not future.done():
                    future.set_result(outcome)
            case ActionLost(request_id):
                future = self._requests.pop(request_id)
                if not future.done():
                    future.set_exception(ConnectionLost("the connection dropped while the action was running"))
            case _:
                assert_never(event)

    def _wake_readers(self, query_id: QueryId) -> None:
        change = self._changes.pop(query_id, None)
        if change is not None:
            change.set()

    def _unsubscribe(self, query_id: QueryId) -> None:
        self._session.unsubscribe(query_id)
        self._connection.wake()
        self._wake_readers(query_id)


class Subscription:
    """The results of one query as they change; made by `AsyncClient.subscribe`.

    Iterating gives the newest result and then waits for the next: a reader who is slow misses those in between, and
    nothing piles up. A result that is an error is raised as FunctionError; iterating again goes on from there. The
    subscription ends with `close`, with its `with` or `async with` block, when nothing refers to it any more, or with
    its client.
    """

    def __init__(self, client: AsyncClient, query_id: QueryId, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._query_id = query_id
        self._loop = loop
        self._seen: Outcome | None = None
        self._closed = False

    def close(self) -> None:
        """Unsubscribes; an iteration that waits ends."""
        if not self._closed:
            self._closed = True
            self._client._unsubscribe(self._query_id)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        outcome = await self._next()
        if outcome is None:
            raise StopAsyncIteration
        return outcome.unwrap()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The end of a plain `async for`, after a break. It may come on any thread, and after the loop.
        if not self._closed:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._client._unsubscribe, self._query_id)

    async def _next(self) -> Outcome | None:
        """The newest result once it is one that was not given before; None when there will be none.

        Raises:
            ClientError: The client stopped.
        """
        client = self._client
        while not self._closed and not isinstance(client._error, ClientClosed):
            client._check()
            outcome = client._session.outcome(self._query_id)
            if outcome is not None and outcome is not self._seen:
                self._seen = outcome
                return outcome
            await client._changes.setdefault(self._query_id, asyncio.Event()).wait()
        return None


def _encode_args(args: Mapping[str, Any] | None) -> Json:
    if args is None:
        return {}
    if not isinstance(args, Mapping):
        raise InvalidValue(f"arguments are a dict of names and values, not {type(args).__name__}")
    return encode(args)
