"""Documents in files: lines of JSON, an array of JSON, or a table of text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

from yugen.archive.cells import Kinds, read_cell, write_cell
from yugen.errors import Refused
from yugen.values import ABSENT, DOCUMENT_SIZE_MAX, InvalidValue, parse_json

LINE_SIZE_MAX: Final = 9 * DOCUMENT_SIZE_MAX
"""Bytes of a line of JSON; documents take no more, however they are written."""

ARRAY_SIZE_MAX: Final = 64 * 1024 * 1024
"""Bytes of an array of JSON, which is read as a whole."""

Numbered = tuple[int, dict[str, Any]]
"""A row by its number, the first of them 1, and its fields."""


class InvalidRow(Refused):
    """A row that is no document.

    Args:
        number: which row.
        fault: what is wrong with it, as the end of a sentence that names it.
    """

    code = "InvalidRow"

    def __init__(self, number: int, fault: str) -> None:
        super().__init__(f"row {number} {fault}")


def json_lines(file: IO[bytes]) -> Iterator[Numbered]:
    """Objects, one a line; the values in them are parsed JSON. Lines without any text do not count.

    Raises:
        InvalidRow: a line is no object, or too long.
    """
    number = 0
    while line := file.readline(LINE_SIZE_MAX + 1):
        number += 1
        if len(line) > LINE_SIZE_MAX:
            raise InvalidRow(number, f"is longer than {LINE_SIZE_MAX} bytes; documents are smaller.")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.isspace():
            yield number, _object(number, _parsed(number, line))


def json_array(file: IO[bytes]) -> Iterator[Numbered]:
    """The objects in an array; the values in them are parsed JSON.

    Raises:
        InvalidRow: one of them is no object.
        InvalidValue: it is no array, or too long.
    """
    text = file.read(ARRAY_SIZE_MAX + 1)
    if len(text) > ARRAY_SIZE_MAX:
        raise InvalidValue(f"longer than {ARRAY_SIZE_MAX} bytes; write one object a line, as .jsonl")
    rows = parse_json(text.removeprefix(b"\xef\xbb\xbf"))
    if not isinstance(rows, list):
        raise InvalidValue("not an array of objects; write one object a line, as .jsonl, or an array of them")
    for number, row in enumerate(rows, 1):
        yield number, _object(number, row)


def csv_rows(file: IO[bytes], kinds: Kinds) -> Iterator[Numbered]:
    """Rows of text under the names in the first; the values in them are decoded.

    A cell becomes what its column can be, see `yugen.archive.cells`.

    Raises:
        InvalidRow: a row has not the columns that the first one names.
        InvalidValue: the first row is none of names.
    """
    number = 0
    with _long_cells():
        rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
        try:
            names = next(rows, [])
            if len(set(names)) < len(names) or "" in names:
                raise InvalidValue("without a name of its own for each column in the first row")
            for number, row in enumerate(rows, 1):
                if row and len(row) != len(names):
                    raise InvalidRow(number, f"has {len(row)} cells and the first row names {len(names)} columns.")
                cells = ((name, read_cell(text, kinds.get(name))) for name, text in zip(names, row, strict=False))
                yield number, {name: value for name, value in cells if value is not ABSENT}
        except csv.Error as error:
            raise InvalidRow(number + 1, f"is not CSV: {error}.") from None
        except UnicodeDecodeError:
            raise InvalidRow(number + 1, "or one soon after it is not in UTF-8.") from None


def write_csv(file: IO[str], names: Sequence[str], documents: Iterable[dict[str, Any]], kinds: Kinds) -> int:
    """Writes documents as rows of text, the first row of names; returns how many.

    Args:
        file: where they go, opened with `newline=""`.
        names: the fields, one for each column; others are left out.
        documents: decoded values by field.
        kinds: what the columns can be for whoever is to read them.
    """
    # Of RFC 4180; and Python 3.11 quotes no other line break than the one that ends rows.
    rows = csv.writer(file, lineterminator="\r\n")
    rows.writerow(names)
    count = 0
    for document in documents:
        rows.writerow([write_cell(document.get(name, ABSENT), kinds.get(name)) for name in names])
        count += 1
    return count


@contextmanager
def _long_cells() -> Iterator[None]:
    """Lets cells be as long as documents."""
    before = csv.field_size_limit(LINE_SIZE_MAX)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parsed(number: int, line: bytes) -> Any:
    try:
        return parse_json(line)
    except InvalidValue as error:
        raise InvalidRow(number, f"is {error}.") from None


def _object(number: int, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise InvalidRow(number, "is not an object.")
    return row
