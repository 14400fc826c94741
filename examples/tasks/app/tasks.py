from yugen import (
    ActionCtx,
    Id,
    MutationCtx,
    PaginationOptions,
    PaginationResult,
    QueryCtx,
    YugenError,
    action,
    mutation,
    query,
)

from .schema import Task


@query(name="list")
async def list_tasks(ctx: QueryCtx) -> list[Task]:
    return await ctx.db.query(Task).collect()


@query
async def open_count(ctx: QueryCtx) -> int:
    return await ctx.db.query(Task).with_index(Task.by_done, done=False).count()


@query
async def page(ctx: QueryCtx, pagination: PaginationOptions) -> PaginationResult[Task]:
    return await ctx.db.query(Task).paginate(pagination)


@mutation
async def add(ctx: MutationCtx, text: str) -> Id[Task]:
    if not text.strip():
        raise YugenError({"code": "empty"})
    return await ctx.db.insert(Task(text=text))


@mutation
async def set_done(ctx: MutationCtx, task: Id[Task], done: bool) -> None:
    await ctx.db.patch(task, done=done)


@action
async def longest(ctx: ActionCtx) -> str:
    """The longest of all texts."""
    tasks = await ctx.run_query(list_tasks)
    return max((task.text for task in tasks), key=len, default="")
