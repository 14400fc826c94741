"""Reading what is to be imported: an archive as Yugen and Convex write it, or the documents of one table.

Whoever made the file may have meant harm. Nothing of it is ever unpacked to a disk; its names are held to what names of
files may be; and it is given up once it holds more than an import may, whatever it says of itself.
"""

from __future__ import annotations

import io
import stat
import sys
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal
from zipfile import BadZipFile, ZipFile, ZipInfo

from yugen.archive.cells import Kinds
from yugen.archive.files import STORAGE, StoredEntry, from_line, id_of_entry
from yugen.archive.rows import InvalidRow, Numbered, csv_rows, json_array, json_lines
from yugen.archive.shapes import Hint, Shape, parse_shape
from yugen.archive.writer import DOCUMENTS, SCHEMA, TABLES
from yugen.errors import Refused
from yugen.schema import check_name
from yugen.values import InvalidValue, decode, parse_json

BYTES_MAX: Final = 128 * 1024 * 1024
"""Bytes of all documents of an import, as text and unpacked."""

FILES_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
"""Bytes of all stored files of an import."""

DIRECTORY_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of the list of an archive's files."""

_COMPONENTS: Final = "_components"
_ENCRYPTED: Final = 0x1

Format = Literal["zip", "jsonLines", "jsonArray", "csv"]


class InvalidImport(Refused):
    """A file that cannot be imported; the text names the place in it."""

    code = "InvalidImport"


@dataclass(frozen=True, slots=True)
class TableFile:
    """The documents of one table.

    Attributes:
        table: its name.
        number: the number that the archive gives the table, if it does.
    """

    table: str
    number: int | None
    _label: str
    _rows: Callable[[], Iterator[Numbered]] = field(repr=False)

    def rows(self) -> Generator[Numbered]:
        """The documents as decoded values, by the numbers of their rows.

        Raises:
            InvalidImport: they are not what they should be.
        """
        with _explained(self._label):
            yield from self._rows()

    def place(self, row: int) -> str:
        """What to call a row in an error."""
        return f"row {row} of {self._label}" if self._label else f"row {row}"


@dataclass(frozen=True, slots=True)
class Import:
    """What a file holds.

    Attributes:
        tables: the documents by table, in the order of their names.
        notes: what in the file is left out, a sentence each.
        files: the stored files; None if the file does not speak of any.
        storage_number: the number that the archive gives the table of stored files, if it does.
    """

    tables: tuple[TableFile, ...]
    notes: tuple[str, ...] = ()
    files: Callable[[], Iterator[StoredEntry]] | None = None
    storage_number: int | None = None


@contextmanager
def open_import(
    file: Path, form: Format, *, table: str | None, kinds: Mapping[str, Kinds], trusted: bool = False
) -> Iterator[Import]:
    """What a file holds, which can be read until this is left.

    Args:
        file: the file.
        form: how it is written.
        table: the table of the documents; None for an archive, which names its tables itself.
        kinds: what the columns of tables can be, for text that does not say what it is.
        trusted: whether `yugen.archive.writer` has made the file; then it may be of any size.

    Raises:
        InvalidImport: it is not written like that, or holds what no such file holds.
    """
    budget = _Budget(sys.maxsize if trusted else BYTES_MAX, "documents are {} bytes of text or more")
    files = _Budget(sys.maxsize if trusted else FILES_BYTES_MAX, "stored files are {} bytes or more")
    with file.open("rb") as raw, ExitStack() as stack:
        if form == "zip":
            if table is not None:
                raise InvalidImport("An archive names its tables itself; leave --table out.")
            with _explained(""):
                found = _Archive(stack.enter_context(ZipFile(_Modest(raw))), budget, files, trusted=trusted).read()
            yield found
            return
        if table is None:
            raise InvalidImport("Name the table that the documents are for, with --table.")
        with _explained(""):
            check_name("table", table)

        def rows() -> Iterator[Numbered]:
            raw.seek(0)
            content = _Counted(raw, budget)
            match form:
                case "csv":
                    yield from csv_rows(content, kinds.get(table, {}))
                case "jsonArray":
                    yield from _decoded(json_array(content))
                case "jsonLines":
                    yield from _decoded(json_lines(content))

        yield Import((TableFile(table, None, "", rows),))


