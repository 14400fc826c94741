"""Cells of CSV: what a text means in a column, and the text that means a value.

What a column may hold is known where the app declares a class for the table. There a cell is read as what the class
says: `5` is a string in a column of strings, `true` a boolean where there are booleans, `null` is null where there may
be null, `[1, 2]` an array where there are arrays. Without a class, the rule is that of Convex: what looks like a number
is one, and all else is a string.

Some values have no text by these rules, as the string "5" where nothing is known of the column. Such a cell is written
as `json:` and JSON, which is read the same in every column; `json:` alone is no value at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any, Final

from yugen.values import ABSENT, Absent, Int64, InvalidValue, Value, canonical, decode, dumps, parse_json

Kinds = Mapping[str, Set[str]]
"""What columns of text can be, by name: kinds of Convex's validators, `string`, `number` and the like."""

MARK: Final = "json:"

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BOOLEANS: Final = {"true": True, "false": False}
_UNKNOWN: Final = frozenset({"number", "string"})
_OF_PARTS: Final = {"[": frozenset({"array"}), "{": frozenset({"object", "record", "bytes"})}
"""What text that begins so can be, in a column of one of these kinds."""

_EXACT_MAX: Final = 2**53


def read_cell(text: str, kinds: Set[str] | None) -> Value | Absent:
    """The value of a cell. What fits no kind stays text, for whoever checks the document to complain about.

    Args:
        text: what the cell holds.
        kinds: what its column can be; None if nothing is known of it.
    """
    if text.startswith(MARK):
        return _marked(text)
    if kinds is None or "any" in kinds:
        kinds = _UNKNOWN
    if not text and "string" not in kinds:
        return None if kinds == {"null"} else ABSENT
    if text == "null" and "null" in kinds:
        return None
    if "number" in kinds and _NUMBER.fullmatch(text):
        return float(text)
    if "bigint" in kinds and _NUMBER.fullmatch(text):
        try:
            return Int64(int(text))
        except (ValueError, InvalidValue):
            return text
    if "boolean" in kinds and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if kinds is not _UNKNOWN and kinds & _OF_PARTS.get(text[:1], frozenset()):
        try:
            return decode(parse_json(text))
        except InvalidValue:
            return text
    return text


def write_cell(value: Value | Absent, kinds: Set[str] | None) -> str:
    """The text of a cell that `read_cell` reads as this value in such a column: the plainest there is."""
    text = _plain(value)
    return text if _same(read_cell(text, kinds), value) else f"{MARK}{'' if value is ABSENT else _json(value)}"


def _marked(text: str) -> Value | Absent:
    if text == MARK:
        return ABSENT
    try:
        return decode(parse_json(text.removeprefix(MARK)))
    except InvalidValue:
        return text


def _plain(value: Value | Absent) -> str:
    match value:
        case _ if value is ABSENT:
            return ""
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Int64():
            return str(int(value))
        case float() | int() if abs(value) < _EXACT_MAX and value == int(value) and str(value) != "-0.0":
            return str(int(value))
        case float() | int():
            return repr(value)
        case str():
            return value
        case _:
            return _json(value)


def _json(value: Any) -> str:
    return dumps(value).decode()


def _same(one: Value | Absent, other: Value | Absent) -> bool:
    if one is ABSENT or other is ABSENT:
        return one is other
    return canonical(one) == canonical(other)
