"""Turning wire values into what type annotations promise.

pydantic has two moods: lax takes `"3"` and `True` for an int, strict wants a tuple where JSON only has arrays. Values
from the wire want neither: containers, dates and models are made from what JSON offers, but a number, a string and a
boolean are never taken for one another. `Validator` is pydantic in that mood.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, SchemaValidator, core_schema

from yugen.catalog import Catalog
from yugen.values import EXACT_INT_MAX, Int64

__all__ = ["ARGUMENTS", "Validator", "arguments_type", "explain", "parts", "shown"]

NOT_EXPECTED = "is not expected here"
"""What `explain` says of a name that nothing takes."""

ARGUMENTS = "Arguments"
"""The name of the type that has the arguments of a function for its fields."""

_SHOWN_MAX = 80
_BRANCH = "\0"
"""Begins the parts of an error's place that name a branch of a union; no field's name does."""


class Validator:
    """Checks wire values against an annotation and makes what the annotation promises.

    Attributes:
        schema: what the annotation is to pydantic-core.

    Raises:
        pydantic.errors.PydanticUserError: the annotation is not one that pydantic understands.
    """

    __slots__ = ("_validator", "schema")

    def __init__(self, annotation: Any) -> None:
        self.schema = TypeAdapter(annotation).core_schema
        # Nested models bring validators of their own; without the flag pydantic would use those, in their lax mood.
        self._validator = SchemaValidator(cast("CoreSchema", _in_wire_mood(self.schema)), _use_prebuilt=False)

    def __call__(self, value: Any, catalog: Catalog | None) -> Any:
        """The value as the annotation has it.

        Args:
            value: decoded from the wire, or a Python object; instances of the promised classes pass as they are.
            catalog: the tables that ids are checked to be of, or None to take any string for an id.

        Raises:
            pydantic.ValidationError: the value does not fit; `explain` makes a sentence of it.
        """
        return self._validator.validate_python(value, context={"catalog": catalog}, from_attributes=True)


# Where schemas are found inside of a schema. What else there is, defaults above all, may look like one and is not.
_PARTS = frozenset(
    {
        *("schema", "items_schema", "values_schema", "extras_schema", "arguments_schema"),
        *("choices", "fields", "definitions", "steps", "lax_schema", "strict_schema", "python_schema"),
    }
)


def parts(schema: Any) -> Iterator[Any]:
    """The schemas that a schema of pydantic-core is made of, those of fields among them."""
    match schema:
        case {"type": str()}:
            inside = [part for key, part in schema.items() if key in _PARTS]
        case dict():
            inside = list(schema.values())
        case _:
            inside = list(schema)
    for each in inside:
        match each:
            case {"type": str()}:
                yield each
            case dict() | list() | tuple():
                yield from parts(each)


def _in_wire_mood(schema: Any) -> Any:
    """A schema of pydantic-core, or a collection of them, with scalars that keep to their own kind."""
    match schema:
        case {"type": str(kind)}:
            rewritten = {key: _in_wire_mood(part) if key in _PARTS else part for key, part in schema.items()}
            match kind:
                case "str" | "bytes" | "bool":
                    return {**rewritten, "strict": True}
                case "int":
                    return _after(_whole, {**rewritten, "strict": True})
                case "float":
                    return _after(_number, {**rewritten, "strict": True})
                case "timedelta":
                    return _after(_no_boolean, rewritten)
                case "literal":
                    return _after(partial(_one_of, schema["expected"]), rewritten)
                case "enum":
                    return _after(partial(_one_of, [member.value for member in schema["members"]]), rewritten)
                case "union":
                    return {**rewritten, "choices": [_labelled(*each) for each in enumerate(rewritten["choices"])]}
            return rewritten
        case dict():
            return {key: _in_wire_mood(part) for key, part in schema.items()}
        case list():
            return [_in_wire_mood(part) for part in schema]
        case tuple():
            return tuple(_in_wire_mood(part) for part in schema)
    return schema


def _after(function: Any, schema: dict[str, Any]) -> Any:
    """The schema applied to what the function makes of a value."""
    inner = {key: part for key, part in schema.items() if key != "ref"}
    return core_schema.no_info_before_validator_function(function, cast("CoreSchema", inner), ref=schema.get("ref"))


def _labelled(place: int, choice: Any) -> tuple[Any, str]:
    return (choice[0] if isinstance(choice, tuple) else choice), f"{_BRANCH}{place}"


def _whole(value: Any) -> Any:
    """For `int`: the wire's only number is a float64, so a whole one is as good as an int."""
    value = _number(value)
    if isinstance(value, float):
        if not value.is_integer():
            raise PydanticCustomError("int_type", "should be a whole number")
        value = int(value)
    if isinstance(value, int) and not -EXACT_INT_MAX <= value <= EXACT_INT_MAX:
        raise PydanticCustomError("int_exact", "should lie within ±2^53, where numbers are exact; use Int64 beyond")
    return value


