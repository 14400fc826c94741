"""How far back anybody may read: what was the newest timestamp at moments of the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from yugen.storage.interface import Timestamp

PAST_SECONDS = 30
"""How long what was the newest timestamp can still be read at by anyone (protocol.md 3.1)."""

_SECOND_NS: Final = 1_000_000_000
_STEP_NS: Final = _SECOND_NS
"""Moments are remembered that far apart."""


class Past:
    """What was the newest timestamp at moments, of which the first is at least `PAST_SECONDS` ago, or the beginning.

    Args:
        clock: nanoseconds since the epoch.
        ts: what is the newest timestamp as it begins.
    """

    def __init__(self, clock: Callable[[], int], ts: Timestamp) -> None:
        self._clock = clock
        self._moments: deque[tuple[int, Timestamp]] = deque([(clock(), ts)])  # the earliest first

    @property
    def earliest(self) -> Timestamp:
        """The timestamp to which it reaches back."""
        self._forget()
        return self._moments[0][1]

    def remember(self, ts: Timestamp) -> None:
        """Notes what has been the newest timestamp up to now, from time to time."""
        now = self._clock()
        if now - self._moments[-1][0] > _STEP_NS:
            self._moments.append((now, ts))
            self._forget()

    def _forget(self) -> None:
        since = self._clock() - PAST_SECONDS * _SECOND_NS
        while len(self._moments) > 1 and self._moments[1][0] < since:
            self._moments.popleft()
