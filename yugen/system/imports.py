"""Imports: documents out of files, for `convex import`.

The table `_imports` says what has become of each; the files are beside the database until they are done with. An
import goes from `uploaded` to `waiting_for_confirmation`, once it has been tried out, to `in_progress`, once it is
confirmed, and to `completed`, in the transaction that writes its documents. Before that it may become `failed`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from yugen.archive.cells import Kinds
from yugen.archive.reader import Format, open_import
from yugen.errors import Refused
from yugen.files.store import FileStore
from yugen.functions.registry import App
from yugen.functions.tables import Tables
from yugen.functions.validators import Json, takes
from yugen.system.context import (
    SystemMutationCtx,
    SystemQueryCtx,
    long_mutation,
    long_query,
    system_mutation,
    system_query,
)
from yugen.system.importing import Counts, Importing, Mode
from yugen.values import Int64

KEPT: Final = 20
"""Imports whose end is remembered, the newest ones."""

WAITING_MAX: Final = 8
"""Imports that may wait to be tried out or confirmed; the oldest of more is given up."""

_TABLE: Final = "_imports"
_WAITING: Final = ("uploaded", "waiting_for_confirmation")
_ENDED: Final = ("completed", "failed")

Record = dict[str, Any]


class ImportNotPossible(Refused):
    """An import that is not where it would have to be."""

    code = "ImportNotPossible"


@system_query
async def query_import(ctx: SystemQueryCtx, id: Annotated[str, Field(alias="importId")]) -> Record | None:
    """An import, or None."""
    return await _record(ctx, id)


@system_query
async def list_imports(ctx: SystemQueryCtx) -> list[Record]:
    """The newest imports, the newest first."""
    return await ctx.db.query(_TABLE).order("desc").take(KEPT)


@system_query
async def columns(ctx: SystemQueryCtx, table: str) -> dict[str, list[str]]:
    """What the fields of a table's class can be, as an import of CSV takes them; nothing for a table without one."""
    return {name: sorted(kinds) for name, kinds in _kinds(ctx.app, table).items()}


@system_mutation
async def begin(ctx: SystemMutationCtx, file: str, form: Format, mode: Mode, table: str | None) -> str:
    """Notes that a file has been uploaded; returns the id of its import."""
    if not file.replace("-", "").isalnum():
        raise ImportNotPossible(f"{file[:100]!r} is no file that has been uploaded.")
    record = {"state": {"state": "uploaded"}, "file": file, "format": form, "mode": mode, "table": table}
    new_id = await ctx.db.insert(_TABLE, record)
    imports = await ctx.db.query(_TABLE).order("desc").collect()
    waiting = [each for each in imports if each["state"]["state"] in _WAITING]
    for each in waiting[WAITING_MAX:]:
        await _set(ctx, each, _failed("Newer imports have taken the place of this one. Nothing was imported."))
    for each in [each for each in imports if _ended(each)][KEPT:]:
        await ctx.db.delete(each["_id"])
    return new_id


@long_query
async def check(ctx: SystemQueryCtx, id: str) -> Record:
    """Tries an import out, and returns what to have confirmed.

    Raises:
        InvalidImport: it cannot be carried out.
    """
    record = await _in_state(ctx, id, "uploaded")
    importing, notes = await _carry_out(ctx, record, None)
    removes = any(counts.removed for counts in importing.counts.values())
    return {
        "state": "waiting_for_confirmation",
        "message_to_confirm": "\n".join([_summary(importing.counts), *notes, *_FAREWELL]),
        "require_manual_confirmation": removes,
        "notes": notes,
    }


@system_mutation
async def checked(ctx: SystemMutationCtx, id: str, state: Record) -> None:
    """Notes that an import waits to be confirmed."""
    await _set(ctx, await _in_state(ctx, id, "uploaded"), state)


@system_mutation
async def confirm(ctx: SystemMutationCtx, id: str) -> None:
    """Notes that an import shall be carried out."""
    record = await _in_state(ctx, id, "waiting_for_confirmation")
    notes = record["state"]["notes"]
    await _set(ctx, record, {"state": "in_progress", "progress_message": "Importing", "checkpoint_messages": notes})


