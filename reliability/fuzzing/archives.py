"""Files that are to be imported: archives in Convex's layout, lines and arrays of JSON, CSV."""

from __future__ import annotations

import io
import json
import random
import tempfile
import warnings
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from reliability.fuzzing import spoil
from reliability.fuzzing.surface import TAKEN, Attempt, Finding, Surface
from yugen.archive.reader import open_import
from yugen.errors import Refused
from yugen.ids import encode_id

_FORMS: Final = ("zip", "jsonLines", "jsonArray", "csv")
_NAMES: Final = (
    *("notes/documents.jsonl", "notes/generated_schema.jsonl", "_tables/documents.jsonl", "_storage/documents.jsonl"),
    *("_storage/x", "users/documents.jsonl", "README.md", "_components/c/notes/documents.jsonl"),
)
_ODD_NAMES: Final = (
    *("../notes/documents.jsonl", "/etc/passwd", "notes\\documents.jsonl", "a\0b", "C:x", "", "notes//documents.jsonl"),
    *("../../../../tmp/x", "é/documents.jsonl", "a" * 300 + "/documents.jsonl", "1/documents.jsonl", "notes/", "./x"),
)


def bytes_of(given: Any) -> bytes:
    """The bytes of a file that is described: as text, or as the entries of an archive."""
    entries = given.get("entries")
    if not isinstance(entries, list):
        return str(given.get("text", "")).encode("utf-8", "surrogatepass")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings(action="ignore"):
        for entry in entries:
            if isinstance(entry, dict):
                info = zipfile.ZipInfo(str(entry.get("name", "x")))
                info.external_attr = int(entry.get("mode", 0o100644)) << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                text = str(entry.get("text", "")) * int(entry.get("times", 1))
                archive.writestr(info, text.encode("utf-8", "surrogatepass"))
    content = made.getvalue()
    return content if given.get("spoil") is None else spoil.corrupt_bytes(random.Random(given["spoil"]), content)


async def attempt(folder: Path, given: Any) -> str:
    """Reads all that a file holds. It is refused by a declared error, or is what it seems."""
    file, form = folder / "file", str(given.get("form"))
    file.write_bytes(bytes_of(given))
    rows = 0
    try:
        with open_import(file, form, table=given.get("table"), kinds={}) as found:  # type: ignore[arg-type]
            for table in found.tables:
                for _, document in table.rows():
                    if not isinstance(document, dict):
                        raise Finding(f"{document!r} is taken for a document")
                    rows += 1
            for entry in found.files() if found.files is not None else ():
                with entry.open() as content:
                    while content.read(1 << 16):
                        pass
    except Refused as error:
        if not str(error):
            raise Finding("it is refused without a word") from None
        return error.code
    if [each.name for each in folder.iterdir()] != ["file"]:
        raise Finding("something was written beside the file")
    return TAKEN


def _line(dice: random.Random) -> Any:
    line = {"topic": "t", "text": "x", "number": dice.random()}
    if dice.random() < 0.3:
        line |= {"_id": encode_id(10_001, dice.randbytes(16)), "_creationTime": 1.7e12}
    if dice.random() < 0.2:
        line["more"] = spoil.encoded_value(dice)
    return line


def _lines(dice: random.Random) -> str:
    lines = [_line(dice) for _ in range(dice.randrange(4))]
    spoiled = dice.random() < 0.4
    return "\n".join(spoil.hostile(dice, line) if spoiled else json.dumps(line) for line in lines)


def _entry(dice: random.Random) -> Any:
    name = spoil.mostly(dice, dice.choice(_NAMES), _ODD_NAMES, 0.9)
    match name.rpartition("/")[0].rpartition("/")[2]:
        case "_tables":
            text = spoil.hostile(dice, {"name": "notes", "id": dice.choice((10_001, 1, -1, 1e300, "x"))})
        case "_storage":
            text = spoil.hostile(dice, {"_id": "x", "sha256": "AA==", "size": 1, "contentType": "text/plain"})
        case _ if name.endswith("schema.jsonl"):
            text = json.dumps(
                dice.choice(("any", "never", "{topic: string}", "[" * 500, "string", "float64|int64", "é"))
            )
        case _:
            text = _lines(dice)
    entry: dict[str, Any] = {"name": name, "text": text}
    if dice.random() < 0.05:
        entry["mode"] = dice.choice((0o120777, 0o010644, 0o040755, 0o020644))
    if dice.random() < 0.0005:
        entry |= {"text": " " * 1024, "times": 200_000}
    return entry


def made(dice: random.Random) -> Any:
    """A file, spoiled more often than not."""
    form = dice.choice(_FORMS)
    if form == "zip":
        entries = [_entry(dice) for _ in range(dice.randrange(1, 4))]
        if dice.random() < 0.6:
            entries = [{"name": "notes/documents.jsonl", "text": _lines(dice)}, *entries[1:]]
        if dice.random() < 0.1:
            entries *= 2
        return {"form": form, "entries": entries, "spoil": dice.randrange(9999) if dice.random() < 0.3 else None}
    match form:
        case "csv":
            rows = [",".join(("topic", "text", "number")), *(",".join(_cells(dice)) for _ in range(dice.randrange(4)))]
            text = dice.choice(("\n", "\r\n", "\r")).join(rows)
        case "jsonArray":
            text = spoil.hostile(dice, [_line(dice) for _ in range(dice.randrange(3))])
        case _:
            text = _lines(dice)
    text = spoil.corrupt(dice, text) if dice.random() < 0.3 else text
    table = spoil.mostly(dice, "notes", (None, "", "_storage", "../x", "é", "a" * 99, "users"), 0.9)
    return {"form": form, "text": text, "table": table}


def _cells(dice: random.Random) -> list[str]:
    odd = ('"', "json:{", "json:" + "[" * 300, "null", '"a\nb"', "1e999", "\0", "=1+1", "json:1", "x" * 5000, "$")
    return [spoil.mostly(dice, "1", odd, 0.7) for _ in range(dice.choice((3, 3, 3, 2, 4)))]


@asynccontextmanager
async def _opened() -> AsyncIterator[Attempt]:
    with tempfile.TemporaryDirectory() as folder:
        yield partial(attempt, Path(folder))


SURFACES: Final = (
    Surface("archives", made, _opened, "Files to import: refused in words, and nothing is unpacked.", 40),
)
