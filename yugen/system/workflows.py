"""What is known of workflows: the tables `_workflows` and `_workflow_steps`.

A workflow is `running` until its function returns (`success`), raises (`failed`), or it is `canceled`. Beside that its
row has

    due       when it is to be resumed: at once, since a step has ended, or when it has slept enough
    ends      how many of its steps have ended
    seen      how many of these it knew when it was run last
    failures  how often it could not be resumed since then
    events    those that have come and that nobody has waited for yet

A step that is a function is something scheduled: its row goes from `pending` to its end, and `yugen.system.scheduler`
takes care of that. In the transaction in which it ends, its workflow becomes due. A step that is a sleep or an event
waits for its time or for `send_event`. `finished` is the place of its end among the ends of its workflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from yugen.bounds import gte
from yugen.errors import DocumentInvalid, FunctionFailed, YugenError
from yugen.functions.retry import Retry
from yugen.functions.scheduling import check_arguments
from yugen.functions.workflows import InvalidWorkflow
from yugen.schema import UNSET
from yugen.system.context import SystemMutationCtx, SystemQueryCtx, system_mutation
from yugen.system.retrying import ResultTooLarge, Row, State, keep, note_end

if TYPE_CHECKING:
    import asyncio

TABLE: Final = "_workflows"
STEPS: Final = "_workflow_steps"

EVENTS_MAX: Final = 256
"""Events that wait in a workflow for it to wait for them."""

PASSING: Final = ("TimeLimitExceeded", "WorkerDied")
"""What a workflow cannot be resumed for now and may be later, as on a machine that has too much to do."""

RESUMING: Final = Retry(attempts=4, first=1, factor=10)

StepKind = Literal["query", "mutation", "action", "sleep", "event"]

_OPEN: Final = ("pending", "inProgress")


class Asked(NamedTuple):
    """A step that a workflow asks for.

    Attributes:
        kind: what it is.
        name: the path of the function, or the name of the event.
        args: the arguments, or how long to wait.
        retry: of a function, how it is tried again.
        until: when the wait is over, in milliseconds since the epoch.
    """

    kind: StepKind
    name: str
    args: dict[str, Any]
    retry: Retry | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A step that a workflow has asked for, by the row of it."""

    row: Row

    @property
    def number(self) -> int:
        return int(self.row["number"])

    @property
    def kind(self) -> StepKind:
        kind: StepKind = self.row["kind"]
        return kind

    @property
    def name(self) -> str:
        return str(self.row["name"])

    @property
    def args(self) -> dict[str, Any]:
        args: dict[str, Any] = self.row["args"][0]
        return args

    @property
    def open(self) -> bool:
        """Whether it has not come to its end."""
        return self.row["state"]["kind"] in _OPEN

    @property
    def canceled(self) -> bool:
        """Whether its workflow has given it up."""
        return bool(self.row["state"]["kind"] == "canceled")

    @property
    def finished(self) -> int | None:
        """The place of its end among those of its workflow, if it has come to that."""
        return int(self.row["finished"]) if "finished" in self.row else None

    @property
    def time(self) -> float:
        """When it ended, in milliseconds since the epoch."""
        return float(self.row["completedTime"])

    def settle(self, future: asyncio.Future[Any]) -> None:
        """Gives the one who waits for it what it gave."""
        state = self.row["state"]
        if state["kind"] == "success":
            future.set_result(state["result"])
            return
        if "data" in state:
            future.set_exception(YugenError(state["data"]))
        elif self.kind == "event":
            future.set_exception(TimeoutError(state["error"]))
        else:
            future.set_exception(FunctionFailed(f"{self.name}: {state['error']}"))
        future.exception()  # it is recorded, and no fault if nobody looks at it


@dataclass(frozen=True, slots=True)
class History:
    """What has happened in a workflow so far.

    Attributes:
        row: of the workflow.
        steps: the steps by their numbers.
    """

    row: Row
    steps: tuple[Recorded, ...]

    @property
    def id(self) -> Any:
        return self.row["_id"]

    @property
    def path(self) -> str:
        return str(self.row["name"])

    @property
    def args(self) -> dict[str, Any]:
        args: dict[str, Any] = self.row["args"][0]
        return args

    @property
    def began(self) -> float:
        """When it was started, in milliseconds since the epoch."""
        return float(self.row["_creationTime"])

    @property
    def seen(self) -> int | None:
        """How many ends of steps it knew when it was run last; None if it has not been run."""
        return int(self.row["seen"]) if "seen" in self.row else None


