"""Calls between nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from yugen.runtime.own import CallRefused
from yugen.runtime.runner import Overloaded
from yugen.server.exchange import Exchange, Handler
from yugen.storage.interface import StorageError


@asynccontextmanager
async def exchange(**handlers: Handler) -> AsyncIterator[tuple[Exchange, Exchange]]:
    """One that answers as node 0, and one that asks as node 1."""
    with TemporaryDirectory() as folder:
        answering, asking = Exchange(Path(folder), 0), Exchange(Path(folder), 1)
        await answering.open(handlers)
        try:
            yield answering, asking
        finally:
            await answering.close()
            await asking.close()


async def test_a_call_gives_what_the_other_node_gives() -> None:
    async def join(parts: list[bytes], by: bytes) -> bytes:
        return by.join(parts)

    async with exchange(join=join) as (_, asking):
        parts = [b"a" * 1_000_000, b"\0"] * 3
        assert await asking.call(0, "join", parts, b", ") == b", ".join(parts)


@pytest.mark.parametrize(
    "error", [CallRefused("NoSuchThing", "no"), StorageError("the disk is full"), Overloaded("too much")]
)
async def test_errors_that_callers_know_come_through(error: Exception) -> None:
    async def fail() -> None:
        raise error

    async with exchange(fail=fail) as (_, asking):
        with pytest.raises(type(error), match=str(error)) as raised:
            await asking.call(0, "fail")
        assert getattr(raised.value, "code", None) == getattr(error, "code", None)


async def test_a_fault_is_logged_where_it_is_one(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async with exchange(fail=fail) as (_, asking):
        with pytest.raises(Overloaded, match="try again"):
            await asking.call(0, "fail")
    assert "call of fail failed" in caplog.text


async def test_a_node_that_is_not_there_is_one_to_ask_again_later() -> None:
    async with exchange() as (answering, asking):
        with pytest.raises(Overloaded, match="try again"):
            await asking.call(7, "join")
        await answering.close()
        with pytest.raises(Overloaded, match="try again"):
            await asking.call(0, "join")


async def test_who_stops_waiting_stops_the_work() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    async with exchange(work=work) as (_, asking):
        call = asyncio.create_task(asking.call(0, "work"))
        await begun.wait()
        call.cancel()
        await ended.wait()


async def test_a_connection_that_asks_nothing_is_answered_nothing() -> None:
    async with exchange() as (answering, _):
        reader, writer = await asyncio.open_unix_connection(answering._folder / "0")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
