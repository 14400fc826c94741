"""Queries that stay answered: one result for all who ask the same thing, until a commit overlaps what it read.

A result is right from the timestamp it was computed at up to the first commit that wrote something it read. Within
that span it is given to everyone; after it the query runs again, once, however many want to know.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from yugen.guards import GuardedRead
from yugen.identity import Identity
from yugen.intervals import Interval
from yugen.runtime.causes import CALLED, Cause, Causes, Why
from yugen.runtime.interval_index import IntervalIndex
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.writes import RecentWrites, Written
from yugen.storage.interface import Commit, Timestamp

CACHED_BYTES_MAX = 64 * 1024 * 1024
"""Size of the answers kept for queries that nobody subscribes to."""

LIVE_BYTES_MAX = 1024 * 1024 * 1024
"""Size of the answers that somebody subscribes to, beyond which subscribers are to be refused."""

_ENTRY_BYTES = 1024
"""What keeping an answer takes, apart from its texts and what it read."""

_INTERVAL_BYTES = 320
"""What keeping an interval takes, also in the index, apart from its ends."""

Listener: TypeAlias = Callable[[], None]

Told: TypeAlias = Callable[[Answer | BaseException], None]
"""What is told of an answer, or of why there is none: as for `Queries.at`, or cancelled when the queries are closed."""

logger = logging.getLogger(__name__)


class QueryKey(NamedTuple):
    """What is asked: a function by its canonical path, its arguments as canonical JSON, and where its page ends.

    Attributes:
        public: whether internal functions look missing.
        journal: what an earlier run of the query asked to remember, see `yugen.functions.pagination`.
    """

    path: str
    args: bytes
    public: bool = True
    journal: str | None = None


@dataclass(slots=True, eq=False)
class _Result:
    """An answer and its span: right at ts when start <= ts, and ts < end once there is an end.

    A result without an end that is kept stands in the index under what it read. `size` is what keeping it takes, in
    bytes. It is for everyone, or for the one caller who is in it.

    It is hollow when all who subscribe forgo the answer: then it only tells that the answer has ended.
    """

    answer: Answer
    reads: tuple[Interval, ...]
    guarded: tuple[GuardedRead, ...]
    start: Timestamp
    end: Timestamp | None
    size: int
    personal: bool
    caller: Identity | None
    hollow: bool = False

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """All that was read, whatever of it matters."""
        if not self.guarded:
            return self.reads
        return tuple(dict.fromkeys((*self.reads, *(interval for interval, _ in self.guarded))))

    def hollowed(self) -> _Result:
        """What is left to tell when it has ended, which may be too early: one interval around all that was read."""
        reads = self.intervals
        if reads:
            reads = ((min(start for start, _ in reads), max(end for _, end in reads)),)
        size = _ENTRY_BYTES + _size_of(reads)
        return replace(self, answer=Answer(), reads=reads, guarded=(), size=size, hollow=True)

    def holds_at(self, ts: Timestamp) -> bool:
        return self.start <= ts and (self.end is None or ts < self.end)

    def is_for(self, caller: Identity | None) -> bool:
        return not self.personal or self.caller == caller


class _Waiting(NamedTuple):
    """Somebody who waits for a run, which may turn out not to be for them, or not for their timestamp."""

    caller: Identity | None
    ts: Timestamp
    told: Told


@dataclass(slots=True, eq=False)
class _Running:
    """An execution under way at a timestamp, which is held for it, and who waits for it."""

    task: asyncio.Task[_Result]
    ts: Timestamp
    waiting: list[_Waiting] = field(default_factory=list)


class _Slot:
    """The place of one answer: of a caller's own, or of the one that everyone gets.

    `result` starts as None, becomes the newest answer, and stays when a commit ends its span; `cause` is then that
    commit, until the query has run again. `running` is the execution under way, if any. `subscriptions` are the
    caller's, in order; everyone's slot has none of its own and tells them all. `keepers` is how many of those whom it
    tells do not forgo the answer, and `live` the size of the answer as far as it is counted as live.
    """

    __slots__ = ("caller", "cause", "keepers", "live", "result", "running", "subscriptions")

    def __init__(self, caller: Identity | None = None) -> None:
        self.caller = caller
        self.subscriptions: dict[Subscription, None] = {}
        self.keepers = 0
        self.live = 0
        self.result: _Result | None = None
        self.cause: Cause | None = None
        self.running: _Running | None = None

    @property
    def query(self) -> _Query:
        raise NotImplementedError


class _Own(_Slot):
    """The place of a caller's own answer, which a query has for as long as it is of use."""

    __slots__ = ("_query",)

    def __init__(self, query: _Query, caller: Identity | None) -> None:
        super().__init__(caller)
        self._query = query

    @property
    def query(self) -> _Query:
        return self._query