class Replayed(NamedTuple):
    """What is new in a workflow after it was run.

    Attributes:
        asked: the steps it asks for beyond those that are recorded.
        dropped: the numbers of those that it has given up.
        given: how many ends of steps it knew.
        ended: whether it has come to its end.
        result: what it gave then.
    """

    asked: tuple[Asked, ...]
    dropped: frozenset[int]
    given: int
    ended: bool
    result: Any


@system_mutation
async def start(ctx: SystemMutationCtx, path: str, args: dict[str, Any]) -> str:
    """Starts a workflow; returns its id."""
    registered = ctx.app.find(path, public=False)
    if registered.kind != "workflow":
        raise InvalidWorkflow(f"{path} is no workflow; declare it with @workflow, or have it run by ctx.scheduler.")
    check_arguments(path, args)
    ctx.db.schedules()
    state = {"kind": "running"}
    row = {"name": path, "args": [args], "state": state, "due": ctx.now, "ends": 0.0, "events": []}
    return await ctx.db.insert(TABLE, row)


@system_mutation
async def cancel(ctx: SystemMutationCtx, id: str) -> None:
    """Ends a workflow that runs."""
    row = await _workflow(ctx, id)
    if row is not None and row["state"]["kind"] == "running":
        await _end(ctx, row, {"kind": "canceled"})


@system_mutation
async def send_event(ctx: SystemMutationCtx, id: str, name: str, value: Any) -> bool:
    """Sends an event to a workflow; returns whether it runs."""
    row = await _workflow(ctx, id)
    if row is None or row["state"]["kind"] != "running":
        return False
    try:
        for step in (await history_of(ctx, row)).steps:
            if step.open and step.kind == "event" and step.name == name:
                await end_step(ctx, step.row, {"kind": "success", "result": value})
                return True
        if len(row["events"]) >= EVENTS_MAX:
            raise InvalidWorkflow(
                f"{EVENTS_MAX} events wait in this workflow already; send more when it has taken some of those."
            )
        await ctx.db.patch(id, events=[*row["events"], {"name": name, "value": value}])
    except (DocumentInvalid, ResultTooLarge) as error:
        raise InvalidWorkflow(f"The event {name!r} cannot be kept until it is waited for: {error}") from None
    return True


async def due(ctx: SystemQueryCtx, limit: int) -> list[Row]:
    """The workflows that are to be resumed next."""
    found: list[Row] = await ctx.db.query(TABLE).with_index("by_due", due=gte(0.0)).take(limit)
    return found


async def history_of(ctx: SystemMutationCtx, row: Row) -> History:
    """What has happened in a workflow."""
    steps = await ctx.db.query(STEPS).with_index("by_workflow", workflow=row["_id"]).collect()
    return History(row, tuple(map(Recorded, steps)))


async def resume(ctx: SystemMutationCtx, id: str) -> History | None:
    """Ends the waits that are over, and gives what has happened then; None if the workflow is not to be run now."""
    row = await ctx.db.get(id)
    if row is None or "due" not in row:
        return None
    history = await history_of(ctx, row)
    over = [step.row for step in history.steps if step.open and step.row.get("scheduledTime", ctx.now + 1) <= ctx.now]
    waits = [step for step in over if step["kind"] in ("sleep", "event")]
    if not waits:
        return history
    for step in sorted(waits, key=lambda step: step["scheduledTime"]):
        if step["kind"] == "sleep":
            await end_step(ctx, step, {"kind": "success", "result": None})
        else:
            seconds = step["args"][0]["timeout"]
            error = f"The event {step['name']!r} was not sent within {seconds:g} s."
            await end_step(ctx, step, {"kind": "failed", "error": error})
    return await history_of(ctx, await ctx.db.get(id))


