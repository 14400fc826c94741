"""What is scheduled: each counts and says how late it was."""

from yugen import Count, Document, Index, MutationCtx, QueryCtx, gte, mutation, query


class Late(Document, table="late"):
    batch: str
    number: int
    milliseconds: float

    per_batch = Count("batch")
    by_batch = Index("batch", "number")


@mutation
async def note(ctx: MutationCtx, batch: str, number: int, due: float) -> None:
    await ctx.db.insert(Late(batch=batch, number=number, milliseconds=ctx.now - due))


@mutation
async def schedule(ctx: MutationCtx, batch: str, first: int, count: int, due: float, step: float) -> None:
    for number in range(first, first + count):
        time = due + number * step
        await ctx.scheduler.run_at(time, note, batch=batch, number=number, due=time)


@query
async def done(ctx: QueryCtx, batch: str) -> int:
    return await ctx.db.query(Late).with_index(Late.per_batch, batch=batch).count()


@query
async def lateness(ctx: QueryCtx, batch: str, first: int, count: int) -> list[list[float]]:
    """Number and milliseconds of those from one number on."""
    some = ctx.db.query(Late).with_index(Late.by_batch, batch=batch, number=gte(first))
    return [[each.number, each.milliseconds] for each in await some.take(count)]
