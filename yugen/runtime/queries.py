"""Queries that stay answered: one result for all who ask the same thing, until a commit overlaps what it read.

A result is right from the timestamp it was computed at up to the first commit that wrote something it read. Within
that span it is given to everyone; after it the query runs again, once, however many want to know.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from yugen.identity import Identity
from yugen.intervals import Interval
from yugen.runtime.interval_index import IntervalIndex
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.writes import RecentWrites
from yugen.storage.interface import Commit, Timestamp

CACHED_MAX = 4096
"""Answers kept for queries that nobody subscribes to."""

Listener = Callable[[], None]


@dataclass(frozen=True, slots=True)
class QueryKey:
    """What is asked: a function by its canonical path, its arguments as canonical JSON, and who asks."""

    path: str
    args: bytes
    identity: Identity | None = None
    public: bool = True


@dataclass(slots=True, eq=False)
class _Result:
    """An answer and its span: right at ts when start <= ts, and ts < end once there is an end."""

    answer: Answer
    reads: tuple[Interval, ...]
    start: Timestamp
    end: Timestamp | None

    def holds_at(self, ts: Timestamp) -> bool:
        return self.start <= ts and (self.end is None or ts < self.end)


class _Live:
    """One query that somebody asks or has asked.

    `result` starts as None, becomes the newest answer, and stays when a commit ends its span. `running` is the
    execution under way, if any.
    """

    __slots__ = ("key", "listeners", "result", "running")

    def __init__(self, key: QueryKey) -> None:
        self.key = key
        self.listeners: set[Listener] = set()
        self.result: _Result | None = None
        self.running: asyncio.Task[_Result] | None = None


class Queries:
    """The query cache and the subscriptions of one node.

    Args:
        execute: runs a query at a timestamp.
        newest: the newest published timestamp.
    """

    def __init__(
        self, execute: Callable[[QueryKey, Timestamp], Awaitable[Outcome]], newest: Timestamp, cached_max: int = CACHED_MAX
    ) -> None:
        self._execute = execute
        self._cached_max = cached_max
        self._live: dict[QueryKey, _Live] = {}
        self._idle: OrderedDict[QueryKey, None] = OrderedDict()
        self._index: IntervalIndex[_Live] = IntervalIndex()
        self._window = RecentWrites(newest)
        self._held: dict[object, Timestamp] = {}
        self._newest = newest

    async def at(self, key: QueryKey, ts: Timestamp) -> Answer:
        """The answer at a timestamp that has been published and is not older than all that is kept."""
        with self.holding(ts):
            while True:
                live = self._live.setdefault(key, _Live(key))
                result = live.result
                if result is None or not result.holds_at(ts):
                    if live.running is None:
                        live.running = asyncio.get_running_loop().create_task(self._run(live, ts))
                        live.running.add_done_callback(_seen)
                    # Whoever stops waiting must not take the answer from the others.
                    result = await asyncio.shield(live.running)
                if result.holds_at(ts):
                    self._touch(live)
                    return result.answer

    @contextmanager
    def holding(self, ts: Timestamp) -> Iterator[None]:
        """Keeps what is needed to answer at `ts`, which is published, while newer commits arrive."""
        token = object()
        self._held[token] = ts
        try:
            yield
        finally:
            del self._held[token]

    def subscribe(self, key: QueryKey, listener: Listener) -> Callable[[], None]:
        """Calls `listener` whenever a commit has ended the span of the query's answer; returns what stops it."""
        live = self._live.setdefault(key, _Live(key))
        live.listeners.add(listener)
        self._idle.pop(key, None)

        def unsubscribe() -> None:
            live.listeners.discard(listener)
            self._touch(live)

        return unsubscribe

    def publish(self, commit: Commit) -> None:
        """Takes in a commit: ends the answers it overlaps and tells their listeners."""
        self._window.forget(min(self._held.values(), default=self._newest))
        self._newest = commit.ts
        written = self._window.add(commit)
        for live in self._index.readers(written):
            self._end(live, commit.ts)

    def end_all(self, ts: Timestamp) -> None:
        """Ends every answer, because the code that gave them has changed."""
        for live in list(self._live.values()):
            if live.result is not None and live.result.end is None:
                self._end(live, ts)

    def statistics(self) -> dict[str, int]:
        """How many queries are kept, subscribed to and running, and over how many intervals."""
        return {
            "kept": len(self._live),
            "subscribed": sum(1 for live in self._live.values() if live.listeners),
            "running": sum(1 for live in self._live.values() if live.running),
            "intervals": len(self._index),
        }

    def _end(self, live: _Live, ts: Timestamp) -> None:
        assert live.result is not None
        assert live.result.end is None
        self._index.remove(live, live.result.reads)
        live.result.end = ts
        self._tell(live.listeners)
        self._touch(live)

    @staticmethod
    def _tell(listeners: Iterable[Listener]) -> None:
        for listener in tuple(listeners):
            listener()

    async def _run(self, live: _Live, ts: Timestamp) -> _Result:
        with self.holding(ts):
            try:
                outcome = await self._execute(live.key, ts)
            finally:
                live.running = None
            result = _Result(outcome.answer, outcome.reads, ts, self._window.first_overlap(outcome.reads, ts))
        self._keep(live, result)
        self._touch(live)
        return result

    def _keep(self, live: _Live, result: _Result) -> None:
        kept = live.result
        if kept is not None and kept.start > result.start:
            return
        if kept is not None and kept.end is None:
            self._index.remove(live, kept.reads)
        live.result = result
        if result.end is None:
            self._index.add(live, result.reads)
        else:
            self._tell(live.listeners)

    def _touch(self, live: _Live) -> None:
        """Keeps a query that is asked without being subscribed to for a while, and lets go of it after that."""
        if live.listeners or live.running or self._live.get(live.key) is not live:
            return
        if live.result is None or live.result.end is not None:
            self._drop(live)
            return
        self._idle[live.key] = None
        self._idle.move_to_end(live.key)
        while len(self._idle) > self._cached_max:
            oldest, _ = self._idle.popitem(last=False)
            self._drop(self._live[oldest])

    def _drop(self, live: _Live) -> None:
        self._idle.pop(live.key, None)
        del self._live[live.key]
        if live.result is not None and live.result.end is None:
            self._index.remove(live, live.result.reads)


def _seen(task: asyncio.Task[_Result]) -> None:
    """Nobody may be waiting any more when an execution fails; those who were are told by their own wait."""
    if not task.cancelled():
        task.exception()
