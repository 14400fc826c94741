"""Coroutines of one transaction take turns, and cannot wait for anything else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import Context, ContextVar
from types import FrameType
from typing import Any

import pytest

from yugen.runtime.turns import TransactionLoop


class Refused(Exception):
    pass


def refuse(frames: Iterator[FrameType]) -> Refused:
    return Refused([frame.f_code.co_name for frame in frames if frame.f_code.co_filename == __file__])


def run(coroutine: Any) -> Any:
    return TransactionLoop(refuse).run(coroutine)


async def value(number: int) -> int:
    return number


async def turn(log: list[str], name: str) -> str:
    future = asyncio.get_running_loop().create_future()
    log.append(f"{name} begins")
    asyncio.get_running_loop().call_soon(future.set_result, None)
    await future
    log.append(f"{name} ends")
    return name


def test_a_coroutine_runs_to_its_result_or_its_error() -> None:
    assert run(value(3)) == 3

    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run(fails())


def test_gather_and_task_groups_run_side_by_side() -> None:
    log: list[str] = []

    async def gathers() -> list[str]:
        return list(await asyncio.gather(turn(log, "a"), turn(log, "b")))

    assert run(gathers()) == ["a", "b"]
    assert log == ["a begins", "b begins", "a ends", "b ends"]

    async def groups() -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(turn(log, name)) for name in "cd"]
        return [task.result() for task in tasks]

    assert run(groups()) == ["c", "d"]


def test_one_that_fails_fails_those_who_wait_for_it() -> None:
    async def fails() -> None:
        raise ValueError("no")

    async def gathers() -> Any:
        return await asyncio.gather(fails(), value(1), return_exceptions=True)

    error, one = run(gathers())
    assert (str(error), one) == ("no", 1)

    async def groups() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(turn([], "a"))

    with pytest.raises(ExceptionGroup) as caught:
        run(groups())
    assert [str(each) for each in caught.value.exceptions] == ["no"]


def test_locks_and_events_between_them_work() -> None:
    async def meets() -> list[str]:
        log: list[str] = []
        lock, event = asyncio.Lock(), asyncio.Event()

        async def one() -> None:
            async with lock:
                await turn(log, "one")
            event.set()

        async def two() -> None:
            await event.wait()
            async with lock:
                await turn(log, "two")

        await asyncio.gather(two(), one())
        return log

    assert run(meets()) == ["one begins", "one ends", "two begins", "two ends"]


async def sleeps() -> None:
    await asyncio.sleep(1)


async def yields() -> None:
    await asyncio.sleep(0)


async def waits() -> None:
    await asyncio.Event().wait()


async def gathers_waits() -> None:
    await asyncio.gather(value(1), waits())


async def asks_the_loop() -> None:
    asyncio.get_running_loop().time()


async def threads() -> None:
    await asyncio.to_thread(int)


@pytest.mark.parametrize(
    ("function", "place"),
    [
        (sleeps, "sleeps"),
        (yields, "yields"),
        (waits, "waits"),
        (gathers_waits, "waits"),
        (asks_the_loop, "asks_the_loop"),
        (threads, "threads"),
    ],
)
def test_anything_else_is_refused_where_it_is_awaited(function: Any, place: str) -> None:
    with pytest.raises(Refused) as caught:
        run(function())
    assert caught.value.args[0][0] == place


async def test_a_future_of_another_loop_is_refused_at_once() -> None:
    outer = asyncio.get_running_loop().create_future()

    async def waits_for_it() -> None:
        await outer

    def inside() -> None:
        with pytest.raises(Refused):
            run(waits_for_it())

    await asyncio.get_running_loop().run_in_executor(None, inside)


def test_a_refusal_can_be_caught() -> None:
    async def tries() -> str:
        try:
            await asyncio.sleep(0)
        except Refused:
            return "caught"
        return "slept"

    assert run(tries()) == "caught"


def test_tasks_that_nobody_waits_for_run_too(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []

    async def fails() -> None:
        raise ValueError("no")

    async def forgets() -> None:
        for task in (turn(log, "late"), fails()):
            asyncio.get_running_loop().create_task(task)  # type: ignore[unused-awaitable]

    run(forgets())
    assert log == ["late begins", "late ends"]
    assert "Task exception was never retrieved" in caplog.text


def test_each_turn_of_a_task_is_in_the_same_context() -> None:
    variable: ContextVar[int] = ContextVar("variable")

    async def sets() -> int:
        token = variable.set(1)
        await turn([], "a")
        found = variable.get()
        variable.reset(token)
        return found

    assert Context().run(run, sets()) == 1  # also where nothing was set before
