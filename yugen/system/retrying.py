"""What is tried again: steps of workflows and messages of the outbox.

Their rows have a `retry`, the figures of a `Retry`, and `attempts`, how many have ended. One that is to be tried again
is pending as before, at a later time, with the last error.
"""

from __future__ import annotations

from typing import Any

from yugen.errors import DocumentInvalid, Refused
from yugen.functions.retry import Retry
from yugen.system.context import SystemMutationCtx

Row = dict[str, Any]
State = dict[str, Any]


class ResultTooLarge(Refused):
    """A result that a document cannot hold."""

    code = "ResultTooLarge"


async def try_again(ctx: SystemMutationCtx, row: Row, state: State) -> bool:
    """Whether something that has ended so is to be tried again, which is noted then."""
    if state["kind"] != "failed" or "data" in state:  # what is raised on purpose would be raised again
        return False
    attempts = row["attempts"] + 1
    seconds = Retry.from_data(row["retry"]).seconds_after(int(attempts))
    if seconds is None:
        return False
    pending = {"kind": "pending", "error": state["error"]}
    await ctx.db.patch(row["_id"], state=pending, attempts=attempts, scheduledTime=ctx.now + seconds * 1000)
    return True


async def note_end(ctx: SystemMutationCtx, row: Row, state: State, **fields: Any) -> None:
    """Notes how something has ended.

    Raises:
        ResultTooLarge: its result cannot be kept.
    """
    changes = {**fields, "attempts": row["attempts"] + 1, "completedTime": ctx.now}
    await keep(ctx, row, state, **changes)


async def keep(ctx: SystemMutationCtx, row: Row, state: State, **changes: Any) -> None:
    """Gives a row this state. Data of an error that it cannot hold is left out.

    Raises:
        ResultTooLarge: it cannot hold the result.
    """
    try:
        await ctx.db.patch(row["_id"], state=state, **changes)
    except DocumentInvalid as error:
        if "result" in state:
            raise ResultTooLarge(
                f"The result of {row['name']} cannot be kept: {error} Store it in documents, and return an id."
            ) from None
        if "data" not in state:
            raise
        await ctx.db.patch(row["_id"], state={"kind": "failed", "error": state["error"]}, **changes)
