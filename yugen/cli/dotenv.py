r"""Files of environment variables: lines of NAME=VALUE, as other tools write them too.

A value stands as it is up to the end of its line or ` #`, or between single quotes, where nothing has another meaning,
or between double quotes, where `\n`, `\r`, `\t`, `\"`, `\\` and `\$` stand for one character. Between quotes it may go
over several lines. A line may begin with `export`; those that are empty or begin with `#` mean nothing. Nothing is put
in the place of `$NAME`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NAME: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=")
_QUOTED: Final = re.compile(r"[ \t]*(?=['\"])")
_SKIPPED: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_SINGLE: Final = re.compile(r"'([^']*)'")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE: Final = re.compile(r"[^\n]*")
_COMMENT: Final = re.compile(r"[ \t]#.*")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")


class InvalidFile(Exception):
    """A file that is not written so; the text names the line."""


def parse(text: str) -> dict[str, str]:
    """The variables of a file, by name. Of a name that occurs twice, the last counts.

    Raises:
        InvalidFile: a line is none of a variable.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    variables: dict[str, str] = {}
    place = 0
    while place < len(text):
        if (skipped := _SKIPPED.match(text, place)) is not None:
            place = max(skipped.end(), place + 1)
            continue
        name = _NAME.match(text, place)
        if name is None:
            raise _wrong(text, place, "is not like NAME=VALUE")
        variables[name[1]], place = _value(text, name.end())
        end = _SKIPPED.match(text, place)
        if end is None:
            raise _wrong(text, place, "goes on after the closing quote")
        place = end.end()
    return variables


def write(variables: Mapping[str, str]) -> str:
    """The text of a file of these variables, which `parse` reads as the same."""
    return "".join(f"{name}={_written(value)}\n" for name, value in variables.items())


def _value(text: str, place: int) -> tuple[str, int]:
    """The value after a place, and where it ends."""
    quoted = _QUOTED.match(text, place)
    place = place if quoted is None else quoted.end()
    match text[place : place + 1]:
        case "'":
            found = _SINGLE.match(text, place)
        case '"':
            found = _DOUBLE.match(text, place)
        case _:
            bare = _BARE.match(text, place)
            assert bare is not None
            return _COMMENT.sub("", bare[0]).strip(), bare.end()
    if found is None:
        raise _wrong(text, place, "has no closing quote")
    value = found[1]
    if text[place] == '"':
        value = _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[0]), value)
    return value, found.end()


def _written(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    if "'" not in value and "\r" not in value:
        return f"'{value}'"
    escaped = value
    for character in ("\\", '"', "$"):
        escaped = escaped.replace(character, f"\\{character}")
    return '"' + escaped.replace("\r", "\\r").replace("\n", "\\n") + '"'


def _wrong(text: str, place: int, fault: str) -> InvalidFile:
    return InvalidFile(f"line {text.count(chr(10), 0, place) + 1} {fault}")
