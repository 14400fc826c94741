"""Valid things and how they are spoiled: in their structure, in their text, or in both."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")

ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1 << 32, 1 << 64, 1e308, -0.0, float("nan"), float("inf")),
    *("", "\0", "\ud800", "é" * 99, "../..", "os:system", "__class__:x", "x" * 3000),
    *([], {}, [[]], {"$integer": "AAAAAAAAAAA="}, {"$integer": "?"}, {"$bytes": 7}, {"$float": "AA=="}, {"$x": 1}),
)
"""What stands in the place of something valid."""

ODD_TEXTS: Final = ("NaN", "1e999", "9" * 5000, "[" * 3000, '"\\ud800"', "\0", "\r\n", "{}", ",", '"', "\u2028")
"""What is put into a text."""


def change(dice: random.Random, value: Any) -> Any:
    """The structure with one part replaced, dropped, doubled or wrapped."""
    if isinstance(value, dict) and value and dice.random() < 0.8:
        name = dice.choice(list(value))
        rest = {key: item for key, item in value.items() if key != name}
        return rest if dice.random() < 0.2 else {**value, name: change(dice, value[name])}
    if isinstance(value, list) and value and dice.random() < 0.8:
        at = dice.randrange(len(value))
        return [*value[:at], *([change(dice, value[at])] * dice.randrange(3)), *value[at + 1 :]]
    return [value] if dice.random() < 0.1 else dice.choice(ODD)


def corrupt(dice: random.Random, text: str, among: int = 0x300) -> str:
    """The text cut, with something put in, or with one character replaced by one of the first so many."""
    at = dice.randrange(len(text) + 1)
    match dice.randrange(3):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + dice.choice(ODD_TEXTS) + text[at:]
        case _:
            return text[:at] + chr(dice.randrange(among)) + text[at + 1 :]


def corrupt_bytes(dice: random.Random, data: bytes) -> bytes:
    """The bytes cut, with some put in or doubled, or with one replaced."""
    at = dice.randrange(len(data) + 1)
    match dice.randrange(4):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + dice.randbytes(dice.randrange(1, 9)) + data[at:]
        case 2:
            return data[:at] + data[at : at + 64] * 2 + data[at + 64 :]
        case _:
            return data[:at] + dice.randbytes(1) + data[at + 1 :]


def hostile(dice: random.Random, value: Any) -> str:
    """The JSON of a value: one time in four as it is, else changed in structure, in text, or in both."""
    kind = dice.randrange(4)
    if kind & 1:
        value = change(dice, value)
    text = json.dumps(value)
    return corrupt(dice, text) if kind & 2 else text


def encoded_value(dice: random.Random, depth: int = 3) -> Any:
    """A value as it stands on the wire."""
    kind = dice.randrange(6 if depth else 4)
    if kind < 4:
        return (dice.random() * 1e6, dice.random() < 0.5, "s" * dice.randrange(9), {"$bytes": "AA=="})[kind]
    items = [encoded_value(dice, depth - 1) for _ in range(dice.randrange(4))]
    return items if kind == 4 else {f"f{at}": item for at, item in enumerate(items)}


def mostly(dice: random.Random, valid: T, others: Sequence[T], share: float = 0.85) -> T:
    """What is valid with this chance, else one of the others."""
    return valid if dice.random() < share else dice.choice(others)
