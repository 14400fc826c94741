"""Verifying the tokens of users.

Whom to ask about a token is decided by what the token says of itself; whether that is true, by what `auth.py` and the
provider's keys say. What this loads, cryptography and an HTTP client, only servers of apps with providers need.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, assert_never

from yugen.errors import TokenRejected
from yugen.fetch import Fetcher
from yugen.functions.providers import JwtProvider, OidcProvider, OutsideProvider, full_issuer
from yugen.identity import Identity
from yugen.runtime.meters import Outcomes
from yugen.server.caller import NoAuthProvider, Verified
from yugen.server.jwks import Fetch, ProviderKeys
from yugen.signatures import Algorithm, Malformed, UnverifiedToken, read_token

LEEWAY_SECONDS = 5.0
"""How far the clocks of a provider and of this machine may be apart."""

PASSING_CLAIMS = frozenset(
    {
        # When this token was made and is good, and its number (RFC 7519, section 4.1).
        *("iat", "exp", "nbf", "jti"),
        # What ties an OpenID Connect token to the one request or answer it came with.
        *("nonce", "at_hash", "c_hash", "s_hash"),
        # The age in minutes of what a user of Clerk has proven.
        "fva",
        # The number of a Microsoft Entra token, and an inner state of Entra's.
        *("uti", "aio"),
    }
)
"""Claims that change with each token. An identity has none of them: queries are cached by it, and a client that renews
its token would have every query run again."""


class TokenVerifier:
    """Tells who tokens belong to.

    Args:
        providers: who may issue them; the first that fits counts.
        fetch: fetches what providers publish.
        now: seconds since the epoch.
        monotonic: seconds of a clock that never goes back.
        fetches: counts how often keys were asked for.
    """

    def __init__(
        self,
        providers: Sequence[OutsideProvider],
        *,
        fetch: Fetch | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        fetches: Outcomes | None = None,
    ) -> None:
        fetch = fetch or Fetcher()
        self._providers = [(provider, ProviderKeys(provider, fetch, monotonic, fetches)) for provider in providers]
        self._now = now

    async def verify(self, token: str) -> Verified:
        """Who a token belongs to.

        Raises:
            TokenRejected: it is not good.
            ProviderUnavailable: the keys of its provider cannot be had now.
        """
        try:
            unverified = read_token(token)
        except Malformed as error:
            raise TokenRejected(f"The token {error}; get one from your auth provider.") from None
        claims = unverified.claims
        provider, keys = self._provider_of(claims)
        # All that can be wrong with it as it is comes first, so that nothing is fetched for a token without hope.
        _check_header(provider, unverified)
        expires_at = self._check_claims(provider, claims)
        key_set = await keys.find(unverified.kid)
        if not any(unverified.is_signed_with(key) for key in key_set.named(unverified.kid)):
            raise TokenRejected("The token is not signed with a key of its issuer; get another.")
        if key_set.issuer not in (None, claims["iss"]):
            raise TokenRejected("The token does not spell its issuer (`iss`) as its provider does; get another.")
        return Verified(Identity.of(claims["iss"], claims["sub"], lasting_claims(claims)), expires_at)

    async def close(self) -> None:
        """Gives up fetches that are under way."""
        await asyncio.gather(*(keys.close() for _, keys in self._providers))

    def _provider_of(self, claims: dict[str, Any]) -> tuple[OutsideProvider, ProviderKeys]:
        """The provider of a token by its issuer and audience, which nobody vouches for yet."""
        issuer, audiences = claims.get("iss"), _audiences(claims)
        if isinstance(issuer, str):
            for provider, keys in self._providers:
                if full_issuer(provider.issuer) == full_issuer(issuer) and provider.audience in (None, *audiences):
                    return provider, keys
        raise NoAuthProvider("No provider in auth.py has the issuer (`iss`) and an audience (`aud`) of the token.")

    def _check_claims(self, provider: OutsideProvider, claims: dict[str, Any]) -> float:
        """Refuses a token for what it says; returns until when it is good."""
        if isinstance(provider, OidcProvider) and claims["aud"] not in (provider.audience, [provider.audience]):
            raise TokenRejected("The token has several audiences (`aud`), and may have only the one in auth.py.")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise TokenRejected("The token does not say whose it is (`sub`); get another.")
        _time(claims, "iat", required=isinstance(provider, OidcProvider))
        return check_times(claims, self._now())


def lasting_claims(claims: dict[str, Any]) -> dict[str, Any]:
    """The claims that are those of the user, and not of this one token."""
    return {name: value for name, value in claims.items() if name not in PASSING_CLAIMS}


def check_times(claims: dict[str, Any], now: float) -> float:
    """Refuses claims that are good no more, or not yet; returns until when they are.

    Args:
        claims: of the token.
        now: what time it is, in seconds since the epoch.

    Raises:
        TokenRejected: they are not good now.
    """
    expires_at = _time(claims, "exp", required=True)
    not_before = _time(claims, "nbf")
    if now >= expires_at + LEEWAY_SECONDS:
        raise TokenRejected("The token has expired; get another.")
    if now < not_before - LEEWAY_SECONDS:
        raise TokenRejected("The token is not good yet (`nbf`); see whether the clocks are right.")
    return expires_at


def _check_header(provider: OutsideProvider, token: UnverifiedToken) -> None:
    """Refuses what cannot be a token of the provider, before any key is fetched for it."""
    algorithms: tuple[Algorithm, ...]
    match provider:
        case OidcProvider():
            algorithms = ("RS256", "EdDSA")
        case JwtProvider():
            algorithms = (provider.algorithm,)
            if not token.kid:
                raise TokenRejected("The token does not say which key has signed it (`kid`); get another.")
        case _:
            assert_never(provider)
    if token.algorithm not in algorithms:
        raise TokenRejected(f"The token is not signed by the algorithm of its provider, {' or '.join(algorithms)}.")


def _audiences(claims: dict[str, Any]) -> list[str]:
    """Whom a token is meant for."""
    audience = claims.get("aud")
    given = audience if isinstance(audience, list) else [audience]
    return [each for each in given if isinstance(each, str)]


def _time(claims: dict[str, Any], name: str, *, required: bool = False) -> float:
    """A point in time among the claims; the beginning of all where there is none."""
    time = claims.get(name)
    if name not in claims and not required:
        return -math.inf
    if not isinstance(time, int | float) or isinstance(time, bool) or not math.isfinite(time):
        raise TokenRejected(f"The token has no time as `{name}`; get another.")
    return float(time)