class _Query(_Slot):
    """One query that somebody asks or has asked, and the place of the answer that everyone gets.

    Up to the moment at which a function looks at who asks, it runs the same for everyone. So either all its answers at
    a timestamp are personal or none is, and one that was not is good for everyone.

    Nothing in it leads back to it, so that it is gone when it is dropped: Python's collector looks far too seldom.

    Attributes:
        callers: the slots of those who subscribe, or who got an answer of their own.
        personal: whether the newest run looked at who asked; the next one probably will.
        listening: how many subscribe.
    """

    __slots__ = ("callers", "key", "listening", "personal")

    def __init__(self, key: QueryKey) -> None:
        super().__init__()
        self.key = key
        self.callers: dict[Identity | None, _Own] = {}
        self.personal = False
        self.listening = 0

    @property
    def query(self) -> _Query:
        return self

    def of(self, caller: Identity | None) -> _Slot:
        """The caller's own slot."""
        slot = self.callers.get(caller)
        if slot is None:
            slot = self.callers[caller] = _Own(self, caller)
        return slot

    def slots(self) -> Iterator[_Slot]:
        yield self
        yield from self.callers.values()


class Subscription:
    """Hears when an answer that was given to a caller has ended by a commit, until it is called to end it itself.

    The shortest way to the query, too, for a subscriber who asks it again and again.

    Attributes:
        forgoes: whether the answer need not be kept for this subscriber.
    """

    __slots__ = ("_queries", "_slot", "caller", "forgoes", "key", "listener")

    def __init__(self, queries: Queries, slot: _Slot, listener: Listener) -> None:
        self.key = slot.query.key
        self.caller = slot.caller
        self.listener = listener
        self.forgoes = False
        self._queries = queries
        self._slot = slot

    @property
    def size(self) -> int:
        """What keeping the newest answer takes, in bytes, however many subscribe to it."""
        query = self._slot.query
        result = (self._slot if query.personal else query).result
        return 0 if result is None else result.size

    def forgo(self) -> None:
        """Has the answer not kept for this subscriber, who hears of its end all the same, until they ask again."""
        if not self.forgoes:
            self._queries._forgo(self, self._slot, forgoes=True)

    def answer(self, ts: Timestamp) -> Answer | None:
        """As `Queries.kept`."""
        if self.forgoes:
            self._queries._forgo(self, self._slot, forgoes=False)
        return self._queries._kept(self._slot.query, self.caller, ts)

    async def at(self, ts: Timestamp) -> Answer:
        """As `Queries.at`."""
        answer = self.answer(ts)
        return await self._queries._asked(self._slot.query, self.caller, ts) if answer is None else answer

    def ask(self, ts: Timestamp, told: Told) -> None:
        """As `Queries.ask`."""
        self._queries._ask(self._slot.query, self.caller, ts, told)

    def __call__(self) -> None:
        """Ends it. Once is enough, and more does no harm."""
        self._queries._unsubscribe(self, self._slot)


