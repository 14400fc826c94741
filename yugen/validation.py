"""Turning wire values into what type annotations promise.

pydantic has two moods: lax takes `"3"` and `True` for an int, strict wants a tuple where JSON only has arrays. Values
from the wire want neither: containers, dates and models are made from what JSON offers, but a number, a string and a
boolean are never taken for one another. `Validator` is pydantic in that mood.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, cast

from pydantic import ConfigDict, PydanticUndefinedAnnotation, TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

from yugen.catalog import Catalog

CONFIG = ConfigDict(arbitrary_types_allowed=False, val_json_bytes="base64", ser_json_bytes="base64")

_SCALARS = frozenset({"int", "float", "bool", "str", "bytes"})
_UNTOUCHED = frozenset({"metadata", "serialization", "keys_schema"})
_LARGEST_INTEGER = 2**53
_SHOWN_MAX = 80


class Validator:
    """Checks decoded wire values against an annotation and makes what the annotation promises.

    Raises:
        pydantic.errors.PydanticUserError: the annotation is not one that pydantic understands.
    """

    __slots__ = ("_validator", "adapter")

    def __init__(self, annotation: Any) -> None:
        holds_config = isinstance(annotation, type) and (
            hasattr(annotation, "__pydantic_config__") or hasattr(annotation, "model_config")
        )
        self.adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=None if holds_config else CONFIG)
        # Nested models bring validators of their own; without the flag pydantic would use those, in their lax mood.
        self._validator = SchemaValidator(_strict_scalars(self.adapter.core_schema), _use_prebuilt=False)

    def __call__(self, value: Any, catalog: Catalog | None) -> Any:
        """The value as the annotation has it. Ids are checked to be of their table when there is a catalog.

        Raises:
            pydantic.ValidationError: the value does not fit; `explain` makes a sentence of it.
        """
        return self._validator.validate_python(integral(value), context={"catalog": catalog})

    def check(self, value: Any, catalog: Catalog | None) -> Any:
        """The same for a Python object: instances of the promised classes pass as they are."""
        return self._validator.validate_python(value, context={"catalog": catalog}, from_attributes=True)


def _strict_scalars(schema: Any) -> Any:
    match schema:
        case dict():
            rewritten = {key: part if key in _UNTOUCHED else _strict_scalars(part) for key, part in schema.items()}
            if schema.get("type") in _SCALARS:
                rewritten["strict"] = True
            return rewritten
        case list():
            return [_strict_scalars(part) for part in schema]
        case tuple():
            return tuple(_strict_scalars(part) for part in schema)
        case _:
            return schema


def integral(value: Any) -> Any:
    """The value with whole numbers as Python ints, all through: the wire's only number is a float64."""
    kind = type(value)
    if kind is float:
        whole = value.is_integer() and abs(value) <= _LARGEST_INTEGER and not (value == 0 and math.copysign(1, value) < 0)
        return int(value) if whole else value
    if kind is dict:
        return {key: integral(part) for key, part in value.items()}
    if kind is list:
        return [integral(part) for part in value]
    return value


def explain(error: ValidationError) -> tuple[str, str]:
    """The place of the first fault (`author`, `items[2].name`, or nothing for the value itself), and a sentence's end
    that says what was expected and what came."""
    fault = error.errors(include_url=False, include_context=False)[0]
    place = ""
    for part in fault["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    match fault["type"]:
        case "missing" | "missing_argument" | "missing_keyword_only_argument":
            return place, "is missing"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return place, "is not expected here"
        case _:
            message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
            return place, f"{message[:1].lower()}{message[1:]}, got {shown(fault['input'])}"


def shown(value: object) -> str:
    """A value in the words of its sender, short enough for an error."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            text = repr(value)
        case int() | float():
            return f"the number {value}"
        case bytes():
            return f"{len(value)} bytes"
        case Mapping():
            text = f"an object with {', '.join(map(str, value)) or 'no fields'}"
        case list() | tuple():
            return f"an array of {len(value)}"
        case _:
            text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def arguments_type(name: str, fields: Mapping[str, tuple[Any, Any]]) -> type:
    """A dataclass of these keyword fields, (annotation, default) each, that refuses any other."""
    members: list[Any] = []
    for field, (annotation, default) in fields.items():
        if default is dataclasses.MISSING:
            members.append((field, annotation))
        elif type(default).__hash__ is None:
            members.append((field, annotation, dataclasses.field(default_factory=default.copy)))
        else:
            members.append((field, annotation, dataclasses.field(default=default)))
    namespace = {"__pydantic_config__": ConfigDict(extra="forbid", populate_by_name=True, **CONFIG)}
    return cast("type", dataclasses.make_dataclass(name, members, kw_only=True, namespace=namespace))


__all__ = ["PydanticUndefinedAnnotation", "Validator", "arguments_type", "explain", "integral", "shown"]
