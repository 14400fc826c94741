"""That no action is started twice, with processes that say what the test has them say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.runtime.scripted import Forks, action
from yugen.functions.info import RunKind
from yugen.runtime.action_workers import ActionWorkers
from yugen.runtime.channel import answer_from_data, answer_to_data
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer
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


async def test_too_many_are_refused() -> None:
    async with workers(RunLimits(slow_seconds=60, actions_max=1)) as (pool, forks):
        task = start(pool, "a")
        await forks.next()
        with pytest.raises(Overloaded, match="1 actions run already"):
            await pool.run(action("b"), called)
        task.cancel()


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
