"""Writing what a file holds into the database, all of it in one transaction.

Everything that can be wrong is found on the way, and then nothing is written. A query can try an import out in the same
way: what it writes goes nowhere.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from yugen import ids
from yugen.archive.files import StoredEntry
from yugen.archive.reader import Import, InvalidImport, TableFile
from yugen.catalog import CREATION_TIME, FIRST_USER_TABLE, STORAGE, TableSpec
from yugen.errors import Refused
from yugen.files.memory import Nowhere
from yugen.files.store import PIECE_BYTES, FileStore
from yugen.files.streams import save_whole
from yugen.functions.database import SystemDatabase
from yugen.functions.storage import check_content_type, check_sha256, to_record
from yugen.functions.tables import Tables
from yugen.values import Value

Mode = Literal["requireEmpty", "append", "replace", "replaceAll"]
"""What becomes of the documents that are there: of those in the tables of the file, with `replaceAll` of all."""

DOCUMENTS_MAX: Final = 250_000
"""Documents that one import may add and remove together."""

_NUMBERS_END: Final = FIRST_USER_TABLE + 100_000
"""Numbers that a file may give to tables are below this, so that it does not use them up."""


@dataclass(slots=True)
class Counts:
    """What an import does to one table: how many documents it adds, and how many it removes."""

    added: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class _Target:
    """The documents of a table of the file, the table here, and the table's number where the file comes from."""

    file: TableFile
    table: TableSpec
    number: int


