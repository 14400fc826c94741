"""Totals are exact, whatever they were put together from and in which order."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen import values
from yugen.totals import NOTHING, Exact, Total

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def exact(numbers: list[float]) -> Exact:
    total = Exact()
    for number in numbers:
        total += Exact.of(number)
    return total


@given(st.lists(FINITE), st.randoms(use_true_random=False))
def test_a_sum_is_the_exact_one_rounded_once(numbers: list[float], dice: object) -> None:
    expected = sum(map(Fraction, numbers), Fraction())
    try:
        wanted = float(expected)
    except OverflowError:
        wanted = math.inf if expected > 0 else -math.inf
    dice.shuffle(numbers)  # type: ignore[attr-defined]
    assert float(exact(numbers)) == wanted
    assert float(exact([*numbers, *(-number for number in numbers)])) == 0.0


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([math.inf, 1.0], math.inf),
        ([-math.inf, 1.0], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.nan, 1.0], math.nan),
        ([1e308, 1e308], math.inf),
        ([0.1] * 10, 1.0),
        ([5e-324, 5e-324], 1e-323),
        ([-0.0], 0.0),
        ([], 0.0),
    ],
)
def test_what_is_not_finite_and_what_is_too_large(numbers: list[float], expected: float) -> None:
    result = float(exact(numbers))
    assert result == expected or (math.isnan(result) and math.isnan(expected))


@given(st.lists(st.floats(allow_nan=False), max_size=8))
def test_a_sum_survives_storage(numbers: list[float]) -> None:
    total = exact(numbers)
    back = Exact.from_bytes(total.to_bytes())
    assert repr(float(back)) == repr(float(total))
    assert len(total.to_bytes()) < 300


@given(st.lists(st.lists(st.none() | st.floats())))
def test_parts_make_up_the_whole(parts: list[list[float | None]]) -> None:
    together = NOTHING
    for part in parts:
        together += Total.of(part)
    everything = [number for part in parts for number in part]
    whole = Total.of(everything)
    assert together.count == whole.count == len(everything)
    assert repr(float(together.sum)) == repr(float(whole.sum))
    present = sorted((number for number in everything if number is not None), key=values.compare_key)
    for total in (together, whole):
        assert repr(total.least) == repr(present[0] if present else None)
        assert repr(total.greatest) == repr(present[-1] if present else None)
