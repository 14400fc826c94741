"""Who a client says it is, and for how long a token says it is good."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

REFRESH_BEFORE_SECONDS: Final = 10.0
"""How long before its end a token is replaced; one that does not live much longer, after half its life."""

LIFETIME_SECONDS_MIN: Final = 2.0
"""A token that lives no longer is not worth replacing ahead of time; the server will refuse it soon enough."""


@dataclass(frozen=True, slots=True)
class AdminAuth:
    """The key of an administrator, who may call internal functions too.

    Attributes:
        key: The admin key of the deployment.
        acting_as: The user to be, for functions that ask: `{"issuer": ..., "subject": ...}` and any other claims.
    """

    key: str
    acting_as: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        return f"AdminAuth(key=..., acting_as={self.acting_as!r})"


Token: TypeAlias = str | AdminAuth | None
"""Whom a connection speaks for; None for nobody."""


def refresh_seconds(token: Token, *, fresh: bool, now: float) -> float | None:
    """In how many seconds to replace a token, 0 for at once; None if it does not say when it ends.

    A token that was just made lives as long as it says, whatever the clocks are. Of one out of a cache, only the time
    of its end counts, and the clock of this machine.

    Args:
        token: A JSON Web Token, or anything else.
        fresh: Whether it was made just now.
        now: The Unix time, in seconds.
    """
    claims = _claims(token) if isinstance(token, str) else {}
    issued, ends = _time(claims, "iat"), _time(claims, "exp")
    if ends is None or (issued is not None and ends - issued <= LIFETIME_SECONDS_MIN):
        return None
    left = ends - issued if fresh and issued is not None else ends - now
    if left <= 0:
        return None if fresh else 0.0  # asking again and again would bring no better one
    return max(left - REFRESH_BEFORE_SECONDS, left / 2)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _claims(token: str) -> dict[str, Any]:
    """What a token says. Nothing is verified: that is the server's part."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
