"""Signed tokens and public keys as such: what is written in them, and whether they belong together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry, Key
from joserfc.jws import CompactSignature, JWSRegistry, extract_compact, validate_compact

from yugen import values

TOKEN_SIZE_MAX = 64 * 1024
"""Characters of a token; more is not looked at."""

Algorithm: TypeAlias = Literal["RS256", "ES256", "EdDSA"]

# What makes up a public key for an algorithm. Nothing else in a key set is read: no private parts, no addresses of
# certificates. The curves are fixed; the key of an algorithm is never used with another.
_KEYS: Final[Mapping[Algorithm, Mapping[str, str | None]]] = {
    "RS256": {"kty": "RSA", "n": None, "e": None},
    "ES256": {"kty": "EC", "crv": "P-256", "x": None, "y": None},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519", "x": None},
}


class Malformed(Exception):
    """Not a token, or not a key set, whoever it is from."""


class _Registry(JWSRegistry):
    """The algorithms by their names, without joserfc's warning that EdDSA leaves the curve open: our keys do not."""

    max_header_length = TOKEN_SIZE_MAX
    max_payload_length = TOKEN_SIZE_MAX
    max_signature_length = 2048

    def get_alg(self, name: str) -> Any:
        assert name in _KEYS
        return self.algorithms[name]


# Headers that nobody has registered are no fault: some providers have their own.
_REGISTRY = _Registry(strict_check_header=False)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies signatures of one algorithm.

    Attributes:
        algorithm: the one.
        kid: by which tokens name it; None if it has no name.
    """

    algorithm: Algorithm
    kid: str | None
    key: Key


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """What a token says before anybody knows who has written it.

    Attributes:
        algorithm: what its signature claims to be.
        kid: the name of its key, if it has one.
        claims: what it says.
    """

    algorithm: object
    kid: str | None
    claims: dict[str, Any]
    _signature: CompactSignature

    def is_signed_with(self, key: PublicKey) -> bool:
        """Whether its signature is one of this key, by the algorithm of the key."""
        if self.algorithm != key.algorithm:
            return False
        try:
            return validate_compact(self._signature, key.key, registry=_REGISTRY)
        except (JoseError, ValueError):
            return False


def read_token(token: str) -> UnverifiedToken:
    """Takes a token apart. Keys and addresses of keys in its header are passed over.

    Raises:
        Malformed: it is none, or is marked to be refused by those who do not know of something.
    """
    if len(token) > TOKEN_SIZE_MAX:
        raise Malformed(f"is longer than {TOKEN_SIZE_MAX} characters")
    try:
        signature = extract_compact(token.encode("ascii"), registry=_REGISTRY)
        claims = values.parse_json(signature.payload or b"")
    except (JoseError, values.InvalidValue, ValueError, TypeError, AttributeError, RecursionError):
        raise Malformed("is no JSON Web Token") from None
    header: object = signature.protected
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Malformed("is no JSON Web Token")
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise Malformed("has a `kid` that is no text")
    if "crit" in header or "b64" in header:
        # Whatever it is, we do not know it; and RFC 7797 forbids `b64` to JSON Web Tokens.
        raise Malformed("has a header that it says must be understood")
    return UnverifiedToken(header.get("alg"), kid, claims, signature)


def read_keys(text: bytes) -> tuple[PublicKey, ...]:
    """The keys of a JSON Web Key Set that can be used here.

    Raises:
        Malformed: it is no key set.
    """
    try:
        key_set = values.parse_json(text)
    except values.InvalidValue:
        key_set = None
    if not isinstance(key_set, dict) or not isinstance(key_set.get("keys"), list):
        raise Malformed("is no JSON Web Key Set")
    return tuple(filter(None, map(_read_key, key_set["keys"])))


def _read_key(fields: object) -> PublicKey | None:
    """A key, or None: a set may well have others, for other purposes or of kinds to come."""
    if not isinstance(fields, dict):
        return None
    algorithm = next((name for name, parts in _KEYS.items() if _fits(fields, name, parts)), None)
    kid = fields.get("kid")
    if algorithm is None or not (kid is None or isinstance(kid, str)):
        return None
    try:
        with warnings.catch_warnings(action="error", category=SecurityWarning):  # of RSA keys below 2048 bits
            key = JWKRegistry.import_key({part: fields[part] for part in _KEYS[algorithm]})
    except (JoseError, SecurityWarning, ValueError, TypeError, KeyError):
        return None
    return PublicKey(algorithm, kid, key)


def _fits(fields: dict[str, Any], algorithm: Algorithm, parts: Mapping[str, str | None]) -> bool:
    """Whether a key is one for this algorithm, and not for another or for another purpose."""
    return (
        all(expected is None or fields.get(part) == expected for part, expected in parts.items())
        # RFC 9864 has a second name for it.
        and fields.get("alg", algorithm) in ((algorithm, "Ed25519") if algorithm == "EdDSA" else (algorithm,))
        and fields.get("use", "sig") == "sig"
        and (not isinstance(ops := fields.get("key_ops"), list) or "verify" in ops)
    )
