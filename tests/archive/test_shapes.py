"""Shapes of documents: inferred, written, read, and what they make of clean JSON."""

from __future__ import annotations

import math
import struct
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import documents, values
from yugen.archive import shapes
from yugen.archive.shapes import InvalidShape, Shape, parse_shape
from yugen.values import Int64, Value, dumps, to_clean


def shape_of(*values: Value) -> Shape:
    shape = Shape()
    for value in values:
        shape.add(value)
    return shape


def through(shape: Shape, value: Value) -> Value:
    """A value after its way through an archive."""
    hint = shape.hint(value)
    assert hint is None or shape.ambiguous
    clean = orjson.loads(orjson.dumps(to_clean(value)))
    return parse_shape(str(shape)).read(clean, orjson.loads(orjson.dumps(hint)))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "never"),
        ([None, True, 1.5, "x", b"x", Int64(1)], "null | boolean | normalfloat64 | string | bytes | int64"),
        ([1.0, math.nan], "float64"),
        ([math.inf, 1.0], "float64"),
        ([[], [1.0], ["a"]], "array<normalfloat64 | string>"),
        ([[]], "array<never>"),
        ([{"a": 1.0, 'b"': "x"}, {"a": None}], '{"a": normalfloat64 | null, "b\\""?: string}'),
        ([{}], "{}"),
    ],
)
def test_the_text_of_a_shape(values: list[Value], text: str) -> None:
    assert str(shape_of(*values)) == text
    assert str(parse_shape(text)) == text


def test_objects_of_many_names_are_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "FIELDS_MAX", 2)
    shape = shape_of({"a": Int64(1), "b": "x"}, {"c": Int64(2), "d": {"e": b"x"}}, {"f": 1.0})
    assert str(shape) == 'record<field_name, int64 | string | normalfloat64 | {"e": bytes}>'
    assert str(parse_shape(str(shape))) == str(shape)
    assert through(shape, {"c": Int64(2), "d": {"e": b"x"}}) == {"c": Int64(2), "d": {"e": b"x"}}
    assert shape.hint({"c": Int64(2), "d": {"e": b"x"}}) == {"c": "int64", "d": "infer"}


@pytest.mark.parametrize(
    ("values", "hints"),
    [
        ([Int64(7), None], [None, None]),
        ([Int64(7), "7"], ["int64", None]),
        ([b"x", "x", math.inf, math.nan], ["bytes", None, "float64inf", {"$float64NaN": "AAAAAAAA+H8="}]),
        ([[Int64(1), "a"], ["b"]], [["int64", "infer"], None]),
        ([{"a": Int64(1), "b": 1.0}, {"a": "x"}], [{"a": "int64", "b": "infer"}, None]),
        ([struct.unpack("<d", b"\x01\0\0\0\0\0\xf8\x7f")[0]], [{"$float64NaN": "AQAAAAAA+H8="}]),
    ],
)
def test_a_hint_is_given_where_a_string_could_be_several_things(values: list[Value], hints: list[Any]) -> None:
    shape = shape_of(*values)
    assert [shape.hint(value) for value in values] == hints
    assert shape.ambiguous == any(hints)
    for value in values:
        assert dumps(through(shape, value)) == dumps(value)


def test_records_and_objects_that_come_to_one_place_are_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "FIELDS_MAX", 2)
    several: list[Value] = [
        {"a": {"x": "AAAA", "y": "text", "z": None}},
        {"b": {"x": b"\0"}, "c": {"x": Int64(1)}},
    ]
    shape = shape_of(*several)
    assert str(shape) == "record<field_name, record<field_name, string | null | bytes | int64>>"
    for value in several:
        assert dumps(through(shape, value)) == dumps(value)


def test_the_text_of_a_shape_may_have_records_beside_objects() -> None:
    text = '{"a": bytes} | record<field_name, string>'
    assert str(parse_shape(text)) == text
    assert parse_shape(text).read({"a": "AA==", "b": "AA=="}) == {"a": b"\0", "b": "AA=="}


@given(st.lists(values, max_size=6), st.integers(1, 8))
@example(several=[{"": {"": "\x80"}}, {"": {"0": None}, "0": {"": b""}}], fields_max=1)
def test_values_come_out_of_an_archive_as_they_went_in(several: list[Value], fields_max: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(shapes, "FIELDS_MAX", fields_max)
        shape = shape_of(*several)
        for value in several:
            assert dumps(through(shape, value)) == dumps(value)


@given(st.lists(documents, max_size=4), st.lists(documents, max_size=4))
def test_a_merged_shape_reads_what_either_would(one: list[dict[str, Value]], other: list[dict[str, Value]]) -> None:
    shape = shape_of(*one)
    shape.merge(shape_of(*other))
    for value in (*one, *other):
        assert dumps(through(shape, value)) == dumps(value)


def test_shapes_of_convex_are_understood() -> None:
    text = """
        {"_creationTime": normalfloat64, "_id": "j57a", "author"?: id<10001> | null, "n": -0 | inf | NaN,
         "tags": set<field_name>, plain: map<string, int64> | unknown, "by": record<id<10002>, {"at": int64}>,
         "either": {"a": int64} | {"b": string}}
    """
    shape = parse_shape(text)
    clean = {
        "_id": "j57a",
        "author": "k1",
        "n": "NaN",
        "tags": ["1"],
        "plain": {"x": "12"},
        "by": {"k2": {"at": "-3"}},
        "either": {"a": "5", "b": "5"},
        "more": "1",
    }
    read = shape.read(clean)
    assert isinstance(read, dict)
    assert math.isnan(read.pop("n"))
    assert read == {
        "_id": "j57a",
        "author": "k1",
        "tags": ["1"],
        "plain": {"x": Int64(12)},
        "by": {"k2": {"at": Int64(-3)}},
        "either": {"a": Int64(5), "b": "5"},
        "more": "1",
    }
    assert type(read["either"]["a"]) is Int64


@pytest.mark.parametrize(
    "text",
    ["", "uniform", "{", "{]", '{"a"}', '{"a": }', '{"a": string "b": string}', "array<", "array<string", "set<>",
     "list<string>", "string |", "string string", "record<string>", "array<" * 1000, '"open', "%"],
)  # fmt: skip
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(InvalidShape):
        parse_shape(text)


@pytest.mark.parametrize(
    ("shape", "clean", "hint"),
    [
        ("int64", "x", None),
        ("int64", "9223372036854775808", None),
        ("bytes", "x", None),
        ("bytes", "é", None),
        ("float64", "nan", None),
        ("string", "x", "int64"),
        ("string", "x", "nothing"),
        ("string", "x", ["int64"]),
        ("string", "NaN", {"$float64NaN": "AA=="}),
        ("string", "NaN", {"$float64NaN": 1}),
    ],
)
def test_a_string_must_be_what_it_is_said_to_be(shape: str, clean: Any, hint: Any) -> None:
    with pytest.raises(InvalidShape):
        parse_shape(shape).read(clean, hint)
