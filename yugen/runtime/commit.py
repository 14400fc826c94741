"""Committing: validation against what others wrote, timestamps, and many transactions in one durable append.

While one append is on its way to the disk the next proposals gather, so that under load many commits share one sync.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from yugen.guards import GuardedRead
from yugen.intervals import Interval
from yugen.runtime.causes import Cause
from yugen.runtime.writes import RecentWrites, Written
from yugen.storage.interface import Change, Commit, Origin, RequestRecord, Store, Timestamp

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


@dataclass(frozen=True, slots=True)
class Proposal:
    """A transaction that ran at `snapshot_ts` and wants to take place after everything committed so far.

    `reads` are disjoint intervals in order, `guarded` those of which not everything matters.
    """

    snapshot_ts: Timestamp
    reads: tuple[Interval, ...]
    changes: tuple[Change, ...]
    request: RequestRecord | None = None
    guarded: tuple[GuardedRead, ...] = ()
    origin: Origin | None = None


@dataclass(slots=True, eq=False)
class _Waiting:
    proposal: Proposal
    committed: Callable[[Timestamp], None]
    done: asyncio.Future[Timestamp]

    def succeed(self, ts: Timestamp) -> None:
        try:
            self.committed(ts)
        except Exception as error:
            self.fail(error)
        else:
            if not self.done.done():
                self.done.set_result(ts)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Committer:
    """Orders the commits of one node.

    Args:
        store: where they go.
        newest: the newest timestamp of the store.
        clock: nanoseconds since the epoch, called on any thread; timestamps follow it and do not go back when it does.
        published: called on the event loop with durable commits in order, just after their owners were told. It must
            not raise.
    """

    def __init__(
        self,
        store: Store,
        newest: Timestamp,
        *,
        clock: Callable[[], int],
        published: Callable[[Sequence[Written]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._published = published
        self._window = RecentWrites(newest)
        self._queue: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="committer")

    def holding(self, ts: Timestamp) -> AbstractContextManager[None]:
        """Keeps what is needed to validate a transaction that reads at `ts`, from its first read to its commit."""
        return self._window.holding(ts)

    async def commit(self, proposal: Proposal, committed: Callable[[Timestamp], None] = lambda ts: None) -> Timestamp:
        """Commits, and returns the timestamp once the commit is durable and published.

        Whoever stops waiting loses the answer, not the commit.

        Args:
            proposal: what ran; its snapshot is being held.
            committed: called with the timestamp once the commit is durable and before it is published, so that its
                owner knows of it before anyone can see it.

        Raises:
            Conflict: something in its reads was written after its snapshot.
            StorageError: the store failed; nothing was committed.
        """
        if self._closing or self._task.done():
            raise RuntimeError("the committer is closed: commit before close().")
        waiting = _Waiting(proposal, committed, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._wake.set()
        return await waiting.done

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
                while self._queue:
                    batch = self._queue[:BATCH_MAX]
                    await self._append(batch)
                    del self._queue[: len(batch)]
        except Exception:
            logger.exception("committing has failed for good: restart the server")
        finally:
            for waiting in self._queue:
                waiting.fail(RuntimeError("committing has stopped."))

    async def _append(self, batch: list[_Waiting]) -> None:
        arrived: list[Written] = []
        decided: list[Written | Conflict] = []

        def decide(news: Sequence[Commit], newest: Timestamp) -> list[Commit]:
            arrived.extend(map(Written, news))
            decided[:] = self._decide([waiting.proposal for waiting in batch], arrived, newest)
            return [each.commit for each in decided if isinstance(each, Written)]

        try:
            await self._store.append(decide)
        except Exception as error:
            decided.clear()
            for waiting in batch:
                waiting.fail(error)
        for waiting, outcome in zip(batch, decided, strict=False):
            if isinstance(outcome, Conflict):
                waiting.fail(outcome)
            else:
                waiting.succeed(outcome.ts)
        published = [*arrived, *(outcome for outcome in decided if isinstance(outcome, Written))]
        for written in published:
            self._window.add(written)
        if published:
            self._published(published)

    def _decide(
        self, proposals: Sequence[Proposal], arrived: Sequence[Written], newest: Timestamp
    ) -> list[Written | Conflict]:
        """What each proposal writes, or what it conflicts with. Runs on the store's thread and changes nothing."""
        # What is decided here is not in the window before it is durable: a failed append leaves no trace.
        unpublished = list(arrived)
        decided: list[Written | Conflict] = []
        for proposal in proposals:
            conflict = self._conflict(proposal, unpublished)
            if conflict is not None:
                decided.append(conflict)
                continue
            newest = max(newest + 1, self._clock())
            written = Written(Commit(newest, proposal.changes, proposal.request, proposal.origin))
            unpublished.append(written)
            decided.append(written)
        return decided

    def _conflict(self, proposal: Proposal, unpublished: Sequence[Written]) -> Conflict | None:
        reads, guarded = proposal.reads, proposal.guarded
        try:
            found = self._window.first_overlap(reads, proposal.snapshot_ts, guarded)
        except LookupError:
            return Conflict()  # who proposed it has stopped waiting, and holds its snapshot no more
        found = found or next((written for written in unpublished if written.touches(reads, guarded)), None)
        return None if found is None else Conflict(Cause.of(found, found.first_touch(reads, guarded)))
