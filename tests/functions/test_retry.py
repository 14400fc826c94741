"""How long is waited before what has failed is tried again."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.functions.retry import ATTEMPTS_MAX, FACTOR_MAX, InvalidRetry, Retry

seconds = st.floats(0, 1e9)


def test_waits_grow_up_to_the_longest() -> None:
    retry = Retry(attempts=6, first=10, factor=3, longest=100)
    assert [retry.seconds_after(attempts) for attempts in range(1, 7)] == [10, 30, 90, 100, 100, None]
    assert Retry.ONCE.seconds_after(1) is None


@given(
    retry=st.builds(
        Retry, attempts=st.integers(1, ATTEMPTS_MAX), first=seconds, factor=st.floats(1, FACTOR_MAX), longest=seconds
    )
)
def test_each_wait_is_a_number_and_no_shorter_than_the_one_before(retry: Retry) -> None:
    waits = [retry.seconds_after(attempts) for attempts in range(1, retry.attempts)]
    numbers = [wait for wait in waits if wait is not None]
    assert len(numbers) == len(waits)
    assert numbers == sorted(numbers)
    assert all(0 <= wait <= retry.longest for wait in numbers)
    assert retry.seconds_after(retry.attempts) is None
    assert Retry.from_data(retry.to_data()) == retry


@pytest.mark.parametrize(
    ("figures", "error"),
    [
        ({"attempts": 0}, "`attempts` is 0; give from 1 to 100"),
        ({"attempts": 101}, "`attempts` is 101"),
        ({"attempts": 2.5}, "`attempts` is 2.5"),
        ({"attempts": True}, "`attempts` must be a number and not True"),
        ({"first": -1}, "`first` and `longest` are seconds"),
        ({"longest": -1}, "`first` and `longest` are seconds"),
        ({"first": math.nan}, "`first` must be a number and not nan"),
        ({"first": "1"}, "`first` must be a number and not '1'"),
        ({"factor": 0.5}, "`factor` is 0.5; give from 1 to 100"),
    ],
)
def test_figures_that_make_no_sense(figures: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidRetry, match=error):
        Retry(**figures)
