import asyncio
import urllib.error
import urllib.request
from typing import Any, Literal

from yugen import (
    ActionCtx,
    Id,
    MutationCtx,
    QueryCtx,
    YugenError,
    internal_action,
    internal_mutation,
    lt,
    mutation,
    query,
)

from .schema import Task

Job = Id[Literal["_scheduled_functions"]]


@mutation
async def remind(ctx: MutationCtx, task: Id[Task], minutes: float) -> Job:
    """Leaves a note about a task in so many minutes, if it is still to be done by then."""
    if minutes <= 0:
        raise YugenError("A reminder is for later.")
    return await ctx.scheduler.run_after(minutes * 60, leave_note, task=task)


@internal_mutation
async def leave_note(ctx: MutationCtx, task: Id[Task]) -> None:
    found = await ctx.db.get(task)
    if found is not None and found.status == "open":
        await ctx.db.insert("notes", {"text": f"Think of {found.title}", "at": ctx.now})


@mutation
async def forget(ctx: MutationCtx, reminder: Job) -> None:
    await ctx.scheduler.cancel(reminder)


@query
async def state(ctx: QueryCtx, reminder: Job) -> str | None:
    """`pending`, `inProgress`, `success`, `failed` or `canceled`."""
    found = await ctx.db.system.get(reminder)
    return found["state"]["kind"] if found else None


@query
async def upcoming(ctx: QueryCtx) -> list[dict[str, Any]]:
    jobs = ctx.db.system.query("_scheduled_functions")
    return await jobs.filter(lambda job: job["state"]["kind"] == "pending").take(100)


def post(url: str, text: str) -> None:
    urllib.request.urlopen(url, text.encode(), timeout=10).close()


@internal_action
async def tell(ctx: ActionCtx, url: str, text: str, attempt: int = 1) -> None:
    """Posts a text to a service, and tries again later where that fails: five times, each after twice the time."""
    try:
        await asyncio.to_thread(post, url, text)
    except urllib.error.URLError:
        if attempt == 5:
            raise
        await ctx.scheduler.run_after(2**attempt, tell, url=url, text=text, attempt=attempt + 1)


@mutation
async def tell_everyone(ctx: MutationCtx, url: str, text: str) -> None:
    await ctx.db.insert("notes", {"text": text, "at": ctx.now})
    await ctx.scheduler.run_after(0, tell, url=url, text=text)  # only if the note is there


@internal_mutation
async def tidy(ctx: MutationCtx, days: int) -> None:
    """Removes what is done and was added so many days ago, a hundred at a time."""
    old = ctx.db.query(Task).with_index(Task.by_creation_time, creation_time=lt(ctx.now - days * 86_400_000))
    done = await old.filter(lambda task: task.status == "done").take(100)
    for task in done:
        await ctx.db.delete(task.id)
    if len(done) == 100:
        await ctx.scheduler.run_after(0, tidy, days=days)
