"""`ctx.db`: documents in and out of a transaction, as classes or as dicts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, overload

from yugen import bounds, ids, keys
from yugen.catalog import FIRST_USER_TABLE, READABLE, Catalog, TableSpec
from yugen.errors import DocumentInvalid
from yugen.functions.faults import BrokenReference, DocumentNotFound, TableNotFound
from yugen.functions.pagination import Pages
from yugen.functions.references import Referrer
from yugen.functions.rules import Act
from yugen.functions.table_query import PAGE, AnyDocument, Source, TableQuery
from yugen.functions.tables import Tables, decoded, table_name
from yugen.functions.transaction import Transaction
from yugen.schema import Document, Id, check_name
from yugen.values import SYSTEM_FIELDS


class DatabaseReader:
    """Reads of one transaction."""

    def __init__(self, transaction: Transaction, tables: Tables, pages: Pages) -> None:
        self._transaction = transaction
        self._tables = tables
        self._pages = pages

    @overload
    async def get(self, id: Id[AnyDocument], /) -> AnyDocument | None: ...
    @overload
    async def get(self, id: str, /) -> Any: ...
    async def get(self, id: str, /) -> Any:
        """The document with this id, or None.

        Raises:
            InvalidId: the text is no id at all.
        """
        found = await self._locate(id)
        if found is None:
            return None
        table, internal = found
        text = await self._transaction.get(keys.document_key(table.number, internal))
        return None if text is None else self._load(table.name, text)

    @overload
    def query(self, table: type[AnyDocument], /) -> TableQuery[AnyDocument]: ...
    @overload
    def query(self, table: str, /) -> TableQuery[dict[str, Any]]: ...
    def query(self, table: Any, /) -> TableQuery[Any]:
        """The documents of a table, oldest first, to be narrowed by `with_index`, `order` and `filter`."""
        name = self._name_of(table)
        return TableQuery(self._source(name), name)

    @overload
    async def normalize_id(self, table: type[AnyDocument], text: str, /) -> Id[AnyDocument] | None: ...
    @overload
    async def normalize_id(self, table: str, text: str, /) -> Id[Any] | None: ...
    async def normalize_id(self, table: type[Document] | str, text: str, /) -> Any:
        """The text if it is an id of this table, else None."""
        try:
            number, _ = ids.decode_id(text)
        except ids.InvalidId:
            return None
        known = await self._transaction.table(self._name_of(table))
        return text if known is not None and known.number == number else None

    @property
    def unrestricted(self) -> DatabaseReader:
        """The same without the rules of the app, where there are any: for what has checked by itself who calls."""
        return self

    @property
    def system(self) -> SystemReader:
        """The system tables that an app may read."""
        return SystemReader(self._transaction, self._pages)

    def _source(self, table: str) -> Source:
        """Where documents of a table come from."""
        return Source(self._transaction, self._tables, self._pages)

    def _name_of(self, table: type[Document] | str) -> str:
        name = table_name(table)
        self._tables.check_declared(name)
        return name

    async def _locate(self, id: str) -> tuple[TableSpec, bytes] | None:
        """The table of an id and the rest of it; None when it is of no table of the app."""
        number, internal = ids.decode_id(id)
        if number < FIRST_USER_TABLE:
            return None
        table = await self._transaction.numbered(number)
        return None if table is None else (table, internal)

    async def record(self, table: TableSpec, id: str) -> dict[str, Any] | None:
        """The document of a system table as it is stored, or None; for other parts of a context. Not to be changed.

        Raises:
            InvalidId: the text is no id at all.
        """
        number, internal = ids.decode_id(id)
        if number != table.number:
            return None
        return await self._transaction.document(keys.document_key(number, internal))

    def _load(self, table: str, text: bytes) -> Any:
        return self._tables.read(table, [text])[0]


class DatabaseWriter(DatabaseReader):
    """Reads and writes of one transaction. Reads see its own writes.

    Attributes:
        turn: held by a write from what it reads to what it changes, so that writes that are awaited side by side, with
            `asyncio.gather`, come one after the other.
    """

    def __init__(self, transaction: Transaction, tables: Tables, pages: Pages) -> None:
        super().__init__(transaction, tables, pages)
        self.turn = asyncio.Lock()

    @property
    def unrestricted(self) -> DatabaseWriter:
        return self

    @overload
    async def insert(self, document: AnyDocument, /) -> Id[AnyDocument]: ...
    @overload
    async def insert(self, table: type[AnyDocument], fields: Mapping[str, Any], /) -> Id[AnyDocument]: ...
    @overload
    async def insert(self, table: str, fields: Mapping[str, Any], /) -> Id[Any]: ...
    async def insert(self, target: Any, fields: Mapping[str, Any] | None = None, /) -> Any:
        """Adds a document and returns its id: `insert(Message(...))` or `insert("messages", {...})`.

        Raises:
            DocumentInvalid: it does not fit its table.
        """
        if isinstance(target, Document):
            name, given = self._name_of(type(target)), target.to_fields()
        elif fields is not None:
            name = self._name_of(target)
            given = self._by_stored_name(name, fields)
        else:
            raise DocumentInvalid("insert takes a document, insert(Message(...)), or a table and fields.")
        if given.keys() & SYSTEM_FIELDS:
            raise DocumentInvalid(
                f"insert into {name}: the database gives a document its id and creation time; leave them out."
            )
        checked = self._tables.check(name, given, self._transaction.catalog)
        if self._transaction.catalog.named(name) is None:
            check_name("table", name)
        async with self.turn:
            await self._check_references(name, checked, {})
            await self._permit("insert", name, None, checked)
            table = await self._transaction.table(name, create=True)
            assert table is not None
            return await self._transaction.insert(table, checked)

    async def patch(self, id: str, given: Mapping[str, Any] | None = None, /, **fields: Any) -> None:
        """Changes the fields given and keeps the others; `UNSET` removes a field.

        Raises:
            DocumentNotFound: there is no document with this id.
            DocumentInvalid: changed so, it does not fit its table.
        """
        async with self.turn:
            table, internal, stored = await self._existing(id, "patch")
            changes = self._by_stored_name(table.name, {**(given or {}), **fields})
            for name in changes:
                if name in SYSTEM_FIELDS:
                    raise DocumentInvalid(f"patch: `{name}` of a document never changes; leave it out.")
                if not self._tables.has_field(table.name, name):
                    raise self._tables.no_field(table.name, name)
            checked = self._tables.check(table.name, {**stored, **changes}, self._transaction.catalog)
            await self._check_references(table.name, checked, stored)
            await self._permit("update", table.name, stored, checked)
            await self._transaction.write(table, internal, checked)

    async def replace(self, id: str, document: Document | Mapping[str, Any], /) -> None:
        """Gives the document these fields and no others. Its id and creation time stay.

        Raises:
            DocumentNotFound: there is no document with this id.
            DocumentInvalid: the new one does not fit the table.
        """
        async with self.turn:
            table, internal, stored = await self._existing(id, "replace")
            if isinstance(document, Document):
                if document.__table__ != table.name:
                    raise DocumentInvalid(
                        f"replace: {id} is a document of {table.name}, and a {type(document).__name__} is not."
                    )
                fields = document.to_fields()
            else:
                fields = self._by_stored_name(table.name, document)
            # They come first, as they did, so that what is replaced by its like stays the same text.
            kept = {name: value for name, value in stored.items() if name in SYSTEM_FIELDS}
            checked = self._tables.check(table.name, {**kept, **fields, **kept}, self._transaction.catalog)
            await self._check_references(table.name, checked, stored)
            await self._permit("update", table.name, stored, checked)
            await self._transaction.write(table, internal, checked)

    async def delete(self, id: str, /) -> None:
        """Removes the document, and does with those that refer to it what their `Ref` says.

        Raises:
            DocumentNotFound: there is no document with this id.
            BrokenReference: another document refers to it and must not lose it; nothing was removed.
        """
        async with self.turn:
            table, internal, stored = await self._existing(id, "delete")
            await self._permit("delete", table.name, stored, None)
            with self._transaction.savepoint():
                await self._delete(table, internal, id)

    async def _check_references(self, table: str, fields: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """Sees to it that what a document refers to is there."""
        for reference in self._tables.references(table):
            other = fields.get(reference.field)
            if other is None or other == before.get(reference.field):
                continue
            if not await self._is_there(other):
                raise BrokenReference(
                    f"{table}.{reference.field} refers to {other}, which is not there; insert it first."
                )

    async def _permit(
        self, act: Act, table: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> None:
        """Refuses what the rules of the app forbid; here there are none."""

    async def _is_there(self, id: str) -> bool:
        """Whether there is a document with an id."""
        found = await self._locate(id)
        return (
            found is not None and await self._transaction.get(keys.document_key(found[0].number, found[1])) is not None
        )

    async def _delete(self, table: TableSpec, internal: bytes, first: str) -> None:
        """Removes a document and all that goes with it."""
        going = deque([(table, internal, first)])
        gone: list[tuple[TableSpec, str]] = []
        while going:
            table, internal, document_id = going.popleft()
            if await self._transaction.get(keys.document_key(table.number, internal)) is None:
                continue  # it was referred to by several
            await self._transaction.write(table, internal, None)
            gone.append((table, document_id))
            for referrer in self._tables.referrers(table.name):
                if referrer.on_delete == "restrict":
                    continue
                async for other, document in self._referring(referrer, document_id):
                    _, other_internal = ids.decode_id(document["_id"])
                    if referrer.on_delete == "cascade":
                        going.append((other, other_internal, document["_id"]))
                    else:
                        await self._transaction.write(other, other_internal, {**document, referrer.field: None})
        # Only now is it known who is left.
        for table, document_id in gone:
            for referrer in self._tables.referrers(table.name):
                if referrer.on_delete == "restrict":
                    async for other, document in self._referring(referrer, document_id):
                        raise BrokenReference(f"delete: {await self._holder(other, document, document_id, referrer)}")

    async def _holder(self, table: TableSpec, document: dict[str, Any], id: str, referrer: Referrer) -> str:
        """What keeps a document from being deleted, for people."""
        by = f"{referrer.table}.{referrer.field}"
        return f"{document['_id']} refers to {id} by {by}; delete or change that first."

    async def _referring(self, referrer: Referrer, id: str) -> AsyncIterator[tuple[TableSpec, dict[str, Any]]]:
        """The documents that refer to this one by a field, and their table."""
        table = await self._transaction.table(referrer.table)
        if table is None:
            return
        index = self._transaction.index(table, referrer.index)
        start, end = bounds.interval(keys.index_prefix(table.number, 0), [], None)
        if index is not None:
            start, end = bounds.interval(keys.index_prefix(table.number, index.slot), [id], None)
        rows = self._transaction.rows(start, end)
        while page := await rows.take(PAGE):
            for row in page:
                document = decoded(row.value)
                if document.get(referrer.field) == id:
                    yield table, document

    async def _existing(self, id: str, what: str) -> tuple[TableSpec, bytes, dict[str, Any]]:
        found = await self._locate(id)
        document = found and await self._transaction.document(keys.document_key(found[0].number, found[1]))
        if not found or document is None:
            raise not_there(what, id)
        return *found, document

    def _by_stored_name(self, table: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {self._tables.stored_name(table, field): value for field, value in fields.items()}


def not_there(what: str, id: str) -> DocumentNotFound:
    """The error of a write to a document that is not there, or not for the caller."""
    return DocumentNotFound(f"{what}: there is no document with the id {id!r}; see with get whether it is there.")


class SystemReader:
    """`ctx.db.system`: system tables, whose documents are dicts with the field names of Convex."""

    def __init__(self, transaction: Transaction, pages: Pages) -> None:
        self._database = self._open(transaction, READABLE_TABLES, pages)

    def _open(self, transaction: Transaction, tables: Tables, pages: Pages) -> SystemDatabase:
        return SystemDatabase(transaction, tables, pages)

    async def get(self, id: str, /) -> dict[str, Any] | None:
        """The document of a system table with this id, or None.

        Raises:
            InvalidId: the text is no id at all.
        """
        table = await self._database.table_of(id)
        return await self._database.get(id) if table in READABLE else None

    def query(self, table: str, /) -> TableQuery[dict[str, Any]]:
        """The documents of a system table, oldest first.

        Raises:
            TableNotFound: it is none that an app may read.
        """
        return self._database.query(_readable(table))

    async def normalize_id(self, table: str, text: str, /) -> str | None:
        """The text if it is an id of this system table, else None."""
        return await self._database.normalize_id(_readable(table), text)


class _ReadableTables(Tables):
    """System tables as an app may see them."""

    def load(self, table: str, document: dict[str, Any]) -> Any:
        return {name: value for name, value in document.items() if name in READABLE[table]}

    def has_field(self, table: str, stored: str) -> bool:
        return stored in READABLE[table]

    def no_field(self, table: str, field: str) -> DocumentInvalid:
        return DocumentInvalid(f"{table} has no field `{field}`; its fields are {', '.join(READABLE[table])}.")


READABLE_TABLES: Final = _ReadableTables({})


def _readable(table: str) -> str:
    if table not in READABLE:
        raise TableNotFound(f"{table} is no system table that can be read; there are {', '.join(READABLE)}.")
    return table


class SystemDatabase(DatabaseWriter):
    """Reads and writes of Yugen's own functions: system tables too, and all documents as dicts, as they are stored.

    Args:
        transaction: the transaction.
        tables: without classes; what those of the app say of references counts.
        pages: of paginated queries.
    """

    def _name_of(self, table: type[Document] | str) -> str:
        return table if isinstance(table, str) else table.__table__

    async def _locate(self, id: str) -> tuple[TableSpec, bytes] | None:
        number, internal = ids.decode_id(id)
        table = await self._transaction.numbered(number)
        return None if table is None else (table, internal)

    async def after(self, table: str, id: str | None, limit: int) -> list[dict[str, Any]]:
        """The next documents of a table in the order of their ids, after one of them or from the first on."""
        known = await self._transaction.table(table)
        if known is None:
            return []
        start, end = bounds.interval(keys.index_prefix(known.number, 0), [], None)
        if id is not None:
            _, internal = ids.decode_id(id)
            start = keys.document_key(known.number, internal) + b"\x00"
        return [decoded(row.value) for row in await self._transaction.rows(start, end).take(limit)]

    async def table_number(self, table: str) -> int | None:
        """The number of a table, if there is one of this name."""
        known = await self._transaction.table(table)
        return None if known is None else known.number

    async def table_of(self, id: str) -> str | None:
        """The name of the table of an id."""
        found = await self._locate(id)
        return found and found[0].name

    @property
    def catalog(self) -> Catalog:
        """The tables that are known, without those that this transaction has created."""
        return self._transaction.catalog

    async def table(self, name: str, *, number: int | None = None) -> TableSpec:
        """The table of this name, created if there is none: under this number, if no other table has that."""
        table = await self._transaction.table(name, create=True, number=number)
        assert table is not None
        return table

    async def has(self, table: TableSpec, internal: bytes) -> bool:
        """Whether there is a document with this internal id."""
        return await self._transaction.get(keys.document_key(table.number, internal)) is not None

    def schedules(self) -> None:
        """Counts a function that is scheduled in this transaction.

        Raises:
            LimitExceeded: one too many.
        """
        self._transaction.schedules()

    async def add(self, table: TableSpec, fields: dict[str, Any]) -> str:
        """Adds a document of checked wire values, which may bring its creation time along; returns its id."""
        return await self._transaction.insert(table, fields)

    async def put(self, table: TableSpec, internal: bytes, document: dict[str, Any] | None) -> None:
        """Gives a document this whole content of checked wire values, or deletes it. No reference is looked at.

        Raises:
            DocumentInvalid: the document breaks a limit of documents.
            UniqueError: another document has its values in a unique index.
        """
        await self._transaction.write(table, internal, document)

    async def pages(self, table: str) -> AsyncIterator[list[dict[str, Any]]]:
        """All documents of a table in the order of their ids, many at a time."""
        known = await self._transaction.table(table)
        if known is None:
            return
        start = keys.index_prefix(known.number, 0)
        rows = self._transaction.rows(start, keys.prefix_end(start))
        while page := await rows.take(PAGE):
            yield [decoded(row.value) for row in page]
