"""What annotations mean on the wire, as a tree that tools write down in their own terms.

`yugen.functions.validators` makes Convex's validators of it and `yugen.codegen` TypeScript. It is read from what
pydantic makes of an annotation, so it knows what pydantic knows. A reader says either what clients may send, where an
annotation stands for an argument, or what they get, where it stands for a result. The two differ in defaults, which
make a field optional on the way in and are there on the way out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from yugen.schema import Document, IdOf, document_serializer
from yugen.validation import ARGUMENTS, parts
from yugen.values import Int64

ScalarKind = Literal["any", "null", "boolean", "number", "bigint", "string", "bytes"]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A type without parts. `any` stands for what has no form here, too."""

    kind: ScalarKind


@dataclass(frozen=True, slots=True)
class IdType:
    """The id of a document of a table."""

    table: str


@dataclass(frozen=True, slots=True, eq=False)
class LiteralType:
    """One value. `Literal[1]` and `Literal[True]` differ, though Python holds 1 and True for equal."""

    value: bool | int | float | str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LiteralType) and (type(self.value), self.value) == (type(other.value), other.value)

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True, slots=True)
class ArrayType:
    """Any number of items."""

    item: WireType


@dataclass(frozen=True, slots=True)
class TupleType:
    """An array whose items each have a type of their own, of which the last may be missing.

    Attributes:
        items: their types.
        required: how many must be there.
        variadic: which of them stands for any number of items; None for none.
    """

    items: tuple[WireType, ...]
    required: int
    variadic: int | None = None


@dataclass(frozen=True, slots=True)
class RecordType:
    """An object with any fields, whose names and values have one type each."""

    keys: WireType
    values: WireType


@dataclass(frozen=True, slots=True)
class FieldType:
    """A field of an object.

    Attributes:
        type: its values.
        optional: whether it may be absent.
        description: what is written about it.
    """

    type: WireType
    optional: bool
    description: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ObjectType:
    """An object with these fields by their names on the wire; with any others too if it is open."""

    fields: Mapping[str, FieldType]
    open: bool = False


@dataclass(frozen=True, slots=True)
class UnionType:
    """One of several types, none of them a union itself."""

    members: tuple[WireType, ...]


class NamedType:
    """A type that has a name in Python, through which it may refer to itself.

    Attributes:
        name: the name.
        module: the module it is from.
        key: the class, or what else tells it from others of its name; the same for all readers.
        definition: what it stands for.
    """

    __slots__ = ("definition", "key", "module", "name")

    definition: WireType

    def __init__(self, name: str, module: str, key: type | str) -> None:
        self.name = name
        self.module = module
        self.key = key

    @property
    def cls(self) -> type | None:
        """The class, if it is one."""
        return self.key if isinstance(self.key, type) else None


WireType: TypeAlias = (
    Scalar | IdType | LiteralType | ArrayType | TupleType | RecordType | ObjectType | UnionType | NamedType
)

ANY: Final = Scalar("any")
NULL: Final = Scalar("null")
STRING: Final = Scalar("string")

_SCALARS: Final[dict[str, Scalar]] = {
    "none": NULL,
    "bool": Scalar("boolean"),
    "int": Scalar("number"),
    "float": Scalar("number"),
    "bytes": Scalar("bytes"),
    # Python objects that are text on the wire.
    **dict.fromkeys(
        ("str", "date", "time", "datetime", "timedelta", "uuid", "url", "multi-host-url", "decimal"), STRING
    ),
}
_WRAPPERS: Final[dict[str, str]] = {
    # Which of its parts stands for the whole.
    **dict.fromkeys(("default", "missing-sentinel", "custom-error"), "schema"),
    **dict.fromkeys(("function-before", "function-after", "function-wrap"), "schema"),
    "json-or-python": "json_schema",
    "lax-or-strict": "lax_schema",
}
_CLASSES: Final = frozenset({"model", "dataclass", "typed-dict", "named-tuple", "enum"})


def unnamed(found: WireType) -> WireType:
    """What a type stands for if it has a name; itself if it has none."""
    while isinstance(found, NamedType):
        found = found.definition
    return found


