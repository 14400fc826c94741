from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import index_values, internals, mixed_values, tables, texts
from yugen.keys import (
    SLOTS_MAX,
    TABLES_MAX,
    decode_values,
    document_key,
    encode_values,
    entry_key,
    index_prefix,
    internal_of,
    lookup,
    prefix_end,
    slot_of,
    table_of,
    to_document_key,
)
from yugen.values import ABSENT, Int64, InvalidValue, compare_key, decode

GOLDEN = json.loads((Path(__file__).parent / "golden" / "keys.json").read_text())

slots = st.integers(0, SLOTS_MAX - 1)
blobs = st.lists(st.sampled_from([0, 1, 254, 255]), max_size=5).map(bytes)
sorted_values = st.just(ABSENT) | mixed_values


def order(values: Any) -> list[Any]:
    return [compare_key(value) for value in values]


def test_golden_keys() -> None:
    rows = [[ABSENT if item == {"$undefined": None} else decode(item) for item in case["values"]] for case in GOLDEN]
    assert [encode_values(row).hex() for row in rows] == [case["key"] for case in GOLDEN]
    for low, high in pairwise(rows):
        assert order(low) < order(high), (low, high)
    for low, high in pairwise(GOLDEN):
        assert bytes.fromhex(low["key"]) < bytes.fromhex(high["key"])


@given(index_values, index_values)
def test_keys_sort_as_their_values_do(left: list[Any], right: list[Any]) -> None:
    assert (encode_values(left) < encode_values(right)) == (order(left) < order(right))
    assert (encode_values(left) == encode_values(right)) == (order(left) == order(right))


@given(st.lists(texts | blobs, max_size=3), st.lists(texts | blobs, max_size=3))
def test_keys_of_strings_and_bytes_full_of_zeros_sort_as_they_do(left: list[Any], right: list[Any]) -> None:
    assert (encode_values(left) < encode_values(right)) == (order(left) < order(right))
    assert (encode_values([left]) < encode_values([right])) == (order([left]) < order([right]))


@given(sorted_values, sorted_values, st.binary(max_size=3))
def test_no_value_begins_with_another(left: Any, right: Any, rest: bytes) -> None:
    one, other = encode_values([left]), encode_values([right])
    assert other.startswith(one) == (one == other)
    if one < other:
        assert one + b"\xff" * 16 < other + rest


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"a": x}], ids=["bare", "array", "object"])
def test_no_string_begins_with_another(wrap: Any) -> None:
    keys = [encode_values([wrap(text)]) for text in ("", "\0", "\0\0", "a", "a\0", "a\0b", "a\x01", "aa")]
    assert keys == sorted(keys)
    assert not any(high.startswith(low) for low, high in pairwise(keys))


@given(index_values, index_values)
def test_the_first_fields_are_a_prefix(head: list[Any], tail: list[Any]) -> None:
    assert encode_values(head + tail) == encode_values(head) + encode_values(tail)


@given(index_values, st.binary(max_size=20))
def test_values_can_be_read_from_their_keys(fields: list[Any], rest: bytes) -> None:
    encoded = encode_values(fields)
    decoded, left = decode_values(encoded + rest, len(fields))
    assert encode_values(decoded) == encoded
    assert left == rest


@given(index_values, st.binary(max_size=20))
def test_bytes_that_are_no_values_are_left(fields: list[Any], rest: bytes) -> None:
    encoded = encode_values(fields) + rest
    decoded, left = decode_values(encoded, 10)
    assert encoded.endswith(left)
    assert len(decoded) >= min(len(fields), 10)


def test_integers_are_numbers_and_int64_is_not() -> None:
    assert encode_values([1]) == encode_values([1.0]) == bytes.fromhex("05bff0000000000000")
    assert encode_values([Int64(1)]) == bytes.fromhex("048000000000000001")
    assert encode_values([(1, 2)]) == encode_values([[1, 2]])  # type: ignore[list-item]


def test_what_is_no_value_is_refused() -> None:
    with pytest.raises(InvalidValue, match="object is not a value"):
        encode_values([[object()]])


@given(st.binary(max_size=4) | blobs, st.binary(max_size=4) | blobs)
def test_prefix_end_divides_what_has_the_prefix_from_what_follows(prefix: bytes, other: bytes) -> None:
    if not prefix.strip(b"\xff"):
        with pytest.raises(ValueError, match="FF bytes only"):
            prefix_end(prefix)
        return
    end = prefix_end(prefix)
    assert prefix + other < end
    if other >= prefix and not other.startswith(prefix):
        assert other >= end


@given(tables, slots, index_values, internals)
def test_keys_come_apart_again(table: int, slot: int, values: list[Any], internal: bytes) -> None:
    key = entry_key(table, slot, values, internal)
    assert key.startswith(index_prefix(table, slot) + encode_values(values))
    assert (table_of(key), slot_of(key), internal_of(key)) == (table, slot, internal)
    assert to_document_key(key) == document_key(table, internal)
    assert document_key(table, internal) == index_prefix(table, 0) + internal


def test_prefixes_are_table_then_slot() -> None:
    assert index_prefix(1, 2).hex() == "00000042"
    assert index_prefix(TABLES_MAX - 1, SLOTS_MAX - 1).hex() == "ffffffff"


@pytest.mark.parametrize(("table", "slot"), [(TABLES_MAX, 0), (-1, 0), (0, SLOTS_MAX), (0, -1)])
def test_tables_and_slots_have_limits(table: int, slot: int) -> None:
    with pytest.raises(AssertionError):
        index_prefix(table, slot)


def test_lookup_follows_dotted_paths() -> None:
    document: dict[str, Any] = {"a": {"b": {"c": 1.0}, "n": None}, "s": "text", "l": [1.0]}
    assert lookup(document, "s") == "text"
    assert lookup(document, "a.b.c") == 1.0
    assert lookup(document, "a.b") == {"c": 1.0}
    assert lookup(document, "a.n") is None
    for path in ("x", "a.x", "a.b.c.d", "a.n.x", "s.x", "l.0", "", "a."):
        assert lookup(document, path) is ABSENT
