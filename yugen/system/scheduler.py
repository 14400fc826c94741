"""What is scheduled: the tables `_scheduled_functions` and, of what runs again and again, `_cron_runs`.

Steps of workflows and messages of the outbox are scheduled by their own rows, and a workflow by when it is due. A row
goes from `pending` to its end, `success`, `failed` or `canceled`. A mutation does so in its own transaction, and so is
carried out exactly once; an action is `inProgress` first, in a transaction before it begins, and so begins at most
once. What follows from the end of a row is in the transaction that notes it: the next run of a cron, the next attempt,
or that a workflow goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, Final, Literal, get_args

from yugen import values
from yugen.bounds import between
from yugen.functions.info import Kind
from yugen.functions.scheduling import InvalidSchedule, check_arguments
from yugen.system import outbox, rate_limits, workflows
from yugen.system.context import SystemMutationCtx, SystemQueryCtx, system_mutation, system_query
from yugen.system.retrying import ResultTooLarge, note_end, try_again

TABLE: Final = "_scheduled_functions"
CRON_RUNS: Final = "_cron_runs"
TABLES: Final = (TABLE, CRON_RUNS, workflows.STEPS, outbox.TABLE)

KEPT_MS: Final = 7 * 86_400_000.0
"""How long what has run is kept, in milliseconds."""

CRON_RUNS_KEPT_MS: Final = 86_400_000.0

PENDING_BYTES: Final = 4 * 1024 * 1024
"""Size of the arguments after which no more of what is next is looked at: it is much at once."""

SWEPT_MAX: Final = 256
"""Rows that are deleted in one transaction."""

STOPPED: Final = "The server stopped while this ran; nobody knows how far it came, and it is not run again."
INTERRUPTED: Final = "The server stopped while this ran; nobody knows how far it came."

Lane = Literal["mutation", "action"]
_KINDS: Final = {"mutation": ("mutation", "query"), "action": ("action",)}
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
    if registered.kind == "workflow":
        raise InvalidSchedule(f"{path} is a workflow; start it with `ctx.workflows.start`, in a mutation if need be.")
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
    """What is next: `{id, path, args, time, what, key}` of as many rows at most, the earliest first.

    `what` says why it runs, and `key` is the idempotency key of what has one.
    """
    rows: list[Row] = []
    for table, kind in product(TABLES, _KINDS[lane]):
        count = size = 0
        async for row in ctx.db.query(table).with_index("by_state", **{"kind": kind, "state.kind": "pending"}):
            rows.append(row)
            count += 1
            size += values.size(row["args"])
            if count == int(limit) or size > PENDING_BYTES:
                break
    jobs = [
        {
            "id": row["_id"],
            "path": row["name"],
            "args": row["args"][0],
            "time": row["scheduledTime"],
            "what": _what(row),
            "key": row.get("key", row["_id"]) if "retry" in row else None,
        }
        for row in rows
    ]
    if lane == "mutation":
        jobs += [
            {"id": row["_id"], "path": row["name"], "args": {}, "time": row["due"], "what": "workflow", "key": None}
            for row in await workflows.due(ctx, int(limit))
        ]
    jobs.sort(key=lambda job: job["time"])
    return jobs[: int(limit)]


def _what(row: Row) -> str:
    if "cron" in row:
        return f"cron {row['cron']}"
    if "retry" in row:
        return "step of a workflow" if "workflow" in row else "outbox"
    return "scheduled"


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
async def end(
    ctx: SystemMutationCtx, id: str, error: str | None = None, data: list[Any] | None = None, result: Any = None
) -> str | None:
    """Notes that an action has ended, or that a mutation or a workflow has failed.

    Args:
        ctx: the context.
        id: the row.
        error: what has gone wrong, if it has.
        data: the data of the error, alone in a list, if it has any.
        result: what it gave, if that is kept.

    Returns:
        What administrators should hear of it, if anything.
    """
    row = await ctx.db.get(id)
    if row is None:
        return None
    state: State = {"kind": "success", "result": result}
    if error is not None:
        state = {"kind": "failed", "error": error} | ({"data": data[0]} if data else {})
    if await ctx.db.table_of(id) == workflows.TABLE:
        if error is None or error.startswith(f"{NotPending.code}: ") or not await workflows.fail(ctx, row, state):
            return None
        return f"the workflow {id} has failed: {row['name']}: {state['error']}"
    if row["state"]["kind"] not in ("pending", "inProgress"):
        return None
    try:
        await _end(ctx, row, state)
    except ResultTooLarge as fault:  # it has done its work, and would do so again
        state = {"kind": "failed", "error": f"{fault.code}: {fault}"}
        await _end(ctx, row, state, final=True)
    return await _report(ctx, row, state)


async def _report(ctx: SystemMutationCtx, row: Row, state: State) -> str | None:
    """What to say of a message that was not carried out."""
    if await ctx.db.table_of(row["_id"]) != outbox.TABLE or state["kind"] != "failed":
        return None
    ended = await ctx.db.get(row["_id"])
    if ended is None or ended["state"]["kind"] != "failed":
        return None
    times = f"{ended['attempts']:g} attempts" if ended["attempts"] > 1 else "one attempt"
    return f"the message {row['key']!r} was given up after {times}: {row['name']}: {state['error']}"


async def check_pending(ctx: SystemMutationCtx, id: str) -> Kind:
    """Makes sure, in the transaction of what begins, that it is to run.

    Returns:
        What was scheduled: a mutation, or as a step of a workflow also a query.

    Raises:
        NotPending: it is not to run any more.
    """
    row: Row | None = await ctx.db.get(id)
    if row is None or row["state"]["kind"] != "pending":
        raise NotPending
    kind: Kind = row["kind"]
    return kind


async def succeeded(ctx: SystemMutationCtx, id: str, result: Callable[[], Any]) -> None:
    """Notes that a mutation has succeeded, in its own transaction, unless it has cancelled itself in it.

    Args:
        ctx: a context in that transaction.
        id: the row.
        result: gives the result, for what keeps it.

    Raises:
        ResultTooLarge: its result cannot be kept.
    """
    row = await ctx.db.get(id)
    if row is not None and row["state"]["kind"] == "pending":
        await _end(ctx, row, {"kind": "success"} | ({"result": result()} if "retry" in row else {}))


@system_mutation
async def recover(ctx: SystemMutationCtx) -> int:
    """Notes of actions that an earlier server has begun that they failed; returns how many there were."""
    count = 0
    for table in TABLES:
        query = ctx.db.query(table).with_index("by_state", **{"kind": "action", "state.kind": "inProgress"})
        for row in await query.take(SWEPT_MAX):
            await _end(ctx, row, {"kind": "failed", "error": INTERRUPTED if "retry" in row else STOPPED})
            count += 1
    return count


@system_mutation
async def sweep(ctx: SystemMutationCtx) -> int:
    """Deletes some of what ended long ago, and of what rate limits have forgotten; returns how many rows."""
    count = await rate_limits.sweep(ctx, SWEPT_MAX)
    kept_ms = {TABLE: KEPT_MS, CRON_RUNS: CRON_RUNS_KEPT_MS, outbox.TABLE: KEPT_MS, workflows.TABLE: KEPT_MS}
    for table, kept in kept_ms.items():
        old = (
            await ctx.db.query(table)
            .with_index("by_completed", completedTime=between(0.0, ctx.now - kept))
            .take(SWEPT_MAX)
        )
        for row in old:
            count += await workflows.forget(ctx, row) if table == workflows.TABLE else await _forget(ctx, row)
    return count


async def _forget(ctx: SystemMutationCtx, row: Row) -> int:
    await ctx.db.delete(row["_id"])
    return 1


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


async def _end(ctx: SystemMutationCtx, row: Row, state: State, *, final: bool = False) -> None:
    """Notes the end of something, and begins what it is to be followed by: unless `final`, perhaps another attempt."""
    if "retry" in row:
        if final or not await try_again(ctx, row, state):
            await (workflows.end_step if "workflow" in row else note_end)(ctx, row, state)
        return
    state = {name: state[name] for name in ("kind", "error") if name in state}
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