class Reader:
    """Reads annotations. What has a name in Python is one object, however often it occurs.

    Args:
        output: whether it is about what is given, not about what is taken.
    """

    def __init__(self, *, output: bool) -> None:
        self._output = output
        self._named: dict[type | str, NamedType] = {}  # by their keys
        self._definitions: dict[str, Any] = {}
        self._open: dict[
            str, NamedType | None
        ] = {}  # definitions that are being read, with what they are if they recur

    def read(self, annotation: Any) -> WireType:
        """What an annotation means; `any` if pydantic does not understand it."""
        try:
            schema = TypeAdapter(annotation).core_schema
        except PydanticUserError:
            return ANY
        return self._read(schema)

    def _read(self, schema: Any) -> WireType:
        """What a schema of pydantic-core means."""
        kind, cls = schema["type"], schema.get("cls")
        if self._output and (given := self._serialized(schema)) is not None:
            return given
        if kind in _CLASSES and cls in self._named:
            return self._named[cls]
        if kind in _SCALARS:
            return _SCALARS[kind]
        if kind in _WRAPPERS:
            return self._read(schema[_WRAPPERS[kind]])
        if kind in _CLASSES:
            named = self._named[cls] = NamedType(cls.__name__, cls.__module__, cls)
            is_document = issubclass(cls, Document)
            named.definition = self._document(cls, schema["schema"]) if is_document else self._class(schema)
            return named
        match kind:
            case "definitions":
                self._definitions |= {each["ref"]: each for each in schema["definitions"]}
                return self._read(schema["schema"])
            case "definition-ref":
                return self._referred(schema["schema_ref"])
            case "function-plain":
                return special(schema["function"]["function"])
            case "nullable":
                return union([self._read(schema["schema"]), NULL])
            case "union" | "tagged-union":
                return union(map(self._read, _choices(schema)))
            case "literal":
                return union(map(_literal, schema["expected"]))
            case "list" | "set" | "frozenset" | "deque" | "generator":
                return ArrayType(self._part(schema, "items_schema"))
            case "tuple":
                return self._tuple(schema["items_schema"], schema.get("variadic_item_index"))
            case "dict" | "counter":
                return RecordType(self._part(schema, "keys_schema"), self._part(schema, "values_schema"))
            case "chain":
                return self._read(schema["steps"][-1 if self._output else 0])
            case "model-fields" | "dataclass-args":
                return self._object(schema)
        return ANY

    def _part(self, schema: Any, part: str) -> WireType:
        return self._read(schema[part]) if part in schema else ANY

    def _class(self, schema: Any) -> WireType:
        match schema["type"]:
            case "enum":
                return union(_literal(member.value) for member in schema["members"])
            case "named-tuple":
                fields = [self._field(field) for field in schema["fields"]]
                required = sum(not field.optional for field in fields)
                return TupleType(tuple(field.type for field in fields), required)
            case "typed-dict":
                return self._object(schema)
        found = self._read(schema["schema"])
        if isinstance(found, ObjectType) and schema.get("config", {}).get("extra_fields_behavior") == "allow":
            return ObjectType(found.fields, open=True)
        return found

    def _serialized(self, schema: Any) -> WireType | None:
        """What a serializer makes of it; None where it goes out as it is."""
        serializer = schema.get("serialization", {})
        if serializer.get("type") == "to-string" and schema["type"] != "function-plain":
            return STRING
        if not runs(serializer):
            return None
        given = self._part(serializer, "return_schema")
        if serializer.get("when_used") == "unless-none":
            found = unnamed(self._read({**schema, "serialization": {}}))
            if found in (NULL, ANY) or (isinstance(found, UnionType) and NULL in found.members):
                return union([given, NULL])
        return given

    def _referred(self, ref: str) -> WireType:
        described = self._definitions[ref]
        known = self._named.get(ref) or self._named.get(_unwrapped(described).get("cls"))
        if known is not None:
            return known
        if ref in self._open:
            recurring = self._open[ref] = self._open[ref] or _alias(ref)
            return recurring
        self._open[ref] = None
        try:
            found = self._read(described)
        finally:
            recurs = self._open.pop(ref)
        if recurs is None:
            return found
        recurs.definition = found
        self._named[ref] = recurs
        return recurs

    def _tuple(self, schemas: list[Any], variadic: int | None) -> WireType:
        items = tuple(map(self._read, schemas))
        if variadic is not None and len(items) == 1:
            return ArrayType(items[0])
        return TupleType(items, len(items) - (variadic is not None), variadic)

    def _object(self, schema: Any) -> ObjectType:
        fields: dict[str, FieldType] = {}
        for name, field in _fields(schema):
            if self._output and field.get("serialization_exclude"):
                continue
            fields[self._wire_name(name, field)] = self._field(field)
        if self._output:
            for field in schema.get("computed_fields", ()):
                name = field.get("alias", field["property_name"])
                fields[name] = FieldType(self._read(field["return_schema"]), "serialization_exclude_if" in field)
        return ObjectType(fields, open=schema.get("extra_behavior") == "allow")

    def _document(self, cls: type[Document], schema: Any) -> ObjectType:
        """A document, which has its id, and goes out as it is stored: without what was left at a default of None."""
        described = self._object({**_unwrapped(schema), "computed_fields": ()})
        fields = dict(described.fields)
        if cls.__table__:
            fields["_id"] = FieldType(IdType(cls.__table__), fields["_id"].optional)
        if self._output:
            for stored in cls.__absent_by_default__.values():
                field = fields[stored]
                fields[stored] = FieldType(field.type, not stored.startswith("_"), field.description)
        return ObjectType(fields, described.open)

    def _field(self, field: Any) -> FieldType:
        schema = field["schema"]
        optional = may_be_unset(schema) or field.get("required") is False
        if not self._output:
            optional = optional or schema["type"] == "default"
        else:
            optional = optional or "serialization_exclude_if" in field
        described = field.get("metadata", {}).get("pydantic_js_updates", {}).get("description")
        return FieldType(self._read(schema), optional, described)

    def _wire_name(self, name: str, field: Any) -> str:
        alias = field.get("serialization_alias" if self._output else "validation_alias")
        return alias if isinstance(alias, str) else name


