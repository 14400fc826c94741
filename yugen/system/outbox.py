"""What is to happen outside: the table `_outbox`, of which no two messages that are kept have the same key.

A message is something scheduled, see `yugen.system.scheduler`, that is tried again.
"""

from __future__ import annotations

from typing import Any, Final

from yugen.functions.outbox import InvalidMessage
from yugen.functions.retry import Retry
from yugen.functions.scheduling import check_arguments
from yugen.system.context import SystemMutationCtx, system_mutation

TABLE: Final = "_outbox"


@system_mutation
async def send(
    ctx: SystemMutationCtx, key: str, path: str, args: dict[str, Any], retry: dict[str, float] | None = None
) -> str:
    """Notes that an action is to be carried out; returns the id of the message of this key."""
    registered = ctx.app.find(path, public=False)
    if registered.kind != "action":
        raise InvalidMessage(f"{path} is a {registered.kind}; what happens outside is done by an action.")
    there = await ctx.db.query(TABLE).with_index("by_key", key=key).first()
    if there is not None:
        return str(there["_id"])
    check_arguments(path, args)
    ctx.db.schedules()
    row = {"key": key, "name": path, "kind": "action", "args": [args], "scheduledTime": ctx.now}
    row |= {"state": {"kind": "pending"}, "retry": retry or Retry().to_data(), "attempts": 0.0}
    return await ctx.db.insert(TABLE, row)
