"""Annotations in the terms of Convex's validators, for tools that ask what a function takes and gives.

A validator is an object with a `type`, as `v.object({...})` in JavaScript becomes when it is written as JSON: `any`,
`null`, `boolean`, `number`, `bigint`, `string`, `bytes`, `id`, `literal`, `array`, `record`, `object` and `union`. What
has no such form, a type that refers to itself among others, is `any`.

It says what is on the wire: `takes` what clients may send where the annotation stands for an argument, `gives` what
they get where it stands for a result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, assert_never

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
)

Json = dict[str, Any]

ANY: Final[Json] = {"type": "any"}
_STRING: Final[Json] = {"type": "string"}
_KEYS: Final = frozenset({"string", "id"})


def takes(annotation: Any) -> Json:
    """The validator of what can be sent for an annotation."""
    return _validator(Reader(output=False).read(annotation), frozenset())


def gives(annotation: Any) -> Json:
    """The validator of what is sent for an annotation."""
    return _validator(Reader(output=True).read(annotation), frozenset())


def _validator(found: WireType, within: frozenset[NamedType]) -> Json:
    """The validator of a type that is read within these others."""
    match found:
        case NamedType():
            return ANY if found in within else _validator(found.definition, within | {found})
        case Scalar():
            return {"type": found.kind}
        case IdType():
            return {"type": "id", "tableName": found.table}
        case LiteralType():
            return {"type": "literal", "value": found.value}
        case ArrayType():
            return {"type": "array", "value": _validator(found.item, within)}
        case TupleType():
            return {"type": "array", "value": _union(_validator(item, within) for item in found.items)}
        case RecordType():
            keys = _validator(found.keys, within)
            return {
                "type": "record",
                "keys": keys if keys["type"] in _KEYS else _STRING,
                "values": {"fieldType": _validator(found.values, within), "optional": False},
            }
        case ObjectType() if found.open:
            return ANY  # no validator lets unknown fields pass
        case ObjectType():
            fields = {
                name: {"fieldType": _validator(field.type, within), "optional": field.optional}
                for name, field in found.fields.items()
            }
            return {"type": "object", "value": fields}
        case UnionType():
            return _union(_validator(member, within) for member in found.members)
    assert_never(found)


def _union(validators: Iterable[Json]) -> Json:
    members: dict[str, Json] = {}  # by their text, since Python takes 1 and True for the same
    for validator in validators:
        for member in validator["value"] if validator["type"] == "union" else (validator,):
            members[repr(member)] = member
    if not members or repr(ANY) in members:
        return ANY
    return {"type": "union", "value": [*members.values()]} if len(members) > 1 else next(iter(members.values()))
