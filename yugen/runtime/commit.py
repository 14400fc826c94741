"""Committing: validation against what others wrote, timestamps, and many transactions in one durable append.

While one append is on its way to the disk the next proposals gather, so that under load many commits share one sync.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeAlias

from yugen.guards import GuardedRead
from yugen.intervals import Interval
from yugen.runtime.causes import Cause
from yugen.runtime.line import Line, Place
from yugen.runtime.meters import Histogram
from yugen.runtime.writes import Origin, RecentWrites, Written
from yugen.storage.interface import (
    AlreadyCarriedOut,
    Change,
    Commit,
    Peers,
    RequestRecord,
    StorageError,
    Store,
    Timestamp,
)

BATCH_MAX = 256
"""Proposals in one append; bounds how long the first of them waits for the others."""

logger = logging.getLogger(__name__)


class Conflict(Exception):
    """Something that the transaction read has been written since; run it again.

    Args:
        cause: why; None if that is not known any more.
    """

    def __init__(self, cause: Cause | None = None) -> None:
        super().__init__()
        self.cause = cause


class Proposal(NamedTuple):
    """A transaction that ran at `snapshot_ts` and wants to take place after everything committed so far.

    `reads` are disjoint intervals in order, `guarded` those of which not everything matters. One that ran in line at
    `place` has also seen what those before it wrote. One that writes nothing and leaves no record only wants to know
    whether what it read has held until now, unless it is a mark: a commit of its own, for its timestamp's sake.
    """

    snapshot_ts: Timestamp
    reads: tuple[Interval, ...]
    changes: tuple[Change, ...]
    request: RequestRecord | None = None
    guarded: tuple[GuardedRead, ...] = ()
    origin: Origin | None = None
    place: Place | None = None
    is_mark: bool = False

    @property
    def line(self) -> Line | None:
        return None if self.place is None else self.place.line


Settled: TypeAlias = "Callable[[Timestamp | Exception], None]"
"""Told of the timestamp at which a proposal took place, or of why it did not."""

_Decision: TypeAlias = Written | Conflict | Timestamp
"""What a proposal writes, what it conflicts with, or for one that writes nothing, the timestamp at which it holds."""


class _Waiting(NamedTuple):
    proposal: Proposal
    settled: Settled

    def settle(self, result: Timestamp | Exception) -> None:
        try:
            self.settled(result)
        except Exception:
            logger.exception("the owner of a commit failed to take note of it")


class Committer:
    """Orders the commits of one node.

    Args:
        store: where they go.
        newest: the newest timestamp of the store.
        clock: nanoseconds since the epoch, called on any thread; timestamps follow it and do not go back when it does.
        published: called on the event loop with durable commits in order, just after their owners were told. It must
            not raise.
        peers: the other nodes that append to the store, if there may be any.
    """

    def __init__(
        self,
        store: Store,
        newest: Timestamp,
        *,
        clock: Callable[[], int],
        published: Callable[[Sequence[Written]], None],
        peers: Peers | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._published = published
        self._peers = peers
        self._newest = newest  # that was published
        self._look = False  # whether the others may have committed something
        self._behind: list[tuple[Timestamp, asyncio.Future[None]]] = []
        self._window = RecentWrites(newest)
        self._queue: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._closing = False
        self.append_seconds = Histogram()  # of appends that were made durable
        self.publish_seconds = Histogram()  # from the timestamp of a commit, also of another node's
        self.commits = 0
        self._task = asyncio.get_running_loop().create_task(self._run(), name="committer")

    def hold(self, ts: Timestamp) -> None:
        """Keeps what is needed to validate a transaction that reads at `ts`, from its first read until `release`."""
        self._window.hold(ts)

    def release(self, ts: Timestamp) -> None:
        """Undoes one `hold`."""
        self._window.release(ts)

    def holding(self, ts: Timestamp) -> AbstractContextManager[None]:
        """Holds `ts` meanwhile."""
        return self._window.holding(ts)

    def propose(self, proposal: Proposal, settled: Settled) -> None:
        """Has a transaction committed, after those proposed before.

        Args:
            proposal: what ran; its snapshot is being held.
            settled: called with the timestamp once the commit is durable and before it is published, so that its owner
                knows of it before anyone can see it; or with a `Conflict` if something in its reads was written after
                its snapshot, or a `StorageError` if the store failed and nothing was committed.
        """
        if self._closing or self._task.done():
            settled(RuntimeError("the committer is closed: commit before close()."))
            return
        self._queue.append(_Waiting(proposal, settled))
        self._wake.set()

    async def commit(self, proposal: Proposal) -> Timestamp:
        """Commits, and returns the timestamp once the commit is durable and published.

        Whoever stops waiting loses the answer, not the commit.

        Raises:
            Conflict: something in its reads was written after its snapshot.
            StorageError: the store failed; nothing was committed.
        """
        done: asyncio.Future[Timestamp] = asyncio.get_running_loop().create_future()

        def settled(result: Timestamp | Exception) -> None:
            if done.done():
                return
            if isinstance(result, Exception):
                done.set_exception(result)
            else:
                done.set_result(result)

        self.propose(proposal, settled)
        return await done

    @property
    def queue_length(self) -> int:
        """How many proposals wait for their append, or are in one."""
        return len(self._queue)

    @property
    def has_failed(self) -> bool:
        """Whether nothing is committed any more, though nobody has closed this."""
        return self._task.done() and not self._closing

    def look(self) -> None:
        """Has what other nodes have committed published before long."""
        self._look = True
        self._wake.set()

    async def catch_up(self, ts: Timestamp) -> None:
        """Waits until everything up to `ts`, which is durable, is published.

        Raises:
            StorageError: the store could not be read.
        """
        if ts <= self._newest:
            return
        if self._closing or self._task.done():
            raise RuntimeError("the committer is closed: catch up before close().")
        reached = asyncio.get_running_loop().create_future()
        self._behind.append((ts, reached))
        self._wake.set()
        await reached

    async def close(self) -> None:
        """Finishes what is queued and stops."""
        self._closing = True
        self._wake.set()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._queue or not self._closing:
                await self._wake.wait()
                self._wake.clear()
                while self._queue or self._look or (self._behind and self._peers is not None):
                    self._look = False  # what is appended now comes after all that is to be looked for
                    if self._queue:
                        batch = self._queue[:BATCH_MAX]
                        await self._append(batch)
                        del self._queue[: len(batch)]
                    else:
                        await self._take_in()
                    self._let_go()
        except Exception:
            logger.exception("committing has failed for good: restart the server")
        finally:
            for waiting in self._queue:
                waiting.settle(RuntimeError("committing has stopped."))
            self._let_go(RuntimeError("committing has stopped."))

    async def _append(self, batch: list[_Waiting]) -> None:
        arrived: list[Written] = []
        decided: list[_Decision] = []

        def decide(news: Sequence[Commit], newest: Timestamp) -> list[Commit]:
            arrived.extend(map(Written, news))
            decided[:] = self._decide([waiting.proposal for waiting in batch], arrived, newest)
            return [each.commit for each in decided if isinstance(each, Written)]

        began = time.perf_counter()
        try:
            commits = await self._store.append(decide)
        except AlreadyCarriedOut as error:
            self._publish(arrived)
            rest = _without(batch, error)
            if rest:
                await self._append(rest)
            return
        except Exception as error:
            self._publish(arrived)
            for waiting in batch:
                _revoke(waiting.proposal)
                waiting.settle(error)
            return
        if commits:
            self.append_seconds.observe(time.perf_counter() - began)
            self.commits += len(commits)
        published = arrived
        for waiting, outcome in zip(batch, decided, strict=True):
            if isinstance(outcome, Written):
                published.append(outcome)
                waiting.settle(outcome.ts)
            else:
                if isinstance(outcome, Conflict):
                    _revoke(waiting.proposal)
                waiting.settle(outcome)
        self._publish(published, [waiting.proposal.place for waiting in batch if waiting.proposal.place is not None])

    def _publish(self, commits: Sequence[Written], settled: Sequence[Place] = ()) -> None:
        """Has everybody see some commits, with which these places in line are settled."""
        if not commits:
            return
        for written in commits:
            self._window.add(written)
        self._newest = commits[-1].ts
        for place in settled:
            place.line.settle(place, self._newest)
        self._published(commits)
        self.publish_seconds.observe(max(0, self._clock() - commits[0].ts) / 1e9)

    async def _take_in(self) -> None:
        """Publishes what other nodes have committed."""
        if self._peers is None:
            return
        try:
            self._publish([*map(Written, await self._peers.news())])
        except StorageError as error:
            self._let_go(error)

    def _let_go(self, error: Exception | None = None) -> None:
        """Lets those go on who waited for what is published now; all of them, if it cannot be."""
        if not self._behind:
            return
        behind, self._behind = self._behind, []
        for ts, reached in behind:
            if reached.done():
                continue
            if error is not None:
                reached.set_exception(error)
            elif ts <= self._newest:
                reached.set_result(None)
            else:
                self._behind.append((ts, reached))

    def _decide(self, proposals: Sequence[Proposal], arrived: Sequence[Written], newest: Timestamp) -> list[_Decision]:
        """What becomes of each proposal. Runs on the store's thread and changes nothing."""
        # What is decided here is not in the window before it is durable: a failed append leaves no trace.
        before = _Before(self._window, arrived)
        decided: list[_Decision] = []
        for proposal in proposals:
            conflict = before.conflict(proposal)
            if conflict is not None:
                decided.append(conflict)
                before.refused(proposal)
            elif proposal.changes or proposal.request or proposal.is_mark:
                newest = max(newest + 1, self._clock())
                written = Written(Commit(newest, proposal.changes, proposal.request), proposal.origin, proposal.line)
                decided.append(written)
                before.accepted(written)
            else:
                decided.append(newest)
        return decided


