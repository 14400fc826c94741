"""Tokens and what is sealed: made and read with proven libraries, from the one secret of a deployment."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from functools import lru_cache
from typing import Any, Final

SECRET_VARIABLE: Final = "YUGEN_AUTH_SECRET"
"""The environment variable with the secret. It is made by itself, and sealed as all variables are."""

TOKEN_BYTES: Final = 32
"""Of a token that nobody can guess."""


def new_token() -> str:
    """A text that nobody can guess; not for queries and mutations, which must come out the same again."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def new_code(digits: int = 6) -> str:
    """A number to be typed, with zeros before it."""
    return f"{secrets.randbelow(10**digits):0{digits}d}"


def digest(token: str) -> str:
    """What is stored of a token: who reads the database cannot be who has it.

    A plain hash will do where the token is long and random, and whoever compares looks the hash up.
    """
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def keyed_digest(secret: str, *parts: str) -> str:
    """What is stored of something that could be guessed, such as a number of six digits."""
    return hashlib.blake2b(json.dumps(parts).encode(), key=_derived(secret, "digest"), digest_size=32).hexdigest()


def seal(secret: str, purpose: str, value: Any) -> str:
    """A JSON value that nobody can read or change without the secret.

    Args:
        secret: of the deployment.
        purpose: what it is for; it opens for nothing else.
        value: the value.
    """
    return str(_fernet(secret, purpose).encrypt(json.dumps(value).encode()).decode())


def unseal(secret: str, purpose: str, sealed: str, *, seconds_max: int | None = None) -> Any:
    """What `seal` was given, or None if it was not sealed so, or more seconds ago."""
    from cryptography.fernet import InvalidToken  # noqa: PLC0415 -- takes 50 ms

    try:
        return json.loads(_fernet(secret, purpose).decrypt(sealed, ttl=seconds_max))
    except (InvalidToken, ValueError):
        return None


def sign(secret: str, purpose: str, text: str) -> str:
    """A text with a signature behind it, which cannot be made without the secret."""
    return str(_signer(secret, purpose).sign(text).decode())


def unsign(secret: str, purpose: str, signed: str) -> str | None:
    """The text that `sign` was given, or None if the signature is not right."""
    from itsdangerous import BadSignature  # noqa: PLC0415 -- for those who sign

    try:
        return str(_signer(secret, purpose).unsign(signed.encode(errors="surrogatepass")).decode())
    except (BadSignature, UnicodeDecodeError):
        return None


def _signer(secret: str, purpose: str) -> Any:
    from itsdangerous import Signer  # noqa: PLC0415 -- for those who sign

    return Signer(_derived(secret, purpose), salt=purpose, digest_method=hashlib.sha256, key_derivation="hmac")


@lru_cache(maxsize=64)
def _fernet(secret: str, purpose: str) -> Any:
    from cryptography.fernet import Fernet  # noqa: PLC0415 -- takes 50 ms

    return Fernet(base64.urlsafe_b64encode(_derived(secret, purpose)))


def _derived(secret: str, purpose: str) -> bytes:
    return hashlib.blake2b(purpose.encode(), key=hashlib.sha256(secret.encode()).digest(), digest_size=32).digest()
