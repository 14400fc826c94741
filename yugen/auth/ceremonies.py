"""What a browser is asked to make or use a passkey, and whether its answer is right (Web Authentication Level 3).

The library `webauthn` does the cryptography. Nothing here is stored or remembered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from webauthn.helpers.cose import COSEAlgorithmIdentifier

T = TypeVar("T")

MILLISECONDS_MAX: Final = 300_000
"""How long somebody may take (Web Authentication Level 3, 15.1)."""

ID_LENGTH_MAX: Final = 1364
"""Of an id of a credential, 1,023 bytes in base 64 (as above, 4)."""

_ID: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{ID_LENGTH_MAX}}}")

TRANSPORTS: Final = frozenset({"usb", "nfc", "ble", "smart-card", "hybrid", "internal"})


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """For whom passkeys are made.

    Attributes:
        id: the domain that they are bound to; browsers use them on pages of it and of what is below it.
        name: what people know it by.
        origins: whose pages may use them.
    """

    id: str
    name: str
    origins: tuple[str, ...]


class NotGood(Exception):
    """An answer that is not one to what was asked."""


@dataclass(frozen=True, slots=True)
class Made:
    """A passkey that was made.

    Attributes:
        credential: its id, in base 64 as URLs have it.
        public_key: its public key, as COSE, in the same.
        count: how often it was used, as its authenticator counts; 0 for those that do not.
        backed_up: whether it is on other devices of the user too.
        aaguid: the kind of authenticator, or zeros where that is not told.
        transports: how browsers reach it.
    """

    credential: str
    public_key: str
    count: int
    backed_up: bool
    aaguid: str
    transports: list[str]


@dataclass(frozen=True, slots=True)
class Used:
    """A passkey that was used.

    Attributes:
        count: as of `Made`.
        backed_up: as of `Made`.
    """

    count: int
    backed_up: bool


def to_make(
    party: RelyingParty, challenge: str, *, handle: str, name: str, display_name: str, known: Sequence[str]
) -> dict[str, Any]:
    """What to ask of `navigator.credentials.create()`, in the form that `parseCreationOptionsFromJSON` takes.

    Args:
        party: for whom.
        challenge: what has to be signed, in base 64 as URLs have it.
        handle: what the authenticator stores as the user, likewise; nothing that says who they are.
        name: what it shows of them: their address.
        display_name: what it shows beside that.
        known: the ids of the passkeys that the user has.
    """
    from webauthn import generate_registration_options  # noqa: PLC0415 -- for those who have passkeys
    from webauthn.helpers import base64url_to_bytes, options_to_json_dict  # noqa: PLC0415 -- as above
    from webauthn.helpers.structs import (  # noqa: PLC0415 -- as above
        AuthenticatorSelectionCriteria,
        PublicKeyCredentialDescriptor,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = generate_registration_options(
        rp_id=party.id,
        rp_name=party.name,
        user_id=base64url_to_bytes(handle),
        user_name=name,
        user_display_name=display_name,
        challenge=base64url_to_bytes(challenge),
        timeout=MILLISECONDS_MAX,
        authenticator_selection=AuthenticatorSelectionCriteria(
            # One that its authenticator does not remember could not be found again: nobody says here who they are.
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(base64url_to_bytes(each)) for each in known],
        supported_pub_key_algs=_algorithms(),
    )
    return options_to_json_dict(options)


def to_use(party: RelyingParty, challenge: str) -> dict[str, Any]:
    """What to ask of `navigator.credentials.get()`, as `parseRequestOptionsFromJSON` takes it: any passkey will do."""
    from webauthn import generate_authentication_options  # noqa: PLC0415 -- for those who have passkeys
    from webauthn.helpers import base64url_to_bytes, options_to_json_dict  # noqa: PLC0415 -- as above
    from webauthn.helpers.structs import UserVerificationRequirement  # noqa: PLC0415 -- as above

    options = generate_authentication_options(
        rp_id=party.id,
        challenge=base64url_to_bytes(challenge),
        timeout=MILLISECONDS_MAX,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json_dict(options)


def made(party: RelyingParty, challenge: str, answer: Mapping[str, Any]) -> Made:
    """What a browser has made: the answer of `navigator.credentials.create()` as `toJSON()` gives it.

    Raises:
        NotGood: it is not what was asked for.
    """
    from webauthn import verify_registration_response  # noqa: PLC0415 -- for those who have passkeys
    from webauthn.helpers import base64url_to_bytes, bytes_to_base64url  # noqa: PLC0415 -- as above

    def verify() -> Made:
        verified = verify_registration_response(
            credential=dict(answer),
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            require_user_verification=True,
            supported_pub_key_algs=_algorithms(),
        )
        transports = answer["response"].get("transports") or []
        return Made(
            bytes_to_base64url(verified.credential_id),
            bytes_to_base64url(verified.credential_public_key),
            verified.sign_count,
            verified.credential_backed_up,
            verified.aaguid,
            [each for each in TRANSPORTS if each in transports],
        )

    found = _verified(answer, verify)
    if len(found.credential) > ID_LENGTH_MAX:
        raise NotGood("the id is too long")
    return found


def used(party: RelyingParty, challenge: str, answer: Mapping[str, Any], *, public_key: str, count: int) -> Used:
    """What a browser has signed: the answer of `navigator.credentials.get()` as `toJSON()` gives it.

    Args:
        party: for whom.
        challenge: what was to be signed.
        answer: the answer.
        public_key: of the passkey.
        count: how often that was used before; somebody has copied it if it is not more now.

    Raises:
        NotGood: it is not what was asked for, or not signed by this passkey.
    """
    from webauthn import verify_authentication_response  # noqa: PLC0415 -- for those who have passkeys
    from webauthn.helpers import base64url_to_bytes  # noqa: PLC0415 -- as above

    def verify() -> Used:
        verified = verify_authentication_response(
            credential=dict(answer),
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            credential_public_key=base64url_to_bytes(public_key),
            credential_current_sign_count=count,
            require_user_verification=True,
        )
        return Used(verified.new_sign_count, verified.credential_backed_up)

    return _verified(answer, verify)


def who(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Which passkey an answer says it is of, and which user, by handle: to be looked up, and believed later.

    Raises:
        NotGood: it does not say so.
    """
    response = answer.get("response")
    credential, handle = answer.get("id"), response.get("userHandle") if isinstance(response, dict) else None
    if not (isinstance(credential, str) and _ID.fullmatch(credential)) or not isinstance(handle, str):
        raise NotGood("there is no id and no user in it")
    return credential, handle.rstrip("=")


def _verified(answer: Mapping[str, Any], verify: Callable[[], T]) -> T:
    from webauthn.helpers import base64url_to_bytes  # noqa: PLC0415 -- for those who have passkeys

    try:
        found = verify()
        client = json.loads(base64url_to_bytes(answer["response"]["clientDataJSON"]))
    except Exception as error:  # whatever a parser says of bytes that somebody has made up
        raise NotGood(str(error) or type(error).__name__) from None
    if client.get("crossOrigin") is True:
        raise NotGood("it was made in a frame of another site")
    return found


def _algorithms() -> list[COSEAlgorithmIdentifier]:
    from webauthn.helpers.cose import COSEAlgorithmIdentifier  # noqa: PLC0415 -- for those who have passkeys

    return [
        COSEAlgorithmIdentifier.EDDSA,
        COSEAlgorithmIdentifier.ECDSA_SHA_256,
        COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
    ]
