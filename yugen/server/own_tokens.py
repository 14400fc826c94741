"""Verifying tokens that the app's own sign-in has issued, and keys it has given out: whose they are, while they are.

The app's queries say what the database knows. Their answers are kept and end by commits, as those of any other query,
so that asking again costs little, and a session that is revoked is so at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from yugen import values
from yugen.errors import TokenRejected
from yugen.functions.providers import KeyKind, OwnProvider
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

Note = Callable[[str, bytes], Coroutine[Any, Any, None]]
"""Runs an internal mutation; what goes wrong with it, it keeps to itself."""

NOTE_SECONDS: Final = 60.0
"""How long nothing is written down of a key that was in use a moment ago: else every request would be a write."""

_NOTED_MAX: Final = 10_000
"""Of how many keys it is remembered when they were noted."""

_KEY_SIZE_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class OwnTokens:
    """Verifies what the app itself has given out, and leaves everything else to another verifier.

    Args:
        provider: which queries to ask.
        issuer: gives the address that the app's tokens name as their issuer.
        ask: asks them.
        note: writes down that a key is in use.
        others: verifies the tokens of others, if the app trusts any.
    """

    provider: OwnProvider
    issuer: Callable[[], str]
    ask: Ask
    note: Note
    others: Verifier | None
    _noted: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _noting: set[asyncio.Task[None]] = field(default_factory=set, init=False, repr=False)

    async def verify(self, token: str) -> Verified:
        """Who a token or a key belongs to.

        Raises:
            TokenRejected: it is not good.
            ProviderUnavailable: that cannot be told now.
        """
        for kind in self.provider.keys:
            if token.startswith(kind.prefix):
                return await self._verify_key(token, kind)
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
        # All that the token says is looked at as long as it is used, so that one that was forged with a key in wrong
        # hands ends with the key, whatever end it gives itself.
        args = {"session": session, "user": subject, "kid": unverified.kid}
        standing = Standing(self.provider.standing, values.canonical(args))
        if not await self._value(standing):
            raise TokenRejected("The session has ended; sign in again.")
        return Verified(Identity.of(self.issuer(), subject, lasting_claims(claims)), expires_at, standing)

    async def close(self) -> None:
        """Gives up what others still wait for, and what was still to be written down."""
        for task in self._noting:
            task.cancel()
        if self.others is not None:
            await self.others.close()

    async def _verify_key(self, key: str, kind: KeyKind) -> Verified:
        # Only its hash is stored, and what is hashed first cannot be compared bit by bit.
        digest = hashlib.sha256(key[:_KEY_SIZE_MAX].encode(errors="surrogatepass")).hexdigest()
        standing = Standing(kind.standing, values.canonical({"hash": digest}))
        found = await self._value(standing)
        if found is None:
            raise TokenRejected("The key is not one of this deployment, or not any more; make another.")
        if found["since"] is not None and found["since"] > time.time() * 1000:
            raise TokenRejected("Whoever has made this key may not sign in for a while; ask who runs this site.")
        expires = found["expires"]
        if expires is not None and expires <= time.time() * 1000:
            raise TokenRejected("The key has expired; make another.")
        self._note(digest, Standing(kind.noted, standing.args))
        identity = Identity.of(self.issuer(), found["subject"], found["claims"])
        expires_at = math.inf if expires is None else expires / 1000
        return Verified(identity, expires_at, standing._replace(value=found))

    def _note(self, digest: str, mutation: Standing) -> None:
        """Has it written down that a key is in use, without waiting for that, if it was not a short while ago."""
        now = time.monotonic()
        if now - self._noted.get(digest, -NOTE_SECONDS) < NOTE_SECONDS:
            return
        if len(self._noted) >= _NOTED_MAX:
            self._noted.clear()
        self._noted[digest] = now
        task = asyncio.create_task(self.note(mutation.path, mutation.args))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

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
