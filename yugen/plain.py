"""Classes of documents whose fields are all text, numbers, booleans or null, as those of most documents are.

Nothing in such a document can be changed in place, none of its fields looks otherwise in Python than in storage, and
nothing but the class itself decides what fits. So its fields can be taken as they are, stored documents are read
straight from their JSON, many at a time, and one that comes out of a function as it was read goes out as it is stored.
Anything out of the ordinary, in the class or in a document, takes the general way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from itertools import compress
from operator import attrgetter
from typing import Any, Final, cast

from pydantic import ValidationError
from pydantic_core import MISSING, CoreSchema, SchemaValidator, core_schema

from yugen.values import EXACT_INT_MAX, may_hold_tags

_fields_set = attrgetter("__pydantic_fields_set__")
_CONFIG: Final = frozenset({"extra_fields_behavior", "title", "validate_by_alias", "validate_by_name"})
_MODEL: Final = frozenset(
    {"type", "cls", "schema", "config", "custom_init", "root_model", "ref", "metadata", "serialization"}
)
_FIELDS: Final = frozenset({"type", "fields", "model_name", "computed_fields"})
_FIELD: Final = frozenset({"type", "schema", "metadata", "validation_alias", "serialization_alias"})
_CHANGING: Final = frozenset({"strip_whitespace", "to_lower", "to_upper", "coerce_numbers_to_str", "serialization"})
"""What makes something else of a text than it is in storage, or of a value on its way out."""


class Plain:
    """How the documents of a plain class are taken apart and read.

    Args:
        schema: how pydantic-core sees the class.
        absent: the names of the fields that are not stored while nothing has set them.

    Attributes:
        fields: the fields by their names in Python and in storage, and whether the field is one of `absent`.
    """

    def __init__(self, schema: Any, absent: Collection[str]) -> None:
        described = schema["schema"]["fields"]
        self.fields = tuple(
            (name, cast("str", field.get("validation_alias", name)), name in absent)
            for name, field in described.items()
        )
        # If one of these is not in storage, the document has a default there, which goes out too.
        self._shown = frozenset(
            name
            for name, field in described.items()
            if name not in absent and field["schema"].get("default") is not MISSING
        )
        self._schema = schema

    def read(self, texts: Sequence[bytes], keep: Callable[[Any, bytes], None]) -> list[Any] | None:
        """Documents from their stored JSON; None if one of them is out of the ordinary.

        Args:
            texts: the stored JSON of each.
            keep: called with each document that looks on the wire as it does in storage, and its text.
        """
        joined = b"[%b]" % b",".join(texts)
        if may_hold_tags(joined):
            return None
        try:
            documents: list[Any] = self._validator.validate_json(joined)
        except ValidationError:
            return None
        for document, text in compress(
            zip(documents, texts, strict=True), map(self._shown.issubset, map(_fields_set, documents))
        ):
            keep(document, text)
        return documents

    @cached_property
    def _validator(self) -> SchemaValidator:
        fields = {
            name: {**field, "schema": _stored(field["schema"])}
            for name, field in self._schema["schema"]["fields"].items()
        }
        model = {**self._schema, "schema": {**self._schema["schema"], "fields": fields}}
        return SchemaValidator(core_schema.list_schema(cast("CoreSchema", model)), _use_prebuilt=False)


def plain(schema: Any, absent: Collection[str], serializer: object) -> Plain | None:
    """How the documents of a class are read if it is a plain one.

    Args:
        schema: how pydantic-core sees the class.
        absent: the names of the fields that are not stored while nothing has set them.
        serializer: the one that every document has.
    """
    match schema:
        case {"type": "model", "schema": {"type": "model-fields", "fields": dict(fields), **inner}, "config": config}:
            if (
                schema.keys() <= _MODEL
                and config.keys() <= _CONFIG
                and inner.keys() <= _FIELDS
                and not schema["custom_init"]
                and schema["serialization"].get("function") is serializer
                and all(map(_is_plain, fields.values()))
            ):
                return Plain(schema, absent)
    return None


def _is_plain(field: Any) -> bool:
    alias = field.get("validation_alias")
    if not (field.keys() <= _FIELD and alias == field.get("serialization_alias") and isinstance(alias, str | None)):
        return False
    try:
        _stored(field["schema"])
    except _NotPlain:
        return False
    return True


class _NotPlain(Exception):
    pass


def _stored(schema: Any) -> Any:
    """The schema of a field as it is stored: text, a float, a boolean or null, none of which is taken for another.

    It takes nothing that `yugen.validation` would refuse of a decoded document, and makes the same of what it takes.
    """
    match schema:
        case {"type": "str" | "bool" | "float"} if not schema.keys() & _CHANGING:
            return {**schema, "strict": True}
        case {"type": "int"} if not schema.keys() & _CHANGING:
            exact = core_schema.float_schema(strict=True, ge=-EXACT_INT_MAX, le=EXACT_INT_MAX)
            return core_schema.chain_schema([exact, {**schema, "strict": False}])
        case {"type": "literal", "expected": expected} if all(type(each) is str for each in expected):
            return schema
        case {"type": "nullable" | "default" | "missing-sentinel", "schema": inner} if not schema.keys() & _CHANGING:
            return {**schema, "schema": _stored(inner)}
        case {"type": "function-plain", "function": {"function": function}}:
            if getattr(getattr(function, "__self__", None), "is_text", False):
                return core_schema.str_schema(strict=True)
    raise _NotPlain
