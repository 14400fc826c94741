"""Sealing what must not be read where it is stored: authenticated encryption under keys that can be replaced.

The recipe is Fernet (AES-128-CBC and HMAC-SHA256), and `MultiFernet` for several keys; see
<https://cryptography.io/en/latest/fernet/>. From each key that is given, every deployment derives one of its own, so
that what one has sealed is read by no other, also where both were given the same key.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from yugen.errors import Refused

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

KEY_BYTES: Final = 32


class BadKey(Refused):
    """A text that is no key."""

    code = "BadEncryptionKey"


class Unreadable(Exception):
    """What was sealed cannot be opened: with no key that is at hand, or it is damaged."""


def new_key() -> str:
    """A new key, as it is written down."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse_keys(text: str, where: str) -> tuple[bytes, ...]:
    """The keys of a text, which stand between commas or white space, the one to seal with first.

    Args:
        text: the keys in base 64, in either alphabet.
        where: where the text is from, for errors.

    Raises:
        BadKey: one of them is none; the error does not show it.
    """
    words = text.replace(",", " ").split()
    keys = []
    for number, word in enumerate(words, 1):
        try:
            key = base64.b64decode(word.translate(_URL_SAFE), validate=True)
        except (ValueError, binascii.Error):
            key = b""
        if len(key) != KEY_BYTES:
            which = f"Key {number} of {len(words)} in {where}" if len(words) > 1 else f"The key in {where}"
            raise BadKey(
                f"{which} is no key: write {KEY_BYTES} random bytes in base 64, as `openssl rand -base64 {KEY_BYTES}` "
                "gives them, and commas between several."
            )
        keys.append(key)
    return tuple(keys)


_URL_SAFE: Final = str.maketrans("-_", "+/")


class Vault:
    """Seals and opens the values of a deployment's variables, each under its name.

    Args:
        keys: gives all keys there are by now, the one to seal with first. It is asked for every value that is sealed,
            and again before a value is given up, since another process may have replaced them.
        deployment: the id of the deployment, which is part of every key.
    """

    def __init__(self, keys: Callable[[], Sequence[bytes]], deployment: bytes = b"") -> None:
        self.deployment = deployment
        self._keys = keys
        self._made: tuple[tuple[bytes, ...], bytes, MultiFernet] | None = None

    def seal(self, name: str, value: str) -> str:
        """The sealed value of a variable.

        Raises:
            Unreadable: there is no key.
        """
        fernet = self._fernet(anew=True)
        if fernet is None:
            raise Unreadable("there is no key to seal with")
        # With the name inside, the value of one variable cannot be passed off as that of another.
        return fernet.encrypt(json.dumps([name, value]).encode()).decode()

    def open(self, name: str, sealed: str) -> str:
        """The value of a variable.

        Raises:
            Unreadable: it cannot be opened.
        """
        value = self._opened(name, sealed, anew=False)
        if value is None:
            value = self._opened(name, sealed, anew=True)
        if value is None:
            raise Unreadable(f"{name} was not sealed with a key that is at hand")
        return value

    def reseal(self, name: str, sealed: str) -> str:
        """The same, sealed with the first key.

        Raises:
            Unreadable: it cannot be opened.
        """
        return self.seal(name, self.open(name, sealed))

    def _opened(self, name: str, sealed: str, *, anew: bool) -> str | None:
        fernet = self._fernet(anew=anew)
        if fernet is None:
            return None
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 -- takes 50 ms, for those who have variables

        try:
            named, value = json.loads(fernet.decrypt(sealed))
        except (InvalidToken, ValueError):
            return None
        return str(value) if named == name else None

    def _fernet(self, *, anew: bool) -> MultiFernet | None:
        made = self._made
        if made is not None and made[1] == self.deployment and (not anew or made[0] == tuple(self._keys())):
            return made[2]
        keys = tuple(self._keys())
        if not keys:
            return None
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 -- as above

        fernet = MultiFernet([Fernet(self._derived(key)) for key in keys])
        self._made = keys, self.deployment, fernet
        return fernet

    def _derived(self, key: bytes) -> bytes:
        derived = blake2b(self.deployment, key=key, digest_size=KEY_BYTES, person=b"yugen variables")
        return base64.urlsafe_b64encode(derived.digest())
