"""Users as clients describe them, to act as."""

from __future__ import annotations

from typing import Any

import pytest

from yugen.identity import Identity
from yugen.server.attributes import identity_of


@pytest.mark.parametrize(
    ("attributes", "identity"),
    [
        ({"tokenIdentifier": "https://id|ada"}, Identity.of("https://id", "ada")),
        ({"tokenIdentifier": "https://id|auth0|7"}, Identity.of("https://id", "auth0|7")),
        ({"tokenIdentifier": "ada"}, Identity("ada", "ada", "")),
        ({"issuer": "https://id", "subject": "ada"}, Identity.of("https://id", "ada")),
        ({"tokenIdentifier": "x", "issuer": "https://id", "subject": "ada"}, Identity("x", "ada", "https://id")),
        ({"tokenIdentifier": "x|y", "subject": "ada"}, Identity("x|y", "ada", "x")),
    ],
)
def test_who_it_is(attributes: dict[str, Any], identity: Identity) -> None:
    assert identity_of(attributes) == identity


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"name": "Ada"},
        {"issuer": "https://id"},
        {"subject": "ada"},
        {"issuer": "https://id", "subject": 7},
        {"issuer": None, "subject": None},
        {"tokenIdentifier": 7},
        {"tokenIdentifier": "x|y", "issuer": 7},
        {"tokenIdentifier": None, "issuer": "https://id"},
    ],
)
def test_who_it_is_must_be_said(attributes: dict[str, Any]) -> None:
    assert identity_of(attributes) is None


def test_attributes_are_claims_by_their_standard_names() -> None:
    identity = identity_of(
        {
            "issuer": "https://id",
            "subject": "ada",
            "name": "Ada",
            "givenName": "Ada",
            "familyName": "Lovelace",
            "nickname": "al",
            "preferredUsername": "ada",
            "profileUrl": "https://id/ada",
            "pictureUrl": "https://id/ada.png",
            "websiteUrl": "https://ada",
            "email": "ada@id",
            "emailVerified": True,
            "gender": "female",
            "birthday": "1815-12-10",
            "timezone": "Europe/London",
            "language": "en",
            "phoneNumber": "+44",
            "phoneNumberVerified": False,
            "address": "12 St James's Square",
            "updatedAt": "2026-01-01T00:00:00Z",
        }
    )
    assert identity is not None
    assert (identity.given_name, identity.family_name, identity.preferred_username) == ("Ada", "Lovelace", "ada")
    assert (identity.profile, identity.picture, identity.website) == (
        "https://id/ada",
        "https://id/ada.png",
        "https://ada",
    )
    assert (identity.email_verified, identity.phone_number, identity.phone_number_verified) == (True, "+44", False)
    assert (identity.birthdate, identity.zoneinfo, identity.locale) == ("1815-12-10", "Europe/London", "en")
    assert (identity.name, identity.nickname, identity.email, identity.gender) == ("Ada", "al", "ada@id", "female")
    assert identity.address == {"formatted": "12 St James's Square"}
    assert identity.updated_at == "2026-01-01T00:00:00Z"
    assert len(identity.claims) == 18


def test_others_are_claims_as_they_are() -> None:
    custom = {"org_id": 7, "properties.id": "x", "roles": ["admin"], "given_name": "Ada", "address": {"country": "UK"}}
    identity = identity_of({"tokenIdentifier": "x|y", **custom, "gone": None})
    assert identity is not None
    assert identity.claims == custom
    assert identity.given_name == "Ada"
