"""Cursors: places in an index that clients hold without seeing what is there.

A cursor is sealed with AES-SIV (RFC 5297), which needs no randomness: the same place gives the same text, as clients
expect of a page that has not changed, and a text that was not made here, or for another query, does not open.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import cached_property
from typing import TYPE_CHECKING, Final

from yugen.errors import YugenError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

SECRET_SIZE: Final = 32
"""Bytes of the secret that seals cursors."""


class InvalidCursor(YugenError):
    """A cursor that is of no use to the query it was given to. Clients know this error and begin again (protocol, 5.4).

    Args:
        why: what is wrong with it.
    """

    def __init__(self, why: str) -> None:
        super().__init__({"isConvexSystemError": True, "paginationError": "InvalidCursor"})
        self._why = why

    def __str__(self) -> str:
        return f"InvalidCursor: {self._why}; begin again with the cursor null."


class Cursors:
    """Seals and opens cursors.

    Args:
        secret: 32 bytes that all who shall open each other's cursors have in common.
    """

    def __init__(self, secret: bytes) -> None:
        assert len(secret) == SECRET_SIZE
        self._secret = secret

    def seal(self, place: bytes, query: bytes) -> str:
        """The cursor of a place.

        Args:
            place: where in the range of the query.
            query: what tells this query from any other; the cursor opens for no other.
        """
        return urlsafe_b64encode(self._siv.encrypt(place, [query])).rstrip(b"=").decode()

    def open(self, cursor: str, query: bytes) -> bytes:
        """The place of a cursor.

        Raises:
            InvalidCursor: it was not sealed here, or for another query.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 -- as below

        try:
            sealed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            return self._siv.decrypt(sealed, [query])
        except (ValueError, InvalidTag):
            raise InvalidCursor("the cursor is not one of this query") from None

    @cached_property
    def _siv(self) -> AESSIV:
        # Imported with the first cursor, for most functions have none.
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV  # noqa: PLC0415

        return AESSIV(self._secret)
