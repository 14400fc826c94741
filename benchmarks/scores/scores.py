"""The same documents in four tables, by what is kept of them; and reads that tell how long they take."""

import random
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

from yugen import Count, Document, Index, MutationCtx, QueryCtx, Sum, gte, lt, mutation, query

GAMES = 10
POINTS_MAX = 1_000_000


class Plain(Document, table="plain"):
    game: str
    points: int
    body: str


class Indexed(Document, table="indexed"):
    game: str
    points: int
    body: str

    by_points = Index("game", "points")


class Counted(Document, table="counted"):
    game: str
    points: int
    body: str

    by_points = Count("game", "points")


class Summed(Document, table="summed"):
    game: str
    points: int
    body: str

    by_points = Sum("points", by=("game", "points"))


TABLES = {"plain": Plain, "indexed": Indexed, "counted": Counted, "summed": Summed}


@mutation
async def add(ctx: MutationCtx, table: str) -> str:
    game, points = f"game {ctx.random.randrange(GAMES)}", ctx.random.randrange(POINTS_MAX)
    return await ctx.db.insert(TABLES[table](game=game, points=points, body="x" * 100))


async def microseconds(read: Callable[[Any], Awaitable[Any]], given: Sequence[Any]) -> float:
    """What one of these reads takes."""
    started = perf_counter()
    for each in given:
        await read(each)
    return (perf_counter() - started) / len(given) * 1e6


def ranges(seed: int, times: int) -> list[dict[str, Any]]:
    """Ranges of the points of one game, of any size."""
    dice = random.Random(seed)
    found = []
    for _ in range(times):
        low, high = sorted(dice.sample(range(POINTS_MAX), 2))
        found.append({"game": f"game {dice.randrange(GAMES)}", "points": gte(low) & lt(high)})
    return found


@query
async def gets(ctx: QueryCtx, ids: list[str]) -> float:
    return await microseconds(ctx.db.get, ids)


@query
async def ranks(ctx: QueryCtx, ids: list[str]) -> float:
    return await microseconds(ctx.db.query(Summed).with_index(Summed.by_points).rank, ids)


@query
async def counts(ctx: QueryCtx, seed: int, times: int) -> float:
    async def count(bounds: dict[str, Any]) -> None:
        await ctx.db.query(Counted).with_index(Counted.by_points, **bounds).count()

    return await microseconds(count, ranges(seed, times))


@query
async def sums(ctx: QueryCtx, seed: int, times: int) -> float:
    async def add_up(bounds: dict[str, Any]) -> None:
        await ctx.db.query(Summed).with_index(Summed.by_points, **bounds).sum()

    return await microseconds(add_up, ranges(seed, times))


@query
async def wholes(ctx: QueryCtx, seed: int, times: int) -> float:
    async def count(_: int) -> None:
        await ctx.db.query(Counted).with_index(Counted.by_points).count()

    return await microseconds(count, range(times))


@query
async def size(ctx: QueryCtx) -> int:
    return await ctx.db.query(Counted).with_index(Counted.by_points).count()
