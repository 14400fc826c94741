from yugen import Id, MutationCtx, QueryCtx, YugenError, mutation, query

from .schema import Task


@query(name="list")
async def list_tasks(ctx: QueryCtx) -> list[Task]:
    return await ctx.db.query(Task).order("desc").take(50)


@mutation
async def add(ctx: MutationCtx, text: str) -> Id[Task]:
    if not text.strip():
        raise YugenError("Say what there is to do.")
    return await ctx.db.insert(Task(text=text.strip()))


@mutation
async def toggle(ctx: MutationCtx, task: Id[Task]) -> None:
    found = await ctx.db.get(task)
    if found is not None:
        await ctx.db.patch(task, done=not found.done)