@long_mutation
async def perform(ctx: SystemMutationCtx, id: str) -> None:
    """Carries an import out.

    Raises:
        InvalidImport: it cannot be carried out, and nothing is written.
    """
    record = await _in_state(ctx, id, "in_progress")
    importing, _ = await _carry_out(ctx, record, ctx.files)
    timestamp, added = Int64(int(ctx.now * 1_000_000)), Int64(importing.added)
    await _set(ctx, record, {"state": "completed", "timestamp": timestamp, "num_rows_written": added})


@system_mutation
async def fail(ctx: SystemMutationCtx, id: str, text: str) -> None:
    """Notes that an import has failed, unless it has ended."""
    record = await _record(ctx, id)
    if record is not None and not _ended(record):
        await _set(ctx, record, _failed(f"{text}\nNothing was imported."))


@system_mutation
async def cancel(ctx: SystemMutationCtx, id: str) -> None:
    """Gives an import up, if its documents are not written yet."""
    record = await _record(ctx, id)
    if record is None or _ended(record):
        raise ImportNotPossible("This import has ended already; there is nothing to cancel.")
    await _set(ctx, record, _failed("The import was canceled. Nothing was imported."))


@system_mutation
async def recover(ctx: SystemMutationCtx) -> None:
    """Notes that what was being done has failed, with the server that did it. What waits goes on waiting."""
    for record in await ctx.db.query(_TABLE).collect():
        if record["state"]["state"] in ("uploaded", "in_progress"):
            await _set(ctx, record, _failed("The server has been restarted. Nothing was imported; try again."))


@system_query
async def files(ctx: SystemQueryCtx) -> list[str]:
    """The files that are still needed."""
    return [record["file"] for record in await ctx.db.query(_TABLE).collect() if not _ended(record)]


async def _carry_out(
    ctx: SystemQueryCtx | SystemMutationCtx, record: Record, files: FileStore | None
) -> tuple[Importing, list[str]]:
    tables = Tables(ctx.app.documents, strict=ctx.app.strict)
    importing = Importing(ctx.db, tables, record["mode"], ctx.now, files)
    table = record["table"]
    kinds = _kinds(ctx.app, table) if record["format"] == "csv" else {}
    file = ctx.deployment.imports / record["file"]
    with open_import(file, record["format"], table=table, kinds={table: kinds}) as content:
        await importing.run(content)
        return importing, list(content.notes)


def _kinds(app: App, table: str | None) -> Kinds:
    """What the fields of a table can be, by their names in storage."""
    cls = app.documents.get(table or "")
    return {} if cls is None else {name: _kinds_of(field) for name, field in takes(cls)["value"].items()}


def _kinds_of(field: Json) -> set[str]:
    kind = field["fieldType"]
    return {each["type"] for each in kind["value"]} if kind["type"] == "union" else {kind["type"]}


async def _record(ctx: SystemQueryCtx | SystemMutationCtx, id: str) -> Record | None:
    record: Record | None = await ctx.db.get(id)
    return record if await ctx.db.table_of(id) == _TABLE else None


async def _in_state(ctx: SystemQueryCtx | SystemMutationCtx, id: str, state: str) -> Record:
    record = await _record(ctx, id)
    if record is None or record["state"]["state"] != state:
        raise ImportNotPossible("This import has ended, or is not at this point; import the file again.")
    return record


async def _set(ctx: SystemMutationCtx, record: Record, state: Record) -> None:
    await ctx.db.patch(record["_id"], state=state)


def _failed(text: str) -> Record:
    return {"state": "failed", "error_message": text}


def _ended(record: Record) -> bool:
    return record["state"]["state"] in _ENDED


_FAREWELL: Final = (
    "Once the import has started, it will run in the background.",
    "Interrupting `npx convex import` will not cancel it.",
)


def _summary(counts: dict[str, Counts]) -> str:
    """A table of what an import does, for people."""
    head = ("table", "create", "delete")
    rows = [(name, f"{each.added:,}", f"{each.removed:,}") for name, each in sorted(counts.items())]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(3)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    return "\n".join(["Import change summary:", lines[0], "-" * len(lines[0]), *lines[1:]])
