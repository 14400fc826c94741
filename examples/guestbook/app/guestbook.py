from yugen import Id, MutationCtx, QueryCtx, YugenError, mutation, query

from .schema import Entry


@query
async def latest(ctx: QueryCtx, count: int = 20) -> list[Entry]:
    return await ctx.db.query(Entry).order("desc").take(count)


@mutation
async def sign(ctx: MutationCtx, name: str, text: str) -> Id[Entry]:
    if not text.strip():
        raise YugenError("Write something first.")
    return await ctx.db.insert(Entry(name=name, text=text))
