"""What annotations take from the wire, and the words in which they refuse."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from typing_extensions import TypedDict

from tests import strategies
from yugen.validation import Validator, arguments_type, explain, shown
from yugen.values import EXACT_INT_MAX, Int64, compare_key


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Rate(Enum):
    WHOLE = 1.0
    HALF = 0.5


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Address(BaseModel):
    city: str
    zip_code: str | None = Field(default=None, alias="zipCode")


class Circle(BaseModel):
    radius: float


class Square(BaseModel):
    side: float


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    limit: int


def check(annotation: Any, value: Any) -> Any:
    return Validator(annotation)(value, None)


def fault(annotation: Any, value: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        check(annotation, value)
    return explain(caught.value)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 3.0, 3),
        (int, -0.0, 0),
        (int, float(EXACT_INT_MAX), EXACT_INT_MAX),
        (float, 3.0, 3.0),
        (float, 3, 3.0),
        (float, 2.5, 2.5),
        (str, "3", "3"),
        (bool, True, True),
        (bytes, b"3", b"3"),
        (None, None, None),
        (int | None, None, None),
        (int | str, 3.0, 3),
        (int | str, "3", "3"),
        (bool | int, True, True),
        (bool | int, 1.0, 1),
        (Int64, Int64(3), Int64(3)),
        (Int64 | float, 3.0, 3.0),
        (Int64 | float, Int64(3), Int64(3)),
        (Literal["a", 1], 1.0, 1),
        (Literal["a", 1], "a", "a"),
        (Literal[True, None], True, True),
        (Literal[True, None], None, None),
        (Level, Level.LOW, Level.LOW),
        (Color, "red", Color.RED),
        (Level, 2.0, Level.HIGH),
        (Rate, 1.0, Rate.WHOLE),
        (Rate, 0.5, Rate.HALF),
        (list[int], [1.0, 2.0], [1, 2]),
        (tuple[int, str], [1.0, "a"], (1, "a")),
        (tuple[int, ...], [1.0, 2.0], (1, 2)),
        (set[str], ["a", "b", "a"], {"a", "b"}),
        (frozenset[int], [1.0], frozenset({1})),
        (dict[str, int], {"a": 1.0}, {"a": 1}),
        (datetime, "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (date, "2026-01-02", date(2026, 1, 2)),
        (timedelta, "PT3S", timedelta(seconds=3)),
        (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678-1234-5678-1234-567812345678")),
        (Decimal, "1.10", Decimal("1.10")),
        (Address, {"city": "Oslo", "zipCode": "0150"}, Address(city="Oslo", zipCode="0150")),
        (list[Address], [{"city": "Oslo"}], [Address(city="Oslo")]),
        (Point, {"x": 1.0}, Point(1.0)),
        (Options, {"limit": 3.0}, {"limit": 3}),
        (Any, {"a": [1.0]}, {"a": [1.0]}),
        (Annotated[int, Field(ge=0)], 3.0, 3),
    ],
)
def test_takes_what_json_offers(annotation: Any, value: Any, expected: Any) -> None:
    made = check(annotation, value)
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (int, 2.5, "must be a whole number, got the number 2.5"),
        (int, "3", "must be a whole number, got '3'"),
        (int, True, "must be a whole number, got true"),
        (int, None, "must be a whole number, got null"),
        (int, float("nan"), "must be a whole number, got the number nan"),
        (
            int,
            2.0**53 + 2,
            "must lie within ±2^53, where numbers are exact; use Int64 beyond, got the number 9007199254740994",
        ),
        (int, Int64(3), "must be a number; annotate it with Int64 to take 64-bit integers, got the Int64 3"),
        (float, Int64(3), "must be a number; annotate it with Int64 to take 64-bit integers, got the Int64 3"),
        (float, "3", "must be a number, got '3'"),
        (float, False, "must be a number, got false"),
        (str, 3.0, "must be a string, got the number 3"),
        (str, b"abc", "must be a string, got 3 bytes"),
        (bytes, "abc", "must be bytes, got 'abc'"),
        (bool, 1.0, "must be true or false, got the number 1"),
        (bool, "true", "must be true or false, got 'true'"),
        (None, 1.0, "must be null, got the number 1"),
        (Int64, 3.0, "must be an Int64, which is $integer on the wire and BigInt in JavaScript, got the number 3"),
        (list[int], {"a": 1.0}, "must be an array, got an object with a"),
        (dict[str, int], [], "must be an object, got an array of 0"),
        (Address, "Oslo", "must be an object, got 'Oslo'"),
        (Literal["a", "b"], "c", "must be 'a' or 'b', got 'c'"),
        (Literal[1], True, "must be 1, got true"),
        (Literal[True], 1.0, "must be True, got the number 1"),
        (Literal[1, "a"], Int64(1), "must be 1 or 'a', got the Int64 1"),
        (Level, True, "must be 1 or 2, got true"),
        (timedelta, True, "must be a duration, got true"),
        (Color, "green", "must be 'red' or 'blue', got 'green'"),
        (int | str, None, "must be a whole number or a string, got null"),
        (int | str | None, [], "must be a whole number or a string, got an array of 0"),
        (Annotated[str, Field(min_length=3)], "ab", "must have at least 3 characters, got 'ab'"),
        (Annotated[int, Field(ge=0)], -1.0, "must be greater than or equal to 0, got the number -1"),
    ],
)
def test_refuses_the_rest_in_the_words_of_its_sender(annotation: Any, value: Any, words: str) -> None:
    assert fault(annotation, value) == ("", words)


def test_an_int64_takes_an_int_from_python_and_no_number_or_boolean() -> None:
    assert type(check(Int64, 3)) is Int64
    for wrong in (3.0, True, "3", None, 2**63):
        with pytest.raises(ValidationError):
            check(Int64, wrong)


@pytest.mark.parametrize(
    ("annotation", "value", "place", "words"),
    [
        (list[Address], [{"city": "a"}, {"city": 1.0}], "[1].city", "must be a string, got the number 1"),
        (dict[str, list[int]], {"a": [1.0, "x"]}, "a[1]", "must be a whole number, got 'x'"),
        (Address, {}, "city", "is missing"),
        (Point, {"x": "1"}, "x", "must be a number, got '1'"),
        (Options, {"limit": "1"}, "limit", "must be a whole number, got '1'"),
        (Circle | Square, {"side": "1"}, "side", "must be a number, got '1'"),
        (Circle | Square, 3.0, "", "must be an object, got the number 3"),
        (list[int | str], [1.0, None], "[1]", "must be a whole number or a string, got null"),
    ],
)
def test_names_the_place(annotation: Any, value: Any, place: str, words: str) -> None:
    assert fault(annotation, value) == (place, words)


def test_a_validator_of_the_apps_own_speaks_for_itself() -> None:
    def even(value: int) -> int:
        if value % 2:
            raise ValueError("pairs are even")
        return value

    annotation = Annotated[int, AfterValidator(even)]
    assert check(annotation, 4.0) == 4
    assert fault(annotation, 3.0) == ("", "does not fit: pairs are even, got the number 3")


def test_a_default_that_looks_like_a_schema_stays_what_it_is() -> None:
    class Setting(BaseModel):
        value: dict[str, Any] = {"type": "int", "schema": {"type": "str"}}

    assert check(Setting, {}).value == {"type": "int", "schema": {"type": "str"}}


def test_a_field_called_type_is_a_field() -> None:
    class Kind(BaseModel):
        type: str
        schema_: int = Field(alias="schema")

    assert check(Kind, {"type": "int", "schema": 1.0}).type == "int"
    assert fault(Kind, {"type": 1.0, "schema": 1.0}) == ("type", "must be a string, got the number 1")


def test_recursive_types_are_strict_all_the_way() -> None:
    tree = {"value": 1.0, "children": [{"value": 2.0, "children": [{"value": "3", "children": []}]}]}
    assert fault(Tree, tree) == ("children[0].children[0].value", "must be a whole number, got '3'")
    tree["children"][0]["children"][0]["value"] = 3.0  # type: ignore[index]
    assert check(Tree, tree).children[0].children[0].value == 3


class Tree(BaseModel):
    value: int
    children: list[Tree]


def test_instances_of_the_promised_classes_pass_as_they_are() -> None:
    address = Address(city="Oslo")
    assert check(list[Address], [address])[0] is address


@given(strategies.values)
def test_any_takes_every_value_as_it_is(value: Any) -> None:
    assert compare_key(check(Any, value)) == compare_key(value)


@given(strategies.values)
def test_a_scalar_annotation_takes_values_of_its_kind_only(value: Any) -> None:
    kinds: dict[Any, tuple[type, ...]] = {str: (str,), bool: (bool,), bytes: (bytes,), float: (float,), Int64: (Int64,)}
    for annotation, kind in kinds.items():
        validator = Validator(annotation)
        if type(value) in kind:
            assert compare_key(validator(value, None)) == compare_key(value)
        else:
            with pytest.raises(ValidationError):
                validator(value, None)


@given(strategies.values)
def test_every_refusal_has_words(value: Any) -> None:
    try:
        check(list[Address | int], value)
    except ValidationError as error:
        place, words = explain(error)
        assert "\0" not in place + words.partition(", got ")[0]
        assert words.startswith(("must ", "is "))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a" * 1_000_000, f"'{'a' * 79}…"),
        ({}, "an object with no fields"),
        ({"a": 1, "b": 2}, "an object with a, b"),
        (Color.RED, "<Color.RED: 'red'>"),
        (1e300, f"the number {1e300:.0f}"[:80] + "…"),
        (object(), "an instance of object"),
    ],
)
def test_what_came_is_shown_shortly(value: Any, words: str) -> None:
    assert shown(value) == words


def test_arguments_have_defaults_of_their_own() -> None:
    default: dict[str, list[int]] = {"a": []}
    arguments = arguments_type({"x": (Any, default), "y": (int, 1), "z": (str, dataclasses.MISSING)})
    first = Validator(arguments)({"z": "a"}, None)
    first.x["a"].append(1)
    assert vars(Validator(arguments)({"z": "b"}, None)) == {"x": {"a": []}, "y": 1, "z": "b"}
    assert default == {"a": []}


@given(st.dictionaries(st.sampled_from(["x", "y"]), strategies.scalars))
def test_arguments_refuse_other_names(extra: dict[str, Any]) -> None:
    arguments = arguments_type({"z": (Any, None)})
    if extra:
        assert fault(arguments, {"z": 1.0, **extra})[1] == "is not expected here"
    else:
        assert check(arguments, {}).z is None
