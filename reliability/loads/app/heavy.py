"""What is too much: results, arguments, functions that do not end, and many tables."""

import asyncio
import re
import time
from typing import Any

from yugen import ActionCtx, Document, Index, MutationCtx, QueryCtx, action, mutation, query


class Blob(Document, table="blobs"):
    """Something large, by a name."""

    name: str
    number: int
    content: str

    by_name = Index("name", unique=True)


@mutation
async def put(ctx: MutationCtx, name: str, number: int, size: int) -> None:
    """Has so many bytes under a name."""
    found = await ctx.db.query(Blob).with_index(Blob.by_name, name=name).unique()
    content = chr(97 + number % 26) * size
    if found is None:
        await ctx.db.insert(Blob(name=name, number=number, content=content))
    else:
        await ctx.db.patch(found.id, number=number, content=content)


@query
async def get(ctx: QueryCtx, name: str, times: int = 1) -> dict[str, Any]:
    """What is under a name, so many times over."""
    found = await ctx.db.query(Blob).with_index(Blob.by_name, name=name).unique()
    return {"number": 0, "content": ""} if found is None else {"number": found.number, "content": found.content * times}


@query
async def filled(ctx: QueryCtx, number: int, size: int) -> str:
    """So many bytes, which differ by the number."""
    return f"{number} ".ljust(size, "-")


@query
async def echo(ctx: QueryCtx, value: Any) -> Any:
    """Its argument."""
    return value


@query
async def nest(ctx: QueryCtx, depth: int) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@mutation
async def keep(ctx: MutationCtx, value: Any) -> None:
    """Stores its argument."""
    await ctx.db.insert("kept", {"value": value})


@query
async def kept(ctx: QueryCtx) -> int:
    """How many such documents there are."""
    return len(await ctx.db.query("kept").collect())


@query
async def leak(ctx: QueryCtx, number: int) -> int:
    """Asks for a GiB and more."""
    return len([bytes(1 << 20) for _ in range(2048)]) + number


@query
async def spin(ctx: QueryCtx, number: int) -> int:
    """Never ends."""
    while True:
        number += 1


@mutation
async def spin_writing(ctx: MutationCtx, number: int) -> None:
    """Writes, and never ends."""
    await ctx.db.insert("kept", {"value": number})
    while True:
        number += 1


@query
async def sleep(ctx: QueryCtx, number: int) -> int:
    """Keeps its process for a minute."""
    time.sleep(60)  # noqa: ASYNC251 -- that is the point
    return number


@query
async def backtrack(ctx: QueryCtx, number: int) -> bool:
    """Tries all ways to divide a row of letters, of which there are too many."""
    return re.fullmatch("(a+)+b", "a" * 64 + str(number)) is not None


@action
async def rest(ctx: ActionCtx) -> None:
    """Takes a moment, and nothing else."""
    await asyncio.sleep(0.2)


@mutation
async def spread(ctx: MutationCtx, first: int, count: int) -> None:
    """Writes to so many tables, one document each."""
    for number in range(first, first + count):
        await ctx.db.insert(f"table_{number}", {"number": number})


@query
async def one_of(ctx: QueryCtx, number: int) -> int:
    """How many documents a table has."""
    return len(await ctx.db.query(f"table_{number}").collect())


@mutation
async def count(ctx: MutationCtx, name: str) -> None:
    """Writes a row of its own, which conflicts with nothing."""
    await ctx.db.insert("counted", {"name": name})


@query
async def counted(ctx: QueryCtx) -> int:
    """How many such rows there are."""
    return await ctx.db.query("counted").count()
