"""What people and their keys do."""

from __future__ import annotations

from yugen import MutationCtx, QueryCtx, Roles, internal_query, mutation, query

from .auth import auth
from .schema import Task

roles = Roles({"member": ["tasks:*"]})


@roles.of
@internal_query
async def roles_of(ctx: QueryCtx) -> list[str]:
    return [] if await auth.get_user(ctx) is None else ["member"]


@query(name="list")
async def list_tasks(ctx: QueryCtx) -> list[str] | None:
    if not await auth.allows_scope(ctx, "tasks:read"):
        return None
    user = await auth.require_user(ctx)
    return [task.title for task in await ctx.db.query(Task).with_index(Task.by_owner, owner=user.id).collect()]


@mutation
async def add(ctx: MutationCtx, title: str) -> None:
    user = await auth.require_scope(ctx, "tasks:write")
    await ctx.db.insert(Task(owner=user.id, title=title))


@query
@roles.requires("tasks:read")
async def count(ctx: QueryCtx) -> int:
    user = await auth.require_user(ctx)
    return await ctx.db.query(Task).with_index(Task.by_owner, owner=user.id).count()


@mutation
async def clear(ctx: MutationCtx) -> None:
    user = await auth.require_fresh(ctx)
    for task in await ctx.db.query(Task).with_index(Task.by_owner, owner=user.id).collect():
        await ctx.db.delete(task.id)


@internal_query
async def may(ctx: QueryCtx, user: str, scope: str) -> bool:
    return scope != "admin"
