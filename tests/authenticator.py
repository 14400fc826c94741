"""A software authenticator for tests: makes and uses passkeys as a device would, and wrongly if it is told to."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40
"""Flags: somebody was there, was verified, may be backed up, is backed up, and a new key is in it."""


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Credential:
    """A passkey, with its private key."""

    id: bytes
    rp_id: str
    handle: str
    key: ec.EllipticCurvePrivateKey
    count: int


@dataclass
class Authenticator:
    """A device with passkeys, together with the browser that it is reached by.

    Attributes:
        origin: the page that asks.
        counts: whether it counts how often a passkey is used; those that are synchronised do not.
    """

    origin: str
    counts: bool = True
    credentials: list[Credential] = field(default_factory=list)

    def make(self, options: dict[str, Any], **wrong: Any) -> dict[str, Any]:
        """What `navigator.credentials.create()` gives, by `toJSON()`; `wrong` is what to do otherwise."""
        credential = Credential(
            wrong.get("id") or secrets.token_bytes(32),
            options["rp"]["id"],
            options["user"]["id"],
            ec.generate_private_key(ec.SECP256R1()),
            0,
        )
        self.credentials.append(credential)
        numbers = credential.key.public_key().public_numbers()
        x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
        algorithm = wrong.get("algorithm", -7)
        public = cbor2.dumps({1: 2, 3: algorithm, -1: 1, -2: x, -3: y})
        attested = bytes(16) + len(credential.id).to_bytes(2, "big") + credential.id + public
        data = self._data(credential, AT, wrong) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options, wrong)
        response = {"clientDataJSON": encoded(client), "attestationObject": encoded(attestation)}
        return self._answer(credential, {**response, "transports": ["internal", "hybrid", "telepathy"]})

    def use(self, options: dict[str, Any], credential: Credential | None = None, **wrong: Any) -> dict[str, Any]:
        """What `navigator.credentials.get()` gives, by `toJSON()`; `wrong` is what to do otherwise."""
        used = credential or self.credentials[0]
        if self.counts:
            used.count += 1
        data = self._data(used, 0, wrong)
        client = self._client("webauthn.get", options, wrong)
        signed = data + hashlib.sha256(client).digest()
        key = wrong.get("key", used.key)
        response = {
            "clientDataJSON": encoded(client),
            "authenticatorData": encoded(data),
            "signature": encoded(key.sign(signed, ec.ECDSA(hashes.SHA256()))),
            "userHandle": wrong.get("handle", used.handle),
        }
        return self._answer(used, response)

    def _data(self, credential: Credential, more: int, wrong: dict[str, Any]) -> bytes:
        rp_id = wrong.get("rp_id", credential.rp_id)
        flags = wrong.get("flags", UP | UV) | more
        count = wrong.get("count", credential.count)
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + int(count).to_bytes(4, "big")

    def _client(self, kind: str, options: dict[str, Any], wrong: dict[str, Any]) -> bytes:
        client = {
            "type": wrong.get("type", kind),
            "challenge": wrong.get("challenge", options["challenge"]),
            "origin": wrong.get("origin", self.origin),
            "crossOrigin": wrong.get("cross_origin", False),
        }
        return json.dumps(client).encode()

    def _answer(self, credential: Credential, response: dict[str, Any]) -> dict[str, Any]:
        id_ = encoded(credential.id)
        return {"id": id_, "rawId": id_, "type": "public-key", "response": response, "clientExtensionResults": {}}
