from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen_client.errors import InvalidValue
from yugen_client.values import Int64, canonical_json, decode, encode

GOLDEN = json.loads((Path(__file__).parents[3] / "tests" / "golden" / "values.json").read_text("utf-8"))


def described(value: Any) -> Any:
    """A value in the golden file's own words, so that nothing of the codec is needed to compare."""
    match value:
        case None:
            return {"type": "null"}
        case bool():
            return {"type": "boolean", "value": value}
        case Int64():
            return {"type": "int64", "value": str(int(value))}
        case float():
            return {"type": "float64", "bits": struct.pack(">d", value).hex()}
        case str():
            return {"type": "string", "value": value}
        case bytes():
            return {"type": "bytes", "hex": value.hex()}
        case list():
            return {"type": "array", "items": [described(item) for item in value]}
        case dict():
            return {"type": "object", "fields": sorted([name, described(item)] for name, item in value.items())}
        case _:
            raise AssertionError(value)


def sorted_fields(description: Any) -> Any:
    match description:
        case {"type": "object", "fields": fields}:
            return {"type": "object", "fields": sorted([name, sorted_fields(item)] for name, item in fields)}
        case {"type": "array", "items": items}:
            return {"type": "array", "items": [sorted_fields(item) for item in items]}
        case _:
            return description


@pytest.mark.parametrize("case", GOLDEN["valid"], ids=lambda case: case["name"])
def test_valid_values_match_the_golden_file(case: dict[str, Any]) -> None:
    value = decode(case["encoded"])
    assert described(value) == sorted_fields(case["decoded"])
    assert canonical_json(encode(value)) == canonical_json(case["encoded"])


@pytest.mark.parametrize(
    "case", [case for case in GOLDEN["invalid"] if not case.get("server")], ids=lambda case: case["name"]
)
def test_invalid_values_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it may already be no JSON
        decode(json.loads(case["text"]))


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.integers(-(2**63), 2**63 - 1).map(Int64)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.from_regex(r"[A-Za-z_ ]{1,8}", fullmatch=True), inner),
    max_leaves=20,
)


@given(VALUES)
def test_decoding_undoes_encoding_through_json_text(value: Any) -> None:
    assert described(decode(json.loads(json.dumps(encode(value), allow_nan=False)))) == described(value)


def test_python_numbers_travel_as_floats_with_a_fraction() -> None:
    assert json.dumps(encode([1, 1.0, True, 2**53])) == "[1.0, 1.0, true, 9007199254740992.0]"


def test_tuples_bytearrays_and_mappings_are_taken() -> None:
    assert encode({"a": (1, bytearray(b"\x00\x01\x02"))}) == {"a": [1.0, {"$bytes": "AAEC"}]}


def test_nan_decodes_to_nan() -> None:
    assert math.isnan(decode(encode(math.nan)))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"a": [0, {"b": 2**53 + 1}]}, r"at \.a\[1\]\.b: the integer 9007199254740993 is beyond"),
        ({"a": object()}, r"at \.a: object is not a type"),
        ({1: 2}, "the field name 1 is not a string"),
        ({"$a": 2}, "starts with '\\$'"),
        ({"é": 2}, "printable ASCII"),
        ({"a" * 1025: 2}, "1025 characters"),
        (["\ud800"], r"at \[0\]: the string has half of a surrogate pair"),
    ],
)
def test_what_cannot_be_sent_is_named(value: Any, complaint: str) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidValue, match="nest deeper than 64"):
        encode(endless)


def test_int64_is_an_integer_of_64_bits() -> None:
    assert Int64(2) + 1 == 3
    assert repr(Int64(-5)) == "Int64(-5)"
    for beyond in (2**63, -(2**63) - 1):
        with pytest.raises(InvalidValue, match="does not fit"):
            Int64(beyond)


def test_canonical_json_tells_true_from_one() -> None:
    assert canonical_json({"a": True, "b": 1.0}) == canonical_json({"b": 1.0, "a": True})
    assert canonical_json(True) != canonical_json(1.0)
