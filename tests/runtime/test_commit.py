from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from yugen.intervals import point
from yugen.runtime.commit import BATCH_MAX, Committer, Conflict, Proposal
from yugen.runtime.writes import Written, request_key
from yugen.storage.interface import Change, Commit, Decide, RequestRecord, StorageError
from yugen.storage.memory import MemoryStore


class GatedStore(MemoryStore):
    """Appends only when let, fails when told to, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.appends: list[int] = []
        self.error: Exception | None = None

    async def append(self, decide: Decide) -> Sequence[Commit]:
        await self.gate.wait()
        if self.error is not None:
            decide((), self._newest)
            error, self.error = self.error, None
            raise error
        commits = await super().append(decide)
        self.appends.append(len(commits))
        return commits


class Bench:
    """A committer over a gated store, and all that it says."""

    def __init__(self, clock: Any = lambda: 0) -> None:
        self.store = GatedStore()
        self.said: list[Any] = []
        self.committer = Committer(self.store, 0, clock=clock, published=self._published)

    def _published(self, commits: Sequence[Written]) -> None:
        self.said.append(("published", [commit.ts for commit in commits]))

    def propose(
        self, *written: bytes, reads: Sequence[bytes] = (), at: int = 0, request: RequestRecord | None = None
    ) -> asyncio.Task[int]:
        """Holds the snapshot and begins to commit."""
        proposal = Proposal(
            at,
            tuple(map(point, sorted(reads))),
            tuple(Change(key, None, b"{}") for key in written),
            request,
        )

        async def run() -> int:
            with self.committer.holding(at):
                return await self.commit(proposal)

        return asyncio.create_task(run())

    async def commit(self, proposal: Proposal) -> int:
        """As `Committer.commit`, saying when its owner was told and when it returned."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def settled(result: int | Exception) -> None:
            if isinstance(result, Exception):
                done.set_exception(result)
            else:
                self.said.append(("told", result))
                done.set_result(result)

        self.committer.propose(proposal, settled)
        ts = await done
        self.said.append(("returned", ts))
        return ts


def key(n: int) -> bytes:
    return b"\x00\x00\x00\x40" + n.to_bytes(16, "big")


