import asyncio
from typing import Any, Literal

from yugen import (
    UNSET,
    Document,
    Id,
    MutationCtx,
    PaginationOptions,
    PaginationResult,
    QueryCtx,
    YugenError,
    gt,
    lt,
    mutation,
    query,
)

from .schema import Person, Project, Status, Task, Title


@query
async def title(ctx: QueryCtx, task: Id[Task]) -> str | None:
    found = await ctx.db.get(task)
    return found.title if found else None


@query(name="list")
async def list_tasks(ctx: QueryCtx, project: Id[Project], status: Status = "open") -> list[Task]:
    tasks = ctx.db.query(Task).with_index(Task.by_project, project=project, status=status)
    return await tasks.order("desc").take(100)


@query
async def due(ctx: QueryCtx, project: Id[Project], before: float) -> list[Task]:
    tasks = ctx.db.query(Task).with_index(Task.by_project, project=project, status="open", due=gt(None) & lt(before))
    return await tasks.collect()


@query
async def longest(ctx: QueryCtx) -> Task | None:
    return await ctx.db.query(Task).with_index(Task.by_hours, **{"estimate.hours": gt(0)}).order("desc").first()


@query
async def recent(ctx: QueryCtx, since: float) -> list[Task]:
    return await ctx.db.query(Task).with_index(Task.by_creation_time, creation_time=gt(since)).collect()


@query
async def fitting(ctx: QueryCtx, project: Id[Project], hours: float) -> list[Task]:
    """The first open tasks that can be done in so many hours together."""
    chosen = []
    async for task in ctx.db.query(Task).with_index(Task.by_project, project=project, status="open"):
        hours -= task.estimate.hours if task.estimate else 1
        if hours < 0:
            break
        chosen.append(task)
    return chosen


@query
async def pages(ctx: QueryCtx, project: Id[Project], page: PaginationOptions) -> PaginationResult[Task]:
    return await ctx.db.query(Task).with_index(Task.by_project, project=project).paginate(page)


@query
async def heavy(ctx: QueryCtx, project: Id[Project], least: int) -> list[Task]:
    tasks = ctx.db.query(Task).with_index(Task.by_project, project=project, status="open")
    return await tasks.filter(lambda task: task.points >= least).collect()


class Line(Document):
    title: str
    status: Status


@query
async def lines(ctx: QueryCtx, project: Id[Project]) -> list[Line]:
    return await ctx.db.query(Task).with_index(Task.by_project, project=project).select(Line).collect()


@mutation
async def add(ctx: MutationCtx, project: Id[Project], title: Title, points: int = 1) -> Id[Task]:
    return await ctx.db.insert(Task(project=project, title=title, points=points))


@mutation
async def finish(ctx: MutationCtx, task: Id[Task]) -> None:
    await ctx.db.patch(task, status="done", due=UNSET)


@mutation
async def restart(ctx: MutationCtx, task: Id[Task]) -> None:
    found = await ctx.db.get(task)
    if found:
        await ctx.db.replace(task, Task(project=found.project, title=found.title))


@mutation
async def clear(ctx: MutationCtx, project: Id[Project]) -> int:
    done = await ctx.db.query(Task).with_index(Task.by_project, project=project, status="done").collect()
    await asyncio.gather(*(ctx.db.delete(task.id) for task in done))
    return len(done)


@mutation
async def assign(ctx: MutationCtx, task: Id[Task], person: Id[Person]) -> None:
    await ctx.db.patch(task, assignee=person)
    theirs = ctx.db.query(Task).with_index("ref_assignee", assignee=person)
    if await theirs.filter(lambda task: task.status == "open").count() > 3:
        raise YugenError({"code": "busy"})


@mutation
async def hand_out(ctx: MutationCtx, task: Id[Task], people: list[Id[Person]]) -> Id[Person] | None:
    for person in people:
        try:
            await ctx.run_mutation(assign, task=task, person=person)
        except YugenError:
            continue  # what `assign` wrote is undone
        return person
    return None


@mutation
async def note(ctx: MutationCtx, text: str) -> Id[Literal["notes"]]:
    return await ctx.db.insert("notes", {"text": text, "at": ctx.now})


@query
async def notes(ctx: QueryCtx) -> list[dict[str, Any]]:
    return await ctx.db.query("notes").order("desc").take(10)
