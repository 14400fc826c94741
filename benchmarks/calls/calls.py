"""Functions small enough that what calling them costs is what is measured."""

from yugen import Document, Id, Index, MutationCtx, QueryCtx, mutation, query


class Note(Document, table="notes"):
    topic: str
    body: str

    by_topic = Index("topic")


class Account(Document, table="accounts"):
    owner: str
    balance: int


@mutation
async def nothing(ctx: MutationCtx) -> None: ...


@mutation
async def add(ctx: MutationCtx, topic: str, body: str) -> Id[Note]:
    return await ctx.db.insert(Note(topic=topic, body=body))


@mutation
async def open_account(ctx: MutationCtx, owner: str, balance: int) -> Id[Account]:
    return await ctx.db.insert(Account(owner=owner, balance=balance))


@mutation
async def transfer(ctx: MutationCtx, source: Id[Account], target: Id[Account], amount: int) -> None:
    payer, payee = await ctx.db.get(source), await ctx.db.get(target)
    assert payer is not None
    assert payee is not None
    await ctx.db.patch(source, balance=payer.balance - amount)
    await ctx.db.patch(target, balance=payee.balance + amount)


@query
async def newest(ctx: QueryCtx, topic: str) -> list[Note]:
    return await ctx.db.query(Note).with_index(Note.by_topic, topic=topic).order("desc").take(50)
