"""`RateLimit`: how often something may be done, counted in the database with the transaction that does it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from yugen.errors import Refused, YugenError
from yugen.functions.context import ActionCtx, MutationCtx, QueryCtx
from yugen.identity import Identity
from yugen.ids import INTERNAL_SIZE
from yugen.rates import Kind, Rate

if TYPE_CHECKING:
    from yugen.schema import Id

Key: TypeAlias = "str | Id[Any] | Identity | tuple[str, ...] | None"
"""Whom a limit is for: a text or an id, who calls, several texts together, or None for one for all."""

SHARDS_MAX: Final = 64

_EXACT_MAX: Final = 2**53
"""Whole numbers beyond this are not exact in a document."""


class InvalidRateLimit(Refused):
    """A limit that cannot be, or one that is used as it cannot be."""

    code = "InvalidRateLimit"


class RateLimited(YugenError):
    """It has been done too often. Clients get the data: `{"code": "RateLimited", "name": ..., "retryAfter": ...}`.

    Raised again by a function that an action calls, it is a `YugenError` with this data.

    Attributes:
        name: of the limit.
        retry_after: milliseconds after which it may be done again, if nobody else does it first.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__({"code": "RateLimited", "name": name, "retryAfter": float(retry_after)})
        self.name = name
        self.retry_after = float(retry_after)


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether something may be done; true and false in a condition.

    Attributes:
        ok: whether it may.
        retry_after: milliseconds after which it may, 0 if it may now.
        retry_at: the same as milliseconds since the epoch, for a query, whose answer may be older than its reader.
        remaining: how many tokens there are at least; after taking, those that are left.
    """

    ok: bool
    retry_after: float
    retry_at: float
    remaining: int

    def __bool__(self) -> bool:
        return self.ok


class RateLimit:
    """A limit as a token bucket: `sends = RateLimit("sends", rate=10, per=timedelta(minutes=1), burst=20)`.

    A bucket has up to `burst` tokens, and `rate` of them come back in the time `per`, evenly. Each key has a bucket of
    its own. In any time t no more than `burst + rate * t / per` are taken.

    Args:
        name: tells this limit from others; those of one name and kind count as one.
        rate: how many in the time `per`, a whole number.
        per: the time, a `timedelta` or seconds, to the millisecond.
        burst: how many at once after a pause; as many as `rate` by default.
        shards: rows among which each key is divided, so that those who take at the same time do not wait for one
            another. What is allowed stays the same, but for one call, which may take `burst / shards`.

    Raises:
        InvalidRateLimit: it cannot be so.
    """

    def __init__(
        self, name: str, *, rate: int, per: timedelta | float, burst: int | None = None, shards: int = 1
    ) -> None:
        self._set_up(name, "token bucket", rate, per, rate if burst is None else burst, shards)

    @classmethod
    def fixed(cls, name: str, *, rate: int, per: timedelta | float, shards: int = 1) -> Self:
        """A limit as a fixed window: `rate` times within `per`, which begins when one is taken and none is open.

        At the end of a window all come back at once, so that twice as many may be taken within a short time around it.
        """
        limit = cls.__new__(cls)
        limit._set_up(name, "fixed window", rate, per, rate, shards)
        return limit

    def _set_up(self, name: str, kind: Kind, rate: int, per: timedelta | float, burst: int, shards: int) -> None:
        if not (isinstance(name, str) and name):  # type: ignore[redundant-expr]
            raise InvalidRateLimit(f"The name of a rate limit is a text, not {name!r}.")
        for argument, value in {"rate": rate, "burst": burst, "shards": shards}.items():
            if type(value) is not int or value < 1:
                more = "; for one in two minutes, give rate=1 and twice the time" if argument == "rate" else ""
                raise InvalidRateLimit(
                    f"RateLimit {name}: {argument} is a whole number from 1 up, not {value!r}{more}."
                )
        if shards > SHARDS_MAX or burst % shards or (kind == "fixed window" and rate % shards):
            raise InvalidRateLimit(
                f"RateLimit {name}: {burst} cannot be divided evenly among {shards} shards; give up to {SHARDS_MAX}, "
                "and a multiple of them."
            )
        self.name = name
        self.rate = Rate(kind, rate, _milliseconds(name, per), burst)
        self.shards = shards
        if self.rate.share(shards).capacity > _EXACT_MAX:
            raise InvalidRateLimit(
                f"RateLimit {name}: {burst} in {per} cannot be counted exactly; give smaller figures."
            )

    def __repr__(self) -> str:
        rate = self.rate
        return f"<rate limit {self.name}: {rate.kind}, {rate.rate} per {timedelta(milliseconds=rate.per_ms)}>"

    async def take(self, ctx: MutationCtx | ActionCtx, key: Key = None, *, count: int = 1) -> None:
        """Counts something that is done now.

        In a mutation it counts when that commits: if the mutation fails, by whatever error, nothing has been taken.
        In an action it is a transaction of its own, and counts at once.

        Args:
            ctx: the context.
            key: whom it counts for.
            count: how much it is.

        Raises:
            RateLimited: that would be too much; nothing was taken.
            InvalidRateLimit: it is a query's context, or the key or the count cannot be.
        """
        allowance = await self.try_take(ctx, key, count=count)
        if not allowance:
            raise RateLimited(self.name, allowance.retry_after)

    async def try_take(self, ctx: MutationCtx | ActionCtx, key: Key = None, *, count: int = 1) -> Allowance:
        """As `take`, for a function that goes on either way: `if not await limit.try_take(ctx, key): ...`."""
        _check_changes(ctx, "take")
        return Allowance(**await ctx.run_mutation("_system/rate_limits:take", **self._arguments(key, count)))

    async def check(self, ctx: QueryCtx | ActionCtx, key: Key = None, *, count: int = 1) -> Allowance:
        """Whether it could be taken now, without taking it.

        A subscribed query that asks this runs again whenever somebody takes of this key. It does not when time passes:
        show the client `retry_at`.

        Raises:
            InvalidRateLimit: the key or the count cannot be.
        """
        return Allowance(**await ctx.run_query("_system/rate_limits:check", **self._arguments(key, count)))

    async def reset(self, ctx: MutationCtx | ActionCtx, key: Key = None) -> None:
        """Gives a key everything back, for example after a successful sign-in.

        Raises:
            InvalidRateLimit: it is a query's context, or the key cannot be.
        """
        _check_changes(ctx, "reset")
        await ctx.run_mutation("_system/rate_limits:reset", bucket=self._bucket(key), shards=self.shards)

    def _arguments(self, key: Key, count: int) -> dict[str, Any]:
        most = self.rate.burst // self.shards
        if type(count) is not int or not 0 < count <= most:
            raise InvalidRateLimit(f"RateLimit {self.name}: one call may take from 1 to {most}, not {count!r}.")
        rate = self.rate
        figures = {"kind": rate.kind, "rate": rate.rate, "per": rate.per_ms, "burst": rate.burst}
        return {"bucket": self._bucket(key), **figures, "shards": self.shards, "count": count}

    def _bucket(self, key: Key) -> str:
        """What the rows of a key are called. The key itself, which may be an address or be long, is not stored."""
        parts: tuple[object, ...] = key if isinstance(key, tuple) else () if key is None else (key,)
        if isinstance(key, Identity):
            parts = (key.token_identifier,)
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) < len(parts):
            raise InvalidRateLimit(
                f"RateLimit {self.name}: a key is a text, an id, an Identity, a tuple of texts, or None for one for "
                f"all, and not {str(key)[:100]}."
            )
        digest = blake2b(digest_size=INTERNAL_SIZE)
        for part in (self.rate.kind, self.name, *texts):
            text = part.encode("utf-8", "surrogatepass")
            digest.update(len(text).to_bytes(8, "big") + text)  # the size first, or ("ab", "c") would be ("a", "bc")
        return digest.hexdigest()


def _check_changes(ctx: object, what: str) -> None:
    if not isinstance(ctx, MutationCtx | ActionCtx):
        raise InvalidRateLimit(f"{what} changes what is counted, and a query changes nothing; `check` in a query.")


def _milliseconds(name: str, per: timedelta | float) -> int:
    if isinstance(per, timedelta):
        ms = per / timedelta(milliseconds=1)
    else:
        ms = per * 1000.0 if type(per) in (int, float) else math.nan
    if not 1 <= ms < _EXACT_MAX:
        raise InvalidRateLimit(f"RateLimit {name}: per is a time such as timedelta(minutes=1), not {per!r}.")
    return round(ms)