class _Archive:
    """An archive that is being read."""

    def __init__(self, archive: ZipFile, budget: _Budget, files: _Budget, *, trusted: bool) -> None:
        self._zip = archive
        self._trusted = trusted
        self._budget = budget
        self._files = files

    def read(self) -> Import:
        documents: dict[str, ZipInfo] = {}
        schemas: dict[str, ZipInfo] = {}
        stored: dict[str, ZipInfo] = {}
        components = set()
        for entry in self._entries():
            *above, folder, name = ["", "", *entry.filename.split("/")]
            if _COMPONENTS in above:
                components.add(above[above.index(_COMPONENTS) + 1] if above[-1] != _COMPONENTS else folder)
            elif name == DOCUMENTS:
                _once(documents, folder, entry)
            elif name == SCHEMA:
                _once(schemas, folder, entry)
            elif folder == STORAGE and name:
                _once(stored, id_of_entry(name), entry, "the stored file")
        numbers = self._numbers(documents.pop(TABLES, None))
        records = documents.pop(STORAGE, None)
        system = sorted(name for name in documents if name.startswith("_"))
        mine = sorted(documents.keys() - set(system))
        if not mine and not system and not numbers and records is None:
            raise InvalidImport(f"The archive holds no {DOCUMENTS} of any table; export one with `convex export`.")
        for name in mine:
            check_name("table", name)
        self._check_declared([documents[name] for name in mine] + [schemas[name] for name in mine if name in schemas])
        self._files.check(sum(entry.file_size for entry in stored.values()))
        return Import(
            tuple(self._table(name, numbers.get(name), documents[name], schemas.get(name)) for name in mine),
            tuple(_notes(system, 0 if records else len(stored), components)),
            None if records is None else self._stored(records, stored),
            numbers.get(STORAGE),
        )

    def _entries(self) -> Iterator[ZipInfo]:
        names: set[str] = set()
        for entry in self._zip.infolist():
            name = entry.orig_filename
            parts = name.split("/")
            if not name or parts[0] == "" or ".." in parts or any(each in name for each in ("\\", "\0", ":")):
                raise InvalidImport(f"The archive holds a file called {name[:100]!r}, which no export does.")
            mode = stat.S_IFMT(entry.external_attr >> 16)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise InvalidImport(f"{name[:100]} in the archive is a link or a device; exports hold only files.")
            if name in names:
                raise InvalidImport(f"The archive holds two files called {name[:100]}; it may hold each once.")
            names.add(name)
            if not entry.is_dir():
                yield entry

    def _check_declared(self, entries: list[ZipInfo]) -> None:
        total = sum(entry.file_size for entry in entries)
        self._budget.check(total)

    def _numbers(self, entry: ZipInfo | None) -> dict[str, int]:
        """The numbers of tables by name, which `_tables` lists."""
        numbers: dict[str, int] = {}
        taken: set[float] = set()
        if entry is None:
            return numbers
        with _explained(entry.filename), self._open(entry) as content:
            for row, fields in json_lines(content):
                match fields:
                    case {"name": str(name), "id": int() | float() as number} if number == int(number):
                        if name in numbers or number in taken:
                            raise InvalidRow(row, f"names the table {name[:100]} or the number {int(number)} again.")
                        taken.add(number)
                        numbers[name] = int(number)
                    case _:
                        raise InvalidRow(row, 'is not of the form {"name": "users", "id": 10001}.')
        return numbers

    def _table(self, name: str, number: int | None, documents: ZipInfo, schema: ZipInfo | None) -> TableFile:
        def rows() -> Iterator[Numbered]:
            if schema is None:
                with self._open(documents) as content:
                    yield from _decoded(json_lines(content))
                return
            with self._open(schema) as beside:
                with _explained(schema.filename):
                    shape, hints = _schema(beside, in_order=self._trusted)
                with self._open(documents) as content:
                    yield from _shaped(json_lines(content), shape, hints)

        return TableFile(name, number, documents.filename, rows)

    def _stored(self, records: ZipInfo, contents: dict[str, ZipInfo]) -> Callable[[], Iterator[StoredEntry]]:
        @contextmanager
        def opened(id: str) -> Iterator[IO[bytes]]:
            if id not in contents:
                raise InvalidImport(f"The archive names the stored file {id[:100]}, and does not hold it.")
            entry = contents[id]
            with _explained(entry.filename), self._open(entry, self._files) as content:
                yield content

        def files() -> Iterator[StoredEntry]:
            label = records.filename
            with _explained(label), self._open(records) as content:
                for row, fields in json_lines(content):
                    yield from_line(row, fields, label, opened)

        return files

    @contextmanager
    def _open(self, entry: ZipInfo, budget: _Budget | None = None) -> Iterator[IO[bytes]]:
        if entry.flag_bits & _ENCRYPTED:
            raise InvalidImport(f"{entry.filename} in the archive is encrypted; import one that is not.")
        with self._zip.open(entry) as content:
            yield _Counted(content, budget or self._budget)


