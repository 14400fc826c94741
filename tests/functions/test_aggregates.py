"""Counts, sums, extremes and ranks over ranges: right, reactive, and nobody's conflict."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.apps import write_app
from tests.engine import ask, change, encoded, engine, new_store, value_of
from yugen import values
from yugen.runtime.runtime import Runtime
from yugen.schema import Count, Document, SchemaError, Sum

APP = """
    from typing import Any

    from yugen import Count, Document, Id, MutationCtx, QueryCtx, Sum, YugenError, gt, gte, lt, mutation, query


    class Score(Document, table="scores"):
        game: str
        player: str
        points: int
        bonus: float | None = None
        note: str = ""

        everyone = Count()
        by_points = Count("game", "points")
        points_by_game = Sum("points", by="game")
        bonuses = Sum("bonus", by=("game", "points"))


    @mutation
    async def add(ctx: MutationCtx, game: str, player: str, points: int, bonus: float | None = None) -> Id[Score]:
        return await ctx.db.insert(Score(game=game, player=player, points=points, bonus=bonus))


    @mutation
    async def patch(ctx: MutationCtx, id: str, fields: dict[str, Any]) -> None:
        await ctx.db.patch(id, fields)


    @mutation
    async def drop(ctx: MutationCtx, id: str) -> None:
        await ctx.db.delete(id)


    @query
    async def totals(ctx: QueryCtx, game: str, least: int = -1, most: int = 1000) -> list[Any]:
        scores = ctx.db.query(Score)
        points = gte(least) & lt(most)
        ranged = scores.with_index(Score.bonuses, game=game, points=points)
        return [
            await scores.with_index(Score.everyone).count(),
            await scores.with_index(Score.by_points, game=game, points=points).count(),
            await scores.with_index(Score.points_by_game, game=game).sum(),
            await scores.with_index(Score.points_by_game, game=game).min(),
            await scores.with_index(Score.points_by_game, game=game).max(),
            await ranged.count(),
            await ranged.sum(),
            await ranged.min(),
            await ranged.max(),
        ]


    @query
    async def count(ctx: QueryCtx, game: str) -> int:
        return await ctx.db.query(Score).with_index(Score.by_points, game=game).count()


    @query
    async def rank(ctx: QueryCtx, id: str, game: str, order: str = "desc") -> int | None:
        return await ctx.db.query(Score).with_index(Score.by_points, game=game).order(order).rank(id)


    @mutation
    async def add_and_count(ctx: MutationCtx, game: str, ids: list[str]) -> list[Any]:
        counts = []
        await ctx.db.insert(Score(game=game, player="new", points=5, bonus=0.5))
        counts.append(await ctx.run_query(totals, game=game))
        for id in ids:
            await ctx.db.patch(id, points=7)
            counts.append(await ctx.run_query(totals, game=game))
        for id in ids:
            await ctx.db.delete(id)
        counts.append(await ctx.run_query(totals, game=game))
        raise YugenError(counts)


    @mutation
    async def add_if_few(ctx: MutationCtx, game: str, most: int) -> bool:
        found = await ctx.db.query(Score).with_index(Score.by_points, game=game).count()
        if found < most:
            await ctx.db.insert(Score(game=game, player="one more", points=1))
        return found < most


    @query
    async def wrong(ctx: QueryCtx, how: str) -> Any:
        scores = ctx.db.query(Score)
        match how:
            case "plain":
                return await scores.sum()
            case "counts only":
                return await scores.with_index(Score.by_points, game="a").max()
            case "filtered":
                return await scores.with_index(Score.bonuses, game="a").filter(lambda s: s.points > 1).sum()
            case "rank":
                return await scores.rank("x")
