"""What holds the bytes of files, under keys that say nothing of them.

A store knows no names, types or owners: those are documents of `_storage`. Its calls block, so that processes with and
without an event loop can use it; `yugen.files.streams` is for those with one.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from yugen.errors import Refused

PIECE_BYTES: Final = 256 * 1024
"""Bytes that are read at once."""

BATCH_BYTES: Final = 1024 * 1024
"""Bytes that are gathered before they are written."""

_KEY: Final = re.compile("[0-9a-f]{32}")


class FileStoreError(Exception):
    """The bytes of a file could not be stored, read or removed; the text is for whoever runs the deployment.

    Attributes:
        full: whether there is no room left.
    """

    def __init__(self, text: str, *, full: bool = False) -> None:
        super().__init__(text)
        self.full = full


class FileDamaged(FileStoreError):
    """The bytes of a file are not those that were stored, or not there any more."""


class BadFileStore(Refused):
    """A setting that names no place for files."""

    code = "BadFileStore"


class Held(NamedTuple):
    """What a store holds: its key, and when it was stored in seconds since the epoch."""

    key: str
    modified: float


class FileWriter(Protocol):
    """Bytes on their way into a store. Nobody sees any of them before `finish` returns."""

    def write(self, piece: bytes | bytearray, /) -> None:
        """Adds these bytes."""

    def finish(self) -> None:
        """Makes all of them durable, and then visible."""

    def abandon(self) -> None:
        """Leaves nothing of them behind, or as little as can be."""


class FileReader(Protocol):
    """Some of the bytes of a file on their way out of a store. They stay readable when the file is removed meanwhile.

    Attributes:
        size: the bytes of the whole file.
    """

    size: int

    def read(self) -> bytes:
        """The next bytes; none at the end."""

    def close(self) -> None:
        """Reads no more."""


class FileStore(Protocol):
    """A place for bytes. Whatever it cannot do raises a `FileStoreError`."""

    def create(self, key: str) -> FileWriter:
        """Begins to store something under a new key."""

    def open(self, key: str, start: int, end: int) -> FileReader:
        """The bytes from `start` on and before `end`.

        Raises:
            FileDamaged: there is nothing under this key.
        """

    def remove(self, keys: Sequence[str]) -> None:
        """Removes what is under these keys. What is not there does not matter."""

    def held(self) -> Iterator[list[Held]]:
        """All that is there and complete, many at a time."""

    def clear(self, before: float) -> None:
        """Removes what is left of writers that have ended with their process, and wrote last before a moment."""


def new_key() -> str:
    """A key that nothing has."""
    return uuid.uuid4().hex


def checked(key: str) -> str:
    """The key, which names a file of ours and no other: it never leads out of a folder."""
    if not _KEY.fullmatch(key):
        raise FileStoreError(f"{key[:40]!r} is no key of a stored file.")
    return key