def _once(entries: dict[str, ZipInfo], folder: str, entry: ZipInfo, what: str = "the table") -> None:
    other = entries.setdefault(folder, entry)
    if other is not entry:
        raise InvalidImport(
            f"{other.filename} and {entry.filename} are both of {what} {folder[:100]}; leave one of them out."
        )


def _notes(system: list[str], stored: int, components: set[str]) -> Iterator[str]:
    if stored:
        yield f"{stored} stored files are left out, for no {STORAGE}/{DOCUMENTS} says what they are."
    if system:
        yield f"System tables are left out: {', '.join(system)[:200]}."
    if components:
        yield f"Components are left out, which an app does not have: {', '.join(sorted(components))[:200]}."


def _schema(content: IO[bytes], *, in_order: bool) -> tuple[Shape, Callable[[str], Hint | None]]:
    """The shape of a table, and what gives the hint for the document with an id.

    With `in_order`, hints stand in the order of their documents, as `yugen.archive.writer` writes them; the next one is
    read when it is due. Otherwise all are kept.
    """
    text = parse_json(content.readline())
    if not isinstance(text, str):
        raise InvalidImport("the first line is not the shape of the table, a JSON string.")
    hints: dict[str, Hint] = {}
    lines = json_lines(content)
    if not in_order:
        for _, fields in lines:
            hints |= fields
        return parse_shape(text), hints.get

    def next_hint(id: str) -> Hint | None:
        if not hints:
            hints.update(next(lines, (0, {}))[1])
        return hints.pop(id, None)

    return parse_shape(text), next_hint


def _decoded(rows: Iterator[Numbered]) -> Iterator[Numbered]:
    for number, fields in rows:
        try:
            document = decode(fields)
        except InvalidValue as error:
            raise InvalidRow(number, f"is not of wire values: {error}.") from None
        if not isinstance(document, dict):
            raise InvalidRow(number, "is not a document but a single value.")
        yield number, document


def _shaped(rows: Iterator[Numbered], shape: Shape, hint_of: Callable[[str], Hint | None]) -> Iterator[Numbered]:
    for number, fields in rows:
        try:
            hint = hint_of(str(fields.get("_id")))
            yield number, shape.read(fields, hint)  # type: ignore[misc]  # an object, for it is read from one
        except Refused as error:
            raise InvalidRow(number, f"is not of the table's shape: {error}.") from None


class _Budget:
    """Bytes that may still be read."""

    def __init__(self, size: int, told: str = "documents are {} bytes of text or more") -> None:
        self._size = size
        self._told = told
        self._left = size

    def check(self, size: int) -> None:
        """Refuses a file that says it has more bytes than there are in all."""
        if size > self._size:
            raise self._too_large(size)

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise self._too_large(self._size - self._left)

    def _too_large(self, size: int) -> InvalidImport:
        told = self._told.format(size)
        return InvalidImport(f"The {told}; an import has at most {self._size}. Import in several parts.")


class _Counted(io.BufferedReader):
    """A file of which no more is read than the budget allows."""

    def __init__(self, file: Any, budget: _Budget) -> None:
        super().__init__(_CountedRaw(file, budget), 128 * 1024)


class _CountedRaw(io.RawIOBase):
    def __init__(self, file: IO[bytes], budget: _Budget) -> None:
        self._file = file
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        self._budget.spend(len(data))
        buffer[: len(data)] = data
        return len(data)


class _Modest:
    """A file for `ZipFile`, which reads the list of an archive's files at once, however long that says it is."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        limit = DIRECTORY_BYTES_MAX + 1
        data = self._file.read(min(size, limit) if size >= 0 else limit)
        if len(data) == limit:
            raise InvalidImport("The archive holds too many files; import one that holds less.")
        return data


@contextmanager
def _explained(label: str) -> Iterator[None]:
    """Raises an `InvalidImport`, which names the place, for whatever can be wrong with a file."""
    place = f"{label}: " if label else ""
    try:
        yield
    except InvalidImport:
        raise
    except InvalidValue as error:
        raise InvalidImport(f"{place or 'The file is '}{error}.") from None
    except Refused as error:
        raise InvalidImport(f"{place}{error}") from None
    except (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise InvalidImport(f"{place or 'The file '}cannot be read as an archive ({error}); export it again.") from None
