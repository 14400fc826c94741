"""Tables and their documents, for `convex data`."""

from __future__ import annotations

from typing import Any, Literal

from yugen.functions.pagination import PaginationOptions, PaginationResult
from yugen.system.context import SystemQueryCtx, system_query


@system_query
async def tables(ctx: SystemQueryCtx, opts: PaginationOptions) -> PaginationResult[Any]:
    """The names of the app's tables, those that it no longer declares included."""
    result = await ctx.db.query("_tables").with_index("by_name").paginate(opts)
    return result.with_page([{"name": table["name"]} for table in result.page])


@system_query
async def table_data(
    ctx: SystemQueryCtx, table: str, opts: PaginationOptions, order: Literal["asc", "desc"] = "desc"
) -> PaginationResult[Any]:
    """The documents of a table, system tables included, by creation time."""
    return await ctx.db.query(table).order(order).paginate(opts)
