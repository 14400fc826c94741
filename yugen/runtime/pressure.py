"""When to refuse mutations: what cannot be answered in time is better answered at once.

With more to do than can be done, queues grow until everything in them has waited too long. So when the node has not
kept up for a while and mutations wait for long, those are refused that have not come of late, until it keeps up again:
what is run has then waited little, and nothing is left of the queue soon after there is less to do. A client that sends
many mutations at once waits for its own, one after the other, and is not refused for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 32
"""A node that has no more mutations under way keeps up: so many gather for one append to the log."""

GRACE_SECONDS: Final = 1.0
"""How long a node may fail to keep up before anything is refused."""

PATIENCE_SECONDS: Final = 1.0
"""How long a mutation may then have waited since it was received; once one has waited longer, mutations are refused."""

IMPATIENCE_SECONDS: Final = 0.25
"""How long those may have waited that are not refused then."""

_SECOND_NS: Final = 1_000_000_000


class Pressure:
    """Whether a node keeps up with its mutations.

    Args:
        clock: nanoseconds since the epoch.

    Attributes:
        refusing: whether it does not, so that some are refused.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._kept_up_at = clock()
        self.refusing = False

    def refuses(self, received_ns: int | None, under_way: int) -> bool:
        """Whether a mutation whose turn has come is to be refused.

        Args:
            received_ns: when it was received, on the clock; None if that was now.
            under_way: how many have begun and have no answer yet.
        """
        now = self._clock()
        if under_way < AT_ONCE:
            self._kept_up_at = now
            self.refusing = False
            return False
        waited = 0 if received_ns is None else now - received_ns
        if waited > PATIENCE_SECONDS * _SECOND_NS and now - self._kept_up_at > GRACE_SECONDS * _SECOND_NS:
            self.refusing = True
        return self.refusing and waited > IMPATIENCE_SECONDS * _SECOND_NS
