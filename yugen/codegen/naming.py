"""What types that have names in Python are called elsewhere."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

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
)

TAKEN: Final = "Input"
"""What the name of a type ends in that is sent in another form than it comes."""


def reachable(types: Iterable[WireType]) -> list[NamedType]:
    """The named types that others are made of, each once, in the order in which one meets them."""
    found: dict[NamedType, None] = {}
    waiting = list(types)[::-1]
    while waiting:
        each = waiting.pop()
        if isinstance(each, NamedType):
            if each in found:
                continue
            found[each] = None
        waiting += [*parts(each)][::-1]
    return list(found)


def parts(found: WireType) -> Iterator[WireType]:
    """The types that a type is made of."""
    match found:
        case NamedType():
            yield found.definition
        case ArrayType():
            yield found.item
        case TupleType():
            yield from found.items
        case RecordType():
            yield from (found.keys, found.values)
        case ObjectType():
            yield from (field.type for field in found.fields.values())
        case UnionType():
            yield from found.members


def name_types(
    given: Iterable[NamedType], taken: Iterable[NamedType], reserved: frozenset[str]
) -> dict[NamedType, str]:
    """A name for each type, no two of which have the same unless they are the same.

    A class that is sent in another form than it comes has two names. Classes of the same name are told apart by their
    modules.

    Args:
        given: types as they come.
        taken: types as they are sent.
        reserved: names that none may have.
    """
    comes = {each.key: each for each in given}
    sent = {each.key: each for each in taken}
    by_name: dict[str, dict[object, NamedType]] = defaultdict(dict)
    for each in (*comes.values(), *sent.values()):
        by_name[_identifier(each.name)][each.key] = each
    names: dict[NamedType, str] = {}
    used = set(reserved)
    for base, owners in sorted(by_name.items()):
        for key, owner in owners.items():
            name = base if len(owners) == 1 else _from_module(owner, base)
            both = key in comes and key in sent and not same(comes[key], sent[key])
            name = _unused(name, used, TAKEN if both else "")
            if key in comes:
                names[comes[key]] = name
            if key in sent:
                names[sent[key]] = f"{name}{TAKEN}" if both else name
    return names


def same(one: WireType, other: WireType) -> bool:
    """Whether two types are the same in all but what is written about them."""
    return _same(one, other, set())


def _same(one: WireType, other: WireType, assumed: set[tuple[NamedType, NamedType]]) -> bool:
    match one, other:
        case NamedType(), NamedType():
            if (one, other) in assumed:
                return True
            assumed.add((one, other))
            return one.key == other.key and _same(one.definition, other.definition, assumed)
        case ObjectType(), ObjectType():
            return (
                one.open == other.open
                and list(one.fields) == list(other.fields)
                and all(
                    _same_field(mine, theirs, assumed)
                    for mine, theirs in zip(one.fields.values(), other.fields.values(), strict=True)
                )
            )
        case (Scalar(), _) | (IdType(), _) | (LiteralType(), _):
            return one == other
        case TupleType(), TupleType() if (one.required, one.variadic) != (other.required, other.variadic):
            return False
    mine, theirs = list(parts(one)), list(parts(other))
    return (
        type(one) is type(other)
        and len(mine) == len(theirs)
        and all(_same(each, its, assumed) for each, its in zip(mine, theirs, strict=True))
    )


def _same_field(one: FieldType, other: FieldType, assumed: set[tuple[NamedType, NamedType]]) -> bool:
    return one.optional == other.optional and _same(one.type, other.type, assumed)


def _identifier(name: str) -> str:
    """`Page[Message]` is PageMessage."""
    name = re.sub(r"[^A-Za-z0-9_]+", "", name)
    return name if name and not name[0].isdigit() else f"T{name}"


def _from_module(owner: NamedType, base: str) -> str:
    words = re.split(r"[._]+", owner.module.partition(".")[2] or owner.module)
    return "".join(word[:1].upper() + word[1:] for word in words) + base


def _unused(name: str, used: set[str], other: str) -> str:
    """The name, or with a number the first that is free, as it has to be with the other ending too."""
    number, free = 1, name
    while {free, f"{free}{other}"} & used:
        number += 1
        free = f"{name}{number}"
    used |= {free, f"{free}{other}"}
    return free
