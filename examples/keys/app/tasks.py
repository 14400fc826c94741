from yugen import Id, MutationCtx, QueryCtx, mutation, query

from .auth import auth
from .schema import Task


@query(name="list")
async def list_tasks(ctx: QueryCtx) -> list[Task]:
    user = await auth.require_scope(ctx, "tasks:read")
    return await ctx.db.query(Task).with_index(Task.by_owner, owner=user.id).collect()


@mutation
async def add(ctx: MutationCtx, title: str) -> Id[Task]:
    user = await auth.require_scope(ctx, "tasks:write")
    return await ctx.db.insert(Task(owner=user.id, title=title))


@mutation
async def clear(ctx: MutationCtx) -> None:
    user = await auth.require_fresh(ctx)
    for task in await ctx.db.query(Task).with_index(Task.by_owner, owner=user.id).collect():
        await ctx.db.delete(task.id)
