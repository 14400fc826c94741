from yugen import Document, Id, Identity, Index, MutationCtx, QueryCtx, YugenError, mutation, query


class Ticket(Document, table="tickets"):
    owner: str
    by: str
    text: str

    by_owner = Index("owner")


async def signed_in(ctx: QueryCtx | MutationCtx) -> Identity:
    user = await ctx.auth.get_user_identity()
    if user is None:
        raise YugenError("Sign in first.")
    return user


@query
async def mine(ctx: QueryCtx) -> list[Ticket]:
    user = await signed_in(ctx)
    return await ctx.db.query(Ticket).with_index(Ticket.by_owner, owner=user.token_identifier).collect()


@mutation
async def submit(ctx: MutationCtx, text: str) -> Id[Ticket]:
    user = await signed_in(ctx)
    return await ctx.db.insert(Ticket(owner=user.token_identifier, by=user.name or user.subject, text=text))
