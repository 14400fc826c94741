"""The addresses at which files are sent and fetched, and what their tokens say.

    /api/storage/upload?token=...     takes a file, for as long as the token is good
    /api/storage/<uuid>               gives a file to whoever knows the address, for as long as the file is there
    /api/storage/private?token=...    gives a file, for as long as the token is good

Tokens are signed with a key of the deployment. They can be read by whoever has them, and hold nothing that must not be.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlencode

from yugen.errors import Refused

if TYPE_CHECKING:
    from itsdangerous import URLSafeSerializer

UPLOAD_MS: Final = 3_600_000
"""How long an upload address is good, in milliseconds (protocol.md 4.2)."""

UPLOAD_PATH: Final = "/api/storage/upload"
PRIVATE_PATH: Final = "/api/storage/private"

_TOKEN_SIZE_MAX: Final = 1024

Purpose = Literal["upload", "private"]


class TokenInvalid(Refused):
    """A token that this deployment has not made for this, or that somebody has changed."""

    code = "StorageTokenInvalid"


class TokenExpired(Refused):
    """A token whose time is over."""

    code = "StorageTokenExpired"


class TokenUsed(Refused):
    """A token that was good for one file, which has been sent."""

    code = "StorageTokenUsed"


@dataclass(frozen=True, slots=True)
class Upload:
    """What an upload address allows.

    Attributes:
        once: what tells it from others, if it is good for one file only.
        size_max: how many bytes a file may have, if there is a limit.
    """

    once: str | None = None
    size_max: int | None = None


class Addresses:
    """Makes addresses and reads their tokens.

    Args:
        secret: signs tokens.
        url: where the API is, as clients should write it.
    """

    def __init__(self, secret: bytes, url: str) -> None:
        self._secret = secret
        self._url = url.rstrip("/")

    def public(self, uuid: str) -> str:
        """Where anybody finds the file with this UUID."""
        return f"{self._url}/api/storage/{uuid}"

    def private(self, id: str, expires_ms: float) -> str:
        """Where a file is found up to a moment, in milliseconds since the epoch."""
        return self._sealed(PRIVATE_PATH, "private", {"id": id, "exp": int(expires_ms)})

    def upload(self, upload: Upload, now_ms: float) -> str:
        """Where a file can be sent, from now on for an hour."""
        limits = {"once": upload.once, "max": upload.size_max}
        given = {name: value for name, value in limits.items() if value is not None}
        return self._sealed(UPLOAD_PATH, "upload", {**given, "exp": int(now_ms + UPLOAD_MS)})

    def read_private(self, token: str, now_ms: float) -> tuple[str, float]:
        """The id of the file that a token is for, and until when, in milliseconds since the epoch.

        Raises:
            TokenInvalid: it is none of ours.
            TokenExpired: it is not good any more.
        """
        said = self._opened("private", token, now_ms)
        return said["id"], said["exp"]

    def read_upload(self, token: str, now_ms: float) -> Upload:
        """What a token allows; raises as `read_private`."""
        said = self._opened("upload", token, now_ms)
        return Upload(said.get("once"), said.get("max"))

    def _sealed(self, path: str, purpose: Purpose, said: dict[str, Any]) -> str:
        return f"{self._url}{path}?{urlencode({'token': self._signer.dumps(said, salt=purpose)})}"

    def _opened(self, purpose: Purpose, token: str, now_ms: float) -> dict[str, Any]:
        from itsdangerous import BadData  # noqa: PLC0415

        try:
            if len(token) > _TOKEN_SIZE_MAX:
                raise BadData("too long")
            said: dict[str, Any] = self._signer.loads(token, salt=purpose)
        except BadData:
            raise TokenInvalid("The token is not one of this deployment; ask the app for a new address.") from None
        if now_ms >= said["exp"]:
            raise TokenExpired("The time of this address is over; ask the app for a new one.")
        return said

    @cached_property
    def _signer(self) -> URLSafeSerializer:
        from itsdangerous import URLSafeSerializer  # noqa: PLC0415 -- few functions make addresses

        # The salt, which is the purpose, goes into the key: a token for one thing is none for another.
        return URLSafeSerializer(
            self._secret, signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        )
