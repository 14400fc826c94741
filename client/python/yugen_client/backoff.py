"""How long to wait before connecting again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

FIRST_SECONDS: Final = 0.1
MAX_SECONDS: Final = 16.0
_DOUBLINGS_MAX: Final = 8  # 0.1 s doubled eight times is past the maximum; more would only overflow


def backoff_seconds(attempt: int, rng: Random) -> float:
    """The delay before reconnect `attempt`, counted from 0: doubling from 100 ms up to 16 s.

    The jitter takes up to half of it away, so that clients which lost one server do not come back as one crowd.
    """
    longest = min(FIRST_SECONDS * 2.0 ** min(attempt, _DOUBLINGS_MAX), MAX_SECONDS)
    return longest * rng.uniform(0.5, 1.0)
