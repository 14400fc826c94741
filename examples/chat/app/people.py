from yugen import Id, MutationCtx, QueryCtx, YugenError, mutation, query

from .schema import Channel, Person


@query(name="list")
async def list_people(ctx: QueryCtx) -> list[Person]:
    return await ctx.db.query(Person).with_index(Person.by_name).collect()


@mutation
async def join(ctx: MutationCtx, name: str) -> Id[Person]:
    """Finds the person of this name, or welcomes a new one. The first ever to join finds a channel to talk in."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= 40:
        raise YugenError({"code": "bad_name", "message": "A name has 1 to 40 characters."})
    if await ctx.db.query(Channel).first() is None:
        await ctx.db.insert(Channel(name="general", topic="Anything and everything"))
    known = await ctx.db.query(Person).with_index(Person.by_name, name=name).unique()
    if known:
        return known.id
    return await ctx.db.insert(Person(name=name, color=ctx.random.randrange(360)))