"""

Scores = dict[str, tuple[str, int, float | None]]


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    async with engine(new_store(request.param, tmp_path), write_app(tmp_path, f=APP)) as runtime:
        yield runtime


def expected(scores: Scores, game: str, least: int = -1, most: int = 1000) -> list[Any]:
    points = [points for of, points, _ in scores.values() if of == game]
    ranged = [bonus for of, points, bonus in scores.values() if of == game and least <= points < most]
    bonuses = [bonus for bonus in ranged if bonus is not None]
    return [
        len(scores),
        len(ranged),
        sum(points),
        min(points, default=None),
        max(points, default=None),
        len(ranged),
        float(sum(bonuses)),
        min(bonuses, default=None),
        max(bonuses, default=None),
    ]


@pytest.mark.parametrize("seed", [1, 2])
async def test_totals_of_any_range_are_those_of_its_documents(runtime: Runtime, seed: int) -> None:
    dice = random.Random(seed)
    scores: Scores = {}
    for step in range(120):
        game, points = dice.choice("ab"), dice.randrange(10)
        bonus = dice.choice([None, 0.5, 2.25, 100.0])
        match dice.randrange(4) if scores else 0:
            case 0 | 1:
                scores[await change(runtime, "f:add", game=game, player="p", points=points, bonus=bonus)] = (
                    game,
                    points,
                    bonus,
                )
            case 2:
                which = dice.choice(list(scores))
                await change(runtime, "f:patch", id=which, fields={"points": points, "bonus": bonus, "game": game})
                scores[which] = (game, points, bonus)
            case 3:
                which = dice.choice(list(scores))
                await change(runtime, "f:drop", id=which)
                del scores[which]
        if step % 4 == 0:
            least, most = sorted(dice.sample(range(-1, 11), 2))
            found = await ask(runtime, "f:totals", game=game, least=least, most=most)
            assert found == expected(scores, game, least, most)


async def test_a_transaction_sees_its_own_writes_in_totals(runtime: Runtime) -> None:
    scores: Scores = {}
    for points in (1, 2, 3):
        scores[await change(runtime, "f:add", game="a", player="p", points=points, bonus=points / 2)] = (
            "a",
            points,
            points / 2,
        )
    ids = list(scores)[:2]
    answer = (await runtime.mutate("f:add_and_count", encoded(game="a", ids=ids))).answer
    assert answer.failure is not None
    seen = values.loads(answer.failure.data or b"")
    assert isinstance(seen, list)
    inside = scores | {"new": ("a", 5, 0.5)}
    wanted = [expected(inside, "a")]
    for which in ids:
        inside = inside | {which: ("a", 7, inside[which][2])}
        wanted.append(expected(inside, "a"))
    wanted.append(expected({which: score for which, score in inside.items() if which not in ids}, "a"))
    assert seen == wanted
    assert await ask(runtime, "f:totals", game="a") == expected(scores, "a")


async def test_ranks_follow_the_order(runtime: Runtime) -> None:
    ids = [await change(runtime, "f:add", game="a", player="p", points=points) for points in (30, 10, 20)]
    other = await change(runtime, "f:add", game="b", player="p", points=99)
    assert [await ask(runtime, "f:rank", id=which, game="a") for which in ids] == [0, 2, 1]
    assert [await ask(runtime, "f:rank", id=which, game="a", order="asc") for which in ids] == [2, 0, 1]
    assert await ask(runtime, "f:rank", id=other, game="a") is None
    await change(runtime, "f:drop", id=ids[0])
    assert [await ask(runtime, "f:rank", id=which, game="a") for which in ids] == [None, 1, 0]


async def test_a_count_runs_again_only_when_it_changes(runtime: Runtime) -> None:
    told: list[str] = []
    key = runtime.query_key("f:count", encoded(game="a"))
    runtime.queries.subscribe(key, None, lambda: told.append("count"))
    await runtime.queries.at(key, None, runtime.ts)
    await change(runtime, "f:add", game="b", player="p", points=1)
    assert told == []
    which = await change(runtime, "f:add", game="a", player="p", points=1)
    assert told == ["count"]
    await runtime.queries.at(key, None, runtime.ts)
    await change(runtime, "f:patch", id=which, fields={"note": "x", "bonus": 3})
    assert told == ["count"]
    await change(runtime, "f:patch", id=which, fields={"points": 2})
    assert told == ["count"], "it has moved within the range"


async def test_a_rank_runs_again_when_something_comes_before_it_or_it_moves(runtime: Runtime) -> None:
    first, mine, last = [await change(runtime, "f:add", game="a", player="p", points=points) for points in (30, 20, 10)]
    told: list[str] = []
    key = runtime.query_key("f:rank", encoded(id=mine, game="a"))
    runtime.queries.subscribe(key, None, lambda: told.append("rank"))
    await runtime.queries.at(key, None, runtime.ts)
    await change(runtime, "f:patch", id=last, fields={"points": 15})
    await change(runtime, "f:patch", id=first, fields={"points": 25})
    await change(runtime, "f:patch", id=mine, fields={"note": "x", "bonus": 3})
    assert told == []
    await change(runtime, "f:patch", id=mine, fields={"points": 26})
    assert told == ["rank"]
    assert value_of(await runtime.queries.at(key, None, runtime.ts)) == 0
    await change(runtime, "f:patch", id=last, fields={"points": 27})
    assert told == ["rank", "rank"]


async def test_writers_that_do_not_look_at_a_total_do_not_conflict_over_it(runtime: Runtime) -> None:
    assert await asyncio.gather(
        *(change(runtime, "f:add", game="a", player=str(n), points=n) for n in range(30)),
    )
    assert await ask(runtime, "f:count", game="a") == 30


async def test_a_decision_on_a_count_holds(runtime: Runtime) -> None:
    added = await asyncio.gather(*(change(runtime, "f:add_if_few", game="a", most=5) for _ in range(12)))
    assert sum(added) == 5
    assert await ask(runtime, "f:count", game="a") == 5


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("plain", "the index by_creation_time of scores has no totals; declare a Count or a Sum index"),
        ("counts only", "the index by_points of scores only counts; declare a Sum index"),
        ("filtered", "a filter looks at documents, which totals do not read"),
        ("rank", "rank: the index by_creation_time of scores has no totals"),
    ],
)
async def test_what_an_index_cannot_tell_is_an_error(runtime: Runtime, how: str, told: str) -> None:
    answer = await runtime.query("f:wrong", encoded(how=how))
    assert answer.failure is not None
    assert told in answer.failure.message


async def test_totals_are_built_for_documents_that_are_there(tmp_path: Path) -> None:
    plain = "\n".join(line for line in APP.split("\n") if " = Count(" not in line and " = Sum(" not in line)
    async with engine(new_store("sqlite", tmp_path), write_app(tmp_path, f=plain)) as runtime:
        for points in range(700):
            await change(runtime, "f:add", game="a", player="p", points=points % 10, bonus=0.5)
    async with engine(new_store("sqlite", tmp_path), write_app(tmp_path, f=APP)) as runtime:
        assert await ask(runtime, "f:totals", game="a") == [700, 700, 3150, 0, 9, 700, 350.0, 0.5, 0.5]


def test_only_numbers_are_added_up() -> None:
    with pytest.raises(SchemaError, match=r"Wrong.total adds up 'name', which holds no number"):

        class Wrong(Document, table="wrong"):
            name: str

            total = Sum("name")

    with pytest.raises(SchemaError, match="orders by 'nothing'"):

        class Missing(Document, table="missing"):
            name: str

            total = Count("nothing")
