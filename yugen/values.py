"""The values of the wire: their JSON forms, limits, sizes and order (protocol, section 1).

A wire number is a Python float, and `int` is taken for one; the wire's 64-bit integer is `Int64`. Three forms of a
value occur here: the *value* itself in Python, its *structure* (the encoded form as parsed JSON, where everything
JSON lacks is an object with one `$` key), and the *text* of the structure.
"""

from __future__ import annotations

import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from math import copysign, isfinite
from operator import index
from typing import Any, Final, Literal, TypeAlias

import orjson

from yugen.errors import Refused

Value: TypeAlias = bool | int | float | str | bytes | list[Any] | dict[str, Any] | None
"""What `decode` gives; `Int64` is an `int`. The items of a list and the values of a dict are again of this type."""

FIELDS_MAX: Final = 1024
ELEMENTS_MAX: Final = 8192
NESTING_MAX: Final = 64
SIZE_MAX: Final = 32 << 20
"""Bytes of a value, as `size` counts them."""
NAME_SIZE_MAX: Final = 1024
"""Bytes of a field name."""

DOCUMENT_NESTING_MAX: Final = 16
DOCUMENT_SIZE_MAX: Final = 1 << 20
DOCUMENT_NAME_SIZE_MAX: Final = 64
"""Bytes of the name of a document's own field; the fields of objects in it may have longer ones."""

SYSTEM_FIELDS: Final = frozenset({"_id", "_creationTime"})

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1
EXACT_INT_MAX: Final = 1 << 53
"""Up to here every integer is also a float64."""

Fallback: TypeAlias = Callable[[object], object]
"""Turns an object that is no value into one that is, or raises TypeError; like the `default` of `json.dumps`."""


