"""How often something may be tried: passwords and codes, and mail to be sent.

Whoever guesses is stopped by what is counted for the account, however many addresses they come from, and by what is
counted for their address, however many accounts they try. So that nobody is kept out of their own account by others
who guess, a browser that has signed in to it before is counted apart: a cookie says so (OWASP, "device cookies").
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from yugen.auth import crypto
from yugen.auth.errors import AuthError
from yugen.functions.rate_limits import Allowance, RateLimit
from yugen.networks import address_key, is_public

if TYPE_CHECKING:
    from yugen.auth.requests import AuthRequest

TRIES: Final = (
    RateLimit("auth: tries for an account", rate=10, per=timedelta(minutes=15)),
    RateLimit("auth: tries for an account a day", rate=100, per=timedelta(days=1)),
)
"""Of a password or a code, for one account (ASVS 5.0, 6.3.1; NIST SP 800-63B-4, 3.2.2)."""

TRIES_FROM: Final = RateLimit("auth: tries from an address", rate=100, per=timedelta(minutes=15))

MAIL_TO: Final = RateLimit("auth: mail to an address", rate=3, per=timedelta(minutes=15))
"""What anybody can have sent to somebody by typing their address. Their own browser is counted apart, as above."""

MAIL_FROM: Final = RateLimit("auth: mail asked for from an address", rate=20, per=timedelta(hours=1))

ANONYMOUS_FROM: Final = RateLimit("auth: anonymous users from an address", rate=60, per=timedelta(hours=1))

_KNOWN_COOKIE: Final = "yugen-known"
_KNOWN_DAYS: Final = 180
_KNOWN_MAX: Final = 5


async def mail(request: AuthRequest, email: str) -> None:
    """Counts a message that somebody has sent to an address.

    Raises:
        AuthError: there were too many.
    """
    await _take(request, MAIL_FROM, counted_address(request), "mail was sent")
    await _take(request, MAIL_TO, _key(request, email), "mail was sent to this address")


async def anonymous(request: AuthRequest) -> None:
    """Counts somebody who becomes a user without saying who they are.

    Raises:
        AuthError: there were too many.
    """
    await _take(request, ANONYMOUS_FROM, counted_address(request), "accounts were made")


async def begin(request: AuthRequest, email: str) -> None:
    """Counts an attempt at an account, before it is known whether it is right: many at once count as many.

    Args:
        request: the request.
        email: the address of the account, whether or not there is one.

    Raises:
        AuthError: there were too many.
    """
    await _take(request, TRIES_FROM, counted_address(request), "attempts were made")
    for limit in TRIES:
        await _take(request, limit, _key(request, email), "attempts were made")


async def succeeded(request: AuthRequest, email: str) -> None:
    """Forgets attempts at an account, and has this browser be known to it from now on."""
    for limit in TRIES:
        await limit.reset(request.ctx, _key(request, email))
    nonce, accounts = _known(request)
    own = _name(request, email)
    kept = [own, *(each for each in accounts if each != own)][:_KNOWN_MAX]
    expires = request.ctx.now + _KNOWN_DAYS * 86_400_000
    request.set_cookie(_KNOWN_COOKIE, ".".join([nonce or crypto.new_token(), *kept]), expires)


def counted_address(request: AuthRequest) -> str | None:
    """Whom attempts are counted for that come from one address; None for one that is not counted.

    Those of networks of one's own are not: they are of a proxy that nobody has named, behind which is everybody.
    """
    host = request.address or ""
    return address_key(host) if is_public(host) else None


def _key(request: AuthRequest, email: str) -> tuple[str, ...]:
    nonce, accounts = _known(request)
    return (email, nonce) if nonce is not None and _name(request, email) in accounts else (email,)


def _known(request: AuthRequest) -> tuple[str | None, list[str]]:
    """What tells this browser from others, and the accounts that it has signed in to."""
    held = request.cookie(_KNOWN_COOKIE)
    nonce, *accounts = (held or "").split(".")
    return nonce or None, accounts


def _name(request: AuthRequest, email: str) -> str:
    return request.digest("known", email)[:24]


async def _take(request: AuthRequest, limit: RateLimit, key: str | tuple[str, ...] | None, what: str) -> None:
    if key is None:
        return
    allowance = await limit.try_take(request.ctx, key)
    if not allowance:
        raise _too_many(allowance, what)


def _too_many(allowance: Allowance, what: str) -> AuthError:
    minutes = max(1, round(allowance.retry_after / 60_000))
    again = "a minute" if minutes == 1 else f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
    return AuthError("TooManyAttempts", f"Too many {what}; wait {again}.", 429, retryAfter=allowance.retry_after)
