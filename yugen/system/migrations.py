"""Carrying out the migrations of an app, some documents at a time."""

from __future__ import annotations

import copy
import logging
import traceback
from pathlib import Path
from typing import Any, Final

from yugen import values
from yugen.functions.migrations import DELETE, Migration, MigrationError
from yugen.functions.registry import App
from yugen.system.context import SystemMutationCtx, SystemQueryCtx, long_mutation, system_query
from yugen.values import SYSTEM_FIELDS

TABLE: Final = "_migrations"

logger = logging.getLogger(__name__)


@system_query
async def pending(ctx: SystemQueryCtx) -> list[str]:
    """The names of the migrations that are not done, in order."""
    done = {state["name"] for state in await ctx.db.query(TABLE).collect() if state["done"]}
    return [name for name in ctx.app.migrations if name not in done]


@long_mutation
async def step(ctx: SystemMutationCtx, name: str, limit: int) -> dict[str, Any]:
    """Migrates the next documents.

    Returns:
        `migrated`, how many documents the migration has been given in all, and `done`.
    """
    migration = ctx.app.migrations[name]
    state = await ctx.db.query(TABLE).with_index("by_name", name=name).first()
    if state is None and await ctx.db.table_number(migration.table) is None:
        logger.warning("migration %s: there is no table %s, so there is nothing to do", name, migration.table)
    after = state["after"] if state else None
    began = state["began"] if state else ctx.now
    documents = await ctx.db.after(migration.table, after, limit)
    for each in documents:
        # As it is by now: the ones before may have changed it or taken it along.
        document = await ctx.db.get(each["_id"])
        # What the migration itself inserts is in its new form, and there would be no end of it.
        if document is not None and document["_creationTime"] < began:
            await _migrate(ctx, migration, document)
    progress = {
        "name": name,
        "began": began,
        "after": documents[-1]["_id"] if documents else after,
        "migrated": (state["migrated"] if state else 0) + len(documents),
        "done": len(documents) < limit,
    }
    if state is None:
        await ctx.db.insert(TABLE, progress)
    else:
        await ctx.db.replace(state["_id"], progress)
    return {"migrated": progress["migrated"], "done": progress["done"]}


async def _migrate(ctx: SystemMutationCtx, migration: Migration, document: dict[str, Any]) -> None:
    what = f"The migration {migration.name}, given {document['_id']},"
    try:
        given = copy.deepcopy(document)
        result = await migration.handler(ctx, given)
        if result is DELETE:
            await ctx.db.delete(document["_id"])
        elif isinstance(result, dict):
            fields = {name: value for name, value in result.items() if name not in SYSTEM_FIELDS}
            await ctx.db.replace(document["_id"], fields)
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_of(ctx.app, frame.filename)]
        place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        raise MigrationError(f"{what} failed: {type(error).__name__}: {error}{place}") from error
    if result is None and values.canonical(given) != values.canonical(document):
        raise MigrationError(f"{what} changed it and returned nothing; return the document.")
    if result is not None and result is not DELETE and not isinstance(result, dict):
        raise MigrationError(
            f"{what} returned {type(result).__name__}; return the document, None to leave it as it is, or DELETE."
        )


def _is_of(app: App, filename: str) -> bool:
    return Path(filename).is_relative_to(app.folder)