class Importing:
    """One import.

    Args:
        db: where it writes.
        tables: the classes of the app.
        mode: what becomes of the documents that are there.
        now: creation time of documents that bring none, in milliseconds since the epoch.
        files: where the bytes of stored files go; None to try out whether they could.

    Attributes:
        counts: what it has done, by table.
    """

    def __init__(
        self, db: SystemDatabase, tables: Tables, mode: Mode, now: float, files: FileStore | None = None
    ) -> None:
        self.counts: dict[str, Counts] = {}
        self._db = db
        self._tables = tables
        self._mode = mode
        self._now = now
        self._files = files
        self._touched = 0
        self._renumbered: dict[int, int] = {}
        # What imported documents refer to by a `Ref`, each with the place of the reference.
        self._references: list[tuple[str, str]] = []

    async def run(self, content: Import) -> None:
        """Writes everything.

        Raises:
            InvalidImport: something is wrong; what was written so far must be undone.
        """
        targets = [await self._target(file) for file in content.tables]
        for target in targets:
            if target.number != target.table.number:
                self._renumbered[target.number] = target.table.number
        if content.files is not None:
            await self._take_files(content, content.files)
        for name in await self._affected([target.table.name for target in targets]):
            await self._make_room(name)
        for target in targets:
            await self._write(target)
        await self._check_references()

    @property
    def added(self) -> int:
        """How many documents it has written."""
        return sum(counts.added for counts in self.counts.values())

    async def _target(self, file: TableFile) -> _Target:
        try:
            self._tables.check_declared(file.table)
        except Refused as error:
            raise InvalidImport(str(error)) from None
        number = file.number
        if number is None:
            with closing(file.rows()) as rows:
                _, first = next(rows, (0, {}))
            number = _table_of(first.get("_id"))
        wished = number if number is not None and FIRST_USER_TABLE <= number < _NUMBERS_END else None
        table = await self._db.table(file.table, number=wished)
        return _Target(file, table, table.number if number is None else number)

    async def _affected(self, named: list[str]) -> list[str]:
        """The tables whose documents may go, those of the file first."""
        if self._mode != "replaceAll":
            return named
        every = [table["name"] for table in await self._db.query("_tables").with_index("by_name").collect()]
        return [*named, *(name for name in every if name not in named)]

    async def _take_files(self, content: Import, files: Callable[[], Iterator[StoredEntry]]) -> None:
        """Adds stored files. What has their bytes when this fails later is nobody's, and removed as such."""
        number = content.storage_number
        if number is None:
            first = next(files(), None)
            number = None if first is None else _table_of(first.id)
        if number is not None and number != STORAGE.number:
            self._renumbered[number] = STORAGE.number
        if self._mode == "append" or next(files(), None) is not None:
            await self._make_room(STORAGE.name)
        counts = self.counts.setdefault(STORAGE.name, Counts())
        seen: set[bytes] = set()
        for file in files():
            self._touch()
            try:
                source, internal = ids.decode_id(file.id)
                if source != (STORAGE.number if number is None else number):
                    raise InvalidImport("its _id is not of the same table as the others.")
                if internal in seen or await self._db.has(STORAGE, internal):
                    raise InvalidImport("a stored file with its _id is there already.")
                seen.add(internal)
                check_content_type(file.content_type)
                with file.open() as content_of:
                    stored = save_whole(self._files or Nowhere(), iter(partial(content_of.read, PIECE_BYTES), b""))
                check_sha256(stored, file.sha256)
            except Refused as error:
                raise InvalidImport(f"{file.place}: {error}") from None
            record = to_record(stored, file.content_type) | {"size": float(stored.size)}
            if file.uuid is not None and not await self._has_uuid(file.uuid):
                record["uuid"] = file.uuid
            created = self._now if file.creation_time is None else file.creation_time
            own_id = ids.encode_id(STORAGE.number, internal)
            await self._db.put(STORAGE, internal, {"_id": own_id, CREATION_TIME: created, **record})
            counts.added += 1

    async def _has_uuid(self, uuid: str) -> bool:
        return await self._db.query(STORAGE.name).with_index("by_uuid", uuid=uuid).first() is not None

    async def _make_room(self, table: str) -> None:
        """Removes the documents of a table, or sees to it that there are none, as the mode says."""
        counts = self.counts[table] = Counts()
        if self._mode == "append":
            return
        spec = await self._db.table(table)
        async for page in self._db.pages(table):
            if self._mode == "requireEmpty":
                raise InvalidImport(
                    f"Table {table} has documents already; add to them with --append, or replace them with --replace."
                )
            for document in page:
                _, internal = ids.decode_id(document["_id"])
                await self._db.put(spec, internal, None)
                self._touch()
            counts.removed += len(page)

    async def _write(self, target: _Target) -> None:
        file, table = target.file, target.table
        counts = self.counts[table.name]
        references = [reference.field for reference in self._tables.references(table.name)]
        seen: set[bytes] = set()
        for row, document in file.rows():
            self._touch()
            try:
                fields, internal = self._taken_apart(target, document)
                if internal is not None:
                    if internal in seen:
                        raise InvalidImport("its _id is that of a row before it.")
                    seen.add(internal)
                checked = self._tables.check(table.name, fields, self._db.catalog)
                await self._put(table, internal, document, checked)
            except Refused as error:
                raise InvalidImport(f"{file.place(row)}: {error}") from None
            for name in references:
                if checked.get(name) is not None:
                    self._references.append((f"{file.place(row)}: {name}", checked[name]))
            counts.added += 1

    def _taken_apart(self, target: _Target, document: dict[str, Any]) -> tuple[dict[str, Any], bytes | None]:
        """The fields of a row as they are to be stored, without system fields, and its internal id if it has one."""
        internal = None
        if "_id" in document:
            number, internal = ids.decode_id(document["_id"])
            if number != target.number:
                raise InvalidImport("its _id is not of the same table as the others.")
        created = document.get(CREATION_TIME, 0.0)
        if not isinstance(created, float) or not math.isfinite(created):
            raise InvalidImport(f"its {CREATION_TIME} is no time in milliseconds since the epoch.")
        fields = {name: value for name, value in document.items() if name not in ("_id", CREATION_TIME)}
        return (self._rewritten(fields) if self._renumbered else fields), internal

    async def _put(
        self, table: TableSpec, internal: bytes | None, document: dict[str, Any], checked: dict[str, Any]
    ) -> None:
        created = {CREATION_TIME: document[CREATION_TIME]} if CREATION_TIME in document else {}
        if internal is None:
            await self._db.add(table, {**created, **checked})
            return
        if self._mode == "append" and await self._db.has(table, internal):
            raise InvalidImport("a document with its _id is there already.")
        own_id = ids.encode_id(table.number, internal)
        await self._db.put(table, internal, {"_id": own_id, CREATION_TIME: self._now, **created, **checked})

    def _rewritten(self, value: Any) -> Any:
        """A value whose ids, wherever they are in it, are those that their documents have here."""
        match value:
            case str():
                number = _table_of(value)
                if number is None or number not in self._renumbered:
                    return value
                return ids.encode_id(self._renumbered[number], ids.decode_id(value)[1])
            case list():
                return [self._rewritten(item) for item in value]
            case dict():
                return {self._rewritten(name): self._rewritten(item) for name, item in value.items()}
        return value

    async def _check_references(self) -> None:
        """Sees to it that what documents refer to by a `Ref` is there."""
        for place, other in self._references:
            if not await self._is_there(other):
                raise InvalidImport(f"{place} refers to {other}, which is not there; import that too.")
        emptied = {name for name, counts in self.counts.items() if counts.removed}
        for name in emptied:
            for referrer in self._tables.referrers(name):
                if referrer.table in emptied:
                    continue  # of which all is imported, and has been looked at
                async for document in self._documents(referrer.table):
                    gone = document.get(referrer.field)
                    if gone is not None and not await self._is_there(gone):
                        raise InvalidImport(
                            f"{document['_id']} refers to {gone} by {referrer.table}.{referrer.field}, and the import "
                            f"has no such document; import {referrer.table} too."
                        )

    async def _documents(self, table: str) -> AsyncIterator[dict[str, Any]]:
        async for page in self._db.pages(table):
            for document in page:
                yield document

    async def _is_there(self, id: str) -> bool:
        return await self._db.get(id) is not None

    def _touch(self) -> None:
        """Takes account of a document that is added or removed."""
        self._touched += 1
        if self._touched > DOCUMENTS_MAX:
            raise InvalidImport(
                f"An import adds and removes at most {DOCUMENTS_MAX:,} documents together; import in several parts."
            )


def _table_of(text: Value) -> int | None:
    """The number of the table of an id; None for what is no id."""
    try:
        return ids.decode_id(text)[0]
    except ids.InvalidId:
        return None
