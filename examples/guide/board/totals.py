from pydantic import BaseModel

from yugen import Id, QueryCtx, between, query

from .schema import Project, Status, Task


class Totals(BaseModel):
    open: int
    done: int
    points: float
    largest: float | None


@query
async def of_project(ctx: QueryCtx, project: Id[Project]) -> Totals:
    counted = ctx.db.query(Task)
    points = ctx.db.query(Task).with_index(Task.points_by, project=project)
    return Totals(
        open=await counted.with_index(Task.per_project, project=project, status="open").count(),
        done=await counted.with_index(Task.per_project, project=project, status="done").count(),
        points=await points.sum(),
        largest=await points.max(),
    )


@query
async def added(ctx: QueryCtx, project: Id[Project], status: Status, start: float, end: float) -> int:
    tasks = ctx.db.query(Task).with_index(
        Task.per_project, project=project, status=status, creation_time=between(start, end)
    )
    return await tasks.count()


@query
async def place(ctx: QueryCtx, task: Id[Task]) -> int | None:
    """How many open tasks of its project are older."""
    found = await ctx.db.get(task)
    if found is None:
        return None
    queue = ctx.db.query(Task).with_index(Task.per_project, project=found.project, status="open")
    return await queue.rank(task)
