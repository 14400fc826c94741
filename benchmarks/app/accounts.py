"""The transfer benchmark: two documents read and written in one transaction."""

from yugen import Document, Id, MutationCtx, PaginationOptions, PaginationResult, QueryCtx, YugenError, mutation, query


class Account(Document, table="accounts"):
    balance: float


@mutation(name="open")
async def open_accounts(ctx: MutationCtx, count: int, balance: float) -> list[Id[Account]]:
    return [await ctx.db.insert(Account(balance=balance)) for _ in range(count)]


@mutation
async def transfer(ctx: MutationCtx, source: Id[Account], target: Id[Account], amount: float) -> None:
    giver, taker = await ctx.db.get(source), await ctx.db.get(target)
    if giver is None or taker is None:
        raise YugenError("no such account")
    if giver.balance < amount:
        raise YugenError("not enough")
    await ctx.db.patch(source, balance=giver.balance - amount)
    await ctx.db.patch(target, balance=taker.balance + amount)


@query
async def page(ctx: QueryCtx, options: PaginationOptions) -> PaginationResult[Account]:
    return await ctx.db.query(Account).paginate(options)
