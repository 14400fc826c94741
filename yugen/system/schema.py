"""Holding stored documents against the classes of the app, before they take effect."""

from __future__ import annotations

from typing import Any, Final

from yugen.system.context import SystemQueryCtx, long_query

FAULTS_MAX: Final = 5
"""Documents that are named; more than a few only say the same."""


@long_query
async def check(ctx: SystemQueryCtx, table: str, after: str | None, limit: int) -> dict[str, Any]:
    """The first of the next documents of a table that do not fit its class.

    Returns:
        `faults`, what is wrong with which document, and `after`, where to go on, None at the end.
    """
    documents = await ctx.db.after(table, after, limit)
    faults = []
    for document in documents:
        fault = ctx.tables.fault(table, document, ctx.db.catalog) or await _dangling(ctx, table, document)
        if fault is not None:
            faults.append(f"{document['_id']}: {fault}")
            if len(faults) == FAULTS_MAX:
                break
    return {"faults": faults, "after": documents[-1]["_id"] if len(documents) == limit else None}


async def _dangling(ctx: SystemQueryCtx, table: str, document: dict[str, Any]) -> str | None:
    """Which reference of a document leads nowhere; None if none does."""
    for reference in ctx.tables.references(table):
        other = document.get(reference.field)
        if other is not None and await ctx.db.get(other) is None:
            return f"`{reference.field}` refers to {other}, which is not there"
    return None
