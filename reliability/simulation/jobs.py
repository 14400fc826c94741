"""What the app of the simulation does later and elsewhere: jobs, actions and a cron; and what may come of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from reliability.checkers.violation import Violation
from reliability.records import Operation

JOBS: Final = """
import asyncio
from typing import Any

from yugen import (
    ActionCtx, Document, Index, MutationCtx, QueryCtx, action, internal_action, internal_mutation, mutation, query,
)


class Job(Document, table="jobs"):
    token: str
    kind: str
    scheduled: str
    cancelled: bool

    by_token = Index("token", unique=True)


class Ran(Document, table="ran"):
    token: str

    by_token = Index("token")


class Tick(Document, table="ticks"):
    at: float


@mutation
async def later(ctx: MutationCtx, token: str, kind: str, seconds: float) -> None:
    function = "j:act" if kind == "action" else "j:run"
    id = await ctx.scheduler.run_after(seconds, function, token=token)
    await ctx.db.insert(Job(token=token, kind=kind, scheduled=id, cancelled=False))


@mutation
async def cancel(ctx: MutationCtx, token: str, job: str) -> None:
    found = await ctx.db.query(Job).with_index(Job.by_token, token=job).unique()
    row = None if found is None else await ctx.db.system.get(found.scheduled)
    if row is None or row["state"]["kind"] != "pending":
        return  # too late, or in vain
    await ctx.scheduler.cancel(found.scheduled)
    await ctx.db.patch(found.id, cancelled=True)


@internal_mutation
async def run(ctx: MutationCtx, token: str) -> None:
    await ctx.db.insert(Ran(token=token))


@internal_action
async def act(ctx: ActionCtx, token: str) -> None:
    await ctx.run_mutation("j:run", token=token)
    await asyncio.sleep(0.02)


@action
async def called(ctx: ActionCtx, token: str) -> str:
    await asyncio.sleep(0.01)
    await ctx.run_mutation("j:run", token=token)
    return token


@internal_mutation
async def tick(ctx: MutationCtx) -> None:
    await ctx.db.insert(Tick(at=ctx.now))


@query
async def jobs(ctx: QueryCtx) -> list[Any]:
    return [[job.token, job.kind, job.cancelled] for job in await ctx.db.query(Job).collect()]


@query
async def ran(ctx: QueryCtx) -> list[str]:
    return [each.token for each in await ctx.db.query(Ran).collect()]


@query
async def ticks(ctx: QueryCtx) -> list[float]:
    return [each.at for each in await ctx.db.query(Tick).collect()]


@query
async def left(ctx: QueryCtx) -> list[str]:
    rows = await ctx.db.system.query("_scheduled_functions").collect()
    return [row["name"] for row in rows if row["state"]["kind"] in ("pending", "inProgress")]
"""

CRON_SECONDS: Final = 2

CRONS: Final = f"""
from yugen import Crons

from . import j

crons = Crons()
crons.interval("tick", j.tick, seconds={CRON_SECONDS})
"""


def check(operations: Sequence[Operation], jobs: Iterable[Sequence[Any]], ran: Iterable[str]) -> list[Violation]:
    """Whether what was to be done later was done as often as is promised.

    Args:
        operations: the calls of `later` and `called`.
        jobs: what is stored of jobs: their token, their kind, and whether they were cancelled before they began.
        ran: the token of each job and action that was carried out, as often as it was.
    """
    times: dict[str, int] = {}
    for token in ran:
        times[token] = times.get(token, 0) + 1
    stored = {token: (kind, cancelled) for token, kind, cancelled in jobs}
    violations = []
    for operation in operations:
        token = operation.args["token"]
        count = times.pop(token, 0)
        if operation.function == "j:called":
            allowed = {"ok": (1,), "failed": (0, 1), "lost": (0, 1)}[operation.outcome]
        elif (operation.outcome == "ok") != (token in stored):
            violations.append(
                Violation(f"a job of what was {operation.outcome}", f"{token} is stored: {token in stored}")
            )
            continue
        else:
            kind, cancelled = stored.get(token, ("", True))
            allowed = (0,) if cancelled else (0, 1) if kind == "action" else (1,)
        if count not in allowed:
            violations.append(Violation(f"done {count} times", f"{operation.function} {operation.args}"))
    violations += [Violation("done unasked", f"{token}, {count} times") for token, count in times.items()]
    return violations
