from __future__ import annotations

import copy
import json
import math
import pickle
import struct
import tracemalloc
from enum import IntEnum, StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import documents, mixed_values, values
from yugen.errors import YugenError
from yugen.values import (
    ABSENT,
    DOCUMENT_SIZE_MAX,
    SIZE_MAX,
    Absent,
    Int64,
    InvalidValue,
    canonical,
    compare_key,
    decode,
    document_text,
    dumps,
    encode,
    loads,
    nesting,
    parse_json,
    reloads,
    size,
    to_clean,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "values.json").read_text())


def name_of(case: dict[str, Any]) -> str:
    return str(case["name"])


def describe(value: object) -> dict[str, Any]:
    """The value in the notation of the golden files, which tells all values apart."""
    match value:
        case None:
            return {"type": "null"}
        case bool():
            return {"type": "boolean", "value": value}
        case Int64():
            return {"type": "int64", "value": str(value)}
        case float():
            return {"type": "float64", "bits": struct.pack(">d", value).hex()}
        case str():
            return {"type": "string", "value": value}
        case bytes():
            return {"type": "bytes", "hex": value.hex()}
        case list():
            return {"type": "array", "items": [describe(item) for item in value]}
        case dict():
            return {"type": "object", "fields": [[name, describe(item)] for name, item in value.items()]}
    raise AssertionError(f"decode gave a {type(value).__name__}")


def nested(depth: int, inside: Any = None) -> Any:
    for _ in range(depth):
        inside = [inside]
    return inside


def reason(call: Any, *args: Any) -> str:
    with pytest.raises(InvalidValue) as caught:
        call(*args)
    return str(caught.value)


# The encoded form


@pytest.mark.parametrize("case", GOLDEN["valid"], ids=name_of)
def test_golden_values(case: dict[str, Any]) -> None:
    value = decode(case["encoded"])
    assert describe(value) == case["decoded"]
    assert describe(loads(json.dumps(case["encoded"]))) == case["decoded"]
    assert encode(value) == case["encoded"]
    assert json.loads(dumps(value)) == case["encoded"]


@pytest.mark.parametrize("case", GOLDEN["invalid"], ids=name_of)
def test_golden_refusals(case: dict[str, Any]) -> None:
    assert case["reason"] in reason(loads, case["text"])
    assert case["reason"] in reason(loads, case["text"].encode())


@given(values)
def test_values_survive_their_structure_and_their_text(value: Any) -> None:
    structure = encode(value)
    assert describe(decode(structure)) == describe(value)
    assert describe(loads(dumps(value))) == describe(value)
    assert describe(loads(dumps(value).decode())) == describe(value)
    assert json.loads(dumps(value)) == structure


@given(mixed_values)
def test_numbers_are_written_with_a_fraction_or_exponent(value: Any) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is an integer token")

    json.loads(dumps(value), parse_int=refuse, parse_constant=refuse)


@given(mixed_values)
def test_canonical_is_the_same_text_with_sorted_fields(value: Any) -> None:
    text = canonical(value)
    assert text == orjson.dumps(orjson.loads(dumps(value)), option=orjson.OPT_SORT_KEYS)
    assert describe(loads(text)) == describe(loads(canonical(loads(text))))


def test_canonical_tells_values_apart_and_nothing_else() -> None:
    assert canonical({"b": 1, "a": 2}) == canonical({"a": 2.0, "b": 1.0}) == b'{"a":2.0,"b":1.0}'
    different: list[Any] = [0.0, -0.0, Int64(0), False, None, "", b"", [], {}]
    texts = [canonical(value) for value in different]
    assert len(set(texts)) == len(texts)


def test_every_json_number_is_a_float() -> None:
    assert describe(decode(1)) == describe(1.0)
    assert describe(loads("18446744073709551616")) == describe(2.0**64)
    assert describe(loads("9007199254740993")) == describe(2.0**53)
    assert describe(loads("-0.0")) == describe(-0.0)


