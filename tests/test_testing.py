"""Tests of apps, as their authors write them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.apps import write_app
from yugen import MutationCtx, YugenError
from yugen.errors import Refused
from yugen.testing import FunctionFailed, TestApp, explore

APP = """
    import asyncio

    from yugen import (
        ActionCtx, Document, Id, Index, MutationCtx, QueryCtx, YugenError, action, internal_query, mutation, query,
    )


    class Seat(Document, table="seats"):
        number: int
        taken_by: str | None = None

        by_number = Index("number", unique=True)


    @query
    async def free(ctx: QueryCtx) -> int:
        return await ctx.db.query(Seat).filter(lambda seat: seat.taken_by is None).count()


    @query
    async def seats(ctx: QueryCtx) -> list[Seat]:
        return await ctx.db.query(Seat).collect()


    @internal_query
    async def holder(ctx: QueryCtx, number: int) -> str | None:
        return (await ctx.db.query(Seat).with_index(Seat.by_number, number=number).unique()).taken_by


    @mutation
    async def sleep(ctx: MutationCtx) -> None:
        print("good night")
        await asyncio.sleep(1)


    @mutation
    async def add(ctx: MutationCtx, number: int) -> Id[Seat]:
        return await ctx.db.insert(Seat(number=number))


    @mutation
    async def take(ctx: MutationCtx, number: int) -> None:
        identity = await ctx.auth.get_user_identity()
        seat = await ctx.db.query(Seat).with_index(Seat.by_number, number=number).unique()
        if seat.taken_by is not None:
            raise YugenError("taken")
        await ctx.db.patch(seat.id, taken_by=identity.name if identity else "nobody")


    @mutation
    async def overwrite(ctx: MutationCtx, number: int, name: str) -> None:
        seat = await ctx.db.query(Seat).with_index(Seat.by_number, number=number).unique()
        await ctx.db.patch(seat.id, taken_by=name)


    @action
    async def careless(ctx: ActionCtx, number: int, name: str) -> bool:
        if await ctx.run_query(holder, number=number) is None:
            await ctx.run_mutation(overwrite, number=number, name=name)
            return True
        return False


    @action
    async def careful(ctx: ActionCtx, number: int) -> bool:
        try:
            await ctx.run_mutation(take, number=number)
        except YugenError:
            return False
        return True


    @query
    async def time(ctx: QueryCtx) -> list[float]:
        return [ctx.now, ctx.random.random()]


    @query
    async def setting(ctx: QueryCtx) -> str:
        return ctx.env["NAME"]


    @query
    async def fails(ctx: QueryCtx) -> None:
        raise ValueError("the tea is cold")
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path, shows=APP)


@pytest_asyncio.fixture
async def t(app: Path) -> AsyncIterator[TestApp]:
    async with TestApp(app) as made:
        yield made


async def test_functions_are_called_by_name_or_as_what_the_test_has_imported(t: TestApp) -> None:
    from app import shows  # type: ignore[import-not-found]  # noqa: PLC0415

    await t.mutation(shows.add, 7)
    await t.mutation("shows:add", number=8)
    seats = await t.query(shows.seats)
    assert [type(seat) for seat in seats] == [shows.Seat, shows.Seat]
    assert [seat.number for seat in seats] == [7, 8]
    assert await t.query(shows.holder, number=7) is None
    assert await t.action("shows:careful", number=7)


async def test_errors_are_raised_as_a_client_gets_them(t: TestApp) -> None:
    await t.mutation("shows:add", number=1)
    await t.mutation("shows:take", number=1)
    with pytest.raises(YugenError, match="taken"):
        await t.mutation("shows:take", number=1)
    with pytest.raises(FunctionFailed, match="Uncaught ValueError: the tea is cold"):
        await t.query("shows:fails")
    with pytest.raises(FunctionFailed, match="UniqueError"):
        await t.mutation("shows:add", number=1)


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
async def test_what_only_a_test_runner_catches_comes_to_the_test(kind: str, tmp_path: Path) -> None:
    failing = f"import pytest, yugen\n\n@yugen.{kind}\nasync def go(ctx) -> None:\n    pytest.fail('mark')\n"
    async with TestApp(write_app(tmp_path, f=failing)) as t, asyncio.timeout(60):
        with pytest.raises(pytest.fail.Exception, match="mark"):
            await getattr(t, kind)("f:go")


async def test_calls_as_somebody(t: TestApp) -> None:
    for number in (1, 2):
        await t.mutation("shows:add", number=number)
    await t.as_user(subject="u1", name="Ada").mutation("shows:take", number=1)
    await t.mutation("shows:take", number=2)
    assert [seat.taken_by for seat in await t.query("shows:seats")] == ["Ada", "nobody"]


