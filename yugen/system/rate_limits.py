"""What has been taken of rate limits: the table `_rate_limits`.

A row is a bucket, or one shard of it, and is found by its id, which follows from its name. So a transaction depends on
no others than those it looks at. A bucket that is full is as good as none: its row is swept.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from hashlib import blake2b
from typing import Any

from yugen import ids
from yugen.bounds import between
from yugen.catalog import CREATION_TIME, RATE_LIMITS
from yugen.ids import INTERNAL_SIZE
from yugen.rates import CLOCK_SET_MS, Kind, Rate, State, Taken
from yugen.system.context import SystemMutationCtx, SystemQueryCtx, system_mutation, system_query

Row = dict[str, Any]


@system_mutation
async def take(
    ctx: SystemMutationCtx, bucket: str, kind: Kind, rate: int, per: int, burst: int, shards: int, count: int
) -> dict[str, Any]:
    """Takes tokens of a bucket, or none if there are not enough; returns an `Allowance`."""
    share = Rate(kind, rate, per, burst).share(shards)
    order = list(range(shards))
    if shards > 1:
        ctx.random.shuffle(order)  # so that two at once seldom meet; only when none has enough are all looked at
    looked: list[Taken] = []
    async for row, taken in _looked_at(ctx, share, bucket, order, count):
        looked.append(taken)
        if not taken.wait_ms:
            used, since = map(float, taken.state)
            noted = {**row, "used": used, "since": since, "fullAt": float(share.full_at(taken.state))}
            await ctx.db.put(RATE_LIMITS, ids.decode_id(row["_id"])[1], noted)
            break
    return _allowance(ctx, looked, sum(taken.left for taken in looked))


@system_query
async def check(
    ctx: SystemQueryCtx, bucket: str, kind: Kind, rate: int, per: int, burst: int, shards: int, count: int
) -> dict[str, Any]:
    """Whether tokens could be taken; returns an `Allowance`."""
    share = Rate(kind, rate, per, burst).share(shards)
    looked = [taken async for _, taken in _looked_at(ctx, share, bucket, range(shards), count)]
    return _allowance(ctx, looked, sum(taken.left + (0 if taken.wait_ms else count) for taken in looked))


@system_mutation
async def reset(ctx: SystemMutationCtx, bucket: str, shards: int) -> None:
    """Makes a bucket full."""
    for shard in range(shards):
        internal = _internal(bucket, shard)
        if await ctx.db.has(RATE_LIMITS, internal):
            await ctx.db.put(RATE_LIMITS, internal, None)


async def sweep(ctx: SystemMutationCtx, most: int) -> int:
    """Deletes some rows of buckets that are full by now, by everybody's clock; returns how many."""
    full = ctx.db.query(RATE_LIMITS.name).with_index("by_full_at", fullAt=between(0.0, ctx.now - CLOCK_SET_MS))
    rows = await full.take(most)
    for row in rows:
        await ctx.db.delete(row["_id"])
    return len(rows)


async def _looked_at(
    ctx: SystemQueryCtx | SystemMutationCtx, share: Rate, bucket: str, shards: Iterable[int], count: int
) -> AsyncIterator[tuple[Row, Taken]]:
    """The row of each shard, which may be new, and what comes of taking tokens there."""
    for shard in shards:
        row_id = ids.encode_id(RATE_LIMITS.number, _internal(bucket, shard))
        row = await ctx.db.get(row_id)
        state = None if row is None else State(int(row["used"]), int(row["since"]))
        yield row or {"_id": row_id, CREATION_TIME: ctx.now}, share.take(state, math.floor(ctx.now), count)


def _allowance(ctx: SystemQueryCtx | SystemMutationCtx, looked: list[Taken], remaining: int) -> dict[str, Any]:
    wait = min(taken.wait_ms for taken in looked)
    return {"ok": wait == 0, "retry_after": float(wait), "retry_at": ctx.now + wait, "remaining": remaining}


def _internal(bucket: str, shard: int) -> bytes:
    digest = bytes.fromhex(bucket)
    return digest if shard == 0 else blake2b(digest, key=bytes([shard]), digest_size=INTERNAL_SIZE).digest()
