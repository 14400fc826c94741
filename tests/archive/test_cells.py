from __future__ import annotations

import io
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import names, values
from yugen.archive.cells import read_cell, write_cell
from yugen.archive.rows import csv_rows, write_csv
from yugen.values import ABSENT, Absent, Int64, Value, canonical

KINDS = ["array", "bigint", "boolean", "bytes", "null", "number", "object", "record", "string"]
DOCUMENTS = st.dictionaries(names.filter(bool) | st.sampled_from("abc"), values, max_size=6)
COLUMNS = st.none() | st.sets(st.sampled_from(KINDS), min_size=1) | st.just({"any"})


@pytest.mark.parametrize(
    ("value", "kinds", "text"),
    [
        ("hi", None, "hi"),
        ("01234", {"string"}, "01234"),
        ("01234", None, 'json:"01234"'),
        ("", {"string"}, ""),
        ("json:x", {"string"}, "json:x"),
        ("json:1", {"string"}, 'json:"json:1"'),
        ("null", {"string"}, "null"),
        ("null", {"string", "null"}, 'json:"null"'),
        (None, {"string", "null"}, "null"),
        (None, None, "json:null"),
        (ABSENT, {"number"}, ""),
        (ABSENT, {"string"}, "json:"),
        (ABSENT, None, "json:"),
        (3.0, None, "3"),
        (-0.0, {"number"}, "-0.0"),
        (0.1, {"number"}, "0.1"),
        (1e300, {"number"}, "1e+300"),
        (math.inf, None, 'json:{"$float":"AAAAAAAA8H8="}'),
        (Int64(2**53 + 1), {"bigint"}, "9007199254740993"),
        (Int64(5), {"bigint", "number"}, 'json:{"$integer":"BQAAAAAAAAA="}'),
        (True, {"boolean"}, "true"),
        (True, None, "json:true"),
        (b"\x00", {"bytes"}, '{"$bytes":"AA=="}'),
        ([1.0, "a"], {"array"}, '[1.0,"a"]'),
        ({"a": None}, {"object", "null"}, '{"a":null}'),
        ({"a": None}, {"string"}, 'json:{"a":null}'),
    ],
)
def test_a_value_is_written_as_plainly_as_can_be(value: Value | Absent, kinds: set[str] | None, text: str) -> None:
    assert write_cell(value, kinds) == text
    assert same(read_cell(text, kinds), value)


@pytest.mark.parametrize(
    ("text", "kinds", "value"),
    [
        ("TRUE", {"boolean"}, True),
        ("[1", {"array"}, "[1"),
        ("[1]", {"string"}, "[1]"),
        ("[1]", None, "[1]"),
        ('{"$bytes": "?"}', {"bytes"}, '{"$bytes": "?"}'),
        ("json:[1", None, "json:[1"),
        ("null", None, "null"),
        ("NULL", {"null", "number"}, "NULL"),
        ("", {"null"}, None),
    ],
)
def test_what_others_write_is_read(text: str, kinds: set[str] | None, value: Value | Absent) -> None:
    assert same(read_cell(text, kinds), value)


@given(values | st.just(ABSENT), COLUMNS)
def test_what_was_written_is_read(value: Value | Absent, kinds: set[str] | None) -> None:
    assert same(read_cell(write_cell(value, kinds), kinds), value)


@example([{"_id": "1", "text": "a\rb", "last": "x\r1,2"}, {"_id": "2", "text": "\r\n", "last": "\r"}], {})
@given(st.lists(DOCUMENTS, max_size=5), st.dictionaries(st.sampled_from("abc"), COLUMNS.filter(bool)))
def test_documents_come_out_of_a_table_as_they_went_in(several: list[dict[str, Any]], kinds: dict[str, Any]) -> None:
    columns = list(dict.fromkeys(["_id", *(name for document in several for name in document)]))
    text = io.StringIO(newline="")
    assert write_csv(text, columns, several, kinds) == len(several)
    found = [row for _, row in csv_rows(io.BytesIO(text.getvalue().encode()), kinds)]
    assert list(map(canonical, found)) == list(map(canonical, several))


def same(one: Value | Absent, other: Value | Absent) -> bool:
    if one is ABSENT or other is ABSENT:
        return one is other
    return canonical(one) == canonical(other)