async def settled() -> None:
    """Lets every task run until it waits for something from outside."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_timestamps_follow_the_clock_and_never_go_back() -> None:
    now = 0
    bench, told = Bench(lambda: now), []
    for number, now in enumerate([100, 50, 50, 200]):  # noqa: B007 -- the clock shows it
        told.append(await bench.propose(key(number)))
    assert told == [100, 101, 102, 200]
    await bench.committer.close()


async def test_what_was_read_must_not_have_been_written_since() -> None:
    bench = Bench()
    with bench.committer.holding(0):
        first = await bench.propose(key(1))
        with pytest.raises(Conflict):
            await bench.propose(key(2), reads=[key(1)], at=0)
        assert await bench.propose(key(2), reads=[key(2)], at=0) > first
        assert await bench.propose(key(2), reads=[key(1)], at=first) > first
    await bench.committer.close()


async def test_proposals_of_one_batch_are_checked_against_one_another() -> None:
    bench = Bench()
    bench.store.gate.clear()
    blocker = bench.propose(key(9))
    await settled()
    racing = [bench.propose(key(1), reads=[key(1)]) for _ in range(5)]
    apart = bench.propose(key(2), reads=[key(2)])
    await settled()
    bench.store.gate.set()
    results = await asyncio.gather(blocker, *racing, apart, return_exceptions=True)
    assert results[:2] == [1, 2]
    assert all(isinstance(result, Conflict) for result in results[2:6])
    assert results[6] == 3
    assert bench.store.appends == [1, 2]
    await bench.committer.close()


async def test_what_gathers_during_an_append_shares_the_next_one() -> None:
    bench = Bench()
    bench.store.gate.clear()
    tasks = [bench.propose(key(0))]
    await settled()
    tasks += [bench.propose(key(n)) for n in range(1, 2 * BATCH_MAX)]
    await settled()
    bench.store.gate.set()
    assert await asyncio.gather(*tasks) == list(range(1, 2 * BATCH_MAX + 1))
    assert bench.store.appends == [1, BATCH_MAX, BATCH_MAX - 1]
    await bench.committer.close()


async def test_owners_are_told_before_anyone_else_hears_of_it() -> None:
    bench = Bench()
    await asyncio.gather(bench.propose(key(1)), bench.propose(key(2)))
    assert bench.said == [("told", 1), ("told", 2), ("published", [1, 2]), ("returned", 1), ("returned", 2)]
    await bench.committer.close()


async def test_an_append_that_failed_leaves_no_trace() -> None:
    bench = Bench(lambda: 500)
    bench.store.error = StorageError("the disk is full", full=True)
    failed = await asyncio.gather(bench.propose(key(1)), bench.propose(key(2)), return_exceptions=True)
    assert all(isinstance(error, StorageError) and error.full for error in failed)
    assert bench.said == []
    assert await bench.propose(key(3), reads=[key(1)], at=0) == 500
    assert await bench.store.changes(0) == [Commit(500, (Change(key(3), None, b"{}"),))]
    await bench.committer.close()


async def test_who_stops_waiting_loses_the_answer_and_not_the_commit() -> None:
    bench = Bench()
    bench.store.gate.clear()
    under_way = bench.propose(key(1))
    await settled()
    queued = bench.propose(key(2))
    await settled()
    under_way.cancel()
    queued.cancel()
    await asyncio.wait([under_way, queued])
    bench.store.gate.set()
    await bench.propose(key(3))
    assert len(await bench.store.changes(0)) == 3
    await bench.committer.close()


async def test_closing_finishes_what_is_queued() -> None:
    bench = Bench()
    bench.store.gate.clear()
    tasks = [bench.propose(key(1))]
    await settled()
    tasks.append(bench.propose(key(2)))
    await settled()
    closing = asyncio.create_task(bench.committer.close())
    await settled()
    with pytest.raises(RuntimeError, match="closed"):
        await bench.propose(key(3))
    bench.store.gate.set()
    await closing
    assert await asyncio.gather(*tasks) == [1, 2]


async def test_closing_at_once_finishes_what_was_queued_just_before() -> None:
    bench = Bench()
    task = bench.propose(key(1))
    await asyncio.sleep(0)
    await bench.committer.close()
    assert await task == 1


async def test_of_two_that_carry_out_one_request_one_conflicts() -> None:
    bench = Bench()
    record = RequestRecord("s", 1, b"", b"1")
    tasks = [bench.propose(key(n), reads=[request_key("s", 1)], request=record) for n in range(2)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == 1
    assert isinstance(results[1], Conflict)
    await bench.committer.close()


async def test_an_owner_that_fails_to_take_note_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def settled(result: int | Exception) -> None:
        raise ValueError("no ears")

    with bench.committer.holding(0):
        bench.committer.propose(Proposal(0, (), (Change(key(0), None, b"{}"),)), settled)
        assert await bench.propose(key(1)) == 2
    assert bench.said == [("published", [1]), ("told", 2), ("published", [2]), ("returned", 2)]
    assert "no ears" in caplog.text
    await bench.committer.close()


async def test_what_writes_nothing_is_settled_in_its_turn_and_leaves_nothing() -> None:
    bench = Bench()
    bench.store.gate.clear()
    blocker = bench.propose(key(1))
    await settled()
    racing = [bench.propose(key(2)), bench.propose(reads=[key(1)]), bench.propose(reads=[key(9)])]
    await settled()
    bench.store.gate.set()
    await blocker
    second, lost, held = await asyncio.gather(*racing, return_exceptions=True)
    assert (second, held) == (2, 2)
    assert isinstance(lost, Conflict)
    assert bench.store.appends == [1, 1]
    await bench.committer.close()


async def test_when_publishing_breaks_nobody_waits_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    def published(commits: Sequence[Written]) -> None:
        raise AssertionError("broken")

    store = MemoryStore()
    committer = Committer(store, 0, clock=lambda: 0, published=published)
    first = asyncio.create_task(committer.commit(Proposal(0, (), (Change(key(0), None, b"{}"),))))
    assert await first == 1
    await settled()
    with pytest.raises(RuntimeError, match="closed"):
        await committer.commit(Proposal(0, (), ()))
    assert "for good" in caplog.text
    await committer.close()
