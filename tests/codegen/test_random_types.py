"""Random annotations as TypeScript, beside what Python accepts; all in one run of the compiler."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.random_types import Typed, accepted, examples, near, sent, typed
from tests.tsc import faults
from yugen.codegen.naming import name_types, reachable
from yugen.codegen.typescript import comment, print_type, spaced
from yugen.functions.wire_types import (
    ArrayType,
    IdType,
    LiteralType,
    NamedType,
    ObjectType,
    Reader,
    RecordType,
    Scalar,
    TupleType,
    UnionType,
    WireType,
    unnamed,
)
from yugen.values import Int64

EXAMPLES = 150
"""How many annotations are compiled."""

_SCALARS: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "number": (float,),
    "bigint": (Int64,),
    "string": (str,),
    "bytes": (bytes,),
}


OF_ALL_KINDS: tuple[Any, ...] = (None, True, 0.5, Int64(1), "a", b"a", [True], {"x": True})
"""Nearly every type refuses some of them."""


def matches(found: WireType, value: Any) -> bool | None:
    """Whether TypeScript is to take a value for a type; None where it is more or less strict than we say.

    It minds fields that a literal has too many, except when they are another member's of a union, and takes an array
    for an object with any fields.
    """
    found = unnamed(found)
    match found:
        case Scalar("any"):
            return True
        case Scalar():
            return isinstance(value, _SCALARS[found.kind])
        case IdType():
            return isinstance(value, str)
        case LiteralType():
            return (type(found.value) is type(value) and found.value == value) or _is_number(found.value, value)
        case ArrayType():
            return isinstance(value, list) and _all(matches(found.item, each) for each in value)
        case TupleType():
            if not isinstance(value, list) or not found.required <= len(value) <= len(found.items):
                return False
            return _all(map(matches, found.items, value))
        case RecordType():
            if not isinstance(value, dict):
                return None if found.values == Scalar("any") and isinstance(value, list | bytes) else False
            keys = {found.keys} if not isinstance(unnamed(found.keys), UnionType) else set()
            unknown = not keys and not {*value} <= {"x", "y z"}
            return _all([matches(found.values, each) for each in value.values()] + [None] * unknown)
        case ObjectType():
            return _matches_object(found, value)
        case UnionType():
            results = [matches(member, value) for member in found.members]
            return True if True in results else False if set(results) == {False} else None
    raise AssertionError(found)


def _matches_object(found: ObjectType, value: Any) -> bool | None:
    if not isinstance(value, dict):
        return None if found.open and isinstance(value, list | bytes) else False
    results: list[bool | None] = [
        matches(field.type, value[name]) if name in value else field.optional for name, field in found.fields.items()
    ]
    return _all(results + [None] * (not found.open and not value.keys() <= found.fields.keys()))


def _is_number(literal: object, value: Any) -> bool:
    return type(literal) is int and type(value) is float and literal == value


def _all(results: Iterable[bool | None]) -> bool | None:
    each = list(results)
    return False if False in each else None if None in each else True


def expression(value: Any) -> str:
    """A value of the wire as TypeScript writes it."""
    match value:
        case Int64():
            return f"{int(value)}n"
        case float():
            return f"{value:.0f}" if value.is_integer() else repr(value)
        case bytes():
            return f"new Uint8Array([{', '.join(map(str, value))}]).buffer"
        case list():
            return f"[{', '.join(map(expression, value))}]"
        case dict():
            return f"{{ {', '.join(f'{json.dumps(name)}: {expression(part)}' for name, part in value.items())} }}"
    return json.dumps(value)


def program(read: Sequence[tuple[WireType, list[tuple[Any, bool]]]]) -> str:
    """Declarations of types, and for each constants that fit it or are to be refused."""
    named = reachable(found for found, _ in read)
    names = name_types(named, [], frozenset())

    def naming(found: NamedType) -> str:
        return names[found]

    lines = [
        f"{comment(each.cls.__doc__ if each.cls else None)}"
        f"export type {names[each]} ={spaced(print_type(each.definition, naming))};"
        for each in named
    ]
    for place, (found, judged) in enumerate(read):
        lines.append(f"export type Its{place} ={spaced(print_type(found, naming))};")
        for number, (value, fits) in enumerate(judged):
            lines += [] if fits else ["// @ts-expect-error"]
            lines.append(f"export const value{place}_{number}: Its{place} = {expression(value)};")
    # A program can write down a string, and no id.
    return "\n".join(lines).replace('Id<"users">', "string")


@st.composite
def cases(draw: st.DrawFn) -> tuple[Typed, list[Any], list[Any]]:
    """An annotation, with values that fit it and some that may not."""
    each: Typed = draw(typed)
    return each, draw(st.lists(each.fitting, max_size=3)), draw(st.lists(near(each.fitting), min_size=2, max_size=4))


def test_typescript_takes_what_python_takes_and_gives(tmp_path: Path) -> None:
    taken, given = Reader(output=False), Reader(output=True)
    reads, results, near_misses = [], [], 0
    for each, fitting, other in examples(cases(), EXAMPLES):
        found = taken.read(each.annotation)
        judged = [(value, matches(found, value)) for value in (*fitting, *other, *OF_ALL_KINDS)]
        near_misses += sum(matches(found, value) is False for value in other)
        for value, fits in judged:
            assert fits is not False or not accepted(each.annotation, value), (each, value)
        reads.append((found, [(value, fits) for value, fits in judged if fits is not None]))
        result = given.read(each.annotation)
        results.append((result, [(sent(each.annotation, value), True) for value in fitting]))
    assert sum(fits for _, judged in reads for _, fits in judged) > EXAMPLES
    assert sum(not fits for _, judged in reads for _, fits in judged) > EXAMPLES
    assert near_misses > EXAMPLES / 4
    (tmp_path / "taken.ts").write_text(program(reads))
    (tmp_path / "given.ts").write_text(program(results))
    assert faults(tmp_path) == []