def _number(value: Any) -> Any:
    """For `float`: a 64-bit integer of the wire is not a number of the wire, and would lose digits as one."""
    if isinstance(value, Int64):
        raise PydanticCustomError("float_type", "should be a number; annotate it with Int64 to take 64-bit integers")
    return value


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("time_delta_type", "should be a duration")
    return value


def _one_of(expected: Sequence[Any], value: Any) -> Any:
    """For literals and enums, where Python holds 1, 1.0 and True for equal."""
    if (
        type(value) is float
        and value.is_integer()
        and not any(type(each) is float and each == value for each in expected)
    ):
        value = int(value)
    if type(value) in (bool, int, Int64) and not any(type(each) is type(value) and each == value for each in expected):
        wanted = " or ".join(repr(each) for each in expected)
        raise PydanticCustomError("literal_error", "should be {wanted}", {"wanted": wanted})
    return value


# What was wrong, in words --------------------------------------------------------------------------------------------

_WORDS = {
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "bytes_type": "must be bytes",
    "none_required": "must be null",
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "must be an array"),
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"), "must be an object"
    ),
    **dict.fromkeys(("missing", "missing_argument", "missing_keyword_only_argument"), "is missing"),
    **dict.fromkeys(("extra_forbidden", "unexpected_keyword_argument"), NOT_EXPECTED),
}
"""pydantic's kinds of error in the words of someone who sends JSON."""

_SHOULD = re.compile(r"(?:[A-Z]\w*(?: input)? )?should ")


def explain(error: ValidationError) -> tuple[str, str]:
    """The first fault: its place (`author`, `items[2].name`, or nothing for the value itself), and what is wrong there.

    The second part goes on where a sentence named the place: `must be a string, got the number 3`.
    """
    faults = error.errors(include_url=False, include_context=False)
    fault = faults[0]
    branch = next((place for place, part in enumerate(fault["loc"]) if _is_branch(part)), None)
    if branch is None:
        return _place(fault), _described([fault])
    # No branch of a union fits. The one that was followed furthest is the one that was meant.
    union = fault["loc"][:branch]
    tried = [fault for fault in faults if fault["loc"][:branch] == union]
    furthest = max(tried, key=lambda fault: (_depth(fault), _wording(fault).startswith("must ")))
    alternatives = tried if _depth(furthest) == branch else [furthest]
    return _place(furthest), _described(alternatives)


def _is_branch(part: int | str) -> bool:
    return isinstance(part, str) and part.startswith(_BRANCH)


def _depth(fault: ErrorDetails) -> int:
    return sum(not _is_branch(part) for part in fault["loc"])


def _place(fault: ErrorDetails) -> str:
    place = ""
    for part in fault["loc"]:
        if not _is_branch(part):
            place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    return place


def _described(faults: list[ErrorDetails]) -> str:
    first, *others = dict.fromkeys(_wording(fault) for fault in faults)
    if first in ("is missing", NOT_EXPECTED):
        return first
    described = " or ".join([first, *(other.removeprefix("must be ") for other in others)])
    return f"{described}, got {shown(faults[0]['input'])}"


def _wording(fault: ErrorDetails) -> str:
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if fault["type"] in _WORDS and not message.startswith("should "):
        return _WORDS[fault["type"]]
    if should := _SHOULD.match(message):
        return f"must {message[should.end() :]}"
    return f"does not fit: {message}"


def shown(value: object) -> str:
    """A value in the words of its sender, short enough for an error."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Enum():
            text = repr(value)
        case str():
            text = repr(value[: _SHOWN_MAX + 1])
        case Int64():
            return f"the Int64 {value}"
        case float() if value.is_integer():
            text = f"the number {value:.0f}"
        case int() | float():
            text = f"the number {value}"
        case bytes():
            return f"{len(value)} bytes"
        case Mapping():
            text = f"an object with {', '.join(map(str, value)) or 'no fields'}"
        case list() | tuple():
            return f"an array of {len(value)}"
        case _:
            text = f"an instance of {type(value).__name__}"
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"


def arguments_type(fields: Mapping[str, tuple[Any, Any]]) -> type:
    """A dataclass of these keyword fields, (annotation, default) each, that refuses any other.

    The default is `dataclasses.MISSING` where there is none; one that can be changed is copied for each instance.
    """
    members = [(name, annotation, _field(default)) for name, (annotation, default) in fields.items()]
    namespace = {"__pydantic_config__": ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)}
    return dataclasses.make_dataclass(ARGUMENTS, members, kw_only=True, namespace=namespace)


def _field(default: Any) -> Any:
    if default is not dataclasses.MISSING and type(default).__hash__ is None:
        return dataclasses.field(default_factory=lambda: copy.deepcopy(default))
    return dataclasses.field(default=default)
