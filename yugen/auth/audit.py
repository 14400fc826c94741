"""The log of what has to do with who may do what."""

from __future__ import annotations

from typing import Any

from yugen.auth import notices
from yugen.auth.documents import AuditEvent
from yugen.functions.context import MutationCtx
from yugen.functions.declare import internal_mutation
from yugen.schema import UNSET

AGENT_LENGTH_MAX = 300


async def note(
    ctx: MutationCtx,
    event: str,
    *,
    user: str | None = None,
    actor: str | None = None,
    address: str | None = None,
    agent: str | None = None,
    **detail: Any,
) -> None:
    """Writes an event down, in the transaction of what it is about, and has its user told if they should hear of it."""
    await ctx.db.unrestricted.insert(
        AuditEvent(
            event=event,
            user=UNSET if user is None else user,
            actor=UNSET if actor is None else actor,
            address=UNSET if address is None else address,
            agent=UNSET if agent is None else agent[:AGENT_LENGTH_MAX],
            detail=detail or UNSET,
        )
    )
    if user is not None:
        await notices.send(ctx, event, user)


@internal_mutation
async def sweep(ctx: MutationCtx, older: float) -> bool:
    """Deletes events that are older than so many milliseconds; returns whether there may be more of them."""
    oldest = await ctx.db.query(AuditEvent).take(256)
    for each in oldest:
        if each.creation_time > ctx.now - older:
            return False
        await ctx.db.delete(each.id)
    return bool(oldest)
