"""`yugen data`: the tables, and the documents of one."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from yugen.cli.remote import Api, Where, deployment, run_command
from yugen.cli.show import columns, integer, pretty
from yugen.cli.status import USAGE, fail

PAGE: Final = 1000
"""Documents that are asked for at once."""

LIMIT: Final = 100
"""Documents that are shown if nobody says how many."""

_CELL_WIDTH: Final = 40
_CONDITION: Final = re.compile(r"([^=!<>]+)(==?|!=|<=|>=|<|>)(.*)", re.DOTALL)
_COMPARISONS: Final = {"=": "eq", "==": "eq", "!=": "ne", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def show_data(
    table: str | None, conditions: Sequence[str], *, order: str, limit: int | None, as_json: bool, where: Where
) -> None:
    """Prints the names of the tables, or the documents of one for which all conditions hold."""
    wanted = [condition(text) for text in conditions]
    if table is None:
        run_command(where.url, _show_tables(as_json=as_json, where=where))
    else:
        limit = limit or (sys.maxsize if as_json else LIMIT)
        run_command(where.url, _show_documents(table, wanted, order, limit, as_json=as_json, where=where))


def condition(text: str) -> dict[str, Any]:
    """A condition in the form in which a server takes it, of `likes>=3`. It ends the process if it is none."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        fail(f"{text!r} is no condition; write one like author=Ada or 'likes>=3'.", USAGE)
    field, comparison, value = found.groups()
    return {"field": field.strip(), "comparison": _COMPARISONS[comparison], "value": _value(value.strip())}


def _value(text: str) -> Any:
    """JSON, or text as it is."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)  # NaN and the like, which are no JSON

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text


async def _show_tables(*, as_json: bool, where: Where) -> None:
    async with deployment(where, "data") as api:
        none = True
        async for table in _pages(api, "_system/cli/tables"):
            none = False
            print(pretty(table, one_line=True) if as_json else table["name"])
        if none and not as_json:
            print("There are no tables yet; a function makes one with its first insert.", file=sys.stderr)


async def _show_documents(
    table: str, conditions: list[dict[str, Any]], order: str, limit: int, *, as_json: bool, where: Where
) -> None:
    async with deployment(where, "data") as api:
        args = {"table": table, "order": order, "where": conditions}
        shown: list[dict[str, Any]] = []
        count = 0
        async for document in _pages(api, "_system/cli/tableData", limit=limit, **args):
            count += 1
            if count > limit:
                break
            if as_json:
                print(pretty(document, one_line=True))
            else:
                shown.append(document)
        if as_json:
            return
        for line in in_columns(shown):
            print(line)
        if count == 0:
            print(await _nothing(api, table, conditions), file=sys.stderr)
        elif count > limit:
            print(f"There are more; these are the first {limit:,}. Ask for others with --limit.", file=sys.stderr)


async def _pages(api: Api, path: str, *, limit: int = sys.maxsize, **args: Any) -> AsyncIterator[dict[str, Any]]:
    cursor = None
    while True:
        # One more than the limit, to know whether there are more.
        options = {"numItems": min(PAGE, limit + 1), "cursor": cursor}
        answer = await api.call(path, paginationOpts=options, **args)
        for each in answer["page"]:
            yield each
        if answer["isDone"]:
            return
        cursor = answer["continueCursor"]


async def _nothing(api: Api, table: str, conditions: list[dict[str, Any]]) -> str:
    if table.startswith("_") or table in [each["name"] async for each in _pages(api, "_system/cli/tables")]:
        return f"No document of {table} is so." if conditions else f"{table} has no documents."
    return f"There is no table {table}; see which there are with `yugen data`."


def in_columns(documents: Sequence[dict[str, Any]]) -> list[str]:
    """Documents as lines, a column for each field; long values are cut off."""
    names: dict[str, None] = dict.fromkeys(("_id", "_creationTime"))
    for document in documents:
        names |= dict.fromkeys(document)
    if not documents:
        return []
    rows = [[_cell(document.get(name, "")) for name in names] for document in documents]
    return columns([list(names), *rows], width=_CELL_WIDTH)


def _cell(value: Any) -> str:
    match value:
        case str():
            return value
        case {"$integer": str()}:
            return str(integer(value))
        case _:
            return pretty(value, one_line=True)
