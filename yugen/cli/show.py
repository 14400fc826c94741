"""Values and tables of text as people read them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final

_EXACT_MAX: Final = 2**53


def pretty(value: Any, *, one_line: bool = False) -> str:
    """A value in the encoded form as JSON, in which whole numbers have no fraction, as people write them."""
    if one_line:
        return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))
    return json.dumps(plain(value), ensure_ascii=False, indent=2)


def plain(value: Any) -> Any:
    """A value in the encoded form, with whole numbers without a fraction."""
    match value:
        case float() if value.is_integer() and abs(value) < _EXACT_MAX and str(value) != "-0.0":
            return int(value)
        case list():
            return [plain(part) for part in value]
        case dict():
            return {key: plain(part) for key, part in value.items()}
        case _:
            return value


def integer(value: dict[str, str]) -> int:
    """A 64-bit integer in the encoded form."""
    return int.from_bytes(base64.b64decode(value["$integer"]), "little", signed=True)


def columns(rows: Sequence[Sequence[str]], *, width: int) -> list[str]:
    """Lines in which the cells of a column stand one under the other.

    Args:
        rows: the cells, all rows with as many.
        width: the greatest width of a cell; what is beyond it is cut off.
    """
    cut = [[_cut(cell, width) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    return ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in cut]


def counted(number: int, what: str) -> str:
    """How many there are of something."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Text without characters that a terminal obeys: those of stored data come from whoever may write it."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def _cut(cell: str, width: int) -> str:
    shown = printable(cell)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"
