"""Carrying out the migrations of an app, some documents at a time."""

from __future__ import annotations

import logging
from typing import Any, Final

from yugen.functions.migrations import DELETE, Migration, MigrationError
from yugen.system.context import SystemMutationCtx, SystemQueryCtx, long_mutation, system_query

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
    after = state["after"] if state else None
    documents = await ctx.db.after(migration.table, after, limit)
    for document in documents:
        await _migrate(ctx, migration, document)
    progress = {
        "name": name,
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
    result = await migration.handler(ctx, dict(document))
    if result is DELETE:
        await ctx.db.delete(document["_id"])
    elif isinstance(result, dict):
        fields = {name: value for name, value in result.items() if name not in ("_id", "_creationTime")}
        await ctx.db.replace(document["_id"], fields)
    elif result is not None:
        raise MigrationError(
            f"{migration.name} returned {type(result).__name__} for {document['_id']}; return the document, None to "
            "leave it as it is, or DELETE."
        )
