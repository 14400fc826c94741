"""Exports: archives of all documents at one moment, for `convex export`.

The table `_exports` says what has become of each. The archives are files beside the database, by the timestamps that
they show; a file that is not in the table is no export, but what is left of one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from yugen.archive.writer import ArchiveWriter, writing_archive
from yugen.catalog import STORAGE
from yugen.files.streams import whole_file
from yugen.functions.storage import stored_bytes
from yugen.system.context import SystemMutationCtx, SystemQueryCtx, long_query, system_mutation, system_query
from yugen.values import Int64

KEPT: Final = 3
"""Exports that are kept, the newest ones."""

_TABLE: Final = "_exports"
_STARTED: Final = "in_progress"


@system_query
async def get_latest(ctx: SystemQueryCtx) -> dict[str, Any] | None:
    """The newest export, or None."""
    return await ctx.db.query(_TABLE).order("desc").first()


@system_mutation
async def request(ctx: SystemMutationCtx, start_ts: Int64, form: dict[str, Any]) -> None:
    """Notes that an export of this timestamp is being made, and no other."""
    await _end_all(ctx)
    await ctx.db.insert(_TABLE, {"state": _STARTED, "start_ts": start_ts, "format": form})


@system_mutation
async def finish(ctx: SystemMutationCtx, start_ts: Int64, size: Int64 | None) -> list[Int64]:
    """Notes that an export is complete and has so many bytes, or has failed; returns which archives are to be kept."""
    for export in await ctx.db.query(_TABLE).filter(lambda each: each["start_ts"] == start_ts).collect():
        if size is None:
            await ctx.db.patch(export["_id"], state="failed")
            continue
        complete_ts, name = Int64(int(ctx.now * 1_000_000)), ctx.deployment.archive(start_ts).name
        await ctx.db.patch(export["_id"], state="completed", complete_ts=complete_ts, zip_object_key=name, size=size)
    return await _forget_old(ctx)


@system_mutation
async def recover(ctx: SystemMutationCtx) -> list[Int64]:
    """Notes that nothing is being made; returns as `finish` does."""
    await _end_all(ctx)
    return await _forget_old(ctx)


async def _end_all(ctx: SystemMutationCtx) -> None:
    for export in await ctx.db.query(_TABLE).collect():
        if export["state"] == _STARTED:
            await ctx.db.patch(export["_id"], state="failed")


async def _forget_old(ctx: SystemMutationCtx) -> list[Int64]:
    exports = await ctx.db.query(_TABLE).order("desc").collect()
    for export in exports[KEPT:]:
        await ctx.db.delete(export["_id"])
    return [export["start_ts"] for export in exports[:KEPT] if export["state"] == "completed"]


@long_query
async def write(ctx: SystemQueryCtx, start_ts: Int64, files: bool = False) -> Int64:
    """Writes the archive, whole or not at all, and returns its bytes. To be run at `start_ts`.

    Raises:
        FileStoreError: a stored file, which is to be in it, is damaged or cannot be read.
    """
    file = ctx.deployment.archive(start_ts)
    tables = {table["name"]: int(table["number"]) for table in await ctx.db.query("_tables").collect()}
    named = tables | ({STORAGE.name: STORAGE.number} if files else {})
    with _whole(file) as out, writing_archive(out, named) as archive:
        for table in tables:
            await _write_table(ctx, archive, table)
        if files:
            await _write_files(ctx, archive)
    return Int64(file.stat().st_size)


async def _write_table(ctx: SystemQueryCtx, archive: ArchiveWriter, table: str) -> None:
    with archive.documents(table) as documents:
        async for page in ctx.db.pages(table):
            documents.write(page)
    with archive.schema(table, documents.shape) as hints:
        if documents.shape.ambiguous:
            async for page in ctx.db.pages(table):
                hints.write(page)


async def _write_files(ctx: SystemQueryCtx, archive: ArchiveWriter) -> None:
    with archive.files() as records:
        async for page in ctx.db.pages(STORAGE.name):
            records.write(page)
    async for page in ctx.db.pages(STORAGE.name):
        for record in page:
            archive.file(record, whole_file(ctx.files, stored_bytes(record)))


@contextmanager
def _whole(file: Path) -> Iterator[IO[bytes]]:
    """A file that is there, and durable, once what writes it is done; only its owner can read it.

    Two may write the same file at once, since a worker that was told to leave a function may have begun it before.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{secrets.token_hex(8)}.part")
    try:
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
