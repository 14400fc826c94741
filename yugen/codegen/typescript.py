"""Types of the wire as TypeScript.

What it writes stands still: the same types make the same text, in the order in which Python declares them.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Final, TypeAlias, assert_never

from yugen.functions.pagination import PaginationOptions, PaginationResult
from yugen.functions.wire_types import (
    ArrayType,
    FieldType,
    IdType,
    LiteralType,
    NamedType,
    ObjectType,
    RecordType,
    Scalar,
    TupleType,
    UnionType,
    WireType,
    unnamed,
)
from yugen.values import Int64

WIDTH_MAX: Final = 100
"""Columns up to which a union stands on one line."""

INDENT: Final = "  "

NOTHING: Final = "Record<string, never>"
"""An object without fields; TypeScript's own `{}` is anything but null."""

Naming: TypeAlias = Callable[[NamedType], str]
"""What a type that has a name is called in TypeScript."""

_SCALARS: Final = {"bytes": "ArrayBuffer"}
_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_ATOM: Final = re.compile(r"[\w.]+(?:<[^<>|&\n]*>)?(?:\[\])*")
"""What `[]` can stand behind without parentheses."""


def print_type(found: WireType, naming: Naming) -> str:
    """A type. Lines behind the first are indented as if the first was not."""
    match found:
        case NamedType() if found.cls is PaginationOptions:
            return "PaginationOptions"
        case NamedType() if is_page(found):
            return f"PaginationResult<{print_type(_item(found), naming)}>"
        case NamedType():
            return naming(found)
        case Scalar():
            return _SCALARS.get(found.kind, found.kind)
        case IdType():
            return f"Id<{quoted(found.table)}>"
        case LiteralType():
            return _literal(found.value)
        case ArrayType():
            return _array(print_type(found.item, naming))
        case TupleType():
            return f"[{', '.join(_tuple_items(found, naming))}]"
        case RecordType():
            return _record(found, naming)
        case ObjectType():
            return print_object(found, naming)
        case UnionType():
            return _union([print_type(member, naming) for member in found.members])
    assert_never(found)


def is_page(found: NamedType) -> bool:
    """Whether it is a PaginationResult, of whatever."""
    generic = getattr(found.cls, "__pydantic_generic_metadata__", {})
    return found.cls is PaginationResult or generic.get("origin") is PaginationResult


def print_object(found: ObjectType, naming: Naming) -> str:
    """An object type, a line for each field."""
    fields = [_field(name, field, naming) for name, field in found.fields.items()]
    if found.open:
        fields.append("[name: string]: any;")
    return block(fields) if fields else NOTHING


def block(members: Iterable[str]) -> str:
    """Members of a type between braces."""
    return f"{{\n{indented(chr(10).join(members))}\n}}"


def indented(text: str) -> str:
    """Lines, one step further in."""
    return "\n".join(f"{INDENT}{line}" if line else "" for line in text.split("\n"))


def spaced(text: str) -> str:
    """A type behind a sign, with a space between unless it begins on a line of its own."""
    return text if text.startswith("\n") else f" {text}"


def comment(text: str | None) -> str:
    """Documentation to stand before what it is about, with its line break; nothing for none."""
    lines = inspect.cleandoc(text or "").strip().replace("*/", "*\\/").splitlines()
    if not lines:
        return ""
    if len(lines) == 1:
        return f"/** {lines[0]} */\n"
    return "".join(["/**\n", *(f" * {line}".rstrip() + "\n" for line in lines), " */\n"])


def property_name(name: str) -> str:
    """A name as that of a property, in quotes if it is no identifier."""
    return name if _IDENTIFIER.fullmatch(name) else quoted(name)


def quoted(text: str) -> str:
    """A string literal."""
    return json.dumps(text)


def _field(name: str, field: FieldType, naming: Naming) -> str:
    mark = "?" if field.optional else ""
    return f"{comment(field.description)}{property_name(name)}{mark}:{spaced(print_type(field.type, naming))};"


def _literal(value: bool | int | float | str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Int64():
            return f"{int(value)}n"
        case float() if not isfinite(value):
            return "number"  # TypeScript has no literals for these
        case float():
            return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
        case int():
            return str(int(value))
        case str():
            return quoted(str.__str__(value))
    assert_never(value)


def _array(item: str) -> str:
    return f"{item}[]" if _ATOM.fullmatch(item) else f"Array<{item}>"


def _tuple_items(found: TupleType, naming: Naming) -> Iterable[str]:
    for place, item in enumerate(found.items):
        text = print_type(item, naming)
        if place == found.variadic:
            yield f"...{_array(text)}"
        elif place >= found.required and found.variadic is None:
            yield f"{text if _ATOM.fullmatch(text) else f'({text})'}?"
        else:
            yield text


def _record(found: RecordType, naming: Naming) -> str:
    values = print_type(found.values, naming)
    match unnamed(found.keys):
        case IdType() as key:
            return f"{{ [id: {print_type(key, naming)}]: {values} }}"
        case LiteralType() | UnionType() as key if all(map(_is_text, _members(key))):
            fields = {str(member.value): FieldType(found.values, True) for member in _members(key)}  # type: ignore[union-attr]
            return print_object(ObjectType(fields), naming)
    # Not Record<string, ...>, in which a type could not refer to itself.
    return f"{{ [key: string]: {values} }}"


def _members(found: WireType) -> tuple[WireType, ...]:
    return found.members if isinstance(found, UnionType) else (found,)


def _is_text(found: WireType) -> bool:
    return isinstance(found, LiteralType) and isinstance(found.value, str)


def _union(members: list[str]) -> str:
    members = list(dict.fromkeys(members))
    line = " | ".join(members)
    if len(line) <= WIDTH_MAX - len(INDENT) * 4 or "\n" in line:
        return line
    return "\n" + indented("\n".join(f"| {member}" for member in members))


def _item(page: NamedType) -> WireType:
    found = page.definition
    assert isinstance(found, ObjectType)
    items = found.fields["page"].type
    assert isinstance(items, ArrayType)
    return items.item
