"""Who gets what, and who is blamed, with processes that say what the test has them say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.runtime.scripted import Forks, Peer, query
from yugen.runtime.channel import outcome_to_data
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer, Failure, Outcome
from yugen.runtime.run import Run
from yugen.runtime.runner import Overloaded
from yugen.runtime.transaction_workers import TransactionWorkers
from yugen.runtime.workers import STARTS_MAX
from yugen.storage.interface import Change, StorageError

PATIENT = RunLimits(slow_seconds=60, transaction_seconds=60)
QUICK = RunLimits(slow_seconds=0.005, transaction_seconds=60)


@asynccontextmanager
async def workers(limits: RunLimits) -> AsyncIterator[tuple[TransactionWorkers, Forks, Peer]]:
    forks = Forks()
    pool = TransactionWorkers(forks, limits)
    pool._wanted = 1  # whatever this machine has
    try:
        await pool.add()
        yield pool, forks, await forks.next()
    finally:
        await pool.close()
        await forks.close()


def start(pool: TransactionWorkers, path: str) -> asyncio.Task[Outcome]:
    return asyncio.ensure_future(pool.run(query(path)))


def done(path: str) -> Outcome:
    return Outcome(Answer(path.encode()))


def answer(peer: Peer, number: int, path: str) -> None:
    peer.send("outcome", number, outcome_to_data(done(path)))


async def idle(pool: TransactionWorkers) -> list[int]:
    """What the workers still have, once all that was sent has been read."""
    while any(worker.jobs for worker in pool.all):  # noqa: ASYNC110
        await asyncio.sleep(0)
    return [number for worker in pool.all for number in worker.skipped]


async def serve(peer: Peer, count: int) -> list[str]:
    """Answers this many runs, and names them."""
    paths = []
    for _ in range(count):
        number, path = await peer.runs()
        answer(peer, number, path)
        paths.append(path)
    return paths


def failure(outcome: Outcome) -> str:
    assert outcome.answer.failure is not None
    return outcome.answer.failure.message


async def test_mutations_and_queries_take_turns_where_both_wait() -> None:
    async with workers(replace(PATIENT, depth=1, workers_max=1)) as (pool, _, peer):
        tasks = [start(pool, "first")]
        tasks += [asyncio.ensure_future(pool.run(mutation(f"mutation {number}"))) for number in range(4)]
        tasks += [start(pool, f"query {number}") for number in range(2)]
        assert await serve(peer, 7) == (
            ["first", "mutation 0", "query 0", "mutation 1", "query 1", "mutation 2", "mutation 3"]
        )
        await asyncio.gather(*tasks)


async def test_functions_take_turns() -> None:
    async with workers(replace(PATIENT, depth=1, workers_max=1)) as (pool, _, peer):
        tasks = [start(pool, path) for path in ("many", "many", "many", "many", "other")]
        assert await serve(peer, 5) == ["many", "many", "other", "many", "many"]
        await asyncio.gather(*tasks)


async def test_a_worker_is_given_several_ahead_and_no_more_than_the_depth() -> None:
    async with workers(replace(PATIENT, depth=2, workers_max=1)) as (pool, _, peer):
        tasks = [start(pool, path) for path in "abc"]
        (first, _), _ = await peer.runs(), await peer.runs()
        assert len(pool.waiting) == 1
        answer(peer, first, "a")
        assert await tasks[0] == done("a")
        assert (await peer.runs())[1] == "c"


async def test_what_waits_behind_a_slow_one_is_given_to_another_in_order() -> None:
    async with workers(QUICK) as (pool, forks, slow):
        tasks = [start(pool, path) for path in "abc"]
        number, _ = await slow.runs()
        other = await forks.next()
        assert await serve(other, 2) == ["b", "c"]
        assert [await task for task in tasks[1:]] == [done("b"), done("c")]
        answer(slow, number, "a")
        assert await tasks[0] == done("a")


async def test_one_that_is_begun_before_the_word_to_skip_it_arrives_is_answered_once() -> None:
    async with workers(QUICK) as (pool, forks, slow):
        first, second = start(pool, "a"), start(pool, "b")
        numbers = [(await slow.runs())[0] for _ in range(2)]
        other = await forks.next()
        number, _ = await other.runs()
        assert number == numbers[1]
        answer(slow, numbers[0], "a")
        answer(slow, numbers[1], "b")
        assert [await first, await second] == [done("a"), done("b")]
        assert await slow.receive() == ("skip", (numbers[1],))
        slow.send("skipped", ())
        answer(other, number, "b")
        assert not await idle(pool)


async def test_one_that_was_to_be_skipped_and_never_ends_is_not_taken_for_the_next() -> None:
    limits = replace(QUICK, transaction_seconds=0.05, grace_seconds=0.0)
    async with workers(limits) as (pool, forks, slow):
        first, second = start(pool, "a"), start(pool, "b")
        numbers = [(await slow.runs())[0] for _ in range(2)]
        other = await forks.next()
        assert await serve(other, 1) == ["b"]
        answer(slow, numbers[0], "a")
        assert [await first, await second] == [done("a"), done("b")]
        # It has begun b before it read that it shall not, and is given c and d: b is what takes its time.
        others = [start(pool, path) for path in ("c", "d")]
        serving = asyncio.create_task(serve(other, 2))
        assert await asyncio.gather(*others) == [done("c"), done("d")]
        serving.cancel()
        while await slow.receive():
            pass


async def test_what_may_take_long_keeps_no_one_waiting_and_is_not_stopped() -> None:
    limits = replace(QUICK, transaction_seconds=0.02, grace_seconds=0.0)
    async with workers(limits) as (pool, forks, slow):
        long = asyncio.ensure_future(pool.run(query("long")._replace(long=True)))
        number, _ = await slow.runs()
        # The same time that ends an ordinary run is not the end of this one.
        stopped = start(pool, "stopped")
        other = await forks.next()
        assert (await other.runs())[1] == "stopped"
        assert (await stopped).answer.failure is not None
        answer(slow, number, "long")
        assert await long == done("long")


@pytest.mark.parametrize("deaths", [1, 2])
async def test_a_function_is_blamed_for_the_second_process_that_dies_under_it(deaths: int) -> None:
    async with workers(PATIENT) as (pool, forks, first_peer):
        peer = first_peer
        first, second = start(pool, "a"), start(pool, "b")
        for _ in range(deaths):
            assert (await peer.runs())[1] == "a"
            peer.end()
            peer = await forks.next()
        if deaths == 1:
            assert await serve(peer, 2) == ["a", "b"]
            assert await first == done("a")
        else:
            assert await serve(peer, 1) == ["b"]
            assert "WorkerDied: a ended the process it ran in" in failure(await first)
        assert await second == done("b")


async def test_a_process_that_leaves_is_replaced_and_blames_nobody() -> None:
    async with workers(PATIENT) as (pool, forks, first_peer):
        peer = first_peer
        tasks = [start(pool, path) for path in "abcd"]
        for _ in range(2):
            number, path = await peer.runs()
            peer.send("leaving")
            answer(peer, number, path)
            peer.end()
            peer = await forks.next()
        assert await serve(peer, 2) == ["c", "d"]
        assert await asyncio.gather(*tasks) == [done(path) for path in "abcd"]


def mutation(path: str) -> Run:
    return query(path)._replace(kind="mutation")


async def places(peer: Peer, count: int) -> list[tuple[int, int, tuple[int, ...]]]:
    """Of the mutations that come next: their numbers, those in line, and which of the line they are told to forget."""
    found: list[tuple[int, int, tuple[int, ...]]] = []
    while len(found) < count:
        match await peer.receive():
            case ("mutate", number, _, place, _, _, revoked):
                found.append((number, place, revoked))
            case ("run", *_):
                raise AssertionError("not in line")
    return found


CHANGES = (Change(b"key", None, b"{}"),)


async def test_mutations_run_in_line_in_one_worker_and_others_where_there_is_room() -> None:
    async with workers(replace(PATIENT, depth=2)) as (pool, _, peer):
        outcomes = [pool.run(mutation(path)) for path in "abc"]
        found = await places(peer, 2)
        assert [place for _, place, _ in found] == [1, 2]
        assert len(pool.waiting_in_line) == 1  # it waits for its lead, though another process would be made for it
        for number, _, _ in found:
            answer(peer, number, "x")
        answer(peer, (await places(peer, 1))[0][0], "x")
        got = [(await outcome).place for outcome in outcomes]
        assert [place and place.number for place in got] == [1, 2, 3]
        assert len({place and id(place.line) for place in got}) == 1


async def test_what_nobody_waits_for_any_more_is_taken_back_in_its_line() -> None:
    async with workers(PATIENT) as (pool, _, peer):
        given_up, kept = pool.run(mutation("a")), pool.run(mutation("b"))
        (first, place, _), (second, _, _) = await places(peer, 2)
        given_up.cancel()
        peer.send("outcome", first, outcome_to_data(done("a")._replace(changes=CHANGES)))
        answer(peer, second, "b")
        await kept
        following = pool.run(mutation("c"))
        [(number, _, revoked)] = await places(peer, 1)
        assert revoked == (place,)
        answer(peer, number, "c")
        await following


@pytest.mark.parametrize("fails", [False, True])
async def test_a_mutation_whose_process_leaves_is_judged_by_what_it_saw_unless_it_was_cut_off(fails: bool) -> None:
    async with workers(PATIENT) as (pool, _, peer):
        running = pool.run(mutation("a"))
        [(number, _, _)] = await places(peer, 1)
        answered = Answer(failure=Failure("too long")) if fails else Answer(b"null")
        peer.send("leaving")
        peer.send("outcome", number, outcome_to_data(Outcome(answered, (), () if fails else CHANGES)))
        assert ((await running).place is None) == fails


async def test_one_that_holds_out_is_stopped_and_those_behind_run_elsewhere() -> None:
    limits = RunLimits(slow_seconds=0.01, transaction_seconds=0.02, grace_seconds=0.02)
    async with workers(limits) as (pool, forks, peer):
        stubborn, behind = start(pool, "a"), start(pool, "b")
        assert await serve(await forks.next(), 1) == ["b"]
        assert await behind == done("b")
        assert "TimeLimitExceeded: a ran for more than 0.02 s" in failure(await stubborn)
        while await peer.receive():
            pass


async def test_time_in_which_this_process_stood_still_counts_against_nobody() -> None:
    async with workers(RunLimits(slow_seconds=0.01, transaction_seconds=60)) as (pool, _, peer):
        task = start(pool, "a")
        number, _ = await peer.runs()
        assert pool._watch is not None
        pool._watch.cancel()
        pool.all[0].since -= 100
        pool._look(pool._loop.time() - 100)
        answer(peer, number, "a")
        assert await task == done("a")


async def test_a_store_that_cannot_be_read_is_not_the_functions_failure() -> None:
    async with workers(PATIENT) as (pool, _, peer):
        task = start(pool, "a")
        number, _ = await peer.runs()
        peer.send("unreadable", number, "the disk is gone", "failed")
        with pytest.raises(StorageError, match="the disk is gone"):
            await task


async def test_whoever_stops_waiting_is_passed_over() -> None:
    async with workers(replace(PATIENT, depth=1, workers_max=1)) as (pool, _, peer):
        tasks = [start(pool, path) for path in "abc"]
        number, _ = await peer.runs()
        tasks[1].cancel()
        tasks[0].cancel()
        await asyncio.wait(tasks[:2])
        answer(peer, number, "a")
        assert await serve(peer, 1) == ["c"]
        assert await tasks[2] == done("c")


async def end_early(forks: Forks, count: int) -> None:
    """Has so many processes end before they are ready, one after the other."""
    for _ in range(count):
        (await forks.next()).end()


async def test_processes_that_do_not_start_fail_what_waits_and_are_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    forks = Forks(ready=False)
    pool = TransactionWorkers(forks, PATIENT)
    for reason, text in (("unable", "no such database"), ("", "ended before it was ready")):
        task = start(pool, "a")
        if reason:
            (await forks.next()).send(reason, text)
        else:
            await end_early(forks, STARTS_MAX)
        with pytest.raises(Overloaded, match=text):
            await task
        assert text in caplog.text
    task = start(pool, "a")
    await end_early(forks, STARTS_MAX - 1)  # some that are killed as they start cost nobody an answer
    peer = await forks.next()
    peer.send("ready")
    assert await serve(peer, 1) == ["a"]
    assert await task == done("a")
    await pool.close()
    await forks.close()


async def test_closing_fails_what_waits_what_runs_and_what_comes() -> None:
    async with workers(replace(PATIENT, depth=1, workers_max=1)) as (pool, _, peer):
        tasks = [start(pool, path) for path in "ab"]
        await peer.runs()
        await pool.close()
        for task in (*tasks, start(pool, "c")):
            with pytest.raises(Overloaded, match="closing"):
                await task
        assert await peer.receive() == ()
