"""What is scheduled, in the engine, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from json import loads
from operator import itemgetter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from reliability.simulation.loop import SimulatedLoop
from tests.apps import write_app
from tests.engine import encoded, engine, value_of
from yugen.errors import FunctionFailed, YugenError
from yugen.functions.crons import Interval
from yugen.functions.scheduling import ARGUMENTS_SIZE_MAX
from yugen.runtime import scheduler
from yugen.runtime.causes import Why
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer, Failure, Outcome
from yugen.runtime.own import change
from yugen.runtime.run import Run
from yugen.runtime.scheduler import Endless, Scheduler, _error_of, _Job, _Lane
from yugen.storage.memory import MemoryStore
from yugen.testing import TestApp

APP = """
    from datetime import datetime, timedelta
    from typing import Any

    from yugen import ActionCtx, Count, Document, Id, MutationCtx, QueryCtx, YugenError, action, mutation, query


    class Entry(Document, table="entries"):
        text: str
        at: float

        counted = Count()


    @query
    async def texts(ctx: QueryCtx) -> list[str]:
        return [entry.text for entry in await ctx.db.query(Entry).collect()]


    @query
    async def count(ctx: QueryCtx) -> int:
        return await ctx.db.query(Entry).with_index(Entry.counted).count()


    @query
    async def times(ctx: QueryCtx) -> list[float]:
        return [entry.at for entry in await ctx.db.query(Entry).collect()]


    @mutation
    async def add(ctx: MutationCtx, text: str) -> str:
        return await ctx.db.insert(Entry(text=text, at=ctx.now))


    @mutation
    async def fail(ctx: MutationCtx) -> None:
        await ctx.db.insert(Entry(text="never", at=0))
        raise YugenError("no")


    @action
    async def post(ctx: ActionCtx, text: str) -> None:
        await ctx.run_mutation(add, text=text)
        if text == "bad":
            raise YugenError("bad post")


    @mutation
    async def later(ctx: MutationCtx, seconds: float, args: dict[str, Any], what: str = "entries:add") -> str:
        return await ctx.scheduler.run_after(seconds, what, **args)


    @mutation
    async def typed(ctx: MutationCtx) -> str:
        first = await ctx.scheduler.run_after(timedelta(minutes=1), add, "typed")
        await ctx.scheduler.run_at(ctx.now + 5000, add, text="at")
        return first


    @action
    async def later_by_action(ctx: ActionCtx, seconds: float) -> str:
        return await ctx.scheduler.run_after(seconds, add, text="by action")


    @mutation
    async def cancel(ctx: MutationCtx, id: str) -> None:
        await ctx.scheduler.cancel(id)


    @mutation
    async def cancel_all(ctx: MutationCtx) -> None:
        async for row in ctx.db.system.query("_scheduled_functions"):
            await ctx.scheduler.cancel(row["_id"])
        await ctx.db.insert(Entry(text="all", at=ctx.now))


    class NotPending(Exception):
        pass


    ERRORS = {
        "not pending": NotPending("x"),
        "long": ValueError("x" * 2_000_000),
        "data": YugenError({"text": "x" * 2_000_000}),
    }


    @mutation
    async def raise_(ctx: MutationCtx, what: str) -> None:
        raise ERRORS[what]


    @action
    async def raise_outside(ctx: ActionCtx, what: str) -> None:
        raise ERRORS[what]


    @mutation
    async def again(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(0, "entries:again")


    @mutation
    async def many(ctx: MutationCtx, count: int) -> None:
        for number in range(count):
            await ctx.scheduler.run_after(0, add, text=str(number))


    @mutation
    async def undone(ctx: MutationCtx) -> None:
        await ctx.scheduler.run_after(0, add, text="undone")
        raise YugenError("undone")
"""


@pytest.fixture
async def t(tmp_path: Path) -> AsyncIterator[TestApp]:
    async with TestApp(write_app(tmp_path, entries=APP)) as made:
        yield made


async def rows(t: TestApp) -> dict[str, dict[str, Any]]:
    """What is scheduled, by id."""
    options = {"num_items": 2000, "cursor": None}
    page = await t.query("_system/cli/tableData:default", table="_scheduled_functions", opts=options)
    return {each["_id"]: each for each in page.page}


async def row(t: TestApp, job: str) -> dict[str, Any]:
    return (await rows(t))[job]


async def test_it_runs_when_its_time_has_come(t: TestApp) -> None:
    job = await t.mutation("entries:later", seconds=60, args={"text": "later"})
    state = await row(t, job)
    assert state["name"] == "entries:add"
    assert state["args"] == [{"text": "later"}]
    assert state["state"] == {"kind": "pending"}
    scheduled = state["scheduledTime"]
    await t.advance(seconds=59.9)
    assert await t.query("entries:texts") == []
    await t.advance(seconds=0.2)
    assert await t.query("entries:texts") == ["later"]
    [at] = await t.query("entries:times")
    assert scheduled <= at < scheduled + 1
    state = await row(t, job)
    assert state["state"] == {"kind": "success"}
    assert state["completedTime"] == at


async def test_what_is_due_runs_in_order(t: TestApp) -> None:
    for seconds in (30, 10, 20):
        await t.mutation("entries:later", seconds=seconds, args={"text": str(seconds)})
    await t.advance(minutes=1)
    assert await t.query("entries:texts") == ["10", "20", "30"]


async def test_typed_references_and_times(t: TestApp) -> None:
    await t.mutation("entries:typed")
    await t.advance(seconds=6)
    assert await t.query("entries:texts") == ["at"]
    await t.advance(seconds=55)
    assert await t.query("entries:texts") == ["at", "typed"]


async def test_an_action_is_run_and_schedules_at_once(t: TestApp) -> None:
    job = await t.mutation("entries:later", seconds=1, what="entries:post", args={"text": "posted"})
    await t.action("entries:later_by_action", seconds=2)
    await t.advance(seconds=3)
    assert await t.query("entries:texts") == ["posted", "by action"]
    assert (await row(t, job))["state"] == {"kind": "success"}


@pytest.mark.parametrize(
    ("what", "args", "error", "left"),
    [("entries:fail", {}, "YugenError: no", []), ("entries:post", {"text": "bad"}, "YugenError: bad post", ["bad"])],
)
async def test_a_failure_is_kept_with_its_error(
    t: TestApp, what: str, args: dict[str, Any], error: str, left: list[str]
) -> None:
    job = await t.mutation("entries:later", seconds=1, what=what, args=args)
    await t.advance(seconds=2)
    state = (await row(t, job))["state"]
    assert state["kind"] == "failed"
    assert error in state["error"]
    assert await t.query("entries:texts") == left
    await t.advance(days=1)
    assert await t.query("entries:texts") == left


async def test_what_is_cancelled_does_not_run(t: TestApp) -> None:
    job = await t.mutation("entries:later", seconds=60, args={"text": "never"})
    await t.mutation("entries:cancel", id=job)
    await t.advance(minutes=2)
    assert await t.query("entries:texts") == []
    state = await row(t, job)
    assert state["state"] == {"kind": "canceled"}
    await t.mutation("entries:cancel", id=job)
    assert await row(t, job) == state


async def test_what_is_cancelled_when_it_is_about_to_begin_does_not_run(tmp_path: Path) -> None:
    """As when another has it carried out or cancelled after the scheduler has found it due."""
    async with engine(MemoryStore(), write_app(tmp_path, entries=APP)) as runtime:
        job = value_of(
            (await runtime.mutate("entries:later", encoded(seconds=60, args={"text": "never"}), public=False)).answer
        )
        value_of((await runtime.mutate("entries:cancel", encoded(id=job))).answer)
        answer = (await runtime.mutate("entries:add", encoded(text="never"), public=False, job=job)).answer
        assert answer.failure is not None
        assert "NotPending" in answer.failure.message + answer.failure.detail
        assert value_of(await runtime.query("entries:texts", b"{}")) == []


@pytest.mark.parametrize("what", ["entries:raise_", "entries:raise_outside"])
@pytest.mark.parametrize(
    ("error", "kept"),
    [("not pending", "NotPending: x"), ("long", "ValueError: xxx"), ("data", "YugenError: ")],
)
async def test_any_error_can_be_kept(t: TestApp, what: str, error: str, kept: str) -> None:
    job = await t.mutation("entries:later", seconds=1, what=what, args={"what": error})
    await t.advance(seconds=2)
    state = (await row(t, job))["state"]
    assert state["kind"] == "failed"
    assert state["error"].startswith(kept)
    assert len(state["error"]) < 9000


def test_an_error_that_is_no_text_is_made_one() -> None:
    assert _error_of(Answer(failure=Failure("", detail="a\ud800"))) == r"a\ud800"
    assert _error_of(Answer(b"null")) is None


async def test_what_cancels_itself_while_it_runs_has_run(t: TestApp) -> None:
    job = await t.mutation("entries:later", seconds=1, what="entries:cancel_all", args={})
    other = await t.mutation("entries:later", seconds=60, args={"text": "never"})
    await t.advance(minutes=2)
    assert await t.query("entries:texts") == ["all"]
    assert [(await row(t, each))["state"]["kind"] for each in (job, other)] == ["canceled"] * 2


async def test_large_arguments_hold_up_nobody(t: TestApp) -> None:
    text = "x" * (ARGUMENTS_SIZE_MAX - 100)
    for _ in range(40):
        await t.mutation("entries:later", seconds=1, args={"text": text})
    await t.mutation("entries:later", seconds=2, args={"text": "small"})
    await t.advance(seconds=3)
    assert await t.query("entries:count") == 41


async def test_a_run_is_told_apart_by_why_it_ran(tmp_path: Path) -> None:
    whys: dict[str, str] = {}
    folder = write_app(tmp_path, entries=APP, crons=CRONS)
    async with TestApp(folder, now=START) as t:
        ended = t.runtime._ended

        def note(run: Run, outcome: Outcome, seconds: float, why: Why) -> Answer:
            whys[f"{run.path} {run.args.decode()}"] = why.in_words(run.kind, t.runtime.catalog)
            return ended(run, outcome, seconds, why)

        t.runtime._ended = note
        await t.mutation("entries:later", seconds=1, what="entries:post", args={"text": "posted"})
        await t.mutation("entries:later", seconds=1, args={"text": "added"})
        await t.mutation("entries:add", text="called")
        await t.advance(seconds=2)
    assert whys['entries:post {"text":"posted"}'] == "scheduled"
    assert whys['entries:add {"text":"added"}'] == "scheduled"
    assert whys['entries:add {"text":"beat"}'] == "cron beat"
    assert whys['entries:add {"text":"called"}'] == ""


async def test_what_is_undone_schedules_nothing(t: TestApp) -> None:
    with pytest.raises(YugenError):
        await t.mutation("entries:undone")
    await t.advance(days=1)
    assert await t.query("entries:texts") == []


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"seconds": -1, "args": {}}, "cannot run after -1"),
        ({"seconds": float("nan"), "args": {}}, "cannot run after nan"),
        ({"seconds": 1e12, "args": {}}, "5 years"),
        ({"seconds": 1, "what": "entries:texts", "args": {}}, "entries:texts is a query"),
        ({"seconds": 1, "what": "entries:missing", "args": {}}, "Could not find function"),
        ({"seconds": 1, "args": {"text": 5}}, "text"),
        ({"seconds": 1, "args": {"text": "x" * 1_000_000}}, "take 1,000,009 bytes"),
    ],
)
async def test_what_cannot_be_scheduled_is_refused(t: TestApp, args: dict[str, Any], error: str) -> None:
    with pytest.raises(FunctionFailed, match=error):
        await t.mutation("entries:later", **args)


async def test_no_id_of_anything_scheduled(t: TestApp) -> None:
    with pytest.raises(FunctionFailed, match="'nothing' is not an id"):
        await t.mutation("entries:cancel", id="nothing")
    entry = await t.mutation("entries:add", text="x")
    with pytest.raises(FunctionFailed, match="not the id of anything scheduled"):
        await t.mutation("entries:cancel", id=entry)


async def test_a_mutation_schedules_no_more_than_its_limit(t: TestApp) -> None:
    await t.mutation("entries:many", count=1000)
    with pytest.raises(FunctionFailed, match="scheduled more than 1,000"):
        await t.mutation("entries:many", count=1001)
    await t.advance()
    assert await t.query("entries:texts") == [str(number) for number in range(1000)]


async def test_what_has_run_is_kept_for_a_week(t: TestApp) -> None:
    old = await t.mutation("entries:later", seconds=0, args={"text": "old"})
    await t.advance(days=3)
    new = await t.mutation("entries:later", seconds=0, args={"text": "new"})
    await t.mutation("entries:later", seconds=30 * 86_400, args={"text": "to come"})
    await t.advance(days=4, seconds=1)
    assert await t.mutation("_system/scheduler:sweep") == 1
    assert (await row(t, new))["state"] == {"kind": "success"}
    assert old not in await rows(t)
    await t.mutation("entries:cancel", id=old)
    await t.advance(days=30)
    assert await t.query("entries:texts") == ["old", "new", "to come"]


CRONS = """
    from yugen import Crons

    from . import entries

    crons = Crons()
    crons.interval("beat", entries.add, hours=6, args={"text": "beat"})
    crons.daily("morning", entries.add, hour=6, tz="Europe/Paris", args={"text": "morning"})
    crons.interval("bad", "entries:post", hours=24, args={"text": "bad"})
"""
START = datetime(2026, 3, 27, 12, tzinfo=UTC)


async def runs(t: TestApp, name: str) -> list[dict[str, Any]]:
    """The runs of a cron, the newest first."""
    page = await t.query("_system/cli/tableData:default", table="_cron_runs", opts={"num_items": 1000, "cursor": None})
    return [each for each in page.page if each["cron"] == name]


async def hours(t: TestApp, text: str) -> list[int]:
    """The hours, since the start, at which an entry was written."""
    entries = zip(await t.query("entries:texts"), await t.query("entries:times"), strict=True)
    return [round((at / 1000 - START.timestamp()) / 3600) for each, at in entries if each == text]


async def test_crons_run_again_and_again(tmp_path: Path) -> None:
    async with TestApp(write_app(tmp_path, entries=APP, crons=CRONS), now=START) as t:
        await t.advance(days=3, hours=1)
        assert await hours(t, "beat") == list(range(0, 73, 6))
        assert await hours(t, "morning") == [17, 40, 64]  # the clock is put forward on the 29th
        newest, *before = await runs(t, "bad")
        assert newest["state"] == {"kind": "pending"}
        assert [each["state"]["kind"] for each in before] == ["failed"] * 4
        assert await t.mutation("_system/scheduler:sweep") > 0
        assert len(await runs(t, "bad")) == 2


async def test_times_that_pass_while_nothing_runs_are_left_out(tmp_path: Path) -> None:
    async with TestApp(write_app(tmp_path, entries=APP, crons=CRONS), now=START) as t:
        await t.advance()
        t._now_ns += 27 * 3600 * 10**9  # and nobody is there to see
        await t.advance()
        assert await hours(t, "beat") == [0, 27]
        newest, missed, _ = await runs(t, "beat")
        assert round((newest["scheduledTime"] / 1000 - START.timestamp()) / 3600) == 30
        assert missed["skipped"] == 3


async def test_changed_crons_take_effect(tmp_path: Path) -> None:
    folder = write_app(tmp_path, entries=APP, crons=CRONS)
    async with TestApp(folder, now=START) as t:
        await t.advance()
        crons = t._loaded.crons
        changed = replace(crons["beat"], args={"text": "other"}, times=Interval(3600_000.0))
        declared = t._runner._runner.app.crons
        object.__setattr__(t._runner._runner.app, "crons", {"beat": changed, "bad": declared["bad"]})
        await t._scheduler.take_up_crons()
        await t.advance(hours=25, minutes=1)
        assert await hours(t, "other") == list(range(26))
        assert await hours(t, "morning") == []
        assert await hours(t, "beat") == [0]
        assert len(await runs(t, "bad")) == 3


def later_version(earlier: TestApp, folder: Path, **modules: str) -> TestApp:
    """What comes after a server with another version of its app: the same data in a new runtime."""
    later = TestApp(write_app(folder, **modules), now=earlier.now)
    later._store = earlier._store
    later.runtime, later._runner = later._engine(later._loaded)
    return later


OTHER = """
    from yugen import ActionCtx, MutationCtx, QueryCtx, action, mutation, query


    @action
    async def add(ctx: ActionCtx, text: str) -> None:
        pass


    @mutation
    async def post(ctx: MutationCtx, text: str) -> None:
        pass


    @mutation
    async def later(ctx: MutationCtx, minutes: float) -> None:
        pass


    @query
    async def fail(ctx: QueryCtx) -> None:
        pass
"""


async def test_what_another_version_cannot_run_fails_and_says_why(t: TestApp, tmp_path: Path) -> None:
    scheduled = {
        "entries:add": {"text": "x"},
        "entries:post": {"text": "x"},
        "entries:fail": {},
        "entries:later": {"seconds": 1, "args": {}},
        "entries:cancel_all": {},
    }
    jobs = {what: await t.mutation("entries:later", seconds=60, what=what, args=scheduled[what]) for what in scheduled}
    await t.runtime.close()
    async with later_version(t, tmp_path / "later", entries=OTHER) as later:
        await later.advance(minutes=2)
        states = {what: (await row(later, job))["state"] for what, job in jobs.items()}
    assert {state["kind"] for state in states.values()} == {"failed"}
    assert "entries:add is an action; call it" in states["entries:add"]["error"]
    assert "entries:post is a mutation; call it" in states["entries:post"]["error"]
    assert "entries:fail is a query; call it" in states["entries:fail"]["error"]
    assert "`minutes` of entries:later is missing" in states["entries:later"]["error"]
    assert "Could not find function `entries:cancel_all`" in states["entries:cancel_all"]["error"]


async def test_an_action_that_a_server_has_left_counts_as_failed(tmp_path: Path) -> None:
    async with TestApp(write_app(tmp_path, entries=APP, crons=CRONS), now=START) as t:
        job = await t.mutation("entries:later", seconds=0, what="entries:post", args={"text": "left"})
        [pending] = await runs(t, "bad")
        for each in (job, pending["_id"]):
            assert await t.mutation("_system/scheduler:begin", id=each)
            assert not await t.mutation("_system/scheduler:begin", id=each), "it begins once"
        await t._scheduler.close()
        await t.runtime.close()
        async with later_version(t, tmp_path / "later", entries=APP, crons=CRONS) as later:
            await later.advance(seconds=1)
            state = (await row(later, job))["state"]
            assert (state["kind"], "not run again" in state["error"]) == ("failed", True)
            left, newest = sorted(await runs(later, "bad"), key=itemgetter("scheduledTime"))
            assert left["state"]["kind"] == "failed"
            assert newest["state"]["kind"] == "pending"
            assert newest["scheduledTime"] == left["scheduledTime"] + 86_400_000
            assert await hours(later, "bad") == []
            assert await hours(later, "left") == []


async def test_a_cron_whose_function_becomes_an_action_goes_on(tmp_path: Path) -> None:
    async with TestApp(write_app(tmp_path, entries=APP, crons=CRONS), now=START) as t:
        await t.advance()
        await t.runtime.close()
        changed = APP.replace(
            "@mutation\n    async def add(ctx: MutationCtx", "@action\n    async def add(ctx: ActionCtx"
        )
        changed = changed.replace("return await ctx.db.insert(Entry(text=text, at=ctx.now))", "return text")
        async with later_version(t, tmp_path / "later", entries=changed, crons=CRONS) as later:
            await later.advance(hours=13)
            assert [each["state"]["kind"] for each in await runs(later, "beat")] == ["pending", *["success"] * 4]
            assert await hours(later, "beat") == [0]


WINTER = """
    from yugen import Crons

    from . import entries

    crons = Crons()
    crons.daily("daily", entries.add, hour=2, minute=30, tz="Europe/Paris", args={"text": "daily"})
    crons.cron("meals", "0 8,13,19 * * *", entries.add, tz="Europe/Paris", args={"text": "meals"})
    crons.monthly("monthly", entries.add, day=31, args={"text": "monthly"})
    crons.cron("leap", "0 12 29 2 *", entries.add, tz="America/New_York", args={"text": "leap"})
"""


async def test_a_winter_goes_by_with_servers_coming_and_going(tmp_path: Path) -> None:
    """Over both changes of the clock and a leap day: each slot once and none left out, as clocks on walls show them."""
    start, end = datetime(2027, 10, 15, tzinfo=UTC), datetime(2028, 4, 1, tzinfo=UTC)
    t = TestApp(write_app(tmp_path / "0", entries=APP, crons=WINTER), now=start)
    for number in range(1, 6):
        async with t:
            await t.advance((end - start) / 5)
            entries = [
                (text, datetime.fromtimestamp(at / 1000, UTC).replace(microsecond=0))
                for text, at in zip(await t.query("entries:texts"), await t.query("entries:times"), strict=True)
            ]
        t = later_version(t, tmp_path / str(number), entries=APP, crons=WINTER)

    def ran(name: str, tz: str = "UTC") -> list[str]:
        return [f"{at.astimezone(ZoneInfo(tz)):%Y-%m-%d %H:%M}" for text, at in entries if text == name]

    first, last = date(2027, 10, 15), date(2028, 4, 1)
    days = [first + timedelta(days=number) for number in range((last - first).days)]
    assert ran("daily", "Europe/Paris") == [
        f"{day} {'03:00' if day == date(2028, 3, 26) else '02:30'}"  # there is no 2:30 on that day, and two on another
        for day in days
    ]
    assert ran("meals", "Europe/Paris") == [f"{day} {hour}" for day in days for hour in ("08:00", "13:00", "19:00")]
    assert ran("monthly") == [f"{day} 00:00" for day in days if day.day == 31]
    assert ran("leap", "America/New_York") == ["2028-02-29 12:00"]


async def test_a_clock_that_is_set_has_nothing_run_twice_or_never(t: TestApp) -> None:
    await t.mutation("entries:later", seconds=10, args={"text": "a"})
    t._now_ns -= 3600 * 10**9
    await t.mutation("entries:later", seconds=20, args={"text": "b"})
    await t.advance(hours=1, seconds=11)
    assert await t.query("entries:texts") == ["a"]
    t._now_ns += 3600 * 10**9
    await t.advance()
    assert await t.query("entries:texts") == ["a", "b"]
    t._now_ns -= 2 * 3600 * 10**9
    await t.advance(hours=5)
    assert await t.query("entries:texts") == ["a", "b"]


def test_what_a_clock_that_was_set_back_does_not_come_to_is_not_looked_at_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    start_due = _Lane.start_due

    async def looked(lane: _Lane) -> float | None:
        nonlocal looks
        looks += lane.kind == "mutation"
        assert looks < 100
        return await start_due(lane)

    monkeypatch.setattr(_Lane, "start_due", looked)
    stands = 1_900_000_000 * 10**9
    now = stands

    async def serve() -> None:
        nonlocal now
        async with engine(MemoryStore(), write_app(tmp_path, entries=APP), clock=lambda: now) as runtime:
            await change(runtime, "entries:later", seconds=1e-5, args={"text": "soon"})
            now -= 3600 * 10**9
            serving = Scheduler(runtime, RunLimits())
            serving.serve()
            await asyncio.sleep(60)
            assert value_of(await runtime.query("entries:texts", encoded())) == []
            now = stands + 10**9
            await asyncio.sleep(2 * scheduler.RETRY_SECONDS)
            assert value_of(await runtime.query("entries:texts", encoded())) == ["soon"]
            await serving.close()

    loop = SimulatedLoop()
    try:
        loop.run_until_complete(serve())
    finally:
        loop.close()
    assert looks > 60


async def test_what_has_no_end_is_given_up(t: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "ROUNDS_MAX", 50)
    await t.mutation("entries:again")
    with pytest.raises(Endless, match="no end of what is due at once: entries:again"):
        await t.advance()


@pytest.mark.parametrize("turns", range(6))
async def test_it_ends_in_the_moment_in_which_something_comes(tmp_path: Path, turns: int) -> None:
    async with engine(MemoryStore(), write_app(tmp_path, entries=APP)) as runtime:
        for what in ("entries:add", "entries:post"):
            await change(runtime, "entries:later", seconds=3600, what=what, args={"text": "to come"})
        serving = Scheduler(runtime, RunLimits())
        serving.serve()
        while not all(lane.known and lane.changed._waiters for lane in serving._lanes):  # noqa: ASYNC110 -- none tells
            await asyncio.sleep(0)
        for lane in serving._lanes:
            lane.changed.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await serving.close()


async def test_an_action_that_a_stopping_server_cannot_begin_is_for_the_next(t: TestApp) -> None:
    job = await t.mutation("entries:later", seconds=60, args={"text": "x"}, what="entries:post")
    await t.runtime.drain()
    await t._scheduler._run_action(_Job(job, "entries:post", {"text": "x"}, 0.0, "scheduled", None))
    assert (await row(t, job))["state"] == {"kind": "pending"}
    assert await t.query("entries:texts") == []


async def test_what_it_takes_to_schedule_is_not_of_the_function(tmp_path: Path) -> None:
    limits = {"documents_read": 1, "documents_written": 1, "ranges_read": 1}
    async with TestApp(write_app(tmp_path, entries=APP), limits=limits) as t:
        job = await t.mutation("entries:later", seconds=1, args={"text": "x"})
        await t.advance(seconds=2)
        assert (await row(t, job))["state"] == {"kind": "success"}


async def test_what_cannot_be_put_in_order_is_told_and_keeps_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with TestApp(write_app(tmp_path, entries=APP, crons=CRONS), now=START) as t:
        broken = replace(t._loaded.crons["beat"], args={"x": loads("[" * 16 + "]" * 16)})
        object.__setattr__(t._runner._runner.app, "crons", {"new": broken})
        await t._scheduler.take_up_crons()
        assert "what is scheduled cannot be put in order: A document of _cron_runs" in caplog.text
        await t.mutation("entries:later", seconds=1, args={"text": "x"})
        await t.advance(seconds=2)
        assert "x" in await t.query("entries:texts")


async def test_those_who_watch_see_what_is_next_and_for_how_long_it_has_been_due(tmp_path: Path) -> None:
    async with TestApp(write_app(tmp_path, entries=APP), now=START) as t:
        for seconds in (3, 5):
            await t.mutation("entries:later", seconds=seconds, args={"text": "x"})
        await t._scheduler.run_due()
        measured = t._scheduler.measure()
        assert measured["yugen_scheduled_pending"] == {"mutation": 2, "action": 0}
        assert measured["yugen_scheduled_running"] == {"mutation": 0, "action": 0}
        assert measured["yugen_scheduler_lag_seconds"] == {"mutation": 0.0, "action": 0.0}
        lane = t._scheduler._lanes[0]
        assert lane.lag_ms(lane.known[0].time + 7000) == 7000
        await t.advance(seconds=6)
        assert t._scheduler.measure()["yugen_scheduled_pending"] == {"mutation": 0, "action": 0}
