"""The ordered key space of byte strings that documents and index entries live in.

    index prefix   4 bytes: table number * 64 + slot of the index, big endian
    document key   index prefix of slot 0 ‖ internal id (16 bytes)
    entry key      index prefix ‖ encoded index values ‖ internal id
                   of an index with totals, a number (9 bytes) before the internal id

Encoded values compare as bytes just as the values compare (protocol, 1.4), and the encoding of one value never begins
that of another. So equality on the first fields of an index is a byte prefix, a range is an interval, and fields may
follow one another without a separator. A value is a tag, which gives the order across types, and then

    Int64, Float64   8 bytes big endian, with the bits turned so that they sort as unsigned
    string, bytes    the bytes with 00 written as 00 FF, then 00 01 (CockroachDB's escape)
    array            its elements, then 00
    object           for each field in order of name: 01, the name as a string, the value; then 00
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from yugen.values import ABSENT, Absent, Int64, InvalidValue, Value

INTERNAL_SIZE: Final = 16
"""Bytes of an internal id, the last ones of every key; see `yugen.ids`."""

TABLES_MAX: Final = 1 << 26
"""Table numbers are below this."""

SLOTS_MAX: Final = 64
"""Slots of a table: 0 for the documents themselves, the others for its indexes."""

FIRST_TOTAL_SLOT: Final = 48
"""Slots from here on are for indexes with totals, see `yugen.totals`; so a key tells whether it has a number."""

_PREFIX_SIZE: Final = 4
_NUMBER_SIZE: Final = 9
_END: Final = b"\x00"
_FIELD: Final = b"\x01"
_ABSENT: Final = b"\x02"
_NULL: Final = b"\x03"
_INT64: Final = b"\x04"
_FLOAT64: Final = b"\x05"
_FALSE: Final = b"\x06"
_TRUE: Final = b"\x07"
_STRING: Final = b"\x08"
_BYTES: Final = b"\x09"
_ARRAY: Final = b"\x0a"
_OBJECT: Final = b"\x0b"

_SIGN: Final = 1 << 63
_ALL_BITS: Final = (1 << 64) - 1
_SINGLE: Final[dict[bytes, Value | Absent]] = {_ABSENT: ABSENT, _NULL: None, _FALSE: False, _TRUE: True}
_pack_float = struct.Struct(">d").pack
_unpack_float = struct.Struct(">d").unpack


@lru_cache(4096)
def index_prefix(table: int, slot: int) -> bytes:
    """What all keys of one index begin with."""
    assert 0 <= table < TABLES_MAX
    assert 0 <= slot < SLOTS_MAX
    return (table * SLOTS_MAX + slot).to_bytes(_PREFIX_SIZE, "big")


def document_key(table: int, internal: bytes) -> bytes:
    """Where a document is kept."""
    assert len(internal) == INTERNAL_SIZE
    return index_prefix(table, 0) + internal


def entry_key(
    table: int, slot: int, values: Sequence[Value | Absent], internal: bytes, number: Value | Absent = ABSENT
) -> bytes:
    """Where an index keeps its entry for a document; `number` goes into the totals of an index that has them."""
    assert len(internal) == INTERNAL_SIZE
    key = index_prefix(table, slot) + encode_values(values)
    return key + (encode_number(number) if slot >= FIRST_TOTAL_SLOT else b"") + internal


def has_totals(key: bytes) -> bool:
    """Whether a key is of an index with totals."""
    return slot_of(key) >= FIRST_TOTAL_SLOT


def number_of(key: bytes) -> float | None:
    """The number in an entry key of an index with totals, if the document has one."""
    raw = key[-INTERNAL_SIZE - _NUMBER_SIZE : -INTERNAL_SIZE]
    if raw[:1] != _FLOAT64:
        return None
    return _decode_float(int.from_bytes(raw[1:], "big"))


def table_of(key: bytes) -> int:
    """The table number in a document key or an entry key."""
    return int.from_bytes(key[:_PREFIX_SIZE], "big") // SLOTS_MAX


def slot_of(key: bytes) -> int:
    """The slot in a document key or an entry key."""
    return key[_PREFIX_SIZE - 1] % SLOTS_MAX


def internal_of(key: bytes) -> bytes:
    """The internal id in a document key or an entry key."""
    return key[-INTERNAL_SIZE:]


def to_document_key(key: bytes) -> bytes:
    """The key of the document that an entry points at."""
    return document_key(table_of(key), internal_of(key))


def prefix_end(prefix: bytes) -> bytes:
    """The smallest byte string that is greater than every one with a prefix.

    Raises:
        ValueError: there is none, for the prefix is nothing but FF bytes.
    """
    head = prefix.rstrip(b"\xff")
    if not head:
        raise ValueError("no byte string comes after all that begin with FF bytes only.")
    return head[:-1] + bytes((head[-1] + 1,))


def encode_values(values: Sequence[Value | Absent]) -> bytes:
    """Index values as bytes that sort as they do.

    Raises:
        InvalidValue: one of them is no value of the wire.
    """
    return b"".join([encode_value(value) for value in values])


def decode_values(encoded: bytes, most: int) -> tuple[list[Value | Absent], bytes]:
    """The index values that bytes begin with, so many of them at most, and the bytes that follow them."""
    found: list[Value | Absent] = []
    place = 0
    try:
        while place < len(encoded) and len(found) < most:
            value, place = _decode(encoded, place)
            found.append(value)
    except (ValueError, IndexError):
        pass  # a bound may fall between the values that there are
    return found, encoded[place:]


def lookup(document: Mapping[str, Value], path: str) -> Value | Absent:
    """The field at a dotted path in a document; `ABSENT` when there is none."""
    if "." not in path:
        return document.get(path, ABSENT)
    found: Any = document
    for name in path.split("."):
        try:
            found = found[name]
        except (KeyError, TypeError):
            return ABSENT
    return cast("Value", found)


def encode_value(value: Any) -> bytes:
    """One index value, as by `encode_values`."""
    kind = type(value)
    if kind is str:
        return _STRING + _terminated(value.encode())
    if kind is float and value > 0.0:
        return _FLOAT64 + _pack_float(-value)  # which turns the same bit round
    match value:
        case str():
            return _STRING + _terminated(value.encode())
        case Int64():
            return _INT64 + (value + _SIGN).to_bytes(8, "big")
        case bool():
            return _TRUE if value else _FALSE
        case float() | int():
            bits = int.from_bytes(_pack_float(value), "big")
            return _FLOAT64 + (bits ^ (_ALL_BITS if bits & _SIGN else _SIGN)).to_bytes(8, "big")
        case None:
            return _NULL
        case Absent():
            return _ABSENT
        case bytes():
            return _BYTES + _terminated(value)
        case list() | tuple():
            return _ARRAY + b"".join([encode_value(item) for item in value]) + _END
        case dict():
            fields = [_FIELD + _terminated(name.encode()) + encode_value(value[name]) for name in sorted(value)]
            return _OBJECT + b"".join(fields) + _END
        case _:
            raise InvalidValue(f"{type(value).__name__} is not a value of the wire")


def _decode(encoded: bytes, place: int) -> tuple[Value | Absent, int]:
    """The value at a place, and the place after it."""
    tag, place = encoded[place : place + 1], place + 1
    match tag:
        case b"\x08" | b"\x09":
            raw, place = _decode_terminated(encoded, place)
            return (raw.decode() if tag == _STRING else raw), place
        case b"\x04" | b"\x05":
            if place + 8 > len(encoded):
                raise ValueError("the bytes of a number are missing")
            bits = int.from_bytes(encoded[place : place + 8], "big")
            if tag == _INT64:
                return Int64(bits - _SIGN), place + 8
            return _decode_float(bits), place + 8
        case b"\x0a":
            items: list[Any] = []
            while encoded[place] != 0:
                item, place = _decode(encoded, place)
                items.append(item)
            return items, place + 1
        case b"\x0b":
            fields: dict[str, Any] = {}
            while encoded[place] != 0:
                name, place = _decode_terminated(encoded, place + 1)
                fields[name.decode()], place = _decode(encoded, place)
            return fields, place + 1
    if tag not in _SINGLE:
        raise ValueError(f"{tag!r} begins no value")
    return _SINGLE[tag], place


def _decode_float(bits: int) -> float:
    (number,) = _unpack_float((bits ^ (_SIGN if bits & _SIGN else _ALL_BITS)).to_bytes(8, "big"))
    return float(number)


def _decode_terminated(encoded: bytes, place: int) -> tuple[bytes, int]:
    end = place
    while encoded[end] != 0 or encoded[end + 1] == 0xFF:
        end += 1 if encoded[end] != 0 else 2
    if encoded[end + 1] != 1:
        raise ValueError("the bytes of a text do not end")
    return encoded[place:end].replace(b"\x00\xff", b"\x00"), end + 2


def encode_number(value: Value | Absent) -> bytes:
    """A number that totals take in; anything else is as good as none."""
    if type(value) is not float:
        return _NULL + bytes(_NUMBER_SIZE - 1)
    return encode_value(value)


def _terminated(raw: bytes) -> bytes:
    return raw.replace(b"\x00", b"\x00\xff") + b"\x00\x01"
