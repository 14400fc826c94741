"""Who is on the other side of a connection or a request."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from yugen.identity import Identity


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


class AdminKey:
    """The key that opens everything, kept in a file that only its owner can read."""

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(f"yugen|{secrets.token_urlsafe(32)}\n")
        self._key = file.read_text().strip().encode()

    def opens(self, key: str) -> bool:
        """Whether this is the key. Takes as long for any wrong one."""
        return secrets.compare_digest(key.encode(), self._key)
