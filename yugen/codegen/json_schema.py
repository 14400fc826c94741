"""JSON Schema of what functions take and give over HTTP.

pydantic writes it; here is what is different on the wire. Arguments come in the encoded form, where a 64-bit integer is
`{"$integer": ...}` and bytes are `{"$bytes": ...}`. Results go out in the clean form, where both are text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticSerializationError

from yugen import values
from yugen.functions.wire_types import IdType, Scalar, may_be_unset, runs, special
from yugen.schema import Document, as_wire
from yugen.values import EXACT_INT_MAX

Json: TypeAlias = dict[str, Any]
Mode: TypeAlias = Literal["validation", "serialization"]

TAKEN: Final = "validation"
GIVEN: Final = "serialization"

_BASE64: Final = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_NAME: Final = {"pattern": "^([ -#%-~][ -~]*)?$"}
"""Of fields: printable ASCII. One that begins with `$` makes an object another value, or none."""


def schemas(annotations: Iterable[tuple[str, Mode, Any]], template: str) -> tuple[dict[tuple[str, Mode], Json], Json]:
    """The schemas of several annotations, and the definitions that they share.

    Args:
        annotations: a key, whether it is about what is taken or given, and the annotation.
        template: how a definition is referred to, with `{model}` for its name.
    """
    found, unknown = [], dict[tuple[str, Mode], Json]()
    for key, mode, annotation in annotations:
        try:
            found.append((key, mode, TypeAdapter(annotation).core_schema))
        except PydanticUserError:
            unknown[key, mode] = Json()
    made, definitions = _Generator(by_alias=True, ref_template=template).generate_definitions(found)
    return made | unknown, {str(name): definition for name, definition in definitions.items()}


def _tagged(tag: str, pattern: str) -> Json:
    text = {"type": "string", "pattern": f"^{pattern}$", "contentEncoding": "base64"}
    return {"type": "object", "properties": {tag: text}, "required": [tag], "additionalProperties": False}


class _Generator(GenerateJsonSchema):
    """JSON Schema as pydantic writes it, with the values of the wire."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 -- as pydantic declares it

    @property
    def _gives(self) -> bool:
        return self.mode == GIVEN

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        if schema["type"] == "function-plain" and not (self._gives and runs(schema.get("serialization", {}))):
            match special(schema["function"]["function"]):
                case IdType(table):
                    return {"type": "string", "x-table": table}
                case Scalar("bigint"):
                    return self._int64()
        return super().generate_inner(schema)

    def ser_schema(self, schema: Any) -> JsonSchemaValue | None:
        if schema["type"] == "to-string":
            return super().ser_schema(schema)
        if not runs(schema):
            return None
        return super().ser_schema(schema) if "return_schema" in schema else {}

    def _int64(self) -> Json:
        if self._gives:
            return {"type": "string", "pattern": "^-?[0-9]+$", "format": "int64"}
        return {**_tagged("$integer", "[A-Za-z0-9+/]{10}[AEIMQUYcgkosw048]="), "format": "int64"}

    def int_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().int_schema(schema)
        low, high = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
        if not any(made.get(name, -EXACT_INT_MAX - 1) >= -EXACT_INT_MAX for name in low):
            made |= {"minimum": -EXACT_INT_MAX}
        if not any(made.get(name, EXACT_INT_MAX + 1) <= EXACT_INT_MAX for name in high):
            made |= {"maximum": EXACT_INT_MAX}
        return made

    def bytes_schema(self, schema: Any) -> JsonSchemaValue:
        return {"type": "string", "contentEncoding": "base64"} if self._gives else _tagged("$bytes", _BASE64)

    def set_schema(self, schema: Any) -> JsonSchemaValue:
        return self._repeating(super().set_schema(schema))

    def frozenset_schema(self, schema: Any) -> JsonSchemaValue:
        return self._repeating(super().frozenset_schema(schema))

    def _repeating(self, made: JsonSchemaValue) -> JsonSchemaValue:
        if not self._gives:
            del made["uniqueItems"]  # what comes twice is taken once
        return made

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        names = made.get("propertyNames")
        return made | {"propertyNames": _NAME if names is None else {"allOf": [names, _NAME]}}

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        made, cls = super().model_schema(schema), schema["cls"]
        if issubclass(cls, Document):
            self._as_document(made, cls)
        return self._untagged(made)

    def dataclass_schema(self, schema: Any) -> JsonSchemaValue:
        return self._untagged(super().dataclass_schema(schema))

    def typed_dict_schema(self, schema: Any) -> JsonSchemaValue:
        return self._untagged(super().typed_dict_schema(schema))

    def _untagged(self, made: JsonSchemaValue) -> JsonSchemaValue:
        """An object that takes fields it does not know takes such as can be: no tagged value is one."""
        if self._gives or made.get("type") != "object" or made.get("additionalProperties") is False:
            return made
        if "propertyNames" in made:
            return made  # a model that is a dictionary, which has said so
        return made | {"propertyNames": _NAME}

    def _as_document(self, made: JsonSchemaValue, cls: type[Document]) -> None:
        fields = made["properties"]
        fields["_creationTime"] = {"type": "number"}
        if cls.__table__:
            fields["_id"] = {"type": "string", "x-table": cls.__table__}
        if not self._gives:
            return
        for name, computed in cls.model_computed_fields.items():
            fields.pop(computed.alias or name, None)
        absent = {stored for stored in cls.__absent_by_default__.values() if not stored.startswith("_")}
        required = {*made.get("required", ()), "_id", "_creationTime"}
        made["required"] = [name for name in fields if name in required and name not in absent]

    def field_is_required(self, field: Any, total: bool) -> bool:
        if not self._gives:
            return super().field_is_required(field, total)
        if "serialization_exclude_if" in field or may_be_unset(field["schema"]):
            return False
        return field.get("required", total) is not False

    def computed_field_is_required(self, field: Any, total: bool) -> bool:
        return "serialization_exclude_if" not in field

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # a title would only be the name once more

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}  # anything

    def encode_default(self, dft: Any) -> Any:
        if type(dft) is int:
            return dft  # though a number of the wire is a float
        try:
            structure = values.encode(dft, fallback=as_wire)
            return values.to_clean(values.decode(structure)) if self._gives else structure
        except values.InvalidValue as error:
            raise PydanticSerializationError(str(error)) from None
