"""Document ids: an opaque string that holds a table number and 16 bytes.

The text is Convex's: base32 of the table number (7 bits a byte, lowest first), the 16-byte internal id and a
Fletcher-16 checksum. The internal id is ours: it begins with the time, so that inserts append to the store's trees.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate
from typing import Final

from yugen.errors import Refused

INTERNAL_SIZE: Final = 16
"""Bytes of an internal id."""

TABLES_MAX: Final = 1 << 26
"""Table numbers are below this, as in `yugen.keys`; so they take 1 to 4 bytes, and an id 31 to 36 characters."""

_TIME_SIZE: Final = 6
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_ALPHABET_OF_BYTES: Final = _ALPHABET.encode().ljust(256)
_DIGITS_OF_INT: Final = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_TEXT: Final = re.compile(f"[{_ALPHABET}]{{31,36}}")
_DIGITS_MAX: Final = 64

_RECENT_MAX: Final = 4096
_recent: Final[dict[str, tuple[int, bytes]]] = {}
"""The parts of ids that were used: one function decodes an id as an argument, to read, to write, and as a result."""


class InvalidId(Refused):
    """A text is not the id of any document."""

    code = "InvalidId"


def new_internal(now_ms: float, random: bytes) -> bytes:
    """An internal id: the time in milliseconds since the epoch, then 10 random bytes."""
    assert len(random) == INTERNAL_SIZE - _TIME_SIZE
    return int(now_ms).to_bytes(_TIME_SIZE, "big") + random


def encode_id(table: int, internal: bytes) -> str:
    """The text of an id."""
    assert 0 <= table < TABLES_MAX
    assert len(internal) == INTERNAL_SIZE
    body = _vint(table) + internal
    return _base32(body + _fletcher16(body))


def decode_id(text: object) -> tuple[int, bytes]:
    """The table number and the internal id in a text.

    Raises:
        InvalidId: it is not exactly what `encode_id` gives for some document.
    """
    if not isinstance(text, str):
        raise InvalidId(f"An id is a string, not {type(text).__name__}; pass the id that insert returned.")
    found = _recent.get(text)
    if found is None:
        found = _decode(text)
        remember(text, *found)
    return found


def remember(text: str, table: int, internal: bytes) -> None:
    """Keeps the parts of an id for a while, since whoever has seen it is likely to use it."""
    if len(_recent) == _RECENT_MAX:
        _recent.clear()
    _recent[text] = table, internal


def _decode(text: str) -> tuple[int, bytes]:
    if _TEXT.fullmatch(text):
        bits = len(text) * 5
        number = int(text.translate(_DIGITS_OF_INT), 32) >> bits % 8
        body = number.to_bytes(bits // 8, "big")[:-2]
        table, internal = _from_vint(body[:-INTERNAL_SIZE]), body[-INTERNAL_SIZE:]
        # Whatever was read leniently so far, the checksum included, does not come out as the same text again.
        if table < TABLES_MAX and encode_id(table, internal) == text:
            return table, internal
    shown = text if len(text) <= 40 else text[:40] + "…"
    raise InvalidId(f"{shown!r} is not an id; pass the id that insert returned, unchanged.")


@lru_cache
def _vint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _from_vint(raw: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(raw))


def _fletcher16(raw: bytes) -> bytes:
    """The sum of the bytes, and the sum of the sums after each byte."""
    sums = list(accumulate(raw))
    return bytes((sums[-1] & 0xFF, sum(sums) & 0xFF))


def _halvings(digits: int) -> list[tuple[int, int]]:
    """What it takes to move this many digits, a power of two, from five bits to eight bits apart, all at once.

    Each step has the mask of the upper half of every group of digits, and how far that is moved away from the lower.
    """
    steps = []
    while digits > 1:
        half = digits // 2
        upper = ((1 << half * 5) - 1) << half * 5
        steps.append((sum(upper << group * 8 for group in range(0, _DIGITS_MAX, digits)), half * 3))
        digits = half
    return steps


_HALVINGS: Final = _halvings(_DIGITS_MAX)


def _base32(raw: bytes) -> str:
    """Five bits a digit, highest first; the last digit is filled up with zeros."""
    length = (len(raw) * 8 + 4) // 5
    number = int.from_bytes(raw, "big") << length * 5 - len(raw) * 8
    for mask, distance in _HALVINGS:
        upper = number & mask
        number += (upper << distance) - upper
    return number.to_bytes(length, "big").translate(_ALPHABET_OF_BYTES).decode()
