"""Who is on the other side of a connection or a request."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from yugen.errors import TokenRejected
from yugen.identity import Identity
from yugen.server.attributes import identity_of
from yugen.server.secret_files import write_secret


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom functions run for.

    Attributes:
        identity: the signed-in user, or None.
        admin: holds the admin key, and may call internal functions.
    """

    identity: Identity | None = None
    admin: bool = False


ANYONE = Caller()
ADMIN = Caller(admin=True)


class Standing(NamedTuple):
    """An internal query whose result is the same as long as somebody is who they say.

    Attributes:
        path: the query.
        args: its arguments' canonical JSON.
        value: the result.
    """

    path: str
    args: bytes
    value: Any = True


@dataclass(frozen=True, slots=True)
class Admitted:
    """A caller whose credentials are good.

    Attributes:
        caller: who it is.
        expires_at: until when, in seconds since the epoch; None where there is no token that could end.
        standing: what tells whether they still are good, if that can change before.
    """

    caller: Caller
    expires_at: float | None = None
    standing: Standing | None = None


class NoAuthProvider(TokenRejected):
    """A token that no provider of this deployment vouches for."""

    code = "NoAuthProvider"


class BadAdminKey(TokenRejected):
    """Not the admin key."""

    code = "BadDeployKey"


class ProviderUnavailable(Exception):
    """Whether a token is good cannot be told now, since its provider's keys cannot be had. Clients should try again."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a good token says.

    Attributes:
        identity: the user.
        expires_at: until when it is good, in seconds since the epoch; infinity for ever.
        standing: what tells whether it still is, if that can change before.
    """

    identity: Identity
    expires_at: float
    standing: Standing | None = None


class Verifier(Protocol):
    """Tells who a token belongs to."""

    async def verify(self, token: str) -> Verified:
        """Who the token belongs to.

        Raises:
            TokenRejected: it is not good.
            ProviderUnavailable: that cannot be told now.
        """

    async def close(self) -> None:
        """Gives up what it still waits for."""


class Callers:
    """The one check of credentials, whichever way they come in.

    Args:
        admin_key: the key of the deployment.
        verifier: for the tokens of users; None if nobody issues any.
    """

    def __init__(self, admin_key: AdminKey, verifier: Verifier | None = None) -> None:
        self._admin_key = admin_key
        self._verifier = verifier

    async def user(self, token: str) -> Admitted:
        """The user a token belongs to.

        Raises:
            TokenRejected: it is not good.
            ProviderUnavailable: that cannot be told now.
        """
        if self._verifier is None:
            raise NoAuthProvider("This deployment has no auth providers; call it without a token.")
        verified = await self._verifier.verify(token)
        return Admitted(Caller(verified.identity), verified.expires_at, verified.standing)

    def admin(self, key: str, acting_as: Mapping[str, Any] | None = None) -> Admitted:
        """The holder of the admin key.

        Args:
            key: the key, also with the type of its deployment before it: `prod:name|...`.
            acting_as: the user to be while keeping the rights of an administrator: `tokenIdentifier`, or `issuer` and
                `subject`, and other attributes by the names clients know, or claims.

        Raises:
            TokenRejected: it is not the key, or there is no such user to be.
        """
        if not self._admin_key.opens(key):
            raise BadAdminKey("The admin key is not the one of this deployment; see its data folder.")
        if acting_as is None:
            return Admitted(ADMIN)
        identity = identity_of(acting_as)
        if identity is None:
            raise TokenRejected("A user to act as has a tokenIdentifier, or an issuer and a subject, which are text.")
        return Admitted(Caller(identity, admin=True))

    async def trust(self, verifier: Verifier | None) -> None:
        """Has another verifier check tokens from here on; what the one before still waits for is given up."""
        before, self._verifier = self._verifier, verifier
        if before is not None:
            await before.close()

    async def close(self) -> None:
        """Gives up what it still waits for."""
        if self._verifier is not None:
            await self._verifier.close()


class AdminKey:
    """The key that opens everything, kept in a file that only its owner can read.

    Args:
        file: where it is; made, with a new key, if it is not there or holds nothing.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.exists() or not file.read_text().strip():
            write_secret(file, f"yugen|{secrets.token_urlsafe(32)}\n")
        self._key = file.read_text().strip().encode()

    def opens(self, key: str) -> bool:
        """Whether this is the key. Takes as long for any wrong one.

        Args:
            key: tools of Convex write the type of the deployment before it, `prod:name|...`, which does not count.
        """
        return secrets.compare_digest(_without_type(key.encode(errors="surrogatepass")), _without_type(self._key))

    def derive(self, purpose: str) -> bytes:
        """32 secret bytes that stay the same as long as the key does, others for each purpose (1 to 16 letters)."""
        return hashlib.blake2b(self._key, digest_size=32, person=purpose.encode()).digest()


def _without_type(key: bytes) -> bytes:
    """`name|secret` of `prod:name|secret`, `preview:team:name|secret` and the like."""
    name, bar, secret = key.partition(b"|")
    return name.rpartition(b":")[2] + bar + secret if bar else key
