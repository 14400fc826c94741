from yugen import Id, MutationCtx, QueryCtx, mutation, query

from .auth import auth
from .schema import Note


@query
async def mine(ctx: QueryCtx) -> list[Note]:
    user = await auth.require_user(ctx)
    return await ctx.db.query(Note).with_index(Note.by_owner, owner=user.id).order("desc").take(50)


@mutation
async def write(ctx: MutationCtx, text: str) -> Id[Note]:
    user = await auth.require_user(ctx)
    return await ctx.db.insert(Note(owner=user.id, text=text))
