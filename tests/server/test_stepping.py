from __future__ import annotations

import asyncio

import pytest

from yugen.server.stepping import Done, step


async def at_once(result: str) -> str:
    return result


async def failing() -> None:
    raise KeyError("told")


def test_what_does_not_wait_is_done() -> None:
    assert step(at_once("a")) == Done("a")
    with pytest.raises(KeyError, match="told"):
        step(failing())


async def test_what_waits_goes_on_where_it_is_awaited() -> None:
    gate = asyncio.Event()
    steps = []

    async def waiting(result: str) -> str:
        steps.append("begun")
        await gate.wait()
        steps.append("went on")
        await asyncio.sleep(0)
        return result

    rest = step(waiting("a"))
    assert not isinstance(rest, Done)
    assert steps == ["begun"]
    gate.set()
    await asyncio.sleep(0)
    assert steps == ["begun"]
    assert await rest == "a"


async def test_what_waits_may_fail_and_be_cancelled() -> None:
    ended = asyncio.Event()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("told")

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    rest = step(fails())
    assert not isinstance(rest, Done)
    with pytest.raises(KeyError, match="told"):
        await rest
    rest = step(never())
    assert not isinstance(rest, Done)
    task = asyncio.ensure_future(rest)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_what_waits_and_is_given_up_ends() -> None:
    ended = asyncio.Event()

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    rest = step(never())
    assert not ended.is_set()
    del rest
    assert ended.is_set()
