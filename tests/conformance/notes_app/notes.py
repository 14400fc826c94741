from yugen import (
    ActionCtx,
    Id,
    MutationCtx,
    QueryCtx,
    YugenError,
    action,
    internal_query,
    mutation,
    query,
)

from .schema import Note


async def caller(ctx: QueryCtx | ActionCtx) -> str | None:
    user = await ctx.auth.get_user_identity()
    return None if user is None else user.subject


@query
async def mine(ctx: QueryCtx) -> dict[str, object]:
    """Who asks, and the texts of that user."""
    user = await caller(ctx)
    notes = await ctx.db.query(Note).with_index(Note.by_owner, owner=user).collect()
    return {"user": user, "texts": [note.text for note in notes]}


@query
async def shared(ctx: QueryCtx) -> list[str]:
    """The texts of everybody."""
    return [note.text for note in await ctx.db.query(Note).collect()]


@query
async def secret(ctx: QueryCtx) -> str:
    user = await caller(ctx)
    if user is None:
        raise YugenError({"code": "signed out"})
    return f"for {user}"


@query
async def mark(ctx: QueryCtx, number: float) -> float:
    """Leaves a line in the log, at which all lines before it are there."""
    return number


@mutation
async def write(ctx: MutationCtx, text: str) -> Id[Note]:
    if text == "":
        raise YugenError({"code": "empty", "by": await caller(ctx)})
    return await ctx.db.insert(Note(owner=await caller(ctx), text=text))


@action
async def who(ctx: ActionCtx) -> str | None:
    return await caller(ctx)


@internal_query
async def all_owners(ctx: QueryCtx) -> list[str | None]:
    return [note.owner for note in await ctx.db.query(Note).collect()]
