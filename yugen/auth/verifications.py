"""What was sent to somebody, for them to show that it has reached them: links and numbers that are good once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

from yugen.auth.documents import Verification
from yugen.auth.sessions import milliseconds
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation
from yugen.schema import UNSET

ATTEMPTS_MAX: Final = 5
"""How often something else may be shown than a number that can be guessed."""


async def issue(
    ctx: MutationCtx, purpose: str, subject: str, digest: str, lifetime: timedelta, data: Any = None
) -> None:
    """Notes what was sent. What was sent before to the same subject for the same purpose is good no more.

    Args:
        ctx: the context of the transaction.
        purpose: what it is good for.
        subject: to whom it was sent.
        digest: of what was sent: `crypto.digest` of a token, `keyed_digest` of a number.
        lifetime: how long it is good.
        data: a JSON value to be given back with it; no secrets.
    """
    await withdraw(ctx, purpose, subject)
    await add(ctx, purpose, subject, digest, lifetime, data)


async def add(ctx: MutationCtx, purpose: str, subject: str, digest: str, lifetime: timedelta, data: Any = None) -> None:
    """As `issue`, where what was sent before stays good."""
    await ctx.db.insert(
        Verification(
            purpose=purpose,
            subject=subject,
            digest=digest,
            expires=ctx.now + milliseconds(lifetime),
            data=UNSET if data is None else json.dumps(data),
        )
    )


async def withdraw(ctx: MutationCtx, purpose: str, subject: str) -> None:
    """Has what was sent to somebody be good no more."""
    found = ctx.db.query(Verification).with_index(Verification.by_subject, purpose=purpose, subject=subject)
    for each in await found.collect():
        await ctx.db.delete(each.id)


async def look(ctx: QueryCtx, purpose: str, digest: str) -> Verification | None:
    """What was sent and cannot be guessed, without using it up. Whether it is too late is for `use` to say."""
    return await ctx.db.query(Verification).with_index(Verification.by_digest, purpose=purpose, digest=digest).first()


async def use(ctx: MutationCtx, purpose: str, digest: str) -> Verification | None:
    """What was sent and cannot be guessed, which this uses up; None if it is not good, or not any more."""
    found = await ctx.db.query(Verification).with_index(Verification.by_digest, purpose=purpose, digest=digest).first()
    if found is None:
        return None
    await ctx.db.delete(found.id)
    return found if found.expires > ctx.now else None


async def guess(ctx: MutationCtx, purpose: str, subject: str, digest: str) -> Verification | None:
    """What was sent to somebody and could be guessed; None if this is not it. It may be tried `ATTEMPTS_MAX` times.

    The transaction must commit also where it is not, or nothing would be counted.
    """
    sent = ctx.db.query(Verification).with_index(Verification.by_subject, purpose=purpose, subject=subject)
    found = await sent.order("desc").first()
    if found is None:
        return None
    if found.digest == digest and found.expires > ctx.now:
        await ctx.db.delete(found.id)
        return found
    if found.expires <= ctx.now or found.attempts + 1 >= ATTEMPTS_MAX:
        await ctx.db.delete(found.id)
    else:
        await ctx.db.patch(found.id, attempts=found.attempts + 1)
    return None


def data_of(verification: Verification) -> Any:
    """What was to be given back with it."""
    return None if verification.data is UNSET else json.loads(verification.data)


@internal_mutation
async def sweep(ctx: MutationCtx) -> bool:
    """Deletes what is good no more; returns whether there may be more of it."""
    over = await ctx.db.query(Verification).with_index(Verification.by_expiry).take(256)
    for each in over:
        if each.expires > ctx.now:
            return False
        await ctx.db.delete(each.id)
    return bool(over)
