"""Queries that stay answered: one result for all who ask the same thing, until a commit overlaps what it read.

A result is right from the timestamp it was computed at up to the first commit that wrote something it read. Within
that span it is given to everyone; after it the query runs again, once, however many want to know.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from yugen.identity import Identity
from yugen.intervals import Interval
from yugen.runtime.interval_index import IntervalIndex
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.writes import RecentWrites
from yugen.storage.interface import Commit, Timestamp

CACHED_BYTES_MAX = 64 * 1024 * 1024
"""Size of the answers kept for queries that nobody subscribes to."""

_ENTRY_BYTES = 1024
"""What keeping an answer takes, apart from its text and what it read."""

Listener = Callable[[], None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueryKey:
    """What is asked: a function by its canonical path, its arguments as canonical JSON, and who asks."""

    path: str
    args: bytes
    identity: Identity | None = None
    public: bool = True


@dataclass(slots=True, eq=False)
class _Result:
    """An answer and its span: right at ts when start <= ts, and ts < end once there is an end.

    A result without an end stands in the index under what it read. `size` is what keeping it takes, in bytes.
    """

    answer: Answer
    reads: tuple[Interval, ...]
    start: Timestamp
    end: Timestamp | None
    size: int

    def holds_at(self, ts: Timestamp) -> bool:
        return self.start <= ts and (self.end is None or ts < self.end)


@dataclass(slots=True, eq=False)
class _Live:
    """One query that somebody asks or has asked.

    `result` starts as None, becomes the newest answer, and stays when a commit ends its span. `running` is the
    execution under way, if any.
    """

    key: QueryKey
    listeners: dict[object, Listener]
    result: _Result | None = None
    running: asyncio.Task[_Result] | None = None


class Queries:
    """The query cache and the subscriptions of one node.

    Args:
        execute: runs a query at a timestamp.
        newest: the newest published timestamp.
        cached_bytes_max: size of the answers kept for queries that nobody subscribes to.
    """

    def __init__(
        self,
        execute: Callable[[QueryKey, Timestamp], Awaitable[Outcome]],
        newest: Timestamp,
        *,
        cached_bytes_max: int = CACHED_BYTES_MAX,
    ) -> None:
        self._execute = execute
        self._cached_bytes_max = cached_bytes_max
        self._live: dict[QueryKey, _Live] = {}
        self._idle: OrderedDict[QueryKey, int] = OrderedDict()  # to their sizes, the longest unasked first
        self._idle_bytes = 0
        self._index: IntervalIndex[_Live] = IntervalIndex()
        self._window = RecentWrites(newest)

    async def at(self, key: QueryKey, ts: Timestamp) -> Answer:
        """The answer at a timestamp that has been published, and is the newest or is being held.

        Raises:
            LookupError: nobody holds `ts` and newer commits have been published.
            Overloaded: too much is waiting already.
            StorageError: the store could not be read.
        """
        with self.holding(ts):
            while True:
                live = self._live_for(key)
                result = live.result
                if result is not None and result.holds_at(ts):
                    self._settle(live)
                    if result.end is not None:
                        # It ended before some who get it now subscribed; nothing else would tell them.
                        self._tell(live)
                    return result.answer
                if live.running is None:
                    live.running = asyncio.get_running_loop().create_task(self._run(live, ts))
                    live.running.add_done_callback(_seen)
                # Whoever stops waiting must not take the answer from the others.
                result = await asyncio.shield(live.running)
                if result.holds_at(ts):
                    return result.answer

    def holding(self, ts: Timestamp) -> AbstractContextManager[None]:
        """Keeps what is needed to answer at `ts`, which is published, while newer commits arrive."""
        return self._window.holding(ts)

    def subscribe(self, key: QueryKey, listener: Listener) -> Callable[[], None]:
        """Calls `listener` when an answer that was given has ended by a commit; returns what stops it.

        It may be called when nothing has changed, but never misses a change. It must not ask queries itself.
        """
        live = self._live_for(key)
        token = object()
        live.listeners[token] = listener
        self._settle(live)

        def unsubscribe() -> None:
            if live.listeners.pop(token, None) is not None:
                self._settle(live)

        return unsubscribe

    def publish(self, commit: Commit) -> None:
        """Takes in a commit: ends the answers it overlaps and tells their listeners."""
        ended = self._index.readers(self._window.add(commit))
        # First all of them, then word of it: a listener finds everything in order, whatever it does.
        for live in ended:
            assert live.result is not None
            self._index.remove(live, live.result.reads)
            live.result.end = commit.ts
        for live in ended:
            self._tell(live)
            self._settle(live)

    def statistics(self) -> dict[str, int]:
        """How many queries are kept, subscribed to and running, and over how many intervals."""
        return {
            "kept": len(self._live),
            "subscribed": sum(1 for live in self._live.values() if live.listeners),
            "running": sum(1 for live in self._live.values() if live.running),
            "intervals": len(self._index),
        }

    async def close(self) -> None:
        """Stops what is running; who waits for it is cancelled."""
        running = [live.running for live in self._live.values() if live.running is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, live: _Live, ts: Timestamp) -> _Result:
        with self.holding(ts):
            try:
                outcome = await self._execute(live.key, ts)
                end = self._window.first_overlap(outcome.reads, ts)
                result = _Result(outcome.answer, outcome.reads, ts, end, _size(outcome))
                self._keep(live, result)
            finally:
                live.running = None
                self._settle(live)
        if end is not None:
            self._tell(live)
        return result

    def _keep(self, live: _Live, result: _Result) -> None:
        kept = live.result
        if kept is not None:
            if kept.start > result.start:
                return
            assert kept.end is not None, "a query does not run where its answer is known"
        live.result = result
        if result.end is None:
            self._index.add(live, result.reads)

    @staticmethod
    def _tell(live: _Live) -> None:
        for listener in tuple(live.listeners.values()):
            try:
                listener()
            except Exception:
                logger.exception("a listener of %s failed", live.key.path)

    def _live_for(self, key: QueryKey) -> _Live:
        live = self._live.get(key)
        if live is None:
            live = self._live[key] = _Live(key, {})
        return live

    def _settle(self, live: _Live) -> None:
        """Keeps a query that nobody subscribes to for as long as its answer holds and there is room."""
        if self._live.get(live.key) is not live:
            return
        self._idle_bytes -= self._idle.pop(live.key, 0)
        if live.listeners or live.running:
            return
        if live.result is None or live.result.end is not None:
            self._drop(live)
            return
        self._idle[live.key] = live.result.size
        self._idle_bytes += self._idle[live.key]
        while self._idle_bytes > self._cached_bytes_max:
            oldest, size = self._idle.popitem(last=False)
            self._idle_bytes -= size
            self._drop(self._live[oldest])

    def _drop(self, live: _Live) -> None:
        del self._live[live.key]
        if live.result is not None and live.result.end is None:
            self._index.remove(live, live.result.reads)


def _size(outcome: Outcome) -> int:
    read = sum(len(start) + len(end) for start, end in outcome.reads)
    return _ENTRY_BYTES + len(outcome.answer.value or b"") + read


def _seen(task: asyncio.Task[_Result]) -> None:
    """Nobody may be waiting any more when an execution fails; those who are, are told by their own wait."""
    if not task.cancelled():
        task.exception()
