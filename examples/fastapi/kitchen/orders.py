from yugen import Id, MutationCtx, QueryCtx, YugenError, mutation, query

from .schema import Order

MENU = ("lentils", "pancakes", "soup")


@query
async def waiting(ctx: QueryCtx) -> list[Order]:
    return await ctx.db.query(Order).with_index(Order.by_done, done=False).collect()


@mutation
async def place(ctx: MutationCtx, dish: str, seat: int) -> Id[Order]:
    if dish not in MENU:
        raise YugenError(f"There is no {dish} today.")
    return await ctx.db.insert(Order(dish=dish, seat=seat))


@mutation
async def finish(ctx: MutationCtx, order: Id[Order]) -> None:
    await ctx.db.patch(order, done=True)
