"""Documents in files of one table."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson
import pytest

from yugen.archive import rows
from yugen.archive.rows import InvalidRow, csv_rows, json_array, json_lines
from yugen.values import Int64, InvalidValue


def lines(text: bytes) -> list[Any]:
    return list(json_lines(io.BytesIO(text)))


def table(text: str, **kinds: set[str]) -> list[dict[str, Any]]:
    found = list(csv_rows(io.BytesIO(text.encode()), kinds))
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    return [fields for _, fields in found]


def test_lines_of_json() -> None:
    assert lines(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"b": [2]}') == [(1, {"a": 1}), (4, {"b": [2]})]
    assert lines(b"") == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b'{"a": 1}\n{"a": }\n', "row 2 is not valid JSON"),
        (b'{"a": 1}\n[1]\n', "row 2 is not an object."),
        (b'{"a": "\xff"}\n', "row 1 is not valid JSON"),
        (b'{"a": NaN}\n', "row 1 is not valid JSON"),
        (b'{"a": "' + b"x" * rows.LINE_SIZE_MAX, "row 1 is longer than"),
    ],
)
def test_a_line_that_is_none_is_named(text: bytes, fault: str) -> None:
    with pytest.raises(InvalidRow, match=fault):
        lines(text)


def test_an_array_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(json_array(io.BytesIO(b'\xef\xbb\xbf[{"a": 1}, {}]'))) == [(1, {"a": 1}), (2, {})]
    with pytest.raises(InvalidRow, match="row 2 is not an object"):
        list(json_array(io.BytesIO(b"[{}, 2]")))
    for text in (b"{}", b"", b"[{}"):
        with pytest.raises(InvalidValue):
            list(json_array(io.BytesIO(text)))
    monkeypatch.setattr(rows, "ARRAY_SIZE_MAX", 100)
    with pytest.raises(InvalidValue, match="longer than 100 bytes; write one object a line"):
        list(json_array(io.BytesIO(orjson.dumps([{"a": "x" * 100}]))))


def test_cells_are_numbers_or_text_where_nothing_is_known() -> None:
    assert table('\ufeffa,b\r\n1,x\r\n-1.5e3,"y\n""z"""\r\n.5,\r\n007,nan') == [
        {"a": 1.0, "b": "x"},
        {"a": -1500.0, "b": 'y\n"z"'},
        {"a": 0.5, "b": ""},
        {"a": 7.0, "b": "nan"},
    ]
    assert table("a,b\n") == table("") == []


def test_cells_are_what_their_column_can_be() -> None:
    text = "zip,big,yes,note,maybe,any\n01234,9007199254740993,true,,,1\n5,1.5,no,x,2,y\n"
    kinds = {
        "zip": {"string"},
        "big": {"bigint"},
        "yes": {"boolean"},
        "note": {"string", "null"},
        "maybe": {"number", "null"},
        "any": {"any"},
    }
    assert table(text, **kinds) == [
        {"zip": "01234", "big": Int64(9007199254740993), "yes": True, "note": "", "any": 1.0},
        {"zip": "5", "big": "1.5", "yes": "no", "note": "x", "maybe": 2.0, "any": "y"},
    ]


@pytest.mark.parametrize(
    ("text", "error", "fault"),
    [
        ("a,b\n1,2\n3\n", InvalidRow, "row 2 has 1 cells and the first row names 2 columns"),
        ("a,b\n1,2,3\n", InvalidRow, "row 1 has 3 cells"),
        ('a\n1\n"x"y\n', InvalidRow, "row 2 is not CSV"),
        ('a\n"x', InvalidRow, "row 1 is not CSV"),
        ("a,a\n1,2\n", InvalidValue, "a name of its own for each column"),
        ("a,\n1,2\n", InvalidValue, "a name of its own for each column"),
    ],
)
def test_a_table_that_is_none(text: str, error: type[Exception], fault: str) -> None:
    with pytest.raises(error, match=fault):
        table(text)


def test_text_is_utf_8() -> None:
    with pytest.raises(InvalidRow, match="not in UTF-8"):
        list(csv_rows(io.BytesIO(b"a\nx\n\xff\n"), {}))


def test_cells_may_be_long_and_nobody_else_notices() -> None:
    before = csv.field_size_limit()
    long = "x" * (before + 1)
    assert table(f"a\n{long}\n") == [{"a": long}]
    assert csv.field_size_limit() == before
