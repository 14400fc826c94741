from yugen import Id, Identity, MutationCtx, QueryCtx, YugenError, mutation, query

from .schema import Entry


async def signed_in(ctx: QueryCtx | MutationCtx) -> Identity:
    user = await ctx.auth.get_user_identity()
    if user is None:
        raise YugenError("Sign in first.")
    return user


@query
async def mine(ctx: QueryCtx) -> list[Entry]:
    user = await signed_in(ctx)
    entries = ctx.db.query(Entry).with_index(Entry.by_owner, owner=user.token_identifier)
    return await entries.order("desc").take(20)


@mutation
async def write(ctx: MutationCtx, text: str) -> Id[Entry]:
    user = await signed_in(ctx)
    return await ctx.db.insert(Entry(owner=user.token_identifier, text=text))


@query
async def my_email(ctx: QueryCtx) -> str | None:
    return (await signed_in(ctx)).email
