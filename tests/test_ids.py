from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import internals, tables
from yugen import keys
from yugen.ids import INTERNAL_SIZE, TABLES_MAX, InvalidId, decode_id, encode_id, new_internal

GOLDEN = json.loads((Path(__file__).parent / "golden" / "ids.json").read_text())
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


@pytest.mark.parametrize("case", GOLDEN["valid"], ids=lambda case: case["id"])
def test_golden_ids(case: dict[str, Any]) -> None:
    internal = bytes.fromhex(case["internal"])
    assert encode_id(case["table"], internal) == case["id"]
    assert decode_id(case["id"]) == (case["table"], internal)


@pytest.mark.parametrize("case", GOLDEN["invalid"], ids=lambda case: case["name"])
def test_golden_refusals(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidId, match="is not an id; pass the id that insert returned"):
        decode_id(case["id"])


@given(tables, internals)
def test_ids_round_trip(table: int, internal: bytes) -> None:
    text = encode_id(table, internal)
    assert decode_id(text) == (table, internal)
    assert len(text) == (31 if table < 128 else 32 if table < 16_384 else 34 if table < 1 << 21 else 36)
    assert set(text) <= set(ALPHABET)


@given(tables, internals, st.data())
def test_any_one_changed_character_is_refused(table: int, internal: bytes, data: st.DataObject) -> None:
    text = encode_id(table, internal)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(ALPHABET + "ilouA_ -é").filter(lambda letter: letter != text[at]))
    with pytest.raises(InvalidId):
        decode_id(text[:at] + other + text[at + 1 :])


@given(st.text(ALPHABET, min_size=30, max_size=38) | st.text(max_size=40))
def test_other_texts_are_refused_or_are_ids(text: str) -> None:
    try:
        table, internal = decode_id(text)
    except InvalidId:
        return
    assert encode_id(table, internal) == text


def test_huge_input_is_shown_short() -> None:
    with pytest.raises(InvalidId) as caught:
        decode_id("0" * 1_000_000)
    assert len(str(caught.value)) < 120
    assert caught.value.code == "InvalidId"


@pytest.mark.parametrize(("other", "name"), [(None, "NoneType"), (5, "int"), (b"0" * 31, "bytes")])
def test_what_is_no_string_is_named(other: object, name: str) -> None:
    with pytest.raises(InvalidId, match=f"a string, not {name}"):
        decode_id(other)


def test_new_internal_ids_are_in_order_of_time() -> None:
    first = new_internal(1_700_000_000_000.9, b"\xff" * 10)
    second = new_internal(1_700_000_000_001.0, b"\x00" * 10)
    assert first < second
    assert len(first) == INTERNAL_SIZE
    assert first == (1_700_000_000_000).to_bytes(6, "big") + b"\xff" * 10


def test_ids_and_keys_agree_on_their_limits() -> None:
    assert (TABLES_MAX, INTERNAL_SIZE) == (keys.TABLES_MAX, keys.INTERNAL_SIZE)
