"""`yugen export`: the server makes a snapshot of one moment; here it is kept, or one table of it written otherwise.

All of it goes through files and buffers of a fixed size, however many documents there are.
"""

from __future__ import annotations

import asyncio
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

import orjson

from yugen.archive.cells import Kinds
from yugen.archive.reader import TableFile, open_import
from yugen.archive.rows import write_csv
from yugen.cli.progress import Progress, waiting
from yugen.cli.remote import Api, Refusal, Where, deployment, run_command
from yugen.cli.show import counted, integer, plain, pretty
from yugen.cli.status import USAGE, fail
from yugen.errors import Refused
from yugen.values import encode

FORMATS: Final = ("zip", "jsonl", "csv")

_BUFFER_BYTES: Final = 1024 * 1024
_POLL_SECONDS: Final = 0.1
_SYSTEM_FIELDS: Final = ("_id", "_creationTime")


def export_file(
    path: Path, *, table: str | None, form: str | None, files: bool, force: bool, as_json: bool, where: Where
) -> None:
    """Writes an export to a file, whole or not at all; prints where it is."""
    if path.is_dir():
        form = form or ("zip" if table is None else "jsonl")
    form = form or path.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        fail(f"{path} does not say by the end of its name how to write it; name it .zip, .jsonl or .csv.", USAGE)
    if form == "zip" and table is not None:
        fail("A snapshot has all tables; name the file .jsonl or .csv for one of them, or leave --table out.", USAGE)
    if form != "zip" and table is None:
        fail(f"A .{form} file has the documents of one table; name it with --table.", USAGE)
    if form != "zip" and files:
        fail("Stored files are part of a snapshot; name the file .zip, or leave --include-file-storage out.", USAGE)
    if path.exists() and not path.is_dir() and not force:
        fail(f"There is a file {path} already; choose another name, or write over it with --force.")
    if not path.is_dir() and not path.absolute().parent.is_dir():
        fail(f"There is no folder {path.parent}; make it first.")
    run_command(where.url, _export(path, table, form, files=files, as_json=as_json, where=where))


async def _export(path: Path, table: str | None, form: str, *, files: bool, as_json: bool, where: Where) -> None:
    async with deployment(where, "columns" if form == "csv" else "data") as api:
        async with waiting("Making a snapshot"):
            ts = await _snapshot(api, files=files)
        if path.is_dir():
            path = path / (f"snapshot_{ts}.zip" if table is None else f"{table}_{ts}.{form}")
        kinds = await _kinds(api, table) if form == "csv" and table is not None else {}
        documents = None
        with _whole(path) as out:
            if table is None:
                await _fetch(api, ts, out)
            else:
                with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
                    archive = Path(folder, "snapshot.zip")
                    with archive.open("xb") as content:
                        await _fetch(api, ts, content)
                    documents = _write_table(archive, table, form, kinds, out)
            size = out.tell()
    if as_json:
        number = {} if documents is None else {"documents": documents}
        print(pretty({"path": str(path), "bytes": size, "ts": str(ts), **number}, one_line=True))
    else:
        how_many = "" if documents is None else f"{counted(documents, 'document')}, "
        print(f"Exported to {path} ({how_many}{size / 1_000_000:,.1f} MB).")


async def _snapshot(api: Api, *, files: bool) -> int:
    """Has a snapshot of now made; returns its timestamp."""
    while True:
        try:
            await api.post(f"/api/export/request/zip{'?includeStorage=true' if files else ''}")
            break
        except Refusal as error:
            if error.code != "ExportInProgress":
                raise
        await asyncio.sleep(_POLL_SECONDS)
    while True:
        latest = await api.call("_system/cli/exports:getLatest")
        if latest["state"] == "completed":
            return integer(latest["start_ts"])
        if latest["state"] == "failed":
            fail("The snapshot could not be made; the log of the server says why.")
        await asyncio.sleep(_POLL_SECONDS)


async def _fetch(api: Api, ts: int, out: IO[bytes]) -> None:
    """Writes a finished snapshot to a file."""
    if api.exports is not None:
        with (api.exports / f"{ts}.zip").open("rb") as content:
            shutil.copyfileobj(content, out, _BUFFER_BYTES)
        return
    async with api.download(f"/api/export/zip/{ts}") as response:
        progress = Progress("Fetching", int(response.headers.get("content-length", 0)))
        try:
            async for part in response.aiter_bytes(_BUFFER_BYTES):
                out.write(part)
                progress.advance(len(part))
        finally:
            progress.clear()


async def _kinds(api: Api, table: str) -> Kinds:
    """What the columns of a table are for whoever imports CSV into this deployment."""
    columns: dict[str, list[str]] = await api.call("_system/imports:columns", table=table)
    return {name: set(kinds) for name, kinds in columns.items()}


def _write_table(archive: Path, table: str, form: str, kinds: Kinds, out: IO[bytes]) -> int:
    """Writes the documents of one table of a snapshot; returns how many."""
    try:
        with open_import(archive, "zip", table=None, kinds={}, trusted=True) as content:
            found = next((each for each in content.tables if each.table == table), None)
            if found is None:
                fail(f"There is no table {table}; see which there are with `yugen data`.")
            return _write_csv(found, kinds, out) if form == "csv" else _write_lines(found, out)
    except Refused as error:
        fail(f"The snapshot of the server cannot be read: {error}")


def _write_lines(file: TableFile, out: IO[bytes]) -> int:
    count = 0
    for _, document in file.rows():
        out.write(orjson.dumps(plain(encode(document)), option=orjson.OPT_APPEND_NEWLINE))
        count += 1
    return count


def _write_csv(file: TableFile, kinds: Kinds, out: IO[bytes]) -> int:
    names = dict.fromkeys(_SYSTEM_FIELDS)
    for _, document in file.rows():
        names |= dict.fromkeys(document)
    if "" in names:
        fail("A document has a field with an empty name, for which CSV has no column; export the table as .jsonl.")
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    try:
        return write_csv(text, list(names), (document for _, document in file.rows()), kinds)
    finally:
        text.detach()  # which writes what it holds, and leaves the file open


@contextmanager
def _whole(file: Path) -> Iterator[IO[bytes]]:
    """A file that is there once what writes it is done, and that only its owner can read."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
