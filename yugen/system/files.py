"""The records of files: documents of `_storage`, which say where the bytes of each are and what they must be.

A record is added when the bytes are durable. What it holds beside what an app sees:

    uuid    stands in the file's public address
    key     what the bytes are called in their store, see `yugen.files`
    blocks  the checksums of its blocks, unless it is from before these were kept

`_renewals` has documents that change now and then while somebody wants that: whoever reads one runs again by then.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from yugen import ids
from yugen.catalog import CREATION_TIME, RENEWALS, STORAGE
from yugen.functions.storage import renewal_internal
from yugen.system.context import SystemMutationCtx, SystemQueryCtx, system_mutation, system_query

_TABLE: Final = STORAGE.name

Record = dict[str, Any]


@system_query
async def get(ctx: SystemQueryCtx, id: str) -> Record | None:
    """The record of a file, or None."""
    return await record_of(ctx, id)


@system_query
async def find(ctx: SystemQueryCtx, uuid: str) -> Record | None:
    """The record of the file with this UUID in its address, or None."""
    return await ctx.db.query(_TABLE).with_index("by_uuid", uuid=uuid).first()


@system_query
async def known(ctx: SystemQueryCtx, keys: list[str]) -> list[str]:
    """Those of the keys that a file has."""
    return [key for key in keys if await ctx.db.query(_TABLE).with_index("by_key", key=key).first() is not None]


@system_mutation
async def add(
    ctx: SystemMutationCtx,
    sha256: str,
    size: float,
    uuid: str,
    key: str,
    content_type: Annotated[str | None, Field(alias="contentType")] = None,
    blocks: str | None = None,
) -> str:
    """Adds the record of a file whose bytes are stored; returns its id."""
    kind = {} if content_type is None else {"contentType": content_type}
    sums = {} if blocks is None else {"blocks": blocks}
    return await ctx.db.insert(_TABLE, {"sha256": sha256, "size": size, **kind, "uuid": uuid, "key": key, **sums})


@system_mutation
async def delete(ctx: SystemMutationCtx, id: str) -> bool:
    """Removes the record of a file; False if there is none. The server removes the bytes then."""
    if await record_of(ctx, id) is None:
        return False
    await ctx.db.delete(id)
    return True


@system_mutation
async def renew(ctx: SystemMutationCtx, seconds: int) -> None:
    """Has those run again who depend on what happens every so many seconds, unless that was just now."""
    internal = renewal_internal(seconds)
    renewal_id = ids.encode_id(RENEWALS.number, internal)
    last = await ctx.db.get(renewal_id)
    if last is None or ctx.now - last["at"] > seconds * 500:
        await ctx.db.put(RENEWALS, internal, {"_id": renewal_id, CREATION_TIME: ctx.now, "at": ctx.now})


async def record_of(ctx: SystemQueryCtx | SystemMutationCtx, id: str) -> Record | None:
    """The record of a file, or None."""
    record: Record | None = await ctx.db.get(id)
    return record if await ctx.db.table_of(id) == _TABLE else None
