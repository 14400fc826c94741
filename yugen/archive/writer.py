"""Writing an archive: all documents of a deployment at one moment, as a ZIP file in the layout of Convex's exports.

README.md
_tables/documents.jsonl            {"name": "users", "id": 10001} for each table
users/documents.jsonl              a document a line, as clean JSON
users/generated_schema.jsonl       what clean JSON does not say, see `yugen.archive.shapes`
_storage/...                       stored files, see `yugen.archive.files`
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import orjson

from yugen.archive.files import STORAGE, entry_name, to_line
from yugen.archive.shapes import Shape
from yugen.values import to_clean

DOCUMENTS: Final = "documents.jsonl"
SCHEMA: Final = "generated_schema.jsonl"
TABLES: Final = "_tables"

_README: Final = """\
# A snapshot of a Yugen deployment

Each folder holds the documents of a table in `documents.jsonl`, one a line, and in `generated_schema.jsonl` what their
JSON does not say. `_storage`, if it is there, holds stored files by their ids. Bring them into a deployment with
`npx convex import this-file.zip`.
"""
_FILE_MODE: Final = 0o100644
_FIRST_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the same archive for the same documents


@contextmanager
def writing_archive(file: IO[bytes], tables: Mapping[str, int]) -> Iterator[ArchiveWriter]:
    """Writes an archive table by table.

    Args:
        file: where it goes, open for writing and at its beginning.
        tables: the numbers of all tables by their names.
    """
    archive = ZipFile(file, "w", ZIP_DEFLATED)
    try:
        writer = ArchiveWriter(archive)
        writer.begin(tables)
        yield writer
    except BaseException:
        with suppress(OSError, ValueError):
            archive.close()  # which else happens when it is collected
        raise
    archive.close()


class ArchiveWriter:
    """Writes the parts of an archive; made by `writing_archive`."""

    def __init__(self, archive: ZipFile) -> None:
        self._zip = archive

    def begin(self, tables: Mapping[str, int]) -> None:
        """Writes what stands before the documents."""
        with self._entry("README.md") as entry:
            entry.write(_README.encode())
        with self._entry(f"{TABLES}/{DOCUMENTS}") as entry:
            for name, number in sorted(tables.items(), key=lambda table: table[1]):
                entry.write(_line({"name": name, "id": number}))

    @contextmanager
    def documents(self, table: str) -> Iterator[DocumentsWriter]:
        """Writes the documents of a table, all that are given to what this yields."""
        with self._entry(f"{table}/{DOCUMENTS}") as entry:
            yield DocumentsWriter(entry)

    @contextmanager
    def schema(self, table: str, shape: Shape) -> Iterator[HintsWriter]:
        """Writes the shape of a table; what this yields writes hints, for each document if the shape is ambiguous."""
        with self._entry(f"{table}/{SCHEMA}") as entry:
            entry.write(_line(str(shape)))
            yield HintsWriter(entry, shape)

    @contextmanager
    def files(self) -> Iterator[FilesWriter]:
        """Writes what is known of stored files, of all that are given to what this yields."""
        with self._entry(f"{STORAGE}/{DOCUMENTS}") as entry:
            yield FilesWriter(entry)

    def file(self, record: dict[str, Any], pieces: Iterable[bytes]) -> None:
        """Writes what a stored file holds. It is not compressed: most of what is large is compressed already."""
        with self._entry(entry_name(record), ZIP_STORED) as entry:
            for piece in pieces:
                entry.write(piece)

    @contextmanager
    def _entry(self, name: str, method: int = ZIP_DEFLATED) -> Iterator[IO[bytes]]:
        info = ZipInfo(name, _FIRST_DATE)
        info.compress_type = method
        info.external_attr = _FILE_MODE << 16
        with self._zip.open(info, "w", force_zip64=True) as entry:
            yield entry


class DocumentsWriter:
    """Writes documents.

    Attributes:
        shape: the shape of those written so far.
    """

    def __init__(self, entry: IO[bytes]) -> None:
        self.shape = Shape()
        self._entry = entry

    def write(self, documents: Iterable[dict[str, Any]]) -> None:
        """Writes these documents too."""
        lines = []
        for document in documents:
            self.shape.add(document)
            lines.append(_line(to_clean(document)))
        self._entry.write(b"".join(lines))


class FilesWriter:
    """Writes what is known of stored files."""

    def __init__(self, entry: IO[bytes]) -> None:
        self._entry = entry

    def write(self, records: Iterable[dict[str, Any]]) -> None:
        """Writes these records too."""
        self._entry.write(b"".join(_line(to_line(record)) for record in records))


class HintsWriter:
    """Writes what is to be said of single documents."""

    def __init__(self, entry: IO[bytes], shape: Shape) -> None:
        self._entry = entry
        self._shape = shape

    def write(self, documents: Iterable[dict[str, Any]]) -> None:
        """Writes hints for those of these documents that need any."""
        for document in documents:
            hint = self._shape.hint(document)
            if hint is not None:
                self._entry.write(_line({document["_id"]: hint}))


def _line(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
