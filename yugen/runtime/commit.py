"""Committing: validation against what others wrote, timestamps, and many transactions in one durable append.

While one append is on its way to the disk the next proposals gather, so that under load many commits share one sync.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from yugen.intervals import Interval
from yugen.runtime.writes import RecentWrites
from yugen.storage.interface import Change, Commit, RequestRecord, Store, Timestamp

BATCH_MAX = 256
"""Proposals in one append; bounds how long the first of them waits for the others."""


class Conflict(Exception):
    """Something that the transaction read has been written since; run it again."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A transaction that ran at `snapshot_ts` and wants to take place after everything committed so far."""

    snapshot_ts: Timestamp
    reads: tuple[Interval, ...]
    changes: tuple[Change, ...]
    request: RequestRecord | None = None


@dataclass(slots=True)
class _Waiting:
    proposal: Proposal
    done: asyncio.Future[Timestamp]
    commit: Commit | None = field(default=None)


class Committer:
    """Orders the commits of one node.

    Args:
        store: where they go.
        newest: the newest timestamp of the store.
        clock: nanoseconds since the epoch; timestamps follow it and never go back when it does.
        published: called on the event loop for each durable commit in order, with the timestamps of a batch known to
            their owners before the first call.
        oldest_reader: the timestamp before which nothing runs any more.
    """

    def __init__(
        self,
        store: Store,
        newest: Timestamp,
        *,
        clock: Callable[[], int],
        published: Callable[[Sequence[Commit]], None],
        oldest_reader: Callable[[], Timestamp],
    ) -> None:
        self._store = store
        self._clock = clock
        self._published = published
        self._oldest_reader = oldest_reader
        self._window = RecentWrites(newest)
        self._newest = newest
        self._queue: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="committer")

    async def commit(self, proposal: Proposal) -> Timestamp:
        """Commits, and returns the timestamp once the commit is durable and published.

        Raises:
            Conflict: something in its reads was written after its snapshot.
            StorageError: the store failed; nothing was committed.
        """
        if self._task.done():
            raise RuntimeError("the committer is closed")
        waiting = _Waiting(proposal, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._wake.set()
        # The append cannot be taken back: who stops waiting loses the answer, not the commit.
        return await asyncio.shield(waiting.done)

    async def close(self) -> None:
        """Finishes what is queued and stops."""
        while self._queue and not self._task.done():
            await asyncio.wait([waiting.done for waiting in self._queue])
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            batch, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
            if not self._queue:
                self._wake.clear()
            await self._append(batch)

    async def _append(self, batch: list[_Waiting]) -> None:
        oldest = self._oldest_reader()
        try:
            commits = await self._store.append(lambda news, newest: self._decide(batch, news, newest, oldest))
        except Exception as error:
            for waiting in batch:
                _settle(waiting.done, error)
            return
        for waiting in batch:
            _settle(waiting.done, waiting.commit.ts if waiting.commit else Conflict())
        self._published(commits)

    def _decide(
        self, batch: list[_Waiting], news: Sequence[Commit], newest: Timestamp, oldest: Timestamp
    ) -> list[Commit]:
        for commit in news:
            self._window.add(commit)
        self._window.forget(min(oldest, *(waiting.proposal.snapshot_ts for waiting in batch)))
        # What an append that failed had decided stays in the window; timestamps grow past that too.
        newest = max(newest, self._newest)
        commits: list[Commit] = []
        for waiting in batch:
            proposal = waiting.proposal
            if (
                proposal.snapshot_ts < self._window.floor
                or self._window.first_overlap(proposal.reads, proposal.snapshot_ts) is not None
            ):
                continue
            newest = max(newest + 1, self._clock())
            waiting.commit = Commit(newest, proposal.changes, proposal.request)
            self._window.add(waiting.commit)
            commits.append(waiting.commit)
        self._newest = newest
        return commits


def _settle(done: asyncio.Future[Timestamp], result: Timestamp | Exception) -> None:
    if done.done():
        return
    if isinstance(result, Exception):
        done.set_exception(result)
        done.exception()  # nobody may be waiting any more
    else:
        done.set_result(result)