class Queries:
    """The query cache and the subscriptions of one node.

    Args:
        execute: runs a query for a caller at a timestamp, and is told why.
        newest: the newest published timestamp.
        cached_bytes_max: size of the answers kept for queries that nobody subscribes to.
        live_bytes_max: size of the answers that somebody subscribes to. It is for subscribers to keep to it.

    Attributes:
        causes: why queries ran again.
        live_bytes: size of those answers now.
        live_bytes_max: as given.
        kept_told: told of a query that somebody asks or subscribes to for the first time and that is answered without a
            run, and whether they subscribe; None where nobody wants to know.
    """

    def __init__(
        self,
        execute: Callable[[QueryKey, Identity | None, Timestamp, Why], Awaitable[Outcome]],
        newest: Timestamp,
        *,
        cached_bytes_max: int = CACHED_BYTES_MAX,
        live_bytes_max: int = LIVE_BYTES_MAX,
    ) -> None:
        self.live_bytes = 0
        self.live_bytes_max = live_bytes_max
        self._execute = execute
        self._cached_bytes_max = cached_bytes_max
        self._queries: dict[QueryKey, _Query] = {}
        self._idle: OrderedDict[_Slot, int] = OrderedDict()  # to their sizes, the longest unasked first
        self._idle_bytes = 0
        self._index: IntervalIndex[_Slot] = IntervalIndex()
        self._window = RecentWrites(newest)
        self._released = asyncio.Event()
        self.causes = Causes()
        self.kept_told: Callable[[QueryKey, bool], None] | None = None

    def measure(self) -> dict[str, int]:
        """What there is, by the names of `yugen.server.metrics`."""
        return {
            "yugen_queries_live": len(self._queries),
            "yugen_subscriptions": sum(query.listening for query in self._queries.values()),
            "yugen_queries_live_bytes": self.live_bytes,
            "yugen_queries_live_bytes_max": self.live_bytes_max,
            "yugen_query_cache_bytes": self._idle_bytes,
            "yugen_query_cache_bytes_max": self._cached_bytes_max,
            "yugen_intervals": len(self._index),
            "yugen_recent_commits": len(self._window),
        }

    async def at(self, key: QueryKey, caller: Identity | None, ts: Timestamp, why: Why = CALLED) -> Answer:
        """The answer for a caller at a timestamp that has been published, and is the newest or is being held.

        `why` says who asks, for the run that this may take.

        Raises:
            LookupError: nobody holds `ts` and newer commits have been published.
            Overloaded: too much is waiting already.
            StorageError: the store could not be read.
        """
        answer = self.kept(key, caller, ts)
        return await self._asked(self._query(key), caller, ts, why) if answer is None else answer

    async def _asked(self, query: _Query, caller: Identity | None, ts: Timestamp, why: Why = CALLED) -> Answer:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def told(answer: Answer | BaseException) -> None:
            if answered.done():
                return  # who stops waiting takes the answer from nobody
            if isinstance(answer, asyncio.CancelledError):
                answered.cancel()
            elif isinstance(answer, BaseException):
                answered.set_exception(answer)
            else:
                answered.set_result(answer)

        self._ask(query, caller, ts, told, why)
        return await answered

    def kept(self, key: QueryKey, caller: Identity | None, ts: Timestamp) -> Answer | None:
        """The answer as `at` gives it if it is at hand, or None."""
        query = self._queries.get(key)
        answer = None if query is None else self._kept(query, caller, ts)
        if answer is not None and self.kept_told is not None:
            self.kept_told(key, False)
        return answer

    def ask(self, key: QueryKey, caller: Identity | None, ts: Timestamp, told: Told) -> None:
        """Has `told` called once with the answer as of `at`: at once if it is at hand, or else when a run has ended.

        Raises:
            LookupError: as `at`.
        """
        self._ask(self._query(key), caller, ts, told)

    @contextmanager
    def holding(self, ts: Timestamp) -> Iterator[None]:
        """Keeps what is needed to answer at `ts`, which is published, while newer commits arrive."""
        self.hold(ts)
        try:
            yield
        finally:
            self.release(ts)

    def hold(self, ts: Timestamp) -> None:
        """Begins to keep that, up to `release`."""
        self._window.hold(ts)

    def release(self, ts: Timestamp) -> None:
        """Ends one `hold`."""
        self._window.release(ts)
        self._released.set()

    async def released_before(self, ts: Timestamp) -> None:
        """Waits until nobody holds an earlier timestamp than one that is published."""
        while self._window.is_held_before(ts):
            self._released.clear()
            await self._released.wait()

    def subscribe(self, key: QueryKey, caller: Identity | None, listener: Listener) -> Subscription:
        """Calls `listener` when an answer that was given to a caller has ended by a commit.

        It may be called when nothing has changed, but never misses a change. It must not ask queries itself.
        """
        query = self._query(key)
        slot = query.of(caller)
        subscription = Subscription(self, slot, listener)
        slot.subscriptions[subscription] = None
        query.listening += 1
        slot.keepers += 1
        query.keepers += 1
        self._settle(slot)
        self._settle(query)
        return subscription

    def publish(self, written: Written) -> None:
        """Takes in a commit: ends the answers it overlaps and tells their listeners."""
        self._window.add(written)
        ended = []
        # First all of them, then word of it: a listener finds everything in order, whatever it does.
        for slot in self._index.readers(written.keys):
            result = slot.result
            assert result is not None
            touch = written.first_touch(result.reads, result.guarded)
            if touch is not None or not result.guarded:
                self._index.remove(slot, result.intervals)
                result.end = written.ts
                slot.cause = Cause.of(written, touch)
                ended.append(slot)
        for slot in ended:
            self._tell(slot)
            self._settle(slot)

    def renew(self, commit: Commit) -> None:
        """Takes in the commit with which another version of the app takes over: it ends every answer."""
        written = Written(commit, renews=True)
        self._window.add(written)
        cause = Cause.new_code(written.ts)
        ended = []
        for slot in [slot for query in self._queries.values() for slot in query.slots()]:
            result = slot.result
            if result is not None and result.end is None:
                self._index.remove(slot, result.intervals)
                result.end = written.ts
                slot.cause = cause
                ended.append(slot)
        for slot in ended:
            self._tell(slot)
            self._settle(slot)

    def is_read(self, key: bytes) -> bool:
        """Whether an answer that holds depends on what is at a key."""
        return bool(self._index.readers((key,)))

    def statistics(self) -> dict[str, int]:
        """How many queries are kept, subscribed to and running, and over how many intervals."""
        queries = self._queries.values()
        return {
            "kept": len(queries),
            "subscribed": sum(1 for query in queries if query.listening),
            "running": sum(1 for query in queries for slot in query.slots() if slot.running),
            "intervals": len(self._index),
        }

    async def close(self) -> None:
        """Stops what is running; who waits for it is cancelled."""
        slots = [slot for query in self._queries.values() for slot in query.slots()]
        running = [slot.running.task for slot in slots if slot.running]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _kept(self, query: _Query, caller: Identity | None, ts: Timestamp) -> Answer | None:
        for slot in (query, query.callers.get(caller)):
            result = None if slot is None else slot.result
            if slot is not None and result is not None and not result.hollow and result.holds_at(ts):
                if slot in self._idle:
                    self._idle.move_to_end(slot)
                if result.end is not None:
                    # It ended before some who get it now subscribed; nothing else would tell them.
                    self._tell(slot)
                return result.answer
        return None

    def _ask(self, query: _Query, caller: Identity | None, ts: Timestamp, told: Told, why: Why = CALLED) -> None:
        answer = self._kept(query, caller, ts)
        if answer is not None:
            told(answer)
            return
        slot = query.of(caller) if query.personal else query
        if slot.running is None:
            self.hold(ts)
            task = asyncio.get_running_loop().create_task(self._run(slot, caller, ts, why))
            slot.running = _Running(task, ts)
            task.add_done_callback(lambda _: self._ended(slot))
        elif ts != slot.running.ts:
            self.hold(ts)
        slot.running.waiting.append(_Waiting(caller, ts, told))

    async def _run(self, slot: _Slot, caller: Identity | None, ts: Timestamp, asked: Why) -> _Result:
        query, cause, before, began = slot.query, slot.cause, slot.result, time.perf_counter()
        slot.cause = None
        why = Why(cause, query.listening, request_id=asked.request_id, caller=asked.caller)
        outcome = await self._execute(query.key, caller, ts, why)
        ending = self._window.first_overlap(outcome.reads, ts, outcome.guarded)
        end = None if ending is None else ending.ts
        if ending is not None and ending.renews:
            slot.cause = Cause.new_code(ending.ts)
        answer = outcome.answer
        if cause is not None:
            key, seconds = query.key, time.perf_counter() - began
            changed = before is None or before.hollow or before.answer != answer
            self.causes.add_rerun(key.path, key.args, ts, outcome, seconds, cause, query.listening, changed)
        size, personal = _size(query.key, outcome), outcome.reads_identity
        result = _Result(answer, outcome.reads, outcome.guarded, ts, end, size, personal, caller)
        self._keep(query, result)
        if answer.journal != query.key.journal and end is None:
            # Whoever gets this answer asks with its journal from here on, and is to find it there.
            self._keep(self._query(query.key._replace(journal=answer.journal)), copy(result))
        return result

    def _ended(self, slot: _Slot) -> None:
        """Tells those who wait for a run what came of it, all of them in one go."""
        running, slot.running = slot.running, None
        assert running is not None
        task = running.task
        self._settle(slot)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        for caller, ts, told in running.waiting:
            try:
                if error is not None:
                    told(error)
                elif (result := task.result()).is_for(caller) and result.holds_at(ts):
                    told(result.answer)
                else:
                    self.ask(slot.query.key, caller, ts, told)
            except Exception:
                logger.exception("an answer of %s was taken badly", slot.query.key.path)
            if ts != running.ts:
                self.release(ts)
        self.release(running.ts)

    def _keep(self, query: _Query, result: _Result) -> None:
        query.personal = result.personal
        slot = query.of(result.caller) if result.personal else query
        kept = slot.result
        # Another run may have been faster: callers whose runs turn out not to be personal run side by side.
        newer = kept is None or ((kept.end is not None or kept.hollow) and kept.start <= result.start)
        if newer:
            self._unlist(slot)
            slot.result = result
        if newer and result.end is None:
            self._index.add(slot, result.intervals)
        else:
            self._tell(slot)  # who gets it holds an answer that nothing will end any more
        self._settle(slot)

    def _tell(self, slot: _Slot) -> None:
        told = slot.query.callers.values() if slot is slot.query else (slot,)
        for subscription in [subscription for each in told for subscription in each.subscriptions]:
            try:
                subscription.listener()
            except Exception:
                logger.exception("a listener of %s failed", slot.query.key.path)

    def _unsubscribe(self, subscription: Subscription, slot: _Slot) -> None:
        if subscription in slot.subscriptions:
            self._note(subscription, slot, forgoes=True)
            del slot.subscriptions[subscription]
            slot.query.listening -= 1
            self._settle(slot)
            self._settle(slot.query)

    def _forgo(self, subscription: Subscription, slot: _Slot, *, forgoes: bool) -> None:
        if subscription in slot.subscriptions:
            self._note(subscription, slot, forgoes=forgoes)
            self._settle(slot)
            self._settle(slot.query)

    def _note(self, subscription: Subscription, slot: _Slot, *, forgoes: bool) -> None:
        if subscription.forgoes is not forgoes:
            subscription.forgoes = forgoes
            change = -1 if forgoes else 1
            slot.keepers += change
            slot.query.keepers += change

    def _query(self, key: QueryKey) -> _Query:
        query = self._queries.get(key)
        if query is None:
            query = self._queries[key] = _Query(key)
        return query

    def _settle(self, slot: _Slot) -> None:
        """Keeps an answer that somebody wants; one that nobody subscribes to as long as it holds and there is room."""
        query = slot.query
        self._idle_bytes -= self._idle.pop(slot, 0)
        listening = slot.subscriptions or (slot is query and query.listening)
        if listening and not slot.keepers and not slot.running and slot.result is not None and not slot.result.hollow:
            self._unlist(slot)
            slot.result = slot.result.hollowed()
            if slot.result.end is None:
                self._index.add(slot, slot.result.intervals)
        lives = slot.running or listening
        live = slot.result.size if lives and slot.result is not None else 0
        self.live_bytes += live - slot.live
        slot.live = live
        if lives:
            return
        if slot.result is None or slot.result.end is not None or slot.result.hollow:
            self._drop(slot)
            return
        self._idle[slot] = slot.result.size
        self._idle_bytes += slot.result.size
        while self._idle_bytes > self._cached_bytes_max:
            oldest, size = self._idle.popitem(last=False)
            self._idle_bytes -= size
            self._drop(oldest)

    def _drop(self, slot: _Slot) -> None:
        query = slot.query
        self._unlist(slot)
        slot.result = None
        if slot is not query:
            query.callers.pop(slot.caller, None)
        if not query.callers and query.result is None and not query.running and query.key in self._queries:
            del self._queries[query.key]

    def _unlist(self, slot: _Slot) -> None:
        """Takes what a slot's answer has read out of the index, if it is in there."""
        if slot.result is not None and slot.result.end is None:
            self._index.remove(slot, slot.result.intervals)


def _size(key: QueryKey, outcome: Outcome) -> int:
    """What keeping an answer takes, in bytes: no less than what it does take."""
    answer = outcome.answer
    read = _size_of((*outcome.reads, *(interval for interval, _ in outcome.guarded)))
    said = answer.size
    if answer.failure is not None:
        said += len(answer.failure.message) + len(answer.failure.traceback)
    return _ENTRY_BYTES + len(key.args) + said + read


def _size_of(intervals: tuple[Interval, ...]) -> int:
    return sum(_INTERVAL_BYTES + len(start) + len(end) for start, end in intervals)
