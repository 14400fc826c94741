from yugen import Id, MutationCtx, QueryCtx, mutation, query

from .access import only, signed_in
from .rules import ruled
from .schema import Name, Person, Project, Task, Title


@mutation
@signed_in
async def create(ctx: MutationCtx, person: Person, name: Name, public: bool = False) -> Id[Project]:
    return await ctx.db.insert(Project(name=name, owner=person.id, public=public))


@query(name="list")
@ruled
async def list_projects(ctx: QueryCtx) -> list[Project]:
    return await ctx.db.query(Project).collect()


@query
@ruled
async def tasks(ctx: QueryCtx, project: Id[Project]) -> list[Task]:
    return await ctx.db.query(Task).with_index(Task.by_project, project=project).collect()


@mutation
@ruled
async def rename(ctx: MutationCtx, task: Id[Task], title: Title) -> None:
    await ctx.db.patch(task, title=title)


@mutation
@ruled
async def move(ctx: MutationCtx, task: Id[Task], project: Id[Project]) -> None:
    await ctx.db.patch(task, project=project)


@mutation
@ruled
async def copy(ctx: MutationCtx, task: Id[Task]) -> Id[Task] | None:
    found = await ctx.db.get(task)
    if found is None:
        return None
    return await ctx.db.insert(Task(project=found.project, title=found.title))


@mutation
@ruled
async def drop(ctx: MutationCtx, task: Id[Task]) -> None:
    await ctx.db.delete(task)


@mutation
@only("admin")
async def remove(ctx: MutationCtx, project: Id[Project]) -> None:
    await ctx.db.delete(project)