def _unwrapped(schema: Any) -> Any:
    while schema["type"] in _WRAPPERS:
        schema = schema[_WRAPPERS[schema["type"]]]
    return schema


def _fields(schema: Any) -> Iterator[tuple[str, Any]]:
    fields = schema["fields"]
    if isinstance(fields, Mapping):
        yield from fields.items()
    else:
        for field in fields:
            yield field["name"], field


def without_one_name(schema: Any) -> str | None:
    """A field that pydantic would take under any of several names, or out of another one; None if there is none."""
    if schema["type"] in ("model-fields", "dataclass-args", "typed-dict"):
        for name, field in _fields(schema):
            if isinstance(field.get("validation_alias"), list):
                owner = schema.get("model_name") or schema.get("dataclass_name") or schema["cls"].__name__
                return name if owner == ARGUMENTS else f"{owner}.{name}"
    return next(filter(None, map(without_one_name, parts(schema))), None)


def _choices(schema: Any) -> list[Any]:
    choices = schema["choices"]
    if isinstance(choices, Mapping):
        choices = list(choices.values())
    return [choice[0] if isinstance(choice, tuple) else choice for choice in choices]


def may_be_unset(schema: Any) -> bool:
    """Whether a field with this schema may be UNSET, which is absent on the wire."""
    return schema["type"] == "missing-sentinel" or (schema["type"] == "default" and may_be_unset(schema["schema"]))


def runs(serializer: Any) -> bool:
    """Whether a function of the app makes something else of a value that goes out.

    Args:
        serializer: what a schema of pydantic-core has as its `serialization`.
    """
    function = serializer.get("function")
    if function in (None, document_serializer) or serializer.get("when_used", "").startswith("json"):
        return False
    # pydantic has some of its own, for sequences, paths and the like, which keep the form.
    return not str(getattr(function, "__module__", "")).startswith("pydantic._internal")


def special(function: Any) -> WireType:
    """Our own types, which pydantic knows by the functions that check them; `any` for others."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, IdOf):
        return IdType(owner.table)
    return Scalar("bigint") if owner is Int64 else ANY


def _literal(value: Any) -> WireType:
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return NULL
    return LiteralType(value) if isinstance(value, bool | int | float | str) else ANY


def union(types: Iterable[WireType]) -> WireType:
    """Their union; `any` if one is, or if there are none."""
    members: dict[WireType, None] = {}
    for each in types:
        members |= dict.fromkeys(each.members if isinstance(each, UnionType) else (each,))
    if not members or ANY in members:
        return ANY
    return UnionType(tuple(members)) if len(members) > 1 else next(iter(members))


def _alias(ref: str) -> NamedType:
    """A type that is no class, by pydantic's reference to its definition, `module.Name:address`."""
    module, _, name = ref.partition(":")[0].rpartition(".")
    return NamedType(name, module, ref)