def test_python_types_that_become_values() -> None:
    class Color(StrEnum):
        RED = "red"

    class Level(IntEnum):
        HIGH = 3

    class Ratio(float):
        pass

    assert dumps((1, True, Color.RED, Level.HIGH, Ratio(-0.0))) == b'[1.0,true,"red",3.0,{"$float":"AAAAAAAAAIA="}]'
    assert dumps({Color.RED: 1}) == canonical({Color.RED: 1}) == b'{"red":1.0}'
    assert all(type(name) is str for name in encode({Color.RED: 1}))


def test_integers_are_numbers_only_as_far_as_they_are_exact() -> None:
    assert encode(2**53) == 2.0**53
    assert encode(-(2**53)) == -(2.0**53)
    for beyond in (2**53 + 1, -(2**53) - 1, 10**400):
        assert "Int64" in reason(encode, beyond)


def test_fallback_turns_other_objects_into_values() -> None:
    def fallback(thing: object) -> object:
        if isinstance(thing, complex):
            return {"re": thing.real, "parts": {thing.imag}}
        if isinstance(thing, set):
            return sorted(thing)
        if isinstance(thing, range):
            return thing
        raise TypeError

    assert encode([1j], fallback=fallback) == [{"re": 0.0, "parts": [1.0]}]
    assert dumps(1j, fallback=fallback) == b'{"re":0.0,"parts":[1.0]}'
    for thing, name in ((object(), "object"), (range(3), "range")):
        with pytest.raises(InvalidValue, match=rf"^\.a\[1\]: {name} is not a value"):
            encode({"a": [0, thing]}, fallback=fallback)


def test_without_fallback_the_error_names_the_type() -> None:
    assert reason(encode, {"a": {1}}).startswith(".a: set is not a value; use ")
    assert "pathlib" in reason(encode, Path())
    assert "tuple is not a value" in reason(decode, ())
    assert "ABSENT" not in dumps({"a": None}).decode()
    assert "Absent is not a value" in reason(encode, ABSENT)


def test_errors_say_where() -> None:
    with pytest.raises(InvalidValue) as caught:
        encode({"a": [0, 1, 2, {"b": object()}]})
    assert caught.value.path == ("a", 3, "b")
    assert str(caught.value).startswith(".a[3].b: object is not a value")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.reason, str(again)) == (caught.value.path, caught.value.reason, str(caught.value))
    assert caught.value.code == "InvalidValue"


# Limits: what just fits passes, one more is refused


@pytest.mark.parametrize("convert", [encode, decode, dumps], ids=["encode", "decode", "dumps"])
@pytest.mark.parametrize(
    ("fits", "too_much", "why"),
    [
        (nested(64), nested(65), "nested more than 64"),
        (nested(63, {}), nested(64, {}), "nested more than 64"),
        ([None] * 8192, [None] * 8193, "8193 elements; at most 8192"),
        ({f"f{i}": None for i in range(1024)}, {f"f{i}": None for i in range(1025)}, "1025 fields; at most 1024"),
        ({"a" * 1024: None}, {"a" * 1025: None}, "longer than 1024 bytes"),
        ({"a" * 1000: None, "b" * 1000: None}, {"a" * 1000: None, "b" * 1025: None}, "longer than 1024 bytes"),
        ({" ~": None}, {"\x1f": None}, "printable ASCII"),
        ({"a$": None}, {"$a": None}, r"begins with \$"),
        ({"": None}, {"\x7f": None}, "printable ASCII"),
        ({"a": None}, {"é": None}, "printable ASCII"),
        ({"1": None}, {1: None}, "a field name is a string, not int"),
        ("\U0001f600", "\ud83d", "surrogate"),
        (["é"], ["é\udc00"], "surrogate"),
    ],
)
def test_structural_limits(convert: Any, fits: Any, too_much: Any, why: str) -> None:
    convert(fits)
    with pytest.raises(InvalidValue, match=why):
        convert(too_much)


def test_values_that_contain_themselves_are_refused() -> None:
    loop: list[Any] = []
    loop.append({"again": loop})
    assert "nested more than 64 deep" in reason(encode, loop)


