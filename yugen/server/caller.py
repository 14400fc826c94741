"""Who is on the other side of a connection or a request."""

from __future__ import annotations

import hashlib
import os
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
    """The key that opens everything, kept in a file that only its owner can read.

    Args:
        file: where it is; made, with a new key, if it is not there or holds nothing.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.exists() or not file.read_text().strip():
            _write_secret(file, f"yugen|{secrets.token_urlsafe(32)}\n")
        self._key = file.read_text().strip().encode()

    def opens(self, key: str) -> bool:
        """Whether this is the key. Takes as long for any wrong one."""
        return secrets.compare_digest(key.encode(errors="surrogatepass"), self._key)

    def derive(self, purpose: str) -> bytes:
        """32 secret bytes that stay the same as long as the key does, others for each purpose (1 to 16 letters)."""
        return hashlib.blake2b(self._key, digest_size=32, person=purpose.encode()).digest()


def _write_secret(file: Path, text: str) -> None:
    """Writes a file wholly or not at all, which others cannot read at any moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
