"""Making an input short that shows a fault, so that whoever reads it sees what it is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

ATTEMPTS_MAX: Final = 400
"""Shorter inputs that are tried for one finding."""


async def shrunk(given: Any, fails: Callable[[Any], Awaitable[bool]], attempts: int = ATTEMPTS_MAX) -> Any:
    """An input as short as it can be made by leaving out parts of it, one after the other.

    Args:
        given: plain JSON data; its texts, lists and objects are made shorter, and what is in them.
        fails: whether an input shows the fault too. The one given does.
        attempts: how many inputs are tried at most.
    """
    left, shorter = attempts, shorter_ones(given)
    while left and (candidate := next(shorter, _NONE)) is not _NONE:
        left -= 1
        if await fails(candidate):
            given, shorter = candidate, shorter_ones(candidate)
    return given


_NONE: Final = object()


def shorter_ones(value: Any) -> Iterator[Any]:
    """What is left of a value without a part of it: those first from which most is missing."""
    if isinstance(value, str | list):
        yield from _cut(value)
    if isinstance(value, list):
        for at, item in enumerate(value):
            for less in shorter_ones(item):
                yield [*value[:at], less, *value[at + 1 :]]
    elif isinstance(value, dict):
        for name in value:
            yield {each: item for each, item in value.items() if each != name}
        for name, item in value.items():
            for less in shorter_ones(item):
                yield value | {name: less}


def _cut(value: Any) -> Iterator[Any]:
    size = len(value)
    while size > 0:
        for at in range(0, len(value) - size + 1, size):
            yield value[:at] + value[at + size :]
        size //= 2