@pytest.mark.parametrize("write", [dumps, canonical], ids=["dumps", "canonical"])
def test_size_limit(write: Any) -> None:
    fits = "a" * (SIZE_MAX - 2)
    assert loads(write(fits)) == fits
    assert f"{SIZE_MAX + 1} bytes; at most {SIZE_MAX}" in reason(write, fits + "a")
    assert f"{SIZE_MAX + 1} bytes; at most {SIZE_MAX}" in reason(loads, f'"{fits}a"')


def test_size_limit_counts_values_whose_text_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yugen.values.SIZE_MAX", 2 + 9 * 100)
    assert dumps(loads(f"[{'0,' * 99}0]")) == dumps([0] * 100)
    for call, short in ((loads, f"[{'0,' * 100}0]"), (dumps, [0] * 101)):
        assert reason(call, short) == "this value is 911 bytes; at most 902 are allowed"


@given(values)
def test_a_value_is_at_most_nine_times_its_text(value: Any) -> None:
    text = dumps(value).replace(b".0", b"")
    assert size(value) <= 9 * len(text)


# Hostile text


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "9" * 100_000,
        "-" + "9" * 100_000,
        "1e999",
        "1e" + "9" * 100_000,
        "NaN",
        "-Infinity",
        '"\\ud800"',
        '{"\\udfff": 1}',
        '"\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'\xef\xbb\xbf"bom"',
        b"\x00",
    ],
    ids=range(16),
)
def test_parse_json_refuses_hostile_text(text: str | bytes) -> None:
    assert reason(parse_json, text).startswith("not valid JSON: ")


@given(st.binary(max_size=20) | st.text('{}[]",:\\u0d8e1-.$ ', max_size=20))
def test_hostile_text_never_raises_anything_else(text: str | bytes) -> None:
    for call in (parse_json, loads):
        try:
            call(text)
        except InvalidValue:
            continue


json_like: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "$bytes", "$integer", "$float", "$set", ""]), inside, max_size=2)
    ),
    max_leaves=6,
)


@given(json_like)
def test_decode_refuses_or_gives_a_value(structure: Any) -> None:
    before = copy.deepcopy(structure)
    try:
        value = decode(structure)
    except InvalidValue:
        return
    assert describe(decode(encode(value))) == describe(value)
    assert repr(structure) == repr(before)


def test_the_last_of_two_equal_names_counts() -> None:
    assert loads('{"a": 1, "a": 2}') == {"a": 2.0}


def test_numbers_no_json_text_can_hold_are_refused_in_structures() -> None:
    for number in (math.nan, math.inf, -math.inf):
        assert "$float" in reason(decode, number)
    assert "beyond float64" in reason(decode, 10**400)


# Int64 and ABSENT


def test_int64_is_an_int_with_a_type_of_its_own() -> None:
    number = Int64(7)
    assert number == 7
    assert (repr(number), str(number), f"{number}") == ("Int64(7)", "7", "7")
    assert type(number + 1) is int
    assert type(copy.deepcopy(number)) is type(pickle.loads(pickle.dumps(number))) is Int64
    assert encode([number, True]) == [{"$integer": "BwAAAAAAAAA="}, True]


def test_int64_range() -> None:
    assert Int64(2**63 - 1) - Int64(-(2**63)) == 2**64 - 1
    for beyond in (2**63, -(2**63) - 1):
        assert "between" in reason(Int64, beyond)
    with pytest.raises(TypeError):
        Int64(1.0)  # type: ignore[arg-type]


def test_absent_is_one_falsy_object() -> None:
    assert not ABSENT
    assert repr(ABSENT) == "ABSENT"
    assert isinstance(ABSENT, Absent)
    assert pickle.loads(pickle.dumps(ABSENT)) is copy.deepcopy(ABSENT) is ABSENT


# Measures, order and the clean form


@pytest.mark.parametrize(
    ("value", "expected_size", "expected_nesting"),
    [
        (None, 1, 0),
        (True, 1, 0),
        (1, 9, 0),
        (1.5, 9, 0),
        (Int64(1), 9, 0),
        ("aé€😀", 2 + 10, 0),
        (b"abc", 5, 0),
        ([], 2, 1),
        ({}, 2, 1),
        ([None, [1]], 2 + 1 + 11, 2),
        ({"ab": "c", "": {"x": []}}, 2 + 3 + 3 + 1 + (2 + 2 + 2), 3),
    ],
)
def test_size_and_nesting(value: Any, expected_size: int, expected_nesting: int) -> None:
    assert size(value) == expected_size
    assert nesting(value) == expected_nesting


