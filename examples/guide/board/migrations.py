from typing import Any

from yugen import DELETE, MutationCtx, migration

from .schema import Person, Task


@migration(Task)
async def drop_tasks_without_words(ctx: MutationCtx, task: dict[str, Any]) -> Any:
    return None if task["text"].strip() else DELETE


@migration(Task)
async def text_becomes_title(ctx: MutationCtx, task: dict[str, Any]) -> dict[str, Any]:
    task["title"] = task.pop("text").strip()[:200]
    return task


@migration(Task)
async def done_becomes_status(ctx: MutationCtx, task: dict[str, Any]) -> dict[str, Any]:
    task["status"] = "done" if task.pop("done", False) else "open"
    return task


@migration(Task)
async def assignee_becomes_an_id(ctx: MutationCtx, task: dict[str, Any]) -> dict[str, Any]:
    """Tasks had the names of people."""
    name = task.pop("assignee", None)
    if name is not None:
        people = ctx.db.query("people").filter(lambda person: person["name"] == name)
        person = await people.first()
        task["assignee"] = person["_id"] if person else None
    return task


@migration(Person)
async def everyone_has_a_role(ctx: MutationCtx, person: dict[str, Any]) -> dict[str, Any]:
    person.setdefault("role", "member")
    return person
