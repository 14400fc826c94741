from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from yugen_client.backoff import backoff_seconds


class Highest(Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def test_it_doubles_from_a_tenth_of_a_second_to_sixteen() -> None:
    delays = [backoff_seconds(attempt, Highest()) for attempt in range(10)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 16.0, 16.0]


@given(st.integers(0, 10**9), st.randoms(use_true_random=False))
def test_the_jitter_takes_at_most_half(attempt: int, rng: Random) -> None:
    longest = backoff_seconds(attempt, Highest())
    assert longest / 2 <= backoff_seconds(attempt, rng) <= longest <= 16
