"""Bounds of an index range: `gt`, `gte`, `lt`, `lte` and `between`.

A range has at most one bound on each side, on the field after those that are fixed by equality; `gte(a) & lt(b)`
joins two. The result of any of them is a `Bound`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from yugen import keys
from yugen.errors import Refused
from yugen.intervals import Interval


class InvalidRange(Refused):
    """A range or an order that one interval of an index cannot give."""

    code = "InvalidRange"


@dataclass(frozen=True, slots=True)
class Limit:
    """One side of a range: the value, and whether the value itself is in."""

    value: Any
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Bound:
    """A range of one field's values, open on a side whose limit is None."""

    lower: Limit | None = None
    upper: Limit | None = None

    def __and__(self, other: Bound) -> Bound:
        if not isinstance(other, Bound):
            return NotImplemented
        if (self.lower and other.lower) or (self.upper and other.upper):
            raise InvalidRange("A range has one lower and one upper bound; join gt or gte with lt or lte.")
        return Bound(self.lower or other.lower, self.upper or other.upper)

    def with_values(self, change: Callable[[Any], Any]) -> Bound:
        """The same range with other values in place of its own."""
        lower, upper = self.lower, self.upper
        return Bound(
            lower and Limit(change(lower.value), lower.inclusive), upper and Limit(change(upper.value), upper.inclusive)
        )


def gt(value: Any) -> Bound:
    """Greater than `value`, in the order of all values."""
    return Bound(lower=Limit(value, inclusive=False))


def gte(value: Any) -> Bound:
    """Greater than or equal to `value`."""
    return Bound(lower=Limit(value, inclusive=True))


def lt(value: Any) -> Bound:
    """Less than `value`."""
    return Bound(upper=Limit(value, inclusive=False))


def lte(value: Any) -> Bound:
    """Less than or equal to `value`."""
    return Bound(upper=Limit(value, inclusive=True))


def between(low: Any, high: Any) -> Bound:
    """From `low` to `high`, both of them in."""
    return Bound(Limit(low, inclusive=True), Limit(high, inclusive=True))


def interval(prefix: bytes, equal: Sequence[Any], bound: Bound | None) -> Interval:
    """The interval of an index below `prefix` whose first fields equal `equal` and whose next one is within `bound`.

    Values are wire values or `ABSENT`. A side without a limit takes in all values there, whatever their type. The
    interval is empty when the bounds cross.
    """
    base = prefix + keys.encode_values(equal)
    start, end = base, keys.prefix_end(base)
    if bound and bound.lower:
        low = base + keys.encode_values([bound.lower.value])
        start = low if bound.lower.inclusive else keys.prefix_end(low)
    if bound and bound.upper:
        high = base + keys.encode_values([bound.upper.value])
        end = keys.prefix_end(high) if bound.upper.inclusive else high
    return start, max(start, end)