async def record(ctx: SystemMutationCtx, history: History, replayed: Replayed) -> None:
    """Notes what is new in a workflow.

    Raises:
        ResultTooLarge: its result cannot be kept.
    """
    row = history.row
    if replayed.ended:
        await _end(ctx, row, {"kind": "success", "result": replayed.result})
        return
    waits: list[float] = []
    for step in history.steps:
        if step.open and step.number in replayed.dropped:
            await ctx.db.patch(step.row["_id"], state={"kind": "canceled"}, completedTime=ctx.now)
        elif step.open and step.kind in ("sleep", "event") and "scheduledTime" in step.row:
            waits.append(step.row["scheduledTime"])
    events, arrived = list(row["events"]), 0
    for number, asked in enumerate(replayed.asked, len(history.steps)):
        new: Row = {"workflow": row["_id"], "number": float(number), "kind": asked.kind, "name": asked.name}
        new |= {"args": [asked.args], "state": {"kind": "pending"}}
        if asked.retry is not None:
            new |= {"retry": asked.retry.to_data(), "attempts": 0.0, "scheduledTime": ctx.now}
        if number in replayed.dropped:
            new |= {"state": {"kind": "canceled"}, "completedTime": ctx.now}
        elif asked.kind == "event" and (event := _first(events, asked.name)) is not None:
            events.remove(event)
            new |= {"state": {"kind": "success", "result": event["value"]}, "completedTime": ctx.now}
            new |= {"finished": row["ends"] + arrived}
            arrived += 1
        elif asked.until is not None:
            new |= {"scheduledTime": asked.until}
            waits.append(asked.until)
        await ctx.db.insert(STEPS, new)
    changes: dict[str, Any] = {"seen": float(replayed.given), "ends": row["ends"] + arrived, "events": events}
    if "failures" in row:
        changes["failures"] = UNSET
    changes["due"] = ctx.now if arrived else min(waits, default=UNSET)
    await ctx.db.patch(row["_id"], changes)


async def end_step(ctx: SystemMutationCtx, row: Row, state: State) -> None:
    """Notes the end of a step, and has its workflow resumed.

    Raises:
        ResultTooLarge: its result cannot be kept.
    """
    workflow = await ctx.db.get(row["workflow"])
    assert workflow is not None, "steps go with their workflow"
    assert workflow["state"]["kind"] == "running", "the end of a workflow is the end of its steps"
    if "retry" in row:
        await note_end(ctx, row, state, finished=workflow["ends"])
    else:
        await keep(ctx, row, state, finished=workflow["ends"], completedTime=ctx.now)
    await ctx.db.patch(workflow["_id"], ends=workflow["ends"] + 1, due=ctx.now)


async def fail(ctx: SystemMutationCtx, row: Row, state: State) -> bool:
    """Notes that a workflow that was to be resumed has failed; returns whether it is to be given up now."""
    if row["state"]["kind"] != "running":
        return False
    if state["error"].partition(":")[0] in PASSING:
        failures = row.get("failures", 0.0) + 1
        seconds = RESUMING.seconds_after(int(failures))
        if seconds is not None:
            await ctx.db.patch(row["_id"], failures=failures, due=ctx.now + seconds * 1000)
            return False
    await _end(ctx, row, state)
    return True


async def forget(ctx: SystemMutationCtx, row: Row) -> int:
    """Deletes a workflow that has ended, with its steps; returns how many rows these were."""
    steps = await ctx.db.query(STEPS).with_index("by_workflow", workflow=row["_id"]).collect()
    for each in (*steps, row):
        await ctx.db.delete(each["_id"])
    return len(steps) + 1


async def _workflow(ctx: SystemMutationCtx, id: str) -> Row | None:
    if await ctx.db.table_of(id) != TABLE:
        raise InvalidWorkflow(f"{id[:100]!r} is not the id of a workflow; give what `ctx.workflows.start` returned.")
    row: Row | None = await ctx.db.get(id)
    return row


async def _end(ctx: SystemMutationCtx, row: Row, state: State) -> None:
    """Notes the end of a workflow, which gives up its steps that have not ended."""
    for step in (await history_of(ctx, row)).steps:
        if step.open:
            await ctx.db.patch(step.row["_id"], state={"kind": "canceled"}, completedTime=ctx.now)
    await keep(ctx, row, state, completedTime=ctx.now, due=UNSET, events=[])


def _first(events: list[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((event for event in events if event["name"] == name), None)
