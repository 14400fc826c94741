"""How often something may happen: token buckets and fixed windows, without a clock and in whole numbers.

A state says what has been taken, and since when that is so. Time is milliseconds of whatever clock its owner has.
Nothing is rounded: in a bucket one token is `per_ms` units, and `rate` units come back in a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Kind = Literal["token bucket", "fixed window"]

CLOCK_SET_MS: Final = 60_000
"""A state that is from so much later than now was noted by a clock that has been set back since, and says nothing."""


class State(NamedTuple):
    """What has been taken.

    Attributes:
        used: units, of which a token has `Rate.unit`.
        since: a bucket's: the time at which that was so. A window's: its beginning.
    """

    used: int
    since: int


class Taken(NamedTuple):
    """What comes of taking.

    Attributes:
        state: what is so now; where nothing was taken, as it was.
        left: whole tokens that are left.
        wait_ms: 0 if they were taken, else after how many milliseconds they could be, if nobody else takes any.
    """

    state: State
    left: int
    wait_ms: int


@dataclass(frozen=True, slots=True)
class Rate:
    """So many tokens in so much time.

    Attributes:
        kind: `token bucket`, which fills evenly, or `fixed window`, in which all tokens come back at its end. A window
            begins with the first token that is taken after the end of the one before.
        rate: tokens that come back in `per_ms`.
        per_ms: milliseconds.
        burst: tokens that are there at most.
    """

    kind: Kind
    rate: int
    per_ms: int
    burst: int

    @property
    def unit(self) -> int:
        """Units of one token."""
        return self.per_ms if self.kind == "token bucket" else 1

    @property
    def capacity(self) -> int:
        """Units that are there at most."""
        return self.burst * self.unit

    def take(self, state: State | None, now: int, count: int) -> Taken:
        """Takes tokens, all or none; 0 only looks. No state is one from which nothing is taken."""
        used, since = self._settled(state, now)
        over = used + count * self.unit - self.capacity
        if over <= 0:
            return Taken(State(used + count * self.unit, since), -over // self.unit, 0)
        wait_ms = -(-over // self.rate) if self.kind == "token bucket" else self.per_ms
        return Taken(State(used, since), (self.capacity - used) // self.unit, since + wait_ms - now)

    def full_at(self, state: State) -> int:
        """When all is there again, so that the state says nothing any more."""
        return state.since + (-(-state.used // self.rate) if self.kind == "token bucket" else self.per_ms)

    def share(self, shards: int) -> Rate:
        """That of one of so many parts, of which `burst` and a window's `rate` are multiples."""
        if self.kind == "token bucket":
            return Rate(self.kind, self.rate, self.per_ms * shards, self.burst // shards)
        return Rate(self.kind, self.rate // shards, self.per_ms, self.burst // shards)

    def _settled(self, state: State | None, now: int) -> State:
        """What is left of a state by now."""
        if state is None or state.since > now + CLOCK_SET_MS:
            return State(0, now)
        used, since = min(state.used, self.capacity), state.since  # it may be of a rate that was larger
        if self.kind == "fixed window":
            return State(0, now) if now >= since + self.per_ms else State(used, since)
        # Transactions are not in the order of their clocks. What has come back once does not come back again.
        return State(max(0, used - max(0, now - since) * self.rate), max(now, since))
