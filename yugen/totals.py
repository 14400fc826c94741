"""Totals of index entries: how many there are, and the sum, the least and the greatest of a number in each.

Sums are exact. A float64 is a whole number times a power of two, and so is a sum of them; kept in that form, totals do
not depend on the order in which they were put together, nor on what was added and taken away before. A total becomes a
float when it is given to a function, rounded once.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from yugen.values import compare_key

_exact = struct.Struct(">dh")


@dataclass(frozen=True, slots=True)
class Exact:
    """A sum of float64 numbers: `mantissa` times two to the `exponent`, beside NaNs and infinities.

    `special` is the sum of those of its terms that are not finite, as IEEE 754 has it; 0.0 if all are.
    """

    mantissa: int = 0
    exponent: int = 0
    special: float = 0.0

    @classmethod
    def of(cls, number: float) -> Exact:
        if not math.isfinite(number):
            return cls(special=number)
        numerator, denominator = number.as_integer_ratio()
        return cls(numerator, 1 - denominator.bit_length())

    def __add__(self, other: Exact) -> Exact:
        low = min(self.exponent, other.exponent)
        mantissa = (self.mantissa << self.exponent - low) + (other.mantissa << other.exponent - low)
        return Exact(mantissa, low, self.special + other.special)

    def __sub__(self, other: Exact) -> Exact:
        """Without terms that it has, all of them finite."""
        return self + Exact(-other.mantissa, other.exponent)

    def whole(self) -> int | None:
        """The sum as a whole number, if it is one."""
        if self.special != 0.0 or (self.exponent < 0 and self.mantissa & ((1 << -self.exponent) - 1)):
            return None
        return self.mantissa << self.exponent if self.exponent >= 0 else self.mantissa >> -self.exponent

    def __float__(self) -> float:
        if self.special != 0.0:
            return self.special
        try:
            if self.exponent >= 0:
                return float(self.mantissa << self.exponent)
            return self.mantissa / (1 << -self.exponent)  # division of integers rounds once
        except OverflowError:
            return math.inf if self.mantissa > 0 else -math.inf

    def to_bytes(self) -> bytes:
        mantissa, exponent = self.mantissa, self.exponent
        if mantissa:
            zeros = (mantissa & -mantissa).bit_length() - 1
            mantissa, exponent = mantissa >> zeros, exponent + zeros
        else:
            exponent = 0
        size = (mantissa.bit_length() + 8) // 8
        return _exact.pack(self.special, exponent) + mantissa.to_bytes(size, "big", signed=True)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Exact:
        special, exponent = _exact.unpack_from(raw)
        return cls(int.from_bytes(raw[_exact.size :], "big", signed=True), exponent, special)


ZERO: Final = Exact()


@dataclass(frozen=True, slots=True)
class Total:
    """What some entries amount to.

    Attributes:
        count: how many there are.
        sum: of their numbers; an entry without a number adds nothing.
        least: the least of their numbers, None if there is none.
        greatest: the greatest.
    """

    count: int = 0
    sum: Exact = ZERO
    least: float | None = None
    greatest: float | None = None

    @classmethod
    def of(cls, numbers: Iterable[float | None]) -> Total:
        """The total of single entries by their numbers."""
        count, exact, present = 0, ZERO, []
        for number in numbers:
            count += 1
            if number is not None:
                exact += Exact.of(number)
                present.append(number)
        return cls(count, exact, _least(present), _greatest(present))

    def __add__(self, other: Total) -> Total:
        return Total(
            self.count + other.count,
            self.sum + other.sum,
            _least([each for each in (self.least, other.least) if each is not None]),
            _greatest([each for each in (self.greatest, other.greatest) if each is not None]),
        )


NOTHING: Final = Total()


def _least(numbers: list[float]) -> float | None:
    return min(numbers, key=compare_key) if numbers else None


def _greatest(numbers: list[float]) -> float | None:
    return max(numbers, key=compare_key) if numbers else None
