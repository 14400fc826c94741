"""Convex values: Python objects and the JSON they travel as.

| Value   | Python                    | JSON                                             |
| ------- | ------------------------- | ------------------------------------------------ |
| Null    | None                      | null                                             |
| Boolean | bool                      | true, false                                      |
| Float64 | float (int is taken too)  | 1.0; NaN, infinities and -0.0 as {"$float": …}   |
| Int64   | Int64                     | {"$integer": …}, 8 bytes little endian in base64 |
| String  | str                       | "…"                                              |
| Bytes   | bytes                     | {"$bytes": …}, base64                            |
| Array   | list (tuple is taken too) | […]                                              |
| Object  | dict with str keys        | {…}                                              |

A pydantic model is taken for an object too, by its aliases.

The rules are those of Convex's JavaScript client, so that a value which passes here passes there.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from yugen_client.errors import InvalidValue

Json: TypeAlias = Any
"""What `json.loads` gives: None, bool, int, float, str, list, dict."""

NESTING_MAX: Final = 64
FIELD_NAME_LENGTH_MAX: Final = 1024
SAFE_INTEGER_MAX: Final = 2**53
"""Beyond it a float64 no longer tells neighbouring integers apart."""

_RETIRED_TAGS: Final = frozenset({"$set", "$map"})


class Int64(int):
    """A 64-bit signed integer, which the wire keeps apart from its ordinary number (float64).

    It is an `int` in every other way; arithmetic on it gives an ordinary `int`.
    """

    def __new__(cls, value: int) -> Int64:
        if not -(2**63) <= value < 2**63:
            raise InvalidValue(f"{value} does not fit into 64 bits; Int64 holds -2**63 to 2**63 - 1")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"Int64({int(self)})"


def encode(value: Any) -> Json:
    """The JSON form of a Python value.

    Raises:
        InvalidValue: The value, or one inside it, has no such form; the message says which and why.
    """
    return _encode(value, "", 0)


def decode(encoded: Json) -> Any:
    """The Python value of a JSON form; every list and dict in it is new.

    Raises:
        InvalidValue: The JSON is not the form of a value.
    """
    return _decode(encoded, "", 0)


def canonical_json(encoded: Json) -> str:
    """Text that two encoded values share exactly when they are equal. Plain `==` would mix up `True` and `1.0`."""
    return json.dumps(encoded, sort_keys=True, separators=(",", ":"))


def _encode(value: Any, path: str, depth: int) -> Json:
    match value:
        case None | bool():
            return value
        case Int64():
            return {"$integer": _base64(struct.pack("<q", value))}
        case int():
            if abs(value) > SAFE_INTEGER_MAX:
                raise _invalid(path, f"the integer {value} is beyond ±2**53, where numbers lose digits; send an Int64")
            return float(value)
        case float():
            if math.isfinite(value) and not _is_negative_zero(value):
                return float(value)
            return {"$float": _base64(struct.pack("<d", math.nan if math.isnan(value) else value))}
        case str():
            return _text(value, path)
        case bytes() | bytearray() | memoryview():
            return {"$bytes": _base64(bytes(value))}
        case list() | tuple():
            _check_depth(path, depth)
            return [_encode(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        case Mapping():
            _check_depth(path, depth)
            return {_field_name(name, path): _encode(item, f"{path}.{name}", depth + 1) for name, item in value.items()}
        case _:
            dump = getattr(value, "model_dump", None)
            if dump is None or isinstance(value, type):
                raise _invalid(path, f"{type(value).__name__} is not a type the wire knows")
            return _encode(dump(by_alias=True), path, depth)


def _decode(encoded: Json, path: str, depth: int) -> Any:
    match encoded:
        case None | bool():
            return encoded
        case int() | float():
            try:
                number = float(encoded)
            except OverflowError:
                number = math.inf
            if not math.isfinite(number):
                raise _invalid(path, "a number that is not finite must be written as $float")
            return number
        case str():
            return _text(encoded, path)
        case list():
            _check_depth(path, depth)
            return [_decode(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(encoded)]
        case dict():
            if len(encoded) == 1:
                [(tag, content)] = encoded.items()
                if isinstance(tag, str) and tag.startswith("$"):
                    return _decode_tagged(tag, content, path)
            _check_depth(path, depth)
            return {
                _field_name(name, path): _decode(item, f"{path}.{name}", depth + 1) for name, item in encoded.items()
            }
        case _:
            raise _invalid(path, f"{type(encoded).__name__} is not JSON")


def _decode_tagged(tag: str, content: Json, path: str) -> Any:
    match tag:
        case "$integer":
            (integer,) = struct.unpack("<q", _unbase64(tag, content, path, length=8))
            return Int64(integer)
        case "$float":
            (number,) = struct.unpack("<d", _unbase64(tag, content, path, length=8))
            if math.isfinite(number) and not _is_negative_zero(number):
                raise _invalid(path, f"$float holds {number}, which must be written as a plain number")
            return number
        case "$bytes":
            return _unbase64(tag, content, path)
        case _:
            why = "is no longer part of the format" if tag in _RETIRED_TAGS else "is not a known tag"
            raise _invalid(path, f"{tag!r} {why}; field names do not start with '$'")


def _is_negative_zero(number: float) -> bool:
    return number == 0.0 and math.copysign(1.0, number) < 0


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unbase64(tag: str, content: Json, path: str, *, length: int | None = None) -> bytes:
    if not isinstance(content, str):
        raise _invalid(path, f"{tag} must hold base64 text, not {type(content).__name__}")
    try:
        data = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid(path, f"{tag} does not hold base64 text: {error}") from None
    if length is not None and len(data) != length:
        raise _invalid(path, f"{tag} must hold {length} bytes, not {len(data)}")
    return data


def _text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _invalid(path, f"the string has half of a surrogate pair at position {error.start}") from None
    return str(text)


def _field_name(name: object, path: str) -> str:
    if not isinstance(name, str):
        raise _invalid(path, f"the field name {name!r} is not a string")
    if len(name) > FIELD_NAME_LENGTH_MAX:
        raise _invalid(path, f"a field name has {len(name)} characters; {FIELD_NAME_LENGTH_MAX} is the most")
    if name.startswith("$"):
        raise _invalid(path, f"the field name {name!r} starts with '$', which is reserved")
    if not all(" " <= character <= "~" for character in name):
        raise _invalid(path, f"the field name {name!r} has characters other than printable ASCII")
    return str(name)


def _check_depth(path: str, depth: int) -> None:
    if depth >= NESTING_MAX:
        raise _invalid(path[:40] + "…", f"values nest deeper than {NESTING_MAX}")


def _invalid(path: str, what: str) -> InvalidValue:
    return InvalidValue(f"at {path}: {what}" if path else what)