async def test_the_clock_stands_until_the_test_moves_it(app: Path) -> None:
    start = datetime(2030, 5, 1, tzinfo=UTC)
    async with TestApp(app, now=start) as t:
        now, _ = await t.query("shows:time")
        assert now == pytest.approx(start.timestamp() * 1000, abs=5)
        await t.advance(days=3, hours=1)
        await t.advance(timedelta(seconds=1))
        assert t.now == start + timedelta(days=3, hours=1, seconds=1)


async def test_the_same_seed_gives_the_same_dice_and_ids(app: Path) -> None:
    async def play(seed: int) -> list[Any]:
        async with TestApp(app, seed=seed) as t:
            return [await t.mutation("shows:add", number=1), *await t.query("shows:time")]

    assert await play(3) == await play(3)
    assert (await play(3))[0] != (await play(4))[0]


async def test_a_test_may_look_at_documents_itself(t: TestApp) -> None:
    async def prepare(ctx: Any) -> int:
        for number in range(3):
            await ctx.db.insert("seats", {"number": number})
        return await ctx.db.query("seats").count()  # type: ignore[no-any-return]

    assert await t.run(prepare) == 3
    assert await t.query("shows:free") == 3


async def test_environment_variables(app: Path) -> None:
    async with TestApp(app, environment={"NAME": "value"}) as t:
        assert await t.query("shows:setting") == "value"


async def test_a_watched_query_follows(t: TestApp) -> None:
    watch = await t.watch("shows:free")
    assert await watch.value() == 0
    await t.mutation("shows:add", number=1)
    assert await watch.value() == 1
    await t.mutation("shows:take", number=1)
    await t.settle()
    assert watch.runs == 3
    assert await watch.value() == 0


async def test_reruns_are_counted_and_explained(t: TestApp) -> None:
    seat = await t.mutation("shows:add", number=1)
    async with t.assert_reruns("shows:free", exactly=1):
        await t.mutation("shows:take", number=1)
    async with t.assert_reruns("shows:free", at_most=0):
        await t.mutation("shows:overwrite", number=1, name="still taken")
    with pytest.raises(AssertionError) as caught:
        async with t.assert_reruns("shows:seats", at_most=0):
            await t.mutation("shows:overwrite", number=1, name="again")
    assert str(caught.value) == (
        f"shows:seats ran again once, at most 0 expected:\n  shows:overwrite changed seats {seat} (taken_by)"
    )


async def test_exploring_finds_the_race_of_a_careless_action(app: Path) -> None:
    async def both(t: TestApp) -> None:
        await t.mutation("shows:add", number=1)
        took = await asyncio.gather(*(t.action("shows:careless", number=1, name=name) for name in ("ada", "bob")))
        assert sum(took) == 1

    with pytest.raises(AssertionError) as caught:
        await explore(app, both)
    (note,) = caught.value.__notes__
    seed = int(note.rpartition("seed=")[2].rstrip(")."))
    with pytest.raises(AssertionError):
        await explore(app, both, seeds=[seed])

    async def carefully(t: TestApp) -> None:
        await t.mutation("shows:add", number=1)
        assert sum(await asyncio.gather(*(t.action("shows:careful", number=1) for _ in range(2)))) == 1

    await explore(app, carefully)


async def test_the_app_may_be_given_as_its_package(app: Path) -> None:
    async with TestApp(app):
        package = sys.modules["app"]
    async with TestApp(package) as t:
        assert await t.query("shows:free") == 0


async def test_what_a_server_refuses_is_refused(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with TestApp(app) as t:
        with pytest.raises(FunctionFailed, match=r"ForeignAwait: shows:sleep awaited something .* in shows.py:\d+"):
            await t.mutation("shows:sleep")
        assert "[LOG] 'good night'" in capsys.readouterr().out
        with pytest.raises(FunctionFailed, match="ArgumentValidationError: The argument `number` of shows:add"):
            await t.mutation("shows:add", number="one")


async def test_an_app_can_start_from_what_an_earlier_version_left(app: Path) -> None:
    async def before(ctx: MutationCtx) -> None:
        await ctx.db.insert("seats", {"number": 7.0, "taken_by": "ada"})
        assert (await ctx.db.query("seats").collect())[0]["taken_by"] == "ada"

    async with TestApp(app, before=before) as t:
        assert await t.query("shows:holder", number=7) == "ada"
        await t.mutation("shows:add", number=8)

    async def broken(ctx: MutationCtx) -> None:
        await ctx.db.insert("seats", {"number": "seven"})

    with pytest.raises(Refused, match="`number` must be a whole number, got 'seven'"):
        await TestApp(app, before=broken).__aenter__()
