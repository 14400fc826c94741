"""What is scheduled: the tables `_scheduled_functions` and, of what runs again and again, `_cron_runs`.

A row goes from `pending` to its end, `success`, `failed` or `canceled`. A mutation does so in its own transaction, and
so is carried out exactly once; an action is `inProgress` first, in a transaction before it begins, and so begins at
most once. The end of a run of a cron is also the beginning of the next: they are one transaction, too.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from yugen import values
from yugen.bounds import between
from yugen.functions.scheduling import InvalidSchedule, check_arguments
from yugen.system.context import SystemMutationCtx, SystemQueryCtx, system_mutation, system_query

TABLE: Final = "_scheduled_functions"
CRON_RUNS: Final = "_cron_runs"
TABLES: Final = (TABLE, CRON_RUNS)

KEPT_MS: Final = 7 * 86_400_000.0
"""How long what has run is kept, in milliseconds."""

CRON_RUNS_KEPT_MS: Final = 86_400_000.0

PENDING_BYTES: Final = 4 * 1024 * 1024
"""Size of the arguments after which no more of what is next is looked at: it is much at once."""

SWEPT_MAX: Final = 256
"""Rows that are deleted in one transaction."""

STOPPED: Final = "The server stopped while this ran; nobody knows how far it came, and it is not run again."

Lane = Literal["mutation", "action"]
Row = dict[str, Any]
State = dict[str, Any]


class NotPending(InvalidSchedule):
    """Something that was scheduled, and has been cancelled or carried out by now."""

    code = "NotPending"

    def __init__(self) -> None:
        super().__init__("This is not scheduled any more; it was cancelled or has been carried out.")


@system_mutation
async def schedule(
    ctx: SystemMutationCtx, path: str, args: dict[str, Any], after: float | None = None, at: float | None = None
) -> str:
    """Notes that a function is to run, `after` so many milliseconds or `at` a time; returns the id of the row."""
    registered = ctx.app.find(path, public=False)
    if registered.kind == "query":
        raise InvalidSchedule(f"{path} is a query, which changes nothing; schedule a mutation or an action.")
    check_arguments(path, args)
    ctx.db.schedules()
    time = ctx.now + after if after is not None else at
    return await ctx.db.insert(TABLE, _pending(path, registered.kind, args, time))


@system_mutation
async def cancel(ctx: SystemMutationCtx, id: str) -> None:
    """Has something not run that is pending."""
    if await ctx.db.table_of(id) != TABLE:
        raise InvalidSchedule(f"{id[:100]!r} is not the id of anything scheduled; give what `run_after` returned.")
    row = await ctx.db.get(id)
    if row is not None and row["state"]["kind"] == "pending":
        await _end(ctx, row, {"kind": "canceled"})


@system_query
async def pending(ctx: SystemQueryCtx, lane: Lane, limit: float) -> list[dict[str, Any]]:
    """What is next: `{id, path, args, time, cron}` of as many rows at most, the earliest first."""
    rows: list[Row] = []
    for table in TABLES:
        count = size = 0
        async for row in ctx.db.query(table).with_index("by_state", **{"kind": lane, "state.kind": "pending"}):
            rows.append(row)
            count += 1
            size += values.size(row["args"])
            if count == int(limit) or size > PENDING_BYTES:
                break
    rows.sort(key=lambda row: row["scheduledTime"])
    return [
        {
            "id": row["_id"],
            "path": row["name"],
            "args": row["args"][0],
            "time": row["scheduledTime"],
            "cron": row.get("cron"),
        }
        for row in rows[: int(limit)]
    ]


@system_mutation
async def begin(ctx: SystemMutationCtx, id: str) -> bool:
    """Notes that an action begins; returns whether it may, which is so once."""
    row = await ctx.db.get(id)
    if row is None or row["state"]["kind"] != "pending":
        return False
    await ctx.db.patch(id, state={"kind": "inProgress"})
    return True


@system_mutation
async def put_back(ctx: SystemMutationCtx, id: str) -> None:
    """Notes that an action has not begun although that was noted."""
    row = await ctx.db.get(id)
    if row is not None and row["state"]["kind"] == "inProgress":
        await ctx.db.patch(id, state={"kind": "pending"})


@system_mutation
async def end(ctx: SystemMutationCtx, id: str, error: str | None) -> None:
    """Notes that an action has ended, or that a mutation has failed."""
    row = await ctx.db.get(id)
    if row is not None and row["state"]["kind"] in ("pending", "inProgress"):
        await _end(ctx, row, {"kind": "success"} if error is None else {"kind": "failed", "error": error})


async def check_pending(ctx: SystemMutationCtx, id: str) -> None:
    """Makes sure, in the transaction of a mutation that begins, that it is to run.

    Raises:
        NotPending: it is not to run any more.
    """
    row = await ctx.db.get(id)
    if row is None or row["state"]["kind"] != "pending":
        raise NotPending


async def succeeded(ctx: SystemMutationCtx, id: str) -> None:
    """Notes that a mutation has succeeded, in its own transaction, unless it has cancelled itself in it."""
    row = await ctx.db.get(id)
    if row is not None and row["state"]["kind"] == "pending":
        await _end(ctx, row, {"kind": "success"})


@system_mutation
async def recover(ctx: SystemMutationCtx) -> int:
    """Notes of actions that an earlier server has begun that they failed; returns how many there were."""
    count = 0
    for table in TABLES:
        query = ctx.db.query(table).with_index("by_state", **{"kind": "action", "state.kind": "inProgress"})
        for row in await query.take(SWEPT_MAX):
            await _end(ctx, row, {"kind": "failed", "error": STOPPED})
            count += 1
    return count


@system_mutation
async def sweep(ctx: SystemMutationCtx) -> int:
    """Deletes some of what ended long ago; returns how many rows."""
    count = 0
    for table, kept in ((TABLE, KEPT_MS), (CRON_RUNS, CRON_RUNS_KEPT_MS)):
        old = (
            await ctx.db.query(table)
            .with_index("by_completed", completedTime=between(0.0, ctx.now - kept))
            .take(SWEPT_MAX)
        )
        for row in old:
            await ctx.db.delete(row["_id"])
        count += len(old)
    return count


@system_mutation
async def take_up_crons(ctx: SystemMutationCtx) -> None:
    """Brings what is pending in `_cron_runs` to what the app declares."""
    for lane in get_args(Lane):
        query = ctx.db.query(CRON_RUNS).with_index("by_state", **{"kind": lane, "state.kind": "pending"})
        for row in await query.collect():
            if _differs(ctx, row):
                await ctx.db.delete(row["_id"])
    for name in ctx.app.crons:
        newest = await ctx.db.query(CRON_RUNS).with_index("by_cron", cron=name).first()
        if newest is None or "completedTime" in newest:
            cron = ctx.app.crons[name]
            await _schedule_cron(ctx, name, cron.times.first(ctx.now))


def _differs(ctx: SystemMutationCtx, row: Row) -> bool:
    cron = ctx.app.crons.get(row["cron"])
    if cron is None:
        return True
    declared = [cron.path, ctx.app.find(cron.path, public=False).kind, cron.args, cron.times.to_data()]
    return values.canonical(declared) != values.canonical([row["name"], row["kind"], row["args"][0], row["times"]])


async def _schedule_cron(ctx: SystemMutationCtx, name: str, time: float) -> None:
    cron = ctx.app.crons[name]
    kind = ctx.app.find(cron.path, public=False).kind
    row = {**_pending(cron.path, kind, cron.args, time), "cron": name, "times": cron.times.to_data()}
    await ctx.db.insert(CRON_RUNS, row)


async def _end(ctx: SystemMutationCtx, row: Row, state: State) -> None:
    """Notes the end of something, and begins what it is to be followed by."""
    name = row.get("cron", "")
    skipped = {}
    if name in ctx.app.crons:
        time, missed = ctx.app.crons[name].times.next(row["scheduledTime"], ctx.now)
        await _schedule_cron(ctx, name, time)
        if missed:
            skipped = {"skipped": missed}
            ctx.log.warning("cron %s: %d times have passed meanwhile and are left out", name, missed)
    await ctx.db.patch(row["_id"], state=state, completedTime=ctx.now, **skipped)


def _pending(path: str, kind: str, args: Any, time: float | None) -> Row:
    return {"name": path, "kind": kind, "args": [args], "scheduledTime": time, "state": {"kind": "pending"}}
