"""Stored files in an archive, in the layout of Convex's exports.

    _storage/documents.jsonl    {"_id": ..., "_creationTime": ..., "sha256": ..., "size": ..., "contentType": ...} each
    _storage/<_id>.png          what a file holds; the end of its name follows from its type, and says nothing

`internalId` in a line is the UUID in the file's address, so that addresses stay good where the archive is imported.
"""

from __future__ import annotations

import math
import mimetypes
import re
from base64 import b64decode
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Any, Final

from yugen.archive.rows import InvalidRow

STORAGE: Final = "_storage"

_TYPES: Final = mimetypes.MimeTypes(filenames=())  # the same on every machine
_UUID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """A stored file of an archive.

    Attributes:
        id: the id of its document, where the archive comes from.
        creation_time: of that document, in milliseconds since the epoch; None if the archive does not say.
        content_type: its type, if it has one.
        sha256: the 32 bytes that its checksum must be; None if the archive does not say.
        uuid: what stands in its address; None if the archive does not say.
        place: what to call it in an error.
        open: opens what it holds.
    """

    id: str
    creation_time: float | None
    content_type: str | None
    sha256: bytes | None
    uuid: str | None
    place: str
    open: Callable[[], AbstractContextManager[IO[bytes]]] = field(repr=False)


def to_line(record: dict[str, Any]) -> dict[str, Any]:
    """What an archive says of a file, from its record."""
    return {
        "_id": record["_id"],
        "_creationTime": record["_creationTime"],
        "sha256": record["sha256"],
        "size": int(record["size"]),
        **({"contentType": record["contentType"]} if "contentType" in record else {}),
        "internalId": record["uuid"],
    }


def entry_name(record: dict[str, Any]) -> str:
    """What a file is called in an archive."""
    kind = record.get("contentType", "").partition(";")[0].strip()
    return f"{STORAGE}/{record['_id']}{_TYPES.guess_extension(kind) or ''}"


def id_of_entry(name: str) -> str:
    """The id that the name of a file begins with."""
    return name.partition(".")[0]


def from_line(
    row: int, fields: dict[str, Any], label: str, open: Callable[[str], AbstractContextManager[IO[bytes]]]
) -> StoredEntry:
    """A stored file, from what an archive says of it.

    Args:
        row: which line says it.
        fields: the line.
        label: what to call the file of the lines in an error.
        open: opens what the file with an id holds.

    Raises:
        InvalidRow: it says what nothing says of a file.
    """
    match fields:
        case {"_id": str(id)}:
            pass
        case _:
            raise InvalidRow(row, "names no _id of a stored file.")
    created, kind = fields.get("_creationTime"), fields.get("contentType")
    sha256, uuid = fields.get("sha256"), fields.get("internalId")
    if created is not None and (not isinstance(created, int | float) or not math.isfinite(created)):
        raise InvalidRow(row, "has a _creationTime that is no time in milliseconds since the epoch.")
    if kind is not None and not isinstance(kind, str):
        raise InvalidRow(row, "has a contentType that is no text.")
    if uuid is not None and not (isinstance(uuid, str) and _UUID.fullmatch(uuid)):
        raise InvalidRow(row, "has an internalId that is no UUID.")
    return StoredEntry(
        id,
        None if created is None else float(created),
        kind,
        None if sha256 is None else _sha256(row, sha256),
        uuid,
        f"row {row} of {label}",
        lambda: open(id),
    )


def _sha256(row: int, text: object) -> bytes:
    """A checksum, which is written in base64, or by older versions of Convex in hex."""
    try:
        raw = b"" if not isinstance(text, str) else bytes.fromhex(text) if len(text) == 64 else b64decode(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise InvalidRow(row, "has a sha256 that is none in base64.")
    return raw