class InvalidValue(Refused):
    """Something is not a value of the wire, or not the JSON of one.

    Attributes:
        reason: what is wrong, and what to do about it.
        path: field names and array positions that lead from the whole value to the part that is wrong.
    """

    code = "InvalidValue"

    def __init__(self, reason: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        path = "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in self.path)
        return f"{path}: {self.reason}" if path else self.reason

    def prepend(self, *parts: str | int) -> None:
        """Lengthens the path at its front, as the error passes through the values around the wrong one."""
        self.path = (*parts, *self.path)


class Int64(int):
    """The wire's 64-bit integer. Arithmetic gives a plain `int`, which is a number of the wire.

    Raises:
        InvalidValue: the integer needs more than 64 bits.
    """

    __slots__ = ()

    def __new__(cls, value: int) -> Int64:
        if not INT64_MIN <= index(value) <= INT64_MAX:
            raise InvalidValue("an Int64 lies between -2^63 and 2^63-1")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"Int64({int(self)})"

    __str__ = int.__repr__

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> dict[str, Any]:
        # A schema is a plain dict, so pydantic is not needed to write one, and processes that run no app do without.
        return {"type": "function-plain", "function": {"type": "no-info", "function": cls._validated}}

    @classmethod
    def _validated(cls, value: object) -> Int64:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("should be an Int64, which is $integer on the wire and BigInt in JavaScript")
        try:
            return cls(value)
        except InvalidValue as error:
            raise ValueError("should lie between -2^63 and 2^63-1") from error


class Absent(Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT
"""Stands where a field is missing. It is no value and sorts before all of them."""


# Value to text ---------------------------------------------------------------------------------------------------


def encode(value: object, *, fallback: Fallback | None = None) -> Any:
    """The structure of a value.

    Tuples are arrays, and an `int` is a number, so its structure is a float.

    Args:
        value: the value.
        fallback: is asked about each object in it that is no value.

    Raises:
        InvalidValue: it is no value, or breaks a structural limit other than the size of the whole.
    """
    return _encode(value, NESTING_MAX, fallback)


_ORJSON_BYTES: Final = 4096
"""What any text takes that comes from orjson, at least (3.13)."""


def dumps(value: object, *, fallback: Fallback | None = None) -> bytes:
    """The text of a value, with fields in their own order.

    Args:
        value: the value.
        fallback: as for `encode`.

    Raises:
        InvalidValue: it is no value, or breaks a structural limit.
    """
    return _dump(encode(value, fallback=fallback))


def canonical(value: object) -> bytes:
    """The text of a value with sorted fields: equal exactly for equal values, so it can be hashed or be a cache key.

    Raises:
        InvalidValue: as for `dumps`.
    """
    text = _dump(encode(value), orjson.OPT_SORT_KEYS)
    # A cache has thousands of these, and what orjson gives takes 4 KiB however short it is; a copy takes what it needs.
    return b"%b" % text if len(text) < _ORJSON_BYTES else text


def _dump(structure: Any, option: int = 0) -> bytes:
    text = orjson.dumps(structure, option=option)
    if len(text) * _SIZE_TO_TEXT_MAX > SIZE_MAX:
        _check_size(decode(structure))
    return text


def _encode(value: Any, room: int, fallback: Fallback | None) -> Any:
    """The structure of a value that may be nested `room` deep.

    Exact types come first, since nearly all values have one; `_encode_other` sees to the rest. The loops over
    fields and elements, here and in `_decode`, keep plain strings and numbers without a call, a third off for vectors.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _checked_text(value)
    if kind is float:
        return value if value and value - value == 0.0 else _encode_float(value)
    if kind is dict:
        return _encode_object(value, room, fallback)
    if kind is list:
        return _encode_array(value, room, fallback)
    if kind is bool or value is None:
        return value
    if kind is int:
        return _encode_int(value)
    return _encode_other(value, room, fallback)


def _encode_object(value: dict[Any, Any], room: int, fallback: Fallback | None) -> dict[str, Any]:
    if not room:
        raise _too_nested()
    _check_names(value)
    room -= 1
    out = {}
    name: Any = None
    try:
        for name, item in value.items():
            exact = name if type(name) is str else str.__str__(name)  # orjson takes no subclasses for names
            kind = type(item)
            if (kind is str and item.isascii()) or (kind is float and item and item - item == 0.0):
                out[exact] = item
            else:
                out[exact] = _encode(item, room, fallback)
    except InvalidValue as error:
        error.prepend(name)
        raise
    return out


def _encode_array(value: list[Any] | tuple[Any, ...], room: int, fallback: Fallback | None) -> list[Any]:
    if not room:
        raise _too_nested()
    if len(value) > ELEMENTS_MAX:
        raise _too_long(value)
    room -= 1
    out: list[Any] = []
    try:
        for item in value:
            kind = type(item)
            if (kind is str and item.isascii()) or (kind is float and item and item - item == 0.0):
                out.append(item)
            else:
                out.append(_encode(item, room, fallback))
    except InvalidValue as error:
        error.prepend(len(out))
        raise
    return out


def _encode_float(value: float) -> Any:
    if value == 0.0 and copysign(1.0, value) > 0.0:
        return value
    return {"$float": _to_base64(_pack_float(value))}


def _encode_int(value: int) -> float:
    if not -EXACT_INT_MAX <= value <= EXACT_INT_MAX:
        raise InvalidValue("an integer beyond ±2^53 is not exact as a number; wrap it in Int64")
    return float(value)


def _encode_other(value: object, room: int, fallback: Fallback | None) -> Any:
    match value:
        case Int64():
            return {"$integer": _to_base64(value.to_bytes(8, "little", signed=True))}
        case bytes():
            return {"$bytes": _to_base64(value)}
        case tuple():
            return _encode_array(value, room, fallback)
        # What is left are subclasses. Enum members among them are the values they stand for.
        case str():
            return _checked_text(str.__str__(value))
        case float():
            return _encode(float(value), room, fallback)
        case int():
            return _encode_int(int(value))
        case list():
            return _encode_array(value, room, fallback)
        case dict():
            return _encode_object(value, room, fallback)
    if fallback is None:
        raise _unknown(value)
    try:
        replacement = fallback(value)
    except TypeError as error:
        raise _unknown(value) from error
    if not isinstance(replacement, _TYPES):
        raise _unknown(value)
    return _encode(replacement, room, fallback)


# Text to value ---------------------------------------------------------------------------------------------------


def parse_json(text: str | bytes) -> Any:
    """Parses JSON from anywhere. Of a name that occurs twice in an object, the last counts.

    Raises:
        InvalidValue: it is not JSON in UTF-8, a number in it is beyond float64, a string in it has half of a
            surrogate pair, or it is nested more than 1024 deep.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith("Not enough memory"):
            raise MemoryError from None
        raise InvalidValue(f"not valid JSON: {error}") from None


def decode(structure: Any) -> Value:
    """The value of a structure; every JSON number becomes a float.

    Raises:
        InvalidValue: it is not the structure of a value, or breaks a structural limit other than the size.
    """
    return _decode(structure, NESTING_MAX)  # type: ignore[no-any-return]


def loads(text: str | bytes) -> Value:
    """The value of a text.

    Raises:
        InvalidValue: it is not the text of a value, or breaks a structural limit.
    """
    value = decode(parse_json(text))
    if len(text) * _SIZE_TO_TEXT_MAX > SIZE_MAX:
        _check_size(value)
    return value


def reloads(text: bytes) -> Value:
    """The value of a text that `dumps` has made, and that needs no checking therefore."""
    if may_hold_tags(text):
        return loads(text)
    value: Value = orjson.loads(text)
    return value


def may_hold_tags(text: bytes) -> bool:
    """Whether there may be a value in a text that JSON has no form for."""
    return b"$" in text and b'"$' in text  # one byte is looked for many times as fast as two


def _decode(structure: Any, room: int) -> Any:
    kind = type(structure)
    if kind is str:
        return structure if structure.isascii() else _checked_text(structure)
    if kind is float:
        if structure - structure != 0.0:
            raise InvalidValue("NaN and infinities are not JSON; write them as $float")
        return structure
    if kind is dict:
        return _decode_object(structure, room)
    if kind is list:
        return _decode_array(structure, room)
    if kind is bool or structure is None:
        return structure
    if kind is int:
        try:
            return float(structure)
        except OverflowError:
            raise InvalidValue("this number is beyond float64") from None
    raise _unknown(structure)


def _decode_object(structure: dict[Any, Any], room: int) -> Any:
    if len(structure) == 1:
        ((name, item),) = structure.items()
        if name in _TAGS:
            return _TAGS[name](item)
    if not room:
        raise _too_nested()
    _check_names(structure)
    room -= 1
    out = {}
    name = None
    try:
        for name, item in structure.items():
            kind = type(item)
            if (kind is str and item.isascii()) or (kind is float and item - item == 0.0):
                out[name] = item
            else:
                out[name] = _decode(item, room)
    except InvalidValue as error:
        error.prepend(name)
        raise
    return out


def _decode_array(structure: list[Any], room: int) -> list[Any]:
    if not room:
        raise _too_nested()
    if len(structure) > ELEMENTS_MAX:
        raise _too_long(structure)
    room -= 1
    out: list[Any] = []
    try:
        for item in structure:
            kind = type(item)
            if (kind is str and item.isascii()) or (kind is float and item - item == 0.0):
                out.append(item)
            else:
                out.append(_decode(item, room))
    except InvalidValue as error:
        error.prepend(len(out))
        raise
    return out


def _decode_integer(item: object) -> Int64:
    return Int64(int.from_bytes(_from_base64("$integer", item, 8), "little", signed=True))


def _decode_float(item: object) -> float:
    (value,) = _unpack_float(_from_base64("$float", item, 8))
    if value - value == 0.0 and (value or copysign(1.0, value) > 0.0):
        raise InvalidValue("$float is for NaN, the infinities and -0; write other numbers as JSON numbers")
    return float(value)


def _decode_bytes(item: object) -> bytes:
    return _from_base64("$bytes", item)


_TAGS: Final[dict[str, Callable[[object], Value]]] = {
    "$integer": _decode_integer,
    "$float": _decode_float,
    "$bytes": _decode_bytes,
}
"""Objects with one of these as their only key are not objects but other values."""


# What both directions share ----------------------------------------------------------------------------------------

_pack_float = struct.Struct("<d").pack
_unpack_float = struct.Struct("<d").unpack
_unpack_bits = struct.Struct("<q").unpack

_SIZE_TO_TEXT_MAX: Final = 9
"""A value's size is at most this many times the length of its text, as with `0`; so most texts need no count."""

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
_TYPES: Final = (*_SCALARS, list, tuple, dict)


def _to_base64(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode()


def _from_base64(tag: str, text: object, size: int | None = None) -> bytes:
    if not isinstance(text, str):
        raise InvalidValue(f"{tag} holds base64 text, not {type(text).__name__}")
    try:
        raw = a2b_base64(text)
    except ValueError:
        raw = b""
    # a2b_base64 passes over strange characters and loose bits; they do not come out again.
    if _to_base64(raw) != text:
        raise InvalidValue(f"{tag} holds base64 with the standard alphabet and padding, which this is not")
    if size is not None and len(raw) != size:
        raise InvalidValue(f"{tag} holds {size} bytes, not {len(raw)}")
    return raw


def _check_names(names: Mapping[Any, object]) -> None:
    """Checks the number and the spelling of an object's field names."""
    if len(names) > FIELDS_MAX:
        raise InvalidValue(f"this object has {len(names)} fields; at most {FIELDS_MAX} are allowed")
    try:
        # All of them at once: a few string operations for an object of ordinary names.
        joined = "".join(names)
    except TypeError:
        wrong = next(name for name in names if not isinstance(name, str))
        raise InvalidValue(f"a field name is a string, not {type(wrong).__name__}") from None
    if not (len(joined) <= NAME_SIZE_MAX and joined.isascii() and joined.isprintable() and "$" not in joined):
        for name in names:
            _check_name(name)


def _check_name(name: str) -> None:
    if not (name.isascii() and name.isprintable()):
        raise InvalidValue(f"the field name {_shown(name)} has characters other than printable ASCII")
    if name.startswith("$"):
        raise InvalidValue(f"the field name {_shown(name)} begins with $, which is reserved")
    if len(name) > NAME_SIZE_MAX:
        raise InvalidValue(f"the field name {_shown(name)} is longer than {NAME_SIZE_MAX} bytes")


def _checked_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValue("this string has half of a surrogate pair; only whole characters can be sent") from None
    return text


def _check_size(value: Value) -> None:
    if (length := size(value)) > SIZE_MAX:
        raise InvalidValue(f"this value is {length} bytes; at most {SIZE_MAX} are allowed")


def _too_nested() -> InvalidValue:
    return InvalidValue(f"arrays and objects are nested more than {NESTING_MAX} deep here")


def _too_long(value: Sequence[object]) -> InvalidValue:
    return InvalidValue(f"this array has {len(value)} elements; at most {ELEMENTS_MAX} are allowed")


def _unknown(value: object) -> InvalidValue:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return InvalidValue(f"{name} is not a value; use None, bool, int, float, Int64, str, bytes, list or dict")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


# Measures, order and the clean form ---------------------------------------------------------------------------------


def size(value: object) -> int:
    """The size of a value in bytes, as limits count it; not the length of its text."""
    if isinstance(value, str):
        return 2 + (len(value) if value.isascii() else len(value.encode()))
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, (int, float)):
        return 9
    if isinstance(value, bytes):
        return 2 + len(value)
    if isinstance(value, dict):
        return 2 + len("".join(value)) + len(value) + sum(map(size, value.values()))
    if isinstance(value, (list, tuple)):
        return 2 + sum(map(size, value))
    raise _unknown(value)


def may_exceed(text: bytes, limit: int) -> bool:
    """Whether the value of a text may have a size beyond a limit; it takes no look at the value."""
    return len(text) * _SIZE_TO_TEXT_MAX > limit


def nesting(value: object) -> int:
    """How deep arrays and objects are nested in a value: 0 for a scalar, 1 for `[]` and `{}`."""
    if isinstance(value, dict):
        items: Iterable[object] = value.values()
    elif isinstance(value, (list, tuple)):
        items = value
    else:
        return 0
    return 1 + max([nesting(item) for item in items if type(item) not in _SCALARS], default=0)


def document_text(fields: dict[str, Value]) -> bytes:
    """The text of a document, system fields included, which keeps to more than the limits of every value.

    Raises:
        InvalidValue: it is too large, nested too deep, or a field of its own has a name it may not have.
    """
    _check_document_names(tuple(fields))
    text = _scalars_text(fields)
    if text is None:
        text = dumps(fields)
        if (depth := nesting(fields)) > DOCUMENT_NESTING_MAX:
            raise InvalidValue(f"this document is nested {depth} deep; at most {DOCUMENT_NESTING_MAX} are allowed")
    if may_exceed(text, DOCUMENT_SIZE_MAX) and (length := size(fields)) > DOCUMENT_SIZE_MAX:
        raise InvalidValue(f"this document is {length} bytes; at most {DOCUMENT_SIZE_MAX} are allowed")
    return text


@lru_cache(4096)  # the documents of a table have few sets of names among them
def _check_document_names(names: tuple[str, ...]) -> None:
    for name in names:
        if name.startswith("_") and name not in SYSTEM_FIELDS:
            raise InvalidValue(f"the field name {_shown(name)} begins with _, which is reserved in documents")
        if len(name) > DOCUMENT_NAME_SIZE_MAX:
            raise InvalidValue(f"the field name {_shown(name)} is longer than {DOCUMENT_NAME_SIZE_MAX} bytes")
    _check_names(dict.fromkeys(names))


def _scalars_text(fields: dict[str, Value]) -> bytes | None:
    """The text of fields that are their own structure, as those of most documents are; None for others."""
    for value in fields.values():
        kind = type(value)
        if kind is float:
            if value - value != 0.0 or (not value and copysign(1.0, value) < 0.0):  # type: ignore[arg-type, operator]
                return None
        elif not (kind is str or kind is bool or value is None):
            return None
    try:
        return orjson.dumps(fields)
    except orjson.JSONEncodeError:
        return None  # half of a surrogate pair, which is for `dumps` to explain


def compare_key(value: object) -> Any:
    """A sort key: puts values of any types, and `ABSENT`, in the order of an index."""
    match value:
        case Absent():
            return (0,)
        case None:
            return (1,)
        case Int64():
            return (2, int(value))
        case bool():
            return (4, value)
        case int() | float():
            # The IEEE 754 total order: bits as a signed integer, those below the sign turned round when it is set.
            (bits,) = _unpack_bits(_pack_float(value))
            return (3, bits if bits >= 0 else bits ^ INT64_MAX)
        case str():
            return (5, value)
        case bytes():
            return (6, value)
        case list() | tuple():
            return (7, [compare_key(item) for item in value])
        case dict():
            return (8, [(name, compare_key(value[name])) for name in sorted(value)])
    raise _unknown(value)


def to_clean(value: object) -> Any:
    """The clean JSON form of a value, which drops the differences that JSON cannot show."""
    match value:
        case Int64():
            return str(value)
        case None | bool() | str():
            return value
        case int() | float():
            number = float(value)
            return number if isfinite(number) else {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(number)]
        case bytes():
            return _to_base64(value)
        case list() | tuple():
            return [to_clean(item) for item in value]
        case dict():
            return {name: to_clean(item) for name, item in value.items()}
    raise _unknown(value)
