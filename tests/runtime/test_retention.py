"""What is forgotten, when, and by which clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.apps import write_app
from tests.engine import change, encoded, engine, new_store, value_of
from yugen.runtime import retention
from yugen.runtime.mutations import Request
from yugen.runtime.retention import LOG_SECONDS_MIN, Retention
from yugen.runtime.runtime import Runtime, TimestampOutOfReach
from yugen.storage.interface import Logged, StorageError
from yugen.storage.memory import MemoryStore

APP = """
    from yugen import MutationCtx, QueryCtx, mutation, query


    @mutation
    async def add(ctx: MutationCtx, text: str) -> None:
        await ctx.db.insert("notes", {"text": text})


    @query
    async def texts(ctx: QueryCtx) -> list[str]:
        return [note["text"] async for note in ctx.db.query("notes")]
"""
HOUR = 3600.0


class Clocks:
    """One that somebody may set, and the event loop's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set_to = 1_900_000_000.0
        self.passed = 0.0
        loop = asyncio.get_running_loop()
        began = loop.time()
        monkeypatch.setattr(loop, "time", lambda: began + self.passed)

    def __call__(self) -> int:
        return int(self.set_to * 1e9)

    def pass_(self, seconds: float) -> None:
        self.passed += seconds
        self.set_to += seconds


@pytest_asyncio.fixture
async def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path, clocks: Clocks) -> AsyncIterator[Runtime]:
    store = new_store(request.param, tmp_path)
    async with engine(store, write_app(tmp_path, f=APP), clock=clocks) as runtime:
        yield runtime


async def texts_at(runtime: Runtime, ts: int) -> list[str]:
    texts: list[str] = value_of(await runtime.query_at("f:texts", encoded(), None, ts, any_age=True))
    return texts


async def test_the_log_is_kept_for_as_long_as_it_is_to_be(runtime: Runtime, clocks: Clocks) -> None:
    keeping = Retention(runtime, 2.5 * HOUR)
    moments = []
    for hour in range(5):
        await keeping.trim()
        await change(runtime, "f:add", text=str(hour))
        moments.append(runtime.ts)
        clocks.pass_(HOUR)
    await keeping.trim()
    for hour in (3, 4):
        assert await texts_at(runtime, moments[hour]) == [str(each) for each in range(hour + 1)]
    with pytest.raises(TimestampOutOfReach, match="older than the log, which is kept for a time"):
        await texts_at(runtime, moments[0])
    measured = keeping.measure()
    assert measured["yugen_log_changes"] == 2
    assert measured["yugen_log_seconds"] == pytest.approx(HOUR, abs=60)


async def test_what_was_just_there_is_kept_whatever_the_clock_says(runtime: Runtime, clocks: Clocks) -> None:
    keeping = Retention(runtime, HOUR)
    await keeping.trim()
    await change(runtime, "f:add", text="before")
    before = runtime.ts
    await change(runtime, "f:add", text="then")
    clocks.set_to += 365 * 24 * HOUR
    await change(runtime, "f:add", text="after")
    await keeping.trim()
    clocks.pass_(LOG_SECONDS_MIN - 1)
    await keeping.trim()
    assert await texts_at(runtime, before) == ["before"]
    clocks.pass_(2)
    await keeping.trim()
    with pytest.raises(TimestampOutOfReach):
        await texts_at(runtime, before)
    assert await texts_at(runtime, runtime.ts) == ["before", "then", "after"]


async def test_a_clock_that_goes_back_keeps_more(runtime: Runtime, clocks: Clocks) -> None:
    keeping = Retention(runtime, HOUR)
    await keeping.trim()
    await change(runtime, "f:add", text="then")
    then = runtime.ts
    await change(runtime, "f:add", text="now")
    clocks.pass_(2 * HOUR)
    clocks.set_to -= 3 * HOUR
    await keeping.trim()
    assert await texts_at(runtime, then) == ["then"]


async def test_a_server_that_has_just_begun_trims_nothing_for_a_minute(runtime: Runtime, clocks: Clocks) -> None:
    await change(runtime, "f:add", text="of the one before")
    then = runtime.ts
    await change(runtime, "f:add", text="x")
    clocks.pass_(2 * HOUR)
    keeping = Retention(runtime, HOUR)
    await keeping.trim()
    assert await texts_at(runtime, then) == ["of the one before"]
    clocks.pass_(LOG_SECONDS_MIN)
    await keeping.trim()
    with pytest.raises(TimestampOutOfReach):
        await texts_at(runtime, then)


async def test_what_was_just_carried_out_is_remembered_whatever_the_clock_says(
    runtime: Runtime, clocks: Clocks
) -> None:
    keeping = Retention(runtime)
    await keeping.trim()
    request = Request("a session", 0)

    async def send() -> int:
        await runtime.mutate("f:add", encoded(text="once"), request=request)
        return len(await texts_at(runtime, runtime.ts))

    assert await send() == 1
    clocks.set_to += 365 * 24 * HOUR
    await keeping.sweep()
    assert await send() == 1
    clocks.pass_(LOG_SECONDS_MIN)
    await keeping.sweep()
    assert await send() == 2


async def test_it_goes_on_by_itself_and_after_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("LOOK_SECONDS", "LOG_SECONDS_MIN", "SWEEP_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(retention, name, 0)
    trims, sweeps = list[int](), list[int]()
    enough = asyncio.Event()

    def note(asked: list[int], through: int) -> None:
        asked.append(through)
        if len(trims) > 3 and len(sweeps) > 3:
            enough.set()
        if len(asked) == 1:
            raise StorageError("there is no space left", full=True)  # which ends nothing

    class Forgetting(MemoryStore):
        async def forget_requests(self, through: int) -> None:
            note(sweeps, through)

        async def trim(self, through: int) -> Logged:
            note(trims, through)
            return Logged(0, 0, 0)

    now = 1_900_000_000 * 10**9
    async with engine(Forgetting(), write_app(tmp_path, f=APP), clock=lambda: now) as runtime:
        await change(runtime, "f:add", text="x")
        keeping = Retention(runtime)
        keeping.serve()
        async with asyncio.timeout(60):
            await enough.wait()
        await keeping.close()
    assert trims[-1] == pytest.approx(now - HOUR * 10**9, abs=10**9)
    assert sweeps[-1] == pytest.approx(now - 14 * 86_400 * 10**9, abs=10**9)
    assert "the log is not trimmed yet: there is no space left" in caplog.text
    assert "old requests are not forgotten yet" in caplog.text
