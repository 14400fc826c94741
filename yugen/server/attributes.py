"""The users that administrators act as, described as clients describe users (protocol.md 6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from yugen.identity import Identity

_NAMES = ("tokenIdentifier", "issuer", "subject")
_CLAIMS = {
    "givenName": "given_name",
    "familyName": "family_name",
    "preferredUsername": "preferred_username",
    "profileUrl": "profile",
    "pictureUrl": "picture",
    "websiteUrl": "website",
    "emailVerified": "email_verified",
    "birthday": "birthdate",
    "timezone": "zoneinfo",
    "language": "locale",
    "phoneNumber": "phone_number",
    "phoneNumberVerified": "phone_number_verified",
    "updatedAt": "updated_at",
}
"""The claims behind the attributes that clients call otherwise."""


def identity_of(attributes: Mapping[str, Any]) -> Identity | None:
    """The user with these attributes; None if they do not say which user that is.

    Args:
        attributes: `tokenIdentifier`, or `issuer` and `subject`, or all; the others become claims, of which the
            standard ones may go by Convex's names.
    """
    identifier, issuer, subject = (attributes.get(name) for name in _NAMES)
    if isinstance(identifier, str):
        # A subject may hold a bar, an issuer does not.
        of_issuer, _, of_subject = (identifier if "|" in identifier else f"|{identifier}").partition("|")
        issuer = of_issuer if issuer is None else issuer
        subject = of_subject if subject is None else subject
    elif identifier is None:
        identifier = f"{issuer}|{subject}"
    if not (isinstance(identifier, str) and isinstance(issuer, str) and isinstance(subject, str)):
        return None
    claims = {
        _CLAIMS.get(name, name): value for name, value in attributes.items() if name not in _NAMES and value is not None
    }
    if isinstance(address := claims.get("address"), str):
        claims["address"] = {"formatted": address}
    return replace(Identity.of(issuer, subject, claims), token_identifier=identifier)
