"""Tables and their documents, for `convex data` and `yugen data`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from yugen import keys
from yugen.catalog import ENVIRONMENT
from yugen.functions.pagination import PaginationOptions, PaginationResult
from yugen.system.context import SystemQueryCtx, system_query
from yugen.values import ABSENT, compare_key

Comparison = Literal["eq", "ne", "lt", "lte", "gt", "gte"]

_RANGES: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What a field of a document must be. Of different types, one is neither less than the other nor greater.

    Attributes:
        field: its dotted path.
        comparison: how the field is compared with the value.
        value: the value; a 64-bit integer and a number are equal if they are the same number.
    """

    field: str
    comparison: Comparison
    value: Any

    def holds(self, document: dict[str, Any]) -> bool:
        """Whether a document is so."""
        found = keys.lookup(document, self.field)
        if self.comparison in ("eq", "ne"):
            return (found is not ABSENT and _key(found) == _key(self.value)) == (self.comparison == "eq")
        if found is ABSENT:
            return False
        (one_type, one), (other_type, other) = _key(found), _key(self.value)
        return one_type == other_type and _RANGES[self.comparison](one, other)


@system_query
async def tables(ctx: SystemQueryCtx, opts: PaginationOptions) -> PaginationResult[Any]:
    """The names of the app's tables, those that it no longer declares included."""
    result = await ctx.db.query("_tables").with_index("by_name").paginate(opts)
    return result.with_page([{"name": table["name"]} for table in result.page])


@system_query
async def table_data(
    ctx: SystemQueryCtx,
    table: str,
    opts: PaginationOptions,
    order: Literal["asc", "desc"] = "desc",
    where: list[Condition] | None = None,
) -> PaginationResult[Any]:
    """The documents of a table, system tables included, by creation time; those that all conditions hold for."""
    query = ctx.db.query(table).order(order)
    conditions = where or []
    if conditions:
        query = query.filter(lambda document: all(condition.holds(document) for condition in conditions))
    result = await query.paginate(opts)
    return result.with_page([_shown(document) for document in result.page]) if table == ENVIRONMENT.name else result


def _shown(variable: dict[str, Any]) -> dict[str, Any]:
    """A variable without what it holds, sealed as it is."""
    return {name: value for name, value in variable.items() if name not in ("sealed", "value")}


def _key(value: Any) -> tuple[str, Any]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return ("number", value)
    return (type(value).__name__, compare_key(value))