def test_size_refuses_what_is_no_value() -> None:
    assert "object is not a value" in reason(size, [object()])


@given(documents)
def test_ordinary_documents_pass(document: dict[str, Any]) -> None:
    document_text({"_id": "x", "_creationTime": 1.0, **document})


@pytest.mark.parametrize(
    ("fits", "too_much", "why"),
    [
        ({"_id": "x"}, {"_other": "x"}, "'_other' begins with _"),
        ({"a": {"_b": 1.0}}, {"_": 1.0}, "begins with _"),
        ({"a" * 64: 1.0}, {"a" * 65: 1.0}, "longer than 64 bytes"),
        ({"a": {"b" * 1024: 1.0}}, {"b" * 1024: 1.0}, "longer than 64 bytes"),
        ({"a": nested(15)}, {"a": nested(16)}, "nested 17 deep; at most 16"),
        (
            {"a": b"0" * (DOCUMENT_SIZE_MAX - 6)},
            {"a": b"0" * (DOCUMENT_SIZE_MAX - 5)},
            "1048577 bytes; at most 1048576",
        ),
    ],
)
def test_document_limits(fits: dict[str, Any], too_much: dict[str, Any], why: str) -> None:
    document_text(fits)
    with pytest.raises(InvalidValue, match=why):
        document_text(too_much)


def test_order_of_values() -> None:
    negative_nan = struct.unpack(">d", bytes.fromhex("fff8000000000000"))[0]
    ordered: list[Any] = [
        *(ABSENT, None, Int64(-(2**63)), Int64(-1), Int64(2**63 - 1)),
        *(negative_nan, -math.inf, -1, -5e-324, -0.0, 0, 5e-324, 1, 1.5, math.inf, math.nan),
        *(False, True, "", "a", "aa", "b", "\uffff", "\U0001f600", b"", b"\x00", b"\xff"),
        *([], [None], [None, None], ["a"], {}, {"a": None}, {"a": None, "b": None}, {"a": 1}, {"b": None}),
    ]
    for low, high in pairwise(ordered):
        assert compare_key(low) < compare_key(high), (low, high)
    assert compare_key(1) == compare_key(1.0)
    assert compare_key({"a": 1, "b": 2}) == compare_key({"b": 2, "a": 1})
    assert compare_key((1, 2)) == compare_key([1, 2])
    assert "object is not a value" in reason(compare_key, object())


def test_clean_form() -> None:
    value: Any = {"i": Int64(-1), "n": [math.nan, math.inf, -math.inf, -0.0, 1, True, None], "b": b"\x00\xff", "s": "x"}
    clean = to_clean(value)
    assert orjson.dumps(clean) == (
        b'{"i":"-1","n":["NaN","Infinity","-Infinity",-0.0,1.0,true,null],"b":"AP8=","s":"x"}'
    )
    assert "object is not a value" in reason(to_clean, [object()])


def test_a_yugen_error_shows_its_data() -> None:
    assert str(YugenError("out of stock")) == "out of stock"
    assert str(YugenError({"code": "empty", "at": [1, None]})) == '{"code": "empty", "at": [1, null]}'
    assert "abc" in str(YugenError({"blob": b"abc"}))
    assert pickle.loads(pickle.dumps(YugenError({"a": 1}))).data == {"a": 1}


@given(values)
def test_own_texts_are_read_without_a_check(value: Any) -> None:
    text = dumps(value)
    assert canonical(reloads(text)) == canonical(value)
    assert repr(reloads(text)) == repr(loads(text))


def test_a_canonical_text_takes_no_more_than_it_needs() -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        texts = [canonical({"number": number}) for number in range(1000)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(texts) < 200
    large = {"text": "x" * 5000}
    assert canonical(large) == dumps(large)
