from yugen import MutationCtx, QueryCtx, mutation, query

from .schema import Counter


@query
async def count(ctx: QueryCtx, team: str, name: str) -> int:
    counter = await ctx.db.query(Counter).with_index(Counter.by_name, team=team, name=name).unique()
    return counter.count if counter else 0


@query
async def total(ctx: QueryCtx, team: str) -> int:
    return sum([c.count for c in await ctx.db.query(Counter).with_index(Counter.by_name, team=team).collect()])


@mutation
async def bump(ctx: MutationCtx, team: str, name: str) -> int:
    """Counts one more, and gives the count."""
    counter = await ctx.db.query(Counter).with_index(Counter.by_name, team=team, name=name).unique()
    if counter is None:
        await ctx.db.insert(Counter(team=team, name=name, count=1))
        return 1
    await ctx.db.patch(counter.id, count=counter.count + 1)
    return counter.count + 1
