from yugen import MutationCtx, QueryCtx, YugenError, internal_mutation, mutation, query

from .auth import auth
from .schema import Plant


@query
async def mine(ctx: QueryCtx) -> list[str]:
    user = await auth.get_user(ctx)
    if user is None:
        return []
    plants = ctx.db.query(Plant).with_index(Plant.by_owner, owner=user.id)
    return [plant.name for plant in await plants.collect()]


@mutation
async def plant(ctx: MutationCtx, name: str) -> None:
    user = await auth.require_user(ctx)
    plants = ctx.db.query(Plant).with_index(Plant.by_owner, owner=user.id)
    if len(await plants.collect()) >= user.plants_max:
        raise YugenError("Your garden is full.")
    await ctx.db.insert(Plant(owner=user.id, name=name))


@mutation
async def clear(ctx: MutationCtx) -> None:
    user = await auth.require_fresh(ctx)
    for each in await ctx.db.query(Plant).with_index(Plant.by_owner, owner=user.id).collect():
        await ctx.db.delete(each.id)


@internal_mutation
async def welcome(ctx: MutationCtx, user: str) -> None:
    await ctx.db.insert(Plant(owner=user, name="a daisy, from us"))


@internal_mutation
async def move(ctx: MutationCtx, anonymous: str, user: str) -> None:
    for each in await ctx.db.query(Plant).with_index(Plant.by_owner, owner=anonymous).collect():
        await ctx.db.patch(each.id, owner=user)
