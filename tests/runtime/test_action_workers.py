"""That no action is started twice, with processes that say what the test has them say."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.runtime.scripted import Forks, Peer, action
from tests.server.peers import LoopTime
from yugen.functions.info import RunKind
from yugen.runtime.action_workers import ActionWorkers
from yugen.runtime.channel import answer_from_data, answer_to_data
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer, Failure
from yugen.runtime.runner import Overloaded

PATIENT = RunLimits(slow_seconds=60)
QUICK = RunLimits(slow_seconds=0.005)
DONE = Answer(b"1.0")


async def called(kind: RunKind, path: str, args: bytes) -> Answer:
    return Answer(path.encode())


@asynccontextmanager
async def workers(limits: RunLimits) -> AsyncIterator[tuple[ActionWorkers, Forks]]:
    forks = Forks()
    pool = ActionWorkers(forks, limits)
    try:
        yield pool, forks
    finally:
        await pool.close()
        await forks.close()


def start(pool: ActionWorkers, path: str) -> asyncio.Task[Answer]:
    return asyncio.create_task(pool.run(action(path), called))


async def test_an_action_starts_at_the_servers_word_and_its_calls_are_answered() -> None:
    async with workers(PATIENT) as (pool, forks):
        task = start(pool, "a")
        peer = await forks.next()
        number, path = await peer.runs()
        assert path == "a"
        peer.send("free", number)
        assert await peer.receive() == ("start", number)
        peer.send("call", 7, number, "query", "b", b"{}")
        what, call, answer = await peer.receive()
        assert (what, call, answer_from_data(answer)) == ("answer", 7, Answer(b"b"))
        peer.send("acted", number, answer_to_data(DONE))
        assert await task == DONE
        assert not pool.jobs


async def test_what_a_blocked_process_has_not_started_is_started_by_another_only() -> None:
    async with workers(QUICK) as (pool, forks):
        task = start(pool, "a")
        blocked = await forks.next()
        number, _ = await blocked.runs()
        other = await forks.next()
        assert await other.runs() == (number, "a")
        blocked.send("free", number)
        assert await blocked.receive() == ("withdraw", number)
        other.send("free", number)
        assert await other.receive() == ("start", number)
        other.send("acted", number, answer_to_data(DONE))
        assert await task == DONE


async def test_what_a_dead_process_had_started_is_lost_and_the_rest_starts_elsewhere() -> None:
    async with workers(PATIENT) as (pool, forks):
        started, offered = start(pool, "a"), start(pool, "b")
        peer = await forks.next()
        number, _ = await peer.runs()
        peer.send("free", number)
        while (await peer.receive())[0] != "start":
            pass
        peer.end()
        lost = await started
        assert lost.failure is not None
        assert "ActionLost: a was stopped with the process it ran in" in lost.failure.message
        other = await forks.next()
        number, path = await other.runs()
        assert path == "b"
        other.send("free", number)
        other.send("acted", number, answer_to_data(DONE))
        assert await offered == DONE


async def test_an_action_goes_on_when_its_caller_leaves() -> None:
    async with workers(PATIENT) as (pool, forks):
        task = start(pool, "a")
        peer = await forks.next()
        number, _ = await peer.runs()
        task.cancel()
        await asyncio.wait([task])
        peer.send("free", number)
        assert await peer.receive() == ("start", number)
        assert number in pool.jobs


async def test_an_error_of_the_server_is_the_failure_of_the_call() -> None:
    async def fails(kind: RunKind, path: str, args: bytes) -> Answer:
        raise Overloaded("too much")

    async with workers(PATIENT) as (pool, forks):
        task = asyncio.create_task(pool.run(action("a"), fails))
        peer = await forks.next()
        number, _ = await peer.runs()
        peer.send("free", number)
        assert await peer.receive() == ("start", number)
        peer.send("call", 1, number, "query", "b", b"{}")
        failure = answer_from_data((await peer.receive())[2]).failure
        assert failure is not None
        assert failure.message.endswith("Uncaught Overloaded: too much")
        task.cancel()


async def begin(peer: Peer, path: str) -> int:
    """Has a process begin the action that it is given next."""
    number, given = await peer.runs()
    assert given == path
    peer.send("free", number)
    assert await peer.receive() == ("start", number)
    return number


async def test_those_beyond_the_limit_wait_for_one_to_end_and_too_many_are_refused() -> None:
    async with workers(RunLimits(slow_seconds=60, actions_max=1, actions_waiting_max=2)) as (pool, forks):
        first, second, third = (start(pool, path) for path in "abc")
        peer = await forks.next()
        number = await begin(peer, "a")
        with pytest.raises(Overloaded, match="1 actions run and 2 wait for their turn; try again"):
            await pool.run(action("d"), called)
        peer.send("acted", number, answer_to_data(DONE))
        assert await first == DONE
        number = await begin(peer, "b")
        fourth = start(pool, "d")
        peer.send("acted", number, answer_to_data(DONE))
        assert await second == DONE
        for path, task in (("c", third), ("d", fourth)):
            peer.send("acted", await begin(peer, path), answer_to_data(DONE))
            assert await task == DONE


async def test_an_action_that_waits_for_its_own_lends_them_its_place() -> None:
    async with workers(RunLimits(slow_seconds=60, actions_max=1)) as (pool, forks):

        async def calls(kind: RunKind, path: str, args: bytes) -> Answer:
            return await pool.run(action(path), called)

        outer = asyncio.create_task(pool.run(action("outer"), calls))
        peer = await forks.next()
        number = await begin(peer, "outer")
        other = start(pool, "other")
        peer.send("call", 1, number, "action", "inner", b"{}")
        # Its turn comes as that of any other.
        elsewhere = await begin(peer, "other")
        peer.send("acted", elsewhere, answer_to_data(DONE))
        assert await other == DONE
        inner = await begin(peer, "inner")
        waiting = start(pool, "waiting")
        peer.send("acted", inner, answer_to_data(DONE))
        said = await peer.receive()
        if said[0] == "act":  # the place was free for a moment
            said = await peer.receive()
        assert said[:2] == ("answer", 1)
        peer.send("acted", number, answer_to_data(DONE))
        assert await outer == DONE
        waiting.cancel()


async def test_one_that_holds_out_is_given_up_alone() -> None:
    limits = RunLimits(slow_seconds=0.01, action_seconds=0.05, cleanup_seconds=0.01)
    async with workers(limits) as (pool, forks):
        stubborn = start(pool, "stubborn")
        peer = await forks.next()
        held = await begin(peer, "stubborn")
        # The limit of the other does not come: its time stands still.
        good = start(pool, "good")
        number = await begin(peer, "good")
        pool.jobs[number].since = math.inf
        answer = await stubborn
        assert answer.failure is not None
        assert "TimeLimitExceeded: stubborn ran for more than 0.05 s" in answer.failure.message
        assert "raise the limit `action_seconds`" in answer.failure.message
        # New ones have another process; what still runs in this one comes to its end, and so does the process then.
        later = start(pool, "later")
        other = await forks.next()
        elsewhere = await begin(other, "later")
        peer.send("acted", held, answer_to_data(DONE))
        peer.send("acted", number, answer_to_data(DONE))
        assert await good == DONE
        assert await peer.receive() == ()
        other.send("acted", elsewhere, answer_to_data(DONE))
        assert await later == DONE


async def test_draining_waits_for_those_that_run_and_cancels_those_that_do_not_end() -> None:
    limits = RunLimits(slow_seconds=6000, shutdown_seconds=600, cleanup_seconds=600, actions_max=2)
    time = LoopTime()
    async with workers(limits) as (pool, forks):
        await pool.drain()  # at once
        quick, slow, waiting = (start(pool, path) for path in ("quick", "slow", "waiting"))
        peer = await forks.next()
        first, second = await begin_both(peer)
        draining = asyncio.create_task(pool.drain())
        peer.send("acted", first, answer_to_data(DONE))
        assert await quick == DONE
        # What has waited is begun still, as long as there is time.
        third = await begin(peer, "waiting")
        peer.send("acted", third, answer_to_data(DONE))
        assert await waiting == DONE
        time.forward(601)
        assert await peer.receive() == ("cancel",)
        with pytest.raises(Overloaded, match="closing"):
            await pool.run(action("late"), called)
        peer.send("call", 1, second, "mutation", "cleans up", b"{}")
        what, call, _ = await peer.receive()
        assert (what, call) == ("answer", 1)
        peer.send("acted", second, answer_to_data(Answer(failure=Failure("cancelled"))))
        await draining
        answer = await slow
        assert answer.failure is not None
        assert answer.failure.message == "cancelled"


async def begin_both(peer: Peer) -> tuple[int, int]:
    (first, _), (second, _) = await peer.runs(), await peer.runs()
    peer.send("free", first)
    assert await peer.receive() == ("start", first)
    peer.send("free", second)
    assert await peer.receive() == ("start", second)
    return first, second


async def test_draining_ends_with_those_that_hold_out_and_starts_nothing() -> None:
    limits = RunLimits(slow_seconds=60, shutdown_seconds=0.01, cleanup_seconds=0.01, actions_max=1)
    async with workers(limits) as (pool, forks):
        slow, waiting = start(pool, "slow"), start(pool, "waiting")
        peer = await forks.next()
        await begin(peer, "slow")
        await pool.drain()
        with pytest.raises(Overloaded, match="closing"):
            await waiting
        lost = await slow
        assert lost.failure is not None
        assert "ActionLost: slow was stopped with the process it ran in" in lost.failure.message


async def test_closing_fails_what_has_not_started_and_loses_what_has() -> None:
    async with workers(PATIENT) as (pool, forks):
        started, offered = start(pool, "a"), start(pool, "b")
        peer = await forks.next()
        number, _ = await peer.runs()
        peer.send("free", number)
        while (await peer.receive())[0] != "start":
            pass
        await pool.close()
        lost = await started
        assert lost.failure is not None
        assert "ActionLost" in lost.failure.message
        for task in (offered, start(pool, "c")):
            with pytest.raises(Overloaded, match="closing"):
                await task
