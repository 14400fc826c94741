"""The keys of a provider, fetched when they are needed and kept for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from yugen import values
from yugen.fetch import Fetched, FetchFailed
from yugen.functions.providers import JwtProvider, OidcProvider, OutsideProvider, full_issuer, inline_keys
from yugen.runtime.meters import Outcomes
from yugen.server.caller import ProviderUnavailable
from yugen.signatures import Malformed, PublicKey, read_keys

FRESH_SECONDS = 600.0
"""How long a document is taken for true when it does not say."""

FRESH_SECONDS_MIN = 60.0
FRESH_SECONDS_MAX = 3600.0
"""The bounds of what a document may say: a key that is taken back is out of use after that."""

STALE_SECONDS_MAX = 24 * 3600.0
"""How long keys are used on when newer ones cannot be had."""

RETRY_SECONDS = 10.0
"""How long a provider that could not be reached is left alone."""

SEARCH_SECONDS = 60.0
"""How often keys may be fetched only because a token names one that is not there: anyone can make up such a token."""

logger = logging.getLogger(__name__)


class Fetch(Protocol):
    """Fetches a document; see `yugen.fetch`."""

    async def __call__(self, url: str, *, configured: str) -> Fetched: ...


@dataclass(frozen=True, slots=True)
class KeySet:
    """What a provider has published.

    Attributes:
        issuer: what it calls itself; None if its key set is all there is.
        keys: its keys that can be used here.
    """

    issuer: str | None
    keys: tuple[PublicKey, ...]

    def named(self, kid: str | None) -> tuple[PublicKey, ...]:
        """The keys of this name; all of them for a token that names none."""
        return self.keys if kid is None else tuple(key for key in self.keys if key.kid == kid)


@dataclass(frozen=True, slots=True)
class _Discovery:
    """What an OpenID provider says of itself, and until when it stands."""

    issuer: str
    jwks_uri: str
    fresh_until: float


class ProviderKeys:
    """The keys of one provider.

    Whoever needs a document that is being fetched waits for the same fetch, which goes on when they give up.

    Args:
        provider: whose.
        fetch: fetches a document.
        now: seconds of a clock that never goes back.
        fetches: counts how often keys were asked for.
    """

    def __init__(
        self, provider: OutsideProvider, fetch: Fetch, now: Callable[[], float], fetches: Outcomes | None = None
    ) -> None:
        self._counts = fetches or Outcomes()
        self._provider = provider
        self._fetch = fetch
        self._now = now
        self._fetching: asyncio.Task[None] | None = None
        self._fetches = 0
        self._failed = False
        self._discovery: _Discovery | None = None
        self._key_set: KeySet | None = None
        self._fetched_at = self._fresh_until = self._retry_at = self._search_at = float("-inf")
        if isinstance(provider, JwtProvider) and provider.jwks.startswith("data:"):
            self._key_set = KeySet(None, read_keys(inline_keys(provider.jwks)))
            self._fetched_at = self._fresh_until = self._search_at = float("inf")

    async def find(self, kid: str | None) -> KeySet:
        """The keys of the provider, new enough to have one of this name if there is one.

        Raises:
            ProviderUnavailable: there are none, or none of this name, and newer ones cannot be had now.
        """
        asked_at, fetches = self._now(), self._fetches
        if asked_at >= self._fresh_until:
            await self._refresh()
        key_set = self._usable()
        if key_set.named(kid):
            return key_set
        # A new key, or one that somebody has made up.
        if self._fetching is not None or (fetches == self._fetches and asked_at >= self._search_at):
            await self._refresh()
            key_set = self._usable()
        if fetches != self._fetches:
            self._search_at = max(self._search_at, asked_at + SEARCH_SECONDS)
        if self._failed and not key_set.named(kid):
            raise _unavailable(self._provider)
        return key_set

    async def close(self) -> None:
        """Gives up a fetch that is under way."""
        fetching = self._fetching
        if fetching is not None:
            fetching.cancel()
            await asyncio.wait([fetching])

    def _usable(self) -> KeySet:
        if self._key_set is None or self._now() - self._fetched_at > STALE_SECONDS_MAX:
            raise _unavailable(self._provider)
        return self._key_set

    async def _refresh(self) -> None:
        """Waits for newer keys, or until it is known that there are none to be had."""
        if self._fetching is None:
            if self._now() < self._retry_at:
                return
            self._fetching = asyncio.create_task(self._renew())
        await asyncio.shield(self._fetching)

    async def _renew(self) -> None:
        try:
            await self._fetch_keys()
            self._failed = False
            self._counts.ok += 1
        except (FetchFailed, Malformed) as error:
            self._failed = True
            self._counts.failed += 1
            self._retry_at = self._now() + RETRY_SECONDS
            logger.warning("the keys of %s cannot be had: %s", self._provider.issuer, error)
        finally:
            self._fetches += 1
            self._fetching = None

    async def _fetch_keys(self) -> None:
        provider = self._provider
        issuer: str | None = None
        if isinstance(provider, OidcProvider):
            discovery = await self._discovered(provider)
            issuer, url = discovery.issuer, discovery.jwks_uri
            fetched = await self._fetch(url, configured=full_issuer(provider.issuer))
        else:
            url = provider.jwks
            fetched = await self._fetch(url, configured=url)
        try:
            self._key_set = KeySet(issuer, read_keys(fetched.body))
        except Malformed as error:
            raise Malformed(f"{url[:200]!r} {error}") from None
        self._fetched_at = self._now()
        self._fresh_until = self._fetched_at + _fresh_seconds(fetched)

    async def _discovered(self, provider: OidcProvider) -> _Discovery:
        if self._discovery is not None and self._now() < self._discovery.fresh_until:
            return self._discovery
        url = f"{full_issuer(provider.issuer)}/.well-known/openid-configuration"
        fetched = await self._fetch(url, configured=url)
        try:
            document = values.parse_json(fetched.body)
        except values.InvalidValue:
            document = None
        match document:
            case {"issuer": str(issuer), "jwks_uri": str(jwks_uri)}:
                pass
            case _:
                raise Malformed(f"{url!r} is no OpenID Connect discovery document")
        if full_issuer(issuer) != full_issuer(provider.issuer):
            raise Malformed(f"{url!r} is about another issuer, {issuer[:200]!r}")
        self._discovery = _Discovery(issuer, jwks_uri, self._now() + _fresh_seconds(fetched))
        return self._discovery


def _fresh_seconds(fetched: Fetched) -> float:
    if fetched.max_age is None:
        return FRESH_SECONDS
    return min(max(fetched.max_age, FRESH_SECONDS_MIN), FRESH_SECONDS_MAX)


def _unavailable(provider: OutsideProvider) -> ProviderUnavailable:
    return ProviderUnavailable(f"The keys of {provider.issuer} cannot be had now; try again in a moment.")