class _Before:
    """What was written before the next proposal of a batch, as far as that may not have seen it.

    Proposals of one line have seen one another, and most are of one line and one snapshot, for which this is asked
    once.
    """

    def __init__(self, window: RecentWrites, arrived: Sequence[Written]) -> None:
        self._window = window
        self._batch = list(arrived)
        self._lines: set[object] = {None} if arrived else set()  # those of what is in the batch
        self._unseen: dict[tuple[Timestamp, Line | None], list[Written]] = {}
        self._refused: defaultdict[Line, list[Written]] = defaultdict(list)

    def accepted(self, written: Written) -> None:
        self._batch.append(written)
        self._lines.add(written.line)

    def refused(self, proposal: Proposal) -> None:
        if proposal.place is not None:
            self._refused[proposal.place.line].append(Written(Commit(0, proposal.changes)))

    def conflict(self, proposal: Proposal) -> Conflict | None:
        if proposal.is_mark:
            return None  # it has read nothing
        reads, guarded = proposal.reads, proposal.guarded
        try:
            unseen = self._not_seen(proposal)
        except LookupError:
            return Conflict()  # who proposed it has stopped waiting, and holds its snapshot no more
        for written in unseen:
            if written.touches(reads, guarded):
                return Conflict(Cause.of(written, written.first_touch(reads, guarded)))
        return None

    def _not_seen(self, proposal: Proposal) -> list[Written]:
        place, line = proposal.place, proposal.line
        ts = proposal.snapshot_ts if place is None else place.ts
        unseen = self._unseen.get((ts, line))
        if unseen is None:
            unseen = [written for written in self._window.after(ts) if line is None or written.line is not line]
            self._unseen[ts, line] = unseen
        if line is None or not self._lines <= {line}:
            unseen = unseen + [written for written in self._batch if line is None or written.line is not line]
        if place is not None:
            unseen = unseen + place.line.revoked_before(place) + self._refused.get(place.line, [])
        return unseen


def _without(batch: Sequence[_Waiting], error: AlreadyCarriedOut) -> list[_Waiting]:
    """The proposals that can be appended; the others run again and find what another node has recorded."""
    rest = []
    for waiting in batch:
        request = waiting.proposal.request
        if request is not None and (request.session, request.request) in error.requests:
            _revoke(waiting.proposal)
            waiting.settle(Conflict())
        elif error.requests:
            rest.append(waiting)
        else:
            _revoke(waiting.proposal)
            waiting.settle(error)
    return rest


def _revoke(proposal: Proposal) -> None:
    if proposal.place is not None:
        proposal.place.line.revoke(proposal.place.number, proposal.changes)
