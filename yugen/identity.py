"""Who calls a function."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class _Claim(Generic[T]):
    """A standard claim under its own name; None where it is absent or not of its type."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, identity: None, owner: type) -> _Claim[T]: ...
    @overload
    def __get__(self, identity: Identity, owner: type) -> T | None: ...
    def __get__(self, identity: Identity | None, owner: type) -> _Claim[T] | T | None:
        if identity is None:
            return self
        claim = identity.claims.get(self._name)
        return claim if isinstance(claim, self._kind) else None


@dataclass(frozen=True, slots=True)
class Identity:
    """A signed-in caller, as their token says.

    The claims are kept as text, by which identities compare and hash: queries are cached by who asks, and a new token
    that says the same is the same caller.

    Attributes:
        token_identifier: the issuer and the subject joined by `|`; tells this user from any other.
        subject: the user, as the issuer names them.
        issuer: who vouches for the user.
        claims_json: the token's claims as canonical JSON, without those that change with each token.
    """

    token_identifier: str
    subject: str
    issuer: str
    claims_json: bytes = b"{}"

    # The standard claims of OpenID Connect Core 1.0, section 5.1.
    name = _Claim(str)
    given_name = _Claim(str)
    family_name = _Claim(str)
    middle_name = _Claim(str)
    nickname = _Claim(str)
    preferred_username = _Claim(str)
    profile = _Claim(str)
    picture = _Claim(str)
    website = _Claim(str)
    email = _Claim(str)
    email_verified = _Claim(bool)
    gender = _Claim(str)
    birthdate = _Claim(str)
    zoneinfo = _Claim(str)
    locale = _Claim(str)
    phone_number = _Claim(str)
    phone_number_verified = _Claim(bool)
    address = _Claim(dict)
    updated_at = _Claim(object)

    @classmethod
    def of(cls, issuer: str, subject: str, claims: Mapping[str, Any] | None = None) -> Identity:
        """An identity of these claims.

        Args:
            issuer: who vouches for the user.
            subject: the user, as the issuer names them.
            claims: what else is said of the user, as JSON values.
        """
        text = json.dumps(dict(claims or {}), sort_keys=True, separators=(",", ":"))
        return cls(f"{issuer}|{subject}", subject, issuer, text.encode())

    @property
    def claims(self) -> dict[str, Any]:
        """All claims by their names in the token, as JSON values."""
        claims: dict[str, Any] = json.loads(self.claims_json)
        return claims

    @property
    def scopes(self) -> frozenset[str] | None:
        """What the key was made for that the caller shows, and all they may do by it; None for those who show none.

        See `yugen.auth.api_keys`. A token of somebody else that says such a thing is limited by it too.
        """
        claims = self.claims if b'"key":' in self.claims_json else {}
        scopes = claims.get("scopes")
        if "key" not in claims or not isinstance(scopes, list):
            return None
        return frozenset(scope for scope in scopes if isinstance(scope, str))
