"""Verifying tokens that the app's own sign-in has issued, and keys it has given out: whose they are, while they are.

The app's queries say what the database knows. Their answers are kept and end by commits, as those of any other query,
so that asking again costs little, and a session that is revoked is so at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from yugen import values
from yugen.errors import TokenRejected
from yugen.functions.providers import OwnProvider
from yugen.identity import Identity
from yugen.runtime.outcome import Answer
from yugen.runtime.own import CallRefused, value_of
from yugen.runtime.runner import Overloaded
from yugen.server.caller import ProviderUnavailable, Standing, Verified, Verifier
from yugen.server.tokens import check_times, lasting_claims
from yugen.signatures import Malformed, PublicKey, read_keys, read_token
from yugen.storage.interface import StorageError

ALGORITHM: Final = "RS256"

Ask = Callable[[Standing], Awaitable[Answer]]
"""Gives the answer of an internal query as it is now."""

_KEY_SIZE_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class OwnTokens:
    """Verifies what the app itself has given out, and leaves everything else to another verifier.

    Args:
        provider: which queries to ask.
        issuer: gives the address that the app's tokens name as their issuer.
        ask: asks them.
        others: verifies the tokens of others, if the app trusts any.
    """

    provider: OwnProvider
    issuer: Callable[[], str]
    ask: Ask
    others: Verifier | None

    async def verify(self, token: str) -> Verified:
        """Who a token or a key belongs to.

        Raises:
            TokenRejected: it is not good.
            ProviderUnavailable: that cannot be told now.
        """
        for prefix, query in self.provider.keys:
            if token.startswith(prefix):
                return await self._verify_key(token, query)
        try:
            unverified = read_token(token)
        except Malformed as error:
            raise TokenRejected(f"The token {error}; sign in again.") from None
        claims = unverified.claims
        if claims.get("iss") != self.issuer():
            if self.others is not None:
                return await self.others.verify(token)
            raise TokenRejected("The token is not from this deployment; sign in again.")
        session, subject = claims.get("sid"), claims.get("sub")
        if claims.get("aud") != self.provider.audience or not isinstance(session, str) or not isinstance(subject, str):
            raise TokenRejected("The token is not one for this deployment; sign in again.")
        if unverified.algorithm != ALGORITHM or not unverified.kid:
            raise TokenRejected(f"The token is not signed by the algorithm of this deployment, {ALGORITHM}.")
        expires_at = check_times(claims, time.time())
        keys = _keys(await self._value(Standing(self.provider.key_set, b"{}")))
        if not any(unverified.is_signed_with(key) for key in keys if key.kid == unverified.kid):
            raise TokenRejected("The token is not signed with a key of this deployment; sign in again.")
        standing = Standing(self.provider.standing, values.canonical({"session": session}))
        if not await self._value(standing):
            raise TokenRejected("The session has ended; sign in again.")
        return Verified(Identity.of(self.issuer(), subject, lasting_claims(claims)), expires_at, standing)

    async def close(self) -> None:
        """Gives up what others still wait for."""
        if self.others is not None:
            await self.others.close()

    async def _verify_key(self, key: str, query: str) -> Verified:
        # Only its hash is stored, and what is hashed first cannot be compared bit by bit.
        digest = hashlib.sha256(key[:_KEY_SIZE_MAX].encode(errors="surrogatepass")).hexdigest()
        standing = Standing(query, values.canonical({"hash": digest}))
        found = await self._value(standing)
        if found is None:
            raise TokenRejected("The key is not one of this deployment, or not any more; make another.")
        expires = found["expires"]
        if expires is not None and expires <= time.time() * 1000:
            raise TokenRejected("The key has expired; make another.")
        identity = Identity.of(self.issuer(), found["subject"], found["claims"])
        return Verified(identity, float("inf") if expires is None else expires / 1000, standing)

    async def _value(self, standing: Standing) -> Any:
        try:
            return value_of(await self.ask(standing))
        except (Overloaded, StorageError, CallRefused) as error:
            raise ProviderUnavailable(f"Who this is cannot be told now; try again in a moment. ({error})") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ProviderUnavailable("The server restarts; try again in a moment.") from None


@lru_cache(maxsize=4)
def _keys(text: str) -> tuple[PublicKey, ...]:
    return read_keys(text.encode())
