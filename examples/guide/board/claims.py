from yugen import ActionCtx, Id, MutationCtx, QueryCtx, action, internal_mutation, internal_query, mutation

from .schema import Person, Project, Task


@internal_query
async def free(ctx: QueryCtx, project: Id[Project]) -> Task | None:
    tasks = ctx.db.query(Task).with_index(Task.by_project, project=project, status="open")
    return await tasks.filter(lambda task: task.assignee is None).first()


@internal_mutation
async def give(ctx: MutationCtx, task: Id[Task], person: Id[Person]) -> None:
    await ctx.db.patch(task, assignee=person)


@action
async def claim(ctx: ActionCtx, project: Id[Project], person: Id[Person]) -> Id[Task] | None:
    task = await ctx.run_query(free, project=project)
    if task is None:
        return None
    await ctx.run_mutation(give, task=task.id, person=person)
    return task.id


@mutation
async def claim_at_once(ctx: MutationCtx, project: Id[Project], person: Id[Person]) -> Id[Task] | None:
    task = await ctx.run_query(free, project=project)
    if task is None:
        return None
    await ctx.run_mutation(give, task=task.id, person=person)
    return task.id
