"""Annotations in the terms of Convex's validators, for tools that ask what a function takes and gives.

A validator is an object with a `type`, as `v.object({...})` in JavaScript becomes when it is written as JSON: `any`,
`null`, `boolean`, `number`, `bigint`, `string`, `bytes`, `id`, `literal`, `array`, `record`, `object` and `union`. What
has no such form, a type that refers to itself among others, is `any`.

It says what is on the wire: `takes` what clients may send where the annotation stands for an argument, `gives` what
they get where it stands for a result. The two differ in defaults, which make an argument optional and are there in
a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from yugen.schema import Document, IdOf
from yugen.values import Int64

Json = dict[str, Any]

ANY: Final[Json] = {"type": "any"}
_NULL: Final[Json] = {"type": "null"}
_STRING: Final[Json] = {"type": "string"}

_SCALARS: Final[dict[str, Json]] = {
    "none": _NULL,
    "bool": {"type": "boolean"},
    "int": {"type": "number"},
    "float": {"type": "number"},
    "bytes": {"type": "bytes"},
    # Python objects that are text on the wire.
    **dict.fromkeys(
        ("str", "date", "time", "datetime", "timedelta", "uuid", "url", "multi-host-url", "decimal"), _STRING
    ),
}
_WRAPPERS: Final[dict[str, str]] = {
    # Which of its parts stands for the whole.
    **dict.fromkeys(("default", "missing-sentinel", "custom-error", "model", "dataclass"), "schema"),
    **dict.fromkeys(("function-before", "function-after", "function-wrap"), "schema"),
    "json-or-python": "json_schema",
    "lax-or-strict": "lax_schema",
}
_KEYS: Final = frozenset({"string", "id"})


def takes(annotation: Any) -> Json:
    """The validator of what can be sent for an annotation."""
    return _validator(annotation, output=False)


def gives(annotation: Any) -> Json:
    """The validator of what is sent for an annotation."""
    return _validator(annotation, output=True)


def _validator(annotation: Any, *, output: bool) -> Json:
    try:
        schema = TypeAdapter(annotation).core_schema
    except PydanticUserError:
        return ANY
    return _Reader(output=output).read(schema)


class _Reader:
    """Reads schemas of pydantic-core.

    Args:
        output: whether it is about what is given, not about what is taken.
    """

    def __init__(self, *, output: bool) -> None:
        self._output = output
        self._definitions: dict[str, Any] = {}
        self._open: list[str] = []  # definitions that are being read, which may refer to themselves

    def read(self, schema: Any) -> Json:
        kind = schema["type"]
        if "allow" in (schema.get("extra_behavior"), schema.get("config", {}).get("extra_fields_behavior")):
            return ANY  # no validator lets unknown fields pass
        if isinstance(cls := schema.get("cls"), type) and issubclass(cls, Document):
            return self._document(cls, schema["schema"])
        if self._output and (given := self._serialized(schema)) is not None:
            return given
        if kind in _SCALARS:
            return _SCALARS[kind]
        if kind in _WRAPPERS:
            return self.read(schema[_WRAPPERS[kind]])
        match kind:
            case "definitions":
                self._definitions |= {each["ref"]: each for each in schema["definitions"]}
                return self.read(schema["schema"])
            case "definition-ref":
                return self._referred(schema["schema_ref"])
            case "function-plain":
                return _special(schema["function"]["function"])
            case "nullable":
                return _union([self.read(schema["schema"]), _NULL])
            case "union" | "tagged-union":
                return _union(map(self.read, _choices(schema)))
            case "literal":
                return _union(map(_literal, schema["expected"]))
            case "enum":
                return _union(_literal(member.value) for member in schema["members"])
            case "list" | "set" | "frozenset" | "deque" | "generator":
                return {"type": "array", "value": self.read(schema.get("items_schema", ANY))}
            case "tuple":
                return {"type": "array", "value": _union(map(self.read, schema["items_schema"]))}
            case "named-tuple":
                return {"type": "array", "value": _union(self.read(field["schema"]) for field in schema["fields"])}
            case "dict" | "counter":
                return self._record(schema)
            case "chain":
                return self.read(schema["steps"][-1 if self._output else 0])
            case "model-fields" | "typed-dict" | "dataclass-args":
                return self._object(schema)
        return ANY

    def _serialized(self, schema: Any) -> Json | None:
        """What a serializer makes of it; None where it goes out as it is."""
        serializer = schema.get("serialization", {})
        match serializer.get("type"):
            case "function-plain":
                return self.read(serializer.get("return_schema", ANY))
            case "function-wrap" if "return_schema" in serializer:
                return self.read(serializer["return_schema"])
            case "to-string" if schema["type"] != "function-plain":
                return _STRING
        return None

    def _referred(self, ref: str) -> Json:
        if ref in self._open:
            return ANY
        self._open.append(ref)
        try:
            return self.read(self._definitions[ref])
        finally:
            self._open.pop()

    def _record(self, schema: Any) -> Json:
        keys = self.read(schema.get("keys_schema", ANY))
        return {
            "type": "record",
            "keys": keys if keys["type"] in _KEYS else _STRING,
            "values": {"fieldType": self.read(schema.get("values_schema", ANY)), "optional": False},
        }

    def _object(self, schema: Any) -> Json:
        fields: Json = {}
        for name, field in _fields(schema):
            if self._output and field.get("serialization_exclude"):
                continue
            inner, optional = self._field(field)
            fields[self._wire_name(name, field)] = {"fieldType": inner, "optional": optional}
        if self._output:
            for field in schema.get("computed_fields", ()):
                inner = self.read(field["return_schema"])
                fields[field.get("alias", field["property_name"])] = {"fieldType": inner, "optional": False}
        return {"type": "object", "value": fields}

    def _document(self, cls: type[Document], schema: Any) -> Json:
        """A document, which has its id, and goes out as it is stored: without what was left at a default of None."""
        described = self._object({**schema, "computed_fields": ()})
        fields: Json = described["value"]
        if cls.__table__:
            fields["_id"]["fieldType"] = _id(cls.__table__)
        if self._output:
            for stored in cls.__absent_by_default__.values():
                fields[stored]["optional"] = not stored.startswith("_")
        return described

    def _field(self, field: Any) -> tuple[Json, bool]:
        """The validator of a field, and whether the field may be absent."""
        schema = field["schema"]
        has_default = schema["type"] == "default"
        absent = _may_be_unset(schema)
        inner = self.read(schema)
        if self._output:
            return inner, absent or field.get("required") is False
        return inner, absent or has_default or field.get("required") is False

    def _wire_name(self, name: str, field: Any) -> str:
        alias = field.get("serialization_alias" if self._output else "validation_alias")
        return alias if isinstance(alias, str) else name


def _fields(schema: Any) -> Iterator[tuple[str, Any]]:
    fields = schema["fields"]
    if isinstance(fields, Mapping):
        yield from fields.items()
    else:
        for field in fields:
            yield field["name"], field


def _choices(schema: Any) -> list[Any]:
    choices = schema["choices"]
    if isinstance(choices, Mapping):
        choices = list(choices.values())
    return [choice[0] if isinstance(choice, tuple) else choice for choice in choices]


def _may_be_unset(schema: Any) -> bool:
    return schema["type"] == "missing-sentinel" or (schema["type"] == "default" and _may_be_unset(schema["schema"]))


def _special(function: Any) -> Json:
    """Our own types, which pydantic knows by the functions that check them."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, IdOf):
        return _id(owner.table)
    return {"type": "bigint"} if owner is Int64 else ANY


def _id(table: str) -> Json:
    return {"type": "id", "tableName": table}


def _literal(value: Any) -> Json:
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return _NULL
    return {"type": "literal", "value": value} if isinstance(value, bool | int | float | str) else ANY


def _union(validators: Iterable[Json]) -> Json:
    members: dict[str, Json] = {}  # by their text, since Python takes 1 and True for the same
    for validator in validators:
        for member in validator["value"] if validator["type"] == "union" else (validator,):
            members[repr(member)] = member
    if not members or repr(ANY) in members:
        return ANY
    return {"type": "union", "value": [*members.values()]} if len(members) > 1 else next(iter(members.values()))
