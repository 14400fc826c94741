from datetime import timedelta
from typing import Any, Literal

import httpx2

from yugen import (
    ActionCtx,
    Id,
    MutationCtx,
    QueryCtx,
    Retry,
    WorkflowCtx,
    internal_action,
    internal_mutation,
    internal_query,
    mutation,
    query,
    workflow,
)

from .access import signed_in
from .schema import Person, Project, Task

Welcome = Id[Literal["_workflows"]]
Message = Id[Literal["_outbox"]]


@internal_action
async def send_mail(ctx: ActionCtx, to: str, subject: str) -> None:
    async with httpx2.AsyncClient() as http:
        answer = await http.post(
            ctx.env["MAIL_URL"],
            json={"to": to, "subject": subject},
            headers={"Idempotency-Key": ctx.idempotency_key or ""},
        )
        answer.raise_for_status()


@internal_mutation
async def set_email(ctx: MutationCtx, person: Id[Person], email: str) -> None:
    await ctx.db.patch(person, email=email)


@internal_query
async def count_tasks(ctx: QueryCtx, person: Id[Person]) -> int:
    return await ctx.db.query(Task).filter(lambda task: task.assignee == person).count()


@workflow
async def welcome(ctx: WorkflowCtx, person: Id[Person], email: str) -> str:
    await ctx.step(send_mail, to=email, subject="Is this your address?")
    try:
        await ctx.wait_for_event("confirmed", timeout=timedelta(days=2))
    except TimeoutError:
        return "not confirmed"
    await ctx.step(set_email, person, email)
    await ctx.sleep(timedelta(days=7))
    if await ctx.step(count_tasks, person) == 0:
        patient = ctx.with_retry(Retry(attempts=10, first=60, longest=6 * 3600))
        await patient.step(send_mail, to=email, subject="Nothing to do?")
    return "welcomed"


@mutation
@signed_in
async def begin(ctx: MutationCtx, person: Person, email: str) -> Welcome:
    return await ctx.workflows.start(welcome, person.id, email)


@mutation
async def confirm(ctx: MutationCtx, workflow: Welcome) -> bool:
    return await ctx.workflows.send_event(workflow, "confirmed")


@mutation
async def forget(ctx: MutationCtx, workflow: Welcome) -> None:
    await ctx.workflows.cancel(workflow)


@query
async def progress(ctx: QueryCtx, workflow: Welcome) -> dict[str, Any] | None:
    found = await ctx.db.system.get(workflow)
    if found is None:
        return None
    steps = await ctx.db.system.query("_workflow_steps").with_index("by_workflow", workflow=workflow).collect()
    return {"state": found["state"], "steps": [[step["name"], step["state"]["kind"]] for step in steps]}


@mutation
@signed_in
async def invite(ctx: MutationCtx, person: Person, project: Id[Project], email: str) -> Message:
    subject = f"{person.name} invites you"
    return await ctx.outbox.send(f"invite:{project}:{email}", send_mail, to=email, subject=subject)


@query
async def invitation(ctx: QueryCtx, message: Message) -> str:
    found = await ctx.db.system.get(message)
    return found["state"]["kind"] if found else "forgotten"
