"""`ctx.db`: documents in and out of a transaction, as classes or as dicts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, Protocol, TypeVar, overload

from pydantic import ValidationError

from yugen import bounds, ids, keys, values
from yugen.bounds import Bound, InvalidRange
from yugen.catalog import BY_CREATION_TIME, CREATION_TIME, Catalog, IndexSpec, TableSpec
from yugen.errors import Refused
from yugen.schema import UNSET, Document, Id, Index, as_wire
from yugen.storage.interface import Row
from yugen.validation import Validator, explain

D = TypeVar("D")
Order = Literal["asc", "desc"]


class DocumentNotFound(Refused):
    """A write to a document that does not exist."""

    code = "DocumentNotFound"


class DocumentInvalid(Refused):
    """A document that its table does not take."""

    code = "DocumentInvalid"


class NotUnique(Refused):
    """`unique()` found more than one document."""

    code = "NotUnique"


class IndexNotFound(Refused):
    """An index that the table does not have, or a table that the app does not know."""

    code = "IndexNotFound"


class Rows(Protocol):
    """The rows of a range in order. What has been taken counts as read, and nothing beyond it."""

    async def take(self, count: int) -> list[Row]:
        """The next `count` rows, fewer at the end of the range."""


class Transaction(Protocol):
    """What `ctx.db` needs from the runtime."""

    @property
    def catalog(self) -> Catalog: ...
    async def table(self, name: str, *, create: bool = False) -> TableSpec | None: ...
    async def numbered(self, number: int) -> TableSpec | None: ...
    async def get(self, key: bytes) -> bytes | None: ...
    def rows(self, start: bytes, end: bytes, *, reverse: bool = False) -> Rows: ...
    async def insert(self, table: TableSpec, fields: dict[str, Any]) -> str: ...
    async def write(self, table: TableSpec, internal: bytes, document: dict[str, Any] | None) -> None: ...


class Tables:
    """How the documents of an app look in Python: the class of each table that has one."""

    def __init__(self, documents: Mapping[str, type[Document]]) -> None:
        self._validators = {name: Validator(cls) for name, cls in documents.items()}
        self._names = {
            name: {field: info.alias or field for field, info in cls.model_fields.items()}
            for name, cls in documents.items()
        }

    def load(self, table: str, document: dict[str, Any], catalog: Catalog) -> Any:
        """A stored document as its class, or as a dict when the table has none.

        Raises:
            DocumentInvalid: a stored document does not fit its class any more.
        """
        validator = self._validators.get(table)
        return document if validator is None else self._validated(validator, table, document, catalog)

    def check(self, table: str, document: dict[str, Any], catalog: Catalog) -> dict[str, Any]:
        """The fields to store for a document about to be written, with defaults filled in.

        Raises:
            DocumentInvalid: it does not fit its class; the text names the field.
        """
        validator = self._validators.get(table)
        if validator is None:
            return document
        model: Document = self._validated(validator, table, document, catalog)
        return wire_fields(model.to_fields(), table)

    def stored_name(self, table: str, field: str) -> str:
        """The name in storage of a field, which Python may know by another."""
        if field == "creation_time":
            return CREATION_TIME
        return self._names.get(table, {}).get(field, field)

    @staticmethod
    def _validated(validator: Validator, table: str, document: dict[str, Any], catalog: Catalog) -> Any:
        try:
            return validator(document, catalog)
        except ValidationError as error:
            place, fault = explain(error)
            which = f"The document {document['_id']}" if "_id" in document else "The new document"
            raise DocumentInvalid(f"{which} does not fit table {table}: `{place}` {fault}.") from None


def wire_fields(fields: Mapping[str, Any], table: str) -> dict[str, Any]:
    """Fields as decoded wire values, from whatever Python objects stand for them.

    Raises:
        DocumentInvalid: a value that cannot be stored.
    """
    try:
        decoded = values.decode(values.encode(dict(fields), fallback=as_wire))
    except values.InvalidValue as error:
        raise DocumentInvalid(f"A document of table {table} cannot be stored: {error}") from None
    assert isinstance(decoded, dict)
    return decoded


def table_name(table: type[Document] | str) -> str:
    """The name of a table given as a class or as a string."""
    if isinstance(table, str):
        return table
    if not table.__table__:
        raise IndexNotFound(f'{table.__name__} names no table; write `class {table.__name__}(Document, table="…")`.')
    return table.__table__


class DatabaseReader:
    """Reads of one transaction."""

    def __init__(self, transaction: Transaction, tables: Tables) -> None:
        self._transaction = transaction
        self._tables = tables

    @overload
    async def get(self, id: Id[D], /) -> D | None: ...
    @overload
    async def get(self, id: str, /) -> Any: ...
    async def get(self, id: str, /) -> Any:
        """The document with this id, or None."""
        found = await self._locate(id)
        if found is None:
            return None
        table, internal = found
        text = await self._transaction.get(keys.document_key(table.number, internal))
        return None if text is None else self._load(table.name, text)

    @overload
    def query(self, table: type[D], /) -> TableQuery[D]: ...
    @overload
    def query(self, table: str, /) -> TableQuery[dict[str, Any]]: ...
    def query(self, table: Any, /) -> TableQuery[Any]:
        """The documents of a table, oldest first, to be narrowed by `with_index`, `order` and `filter`."""
        return TableQuery(self, table_name(table))

    async def normalize_id(self, table: type[Document] | str, text: str, /) -> str | None:
        """The id if `text` is an id of this table, else None."""
        try:
            number, _ = ids.decode_id(text)
        except ids.InvalidId:
            return None
        known = await self._transaction.table(table_name(table))
        return text if known is not None and known.number == number else None

    async def _locate(self, id: str) -> tuple[TableSpec, bytes] | None:
        number, internal = ids.decode_id(id)
        table = await self._transaction.numbered(number)
        return None if table is None else (table, internal)

    def _load(self, table: str, text: bytes) -> Any:
        document = values.loads(text)
        assert isinstance(document, dict)
        return self._tables.load(table, document, self._transaction.catalog)


class DatabaseWriter(DatabaseReader):
    """Reads and writes of one transaction. Reads see its own writes."""

    @overload
    async def insert(self, document: Document, /) -> Any: ...
    @overload
    async def insert(self, table: str | type[Document], fields: Mapping[str, Any], /) -> str: ...
    async def insert(self, target: Any, fields: Mapping[str, Any] | None = None, /) -> Any:
        """Adds a document and returns its id: `insert(Message(...))` or `insert("messages", {...})`."""
        if isinstance(target, Document):
            name, given = table_name(type(target)), target.to_fields()
        else:
            name, given = table_name(target), dict(fields or {})
        if "_id" in given or CREATION_TIME in given:
            raise DocumentInvalid(f"insert into {name}: the database gives a document its id and creation time; leave them out.")
        table = await self._transaction.table(name, create=True)
        assert table is not None
        return await self._transaction.insert(table, self._checked(name, given))

    @overload
    async def patch(self, id: str, fields: Mapping[str, Any], /) -> None: ...
    @overload
    async def patch(self, id: str, /, **fields: Any) -> None: ...
    async def patch(self, id: str, given: Mapping[str, Any] | None = None, /, **fields: Any) -> None:
        """Changes the fields given and keeps the others; `UNSET` removes a field."""
        table, internal, stored = await self._existing(id, "patch")
        for field, value in {**(given or {}), **fields}.items():
            name = self._tables.stored_name(table.name, field)
            self._not_system(name, "patch")
            if value is UNSET:
                stored.pop(name, None)
            else:
                stored[name] = value
        await self._transaction.write(table, internal, self._checked(table.name, stored))

    async def replace(self, id: str, document: Document | Mapping[str, Any], /) -> None:
        """Gives the document these fields and no others. Its id and creation time stay."""
        table, internal, stored = await self._existing(id, "replace")
        fields = document.to_fields() if isinstance(document, Document) else dict(document)
        kept = {name: stored[name] for name in ("_id", CREATION_TIME)}
        await self._transaction.write(table, internal, self._checked(table.name, {**fields, **kept}))

    async def delete(self, id: str, /) -> None:
        """Removes the document."""
        table, internal, _ = await self._existing(id, "delete")
        await self._transaction.write(table, internal, None)

    async def _existing(self, id: str, what: str) -> tuple[TableSpec, bytes, dict[str, Any]]:
        found = await self._locate(id)
        text = found and await self._transaction.get(keys.document_key(found[0].number, found[1]))
        if not found or text is None:
            raise DocumentNotFound(f"{what}: there is no document with the id {id!r}.")
        stored = values.loads(text)
        assert isinstance(stored, dict)
        return *found, stored

    @staticmethod
    def _not_system(name: str, what: str) -> None:
        if name in ("_id", CREATION_TIME):
            raise DocumentInvalid(f"{what}: `{name}` cannot be changed; it is the database's.")

    def _checked(self, table: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        return self._tables.check(table, wire_fields(fields, table), self._transaction.catalog)


@dataclass(frozen=True)
class TableQuery(Generic[D]):
    """A question to one table. Each step gives a new query; nothing is read before the last one."""

    _db: DatabaseReader
    _table: str
    _index: str = BY_CREATION_TIME
    _bounds: tuple[tuple[str, Any], ...] = ()
    _order: Order = "asc"
    _filters: tuple[Callable[[Any], object], ...] = ()

    def with_index(self, index: Index | str, /, **bounds: Any) -> TableQuery[D]:
        """Reads a range of an index, in its order.

        A plain value fixes a field; one of `gt, gte, lt, lte, between`, or two joined by `&`, bounds the field after
        those that are fixed.
        """
        if self._index != BY_CREATION_TIME or self._bounds:
            raise InvalidRange(f"A query of {self._table} reads one index; call with_index once.")
        name = index if isinstance(index, str) else index.name
        return replace(self, _index=name, _bounds=tuple(bounds.items()))

    def order(self, order: Order, /) -> TableQuery[D]:
        """`"asc"` (as it is without this) or `"desc"`."""
        if order not in ("asc", "desc"):
            raise InvalidRange(f'The order of a query is "asc" or "desc", not {order!r}.')
        return replace(self, _order=order)

    def filter(self, predicate: Callable[[D], object], /) -> TableQuery[D]:
        """Keeps the documents for which `predicate(document)` is true. An index reads less; prefer one."""
        return replace(self, _filters=(*self._filters, predicate))

    async def collect(self) -> list[D]:
        """All documents of the range."""
        return [document async for document in self._documents(1000)]

    async def take(self, count: int, /) -> list[D]:
        """The first `count` documents, fewer if there are no more."""
        if type(count) is not int or count < 0:
            raise InvalidRange(f"take: how many must be a whole number from 0 up, not {count!r}.")
        taken: list[D] = []
        if count == 0:
            return taken
        rows = await self._rows()
        while rows is not None and len(taken) < count:
            wanted = count - len(taken)
            page = await rows.take(wanted)
            taken += self._kept(page)
            if len(page) < wanted:
                break
        return taken

    async def first(self) -> D | None:
        """The first document, or None."""
        found = await self.take(1)
        return found[0] if found else None

    async def unique(self) -> D | None:
        """The only document, or None.

        Raises:
            NotUnique: there is more than one.
        """
        found = await self.take(2)
        if len(found) > 1:
            raise NotUnique(f"unique: more than one document of {self._table} is in the range of {self._index}.")
        return found[0] if found else None

    async def count(self) -> int:
        """How many documents the range has. Reads all of them."""
        return len(await self.collect())

    def __aiter__(self) -> AsyncIterator[D]:
        return self._documents(1)

    async def _documents(self, page_size: int) -> AsyncIterator[D]:
        rows = await self._rows()
        while rows is not None:
            page = await rows.take(page_size)
            for document in self._kept(page):
                yield document
            if len(page) < page_size:
                return

    def _kept(self, page: list[Row]) -> list[Any]:
        documents = (self._db._load(self._table, row.value) for row in page)
        return [document for document in documents if all(keep(document) for keep in self._filters)]

    async def _rows(self) -> Rows | None:
        transaction = self._db._transaction
        table = await transaction.table(self._table)
        if table is None:
            return None
        index = table.index(self._index)
        if index is None:
            names = ", ".join(["by_id", *(each.name for each in table.indexes)])
            raise IndexNotFound(f"Table {self._table} has no index {self._index!r}; it has {names}.")
        start, end = self._interval(table, index)
        return transaction.rows(start, end, reverse=self._order == "desc")

    def _interval(self, table: TableSpec, index: IndexSpec) -> tuple[bytes, bytes]:
        prefix = keys.index_prefix(table.number, index.slot)
        given = {self._db._tables.stored_name(self._table, field): value for field, value in self._bounds}
        if not given:
            return prefix, keys.prefix_end(prefix)
        if index.slot == 0:
            raise InvalidRange("by_id takes no bounds; read one document with ctx.db.get(id).")
        equal: list[Any] = []
        bound: Bound | None = None
        for field in (*index.fields, CREATION_TIME):
            if field not in given:
                break
            value = given.pop(field)
            if isinstance(value, Bound):
                bound = Bound(*(side and replace(side, value=_key_value(side.value)) for side in (value.lower, value.upper)))
                break
            equal.append(_key_value(value))
        if given:
            raise InvalidRange(
                f"The index {index.name} of {self._table} orders by {', '.join((*index.fields, 'creation_time'))}: fix "
                f"its first fields in that order and bound at most the one after them; "
                f"{', '.join(map(repr, given))} cannot be used so."
            )
        return bounds.interval(prefix, equal, bound)


def _key_value(value: Any) -> Any:
    if value is UNSET:
        return values.ABSENT
    try:
        return values.decode(values.encode(value, fallback=as_wire))
    except values.InvalidValue as error:
        raise InvalidRange(f"A bound must be a value that can be stored: {error}") from None


