"""Live results: of one query, and of several at one moment."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from yugen_client.errors import ClientClosed, ClientError, FunctionError
from yugen_client.messages import QueryId
from yugen_client.outcome import Outcome, same_outcome

if TYPE_CHECKING:
    from yugen_client.async_client import AsyncClient

T = TypeVar("T")

_log = logging.getLogger("yugen_client")


class LiveResult(Generic[T]):
    """What subscriptions have in common; see `Subscription`."""

    _closed = True  # until there is something to close

    def __init__(self, client: AsyncClient, query_ids: tuple[QueryId, ...], loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._query_ids = query_ids
        self._loop = loop
        self._news = asyncio.Event()
        self._seen: tuple[Outcome, ...] | None = None
        self._closed = False
        self._called_back = False
        client._watch(query_ids, self._news)

    def close(self) -> None:
        """Unsubscribes; an iteration that waits ends."""
        if not self._closed:
            self._closed = True
            self._client._unwatch(self._query_ids, self._news)

    def __aiter__(self) -> Self:
        if self._called_back:
            raise TypeError("this subscription gives its results to `on_update`; subscribe again to iterate")
        return self

    async def __anext__(self) -> T:
        outcomes = await self._next()
        if outcomes is None:
            raise StopAsyncIteration
        return self._value(outcomes)

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
                self._loop.call_soon_threadsafe(self._client._unwatch, self._query_ids, self._news)

    def _value(self, outcomes: tuple[Outcome, ...]) -> T:
        """What the reader gets, or the error that it gets instead."""
        raise NotImplementedError

    async def _next(self) -> tuple[Outcome, ...] | None:
        """The newest results once they are some that were not given before; None when there will be none.

        All were in the session at one moment, between two messages of the server, so that they belong together.

        Raises:
            ClientError: The client stopped.
        """
        client = self._client
        while not self._closed and not isinstance(client._error, ClientClosed):
            client._check()
            self._news.clear()
            outcomes = client._shown(self._query_ids)
            if outcomes is not None and not self._is_seen(outcomes):
                if not self._is_final(outcomes):
                    continue
                self._seen = outcomes
                return outcomes
            await self._news.wait()
        return None

    def _is_seen(self, outcomes: tuple[Outcome, ...]) -> bool:
        seen = self._seen
        return seen is not None and len(seen) == len(outcomes) and all(map(same_outcome, outcomes, seen))

    def _is_final(self, outcomes: tuple[Outcome, ...]) -> bool:
        """Whether these results are to be shown, and not others that were asked for because of them."""
        return True

    async def _call_back(self, on_update: Callable[[T], object], on_error: Callable[[ClientError], object]) -> None:
        """Hands on each result, one after the other, until there are no more."""
        self._called_back = True
        going_on = True
        while going_on:
            try:
                outcomes = await self._next()
                if outcomes is None:
                    return
                called: Callable[[], object] = _bound(on_update, self._value(outcomes))
            except ClientError as error:
                going_on = self._client._error is None
                called = _bound(on_error, error)
            try:
                result = called()
                if inspect.isawaitable(result):
                    await result
            except Exception:
                _log.exception("a callback of a subscription failed")


def _bound(callback: Callable[[T], object], value: T) -> Callable[[], object]:
    return lambda: callback(value)


class Subscription(LiveResult[T]):
    """The results of one query as they change; made by `AsyncClient.subscribe`.

    Iterating gives the newest result and then waits for the next: a reader who is slow misses those in between, and
    nothing piles up. A result that is an error is raised as FunctionError; iterating again goes on from there. The
    subscription ends with `close`, with its `with` or `async with` block, when nothing refers to it any more, or with
    its client.
    """

    def __init__(
        self,
        client: AsyncClient,
        query_id: QueryId,
        convert: Callable[[Any], T],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(client, (query_id,), loop)
        self._convert = convert

    def _value(self, outcomes: tuple[Outcome, ...]) -> T:
        return self._convert(outcomes[0].unwrap())


class SubscriptionGroup(LiveResult[dict[str, Any]]):
    """The results of several queries, always of one moment; made by `AsyncClient.subscribe_all`.

    It is read like a `Subscription`, and gives a dict of the results by their names.
    """

    def __init__(
        self,
        client: AsyncClient,
        queries: Mapping[str, tuple[QueryId, Callable[[Any], Any]]],
        loop: asyncio.AbstractEventLoop,
        *,
        return_exceptions: bool,
    ) -> None:
        super().__init__(client, tuple(query_id for query_id, _ in queries.values()), loop)
        self._converts = {name: convert for name, (_, convert) in queries.items()}
        self._return_exceptions = return_exceptions

    def _value(self, outcomes: tuple[Outcome, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for (name, convert), outcome in zip(self._converts.items(), outcomes, strict=True):
            try:
                values[name] = convert(outcome.unwrap())
            except ClientError as error:
                if not self._return_exceptions:
                    error.add_note(f"in the query {name!r} of the group")
                    raise
                values[name] = error
        return values


def log_error(error: ClientError) -> None:
    """What becomes of the errors of a subscription that has no `on_error`."""
    what = "a subscribed query failed" if isinstance(error, FunctionError) else "a subscription got an error"
    _log.error("%s: %s", what, error)
