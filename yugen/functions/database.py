"""`ctx.db`: documents in and out of a transaction, as classes or as dicts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args, overload

from pydantic import BaseModel, ValidationError, create_model

from yugen import bounds, ids, keys, values
from yugen.bounds import Bound, InvalidRange
from yugen.catalog import BY_CREATION_TIME, CREATION_TIME, FIRST_USER_TABLE, Catalog, IndexSpec, TableSpec
from yugen.errors import Refused
from yugen.functions.pagination import Pages, PaginationOptions, PaginationResult
from yugen.functions.predicates import DICT, Shape, condition, shape_of
from yugen.guards import Guard
from yugen.intervals import Interval
from yugen.schema import UNSET, Document, Id, Index, as_wire, check_name, stored_names
from yugen.storage.interface import Row
from yugen.totals import Total
from yugen.validation import NOT_EXPECTED, Validator, explain
from yugen.values import SYSTEM_FIELDS, Int64

D = TypeVar("D")
AnyDocument = TypeVar("AnyDocument", bound=Document)
Order = Literal["asc", "desc"]

_PAGE = 250
"""Rows asked of the store at a time when all are wanted."""

_PAGE_BATCH = 100
"""Rows asked of the store at a time for a page, whose bytes are counted in between."""


class DocumentNotFound(Refused):
    """A write to a document that does not exist."""

    code = "DocumentNotFound"


class DocumentInvalid(Refused):
    """A document that its table does not take."""

    code = "DocumentInvalid"


class NotUnique(Refused):
    """`unique()` found more than one document."""

    code = "NotUnique"


class TableNotFound(Refused):
    """Something that names no table of the app: a system table, or a class without a table."""

    code = "TableNotFound"


class IndexNotFound(Refused):
    """An index that the table does not have."""

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
    def rows(self, start: bytes, end: bytes, *, reverse: bool = False, guard: Guard | None = None) -> Rows: ...
    async def total(self, start: bytes, end: bytes, guard: Guard) -> Total: ...
    async def insert(self, table: TableSpec, fields: dict[str, Any]) -> str: ...
    async def write(self, table: TableSpec, internal: bytes, document: dict[str, Any] | None) -> None: ...


class Tables:
    """How the documents of an app look in Python: the class of each table that has one."""

    def __init__(self, documents: Mapping[str, type[Document]]) -> None:
        self._documents = documents
        self._validators = {name: Validator(cls) for name, cls in documents.items()}
        self._names = {name: stored_names(cls) for name, cls in documents.items()}
        self._shapes = {name: shape_of(cls) for name, cls in documents.items()}
        self._parts: dict[tuple[str, tuple[str, ...]], _Part] = {}
        self._ints = {name: _int_fields(cls) for name, cls in documents.items()}
        self._int64s = {name: _int64_fields(cls) for name, cls in documents.items()}

    def load(self, table: str, document: dict[str, Any]) -> Any:
        """A stored document as its class, or as a dict when the table has none.

        Raises:
            DocumentInvalid: a stored document does not fit its class any more.
        """
        validator = self._validators.get(table)
        if validator is None:
            return document
        try:
            return validator(document, None)
        except ValidationError as error:
            place, fault = explain(error)
            raise DocumentInvalid(
                f"The document {document['_id']} does not fit {self._class(table)} any more: `{place}` {fault}; "
                "let the class take it, or change what is stored."
            ) from None

    def shape(self, table: str) -> Shape:
        """How the documents of a table look to a predicate."""
        return self._shapes.get(table, DICT)

    def part(self, table: str, fields: tuple[str, ...] | type[Document]) -> _Part:
        """What `select` makes of the documents of a table.

        Raises:
            DocumentInvalid: the table has no such field.
        """
        if isinstance(fields, type):
            stored = tuple(stored_names(fields).values())
            unknown = [name for name in stored if not self.has_field(table, name)]
            if unknown:
                raise self.no_field(table, unknown[0])
            return _Part(table, stored, Validator(fields))
        found = self._parts.get((table, fields))
        if found is None:
            found = self._parts[table, fields] = self._part_of(table, fields)
        return found

    def _part_of(self, table: str, fields: tuple[str, ...]) -> _Part:
        stored = tuple(dict.fromkeys(self.stored_name(table, field) for field in fields))
        for name in stored:
            if not self.has_field(table, name):
                raise self.no_field(table, name)
        cls = self._documents.get(table)
        if cls is None:
            return _Part(table, stored, None)
        given = {
            name: (field.annotation, field)
            for name, field in cls.model_fields.items()
            if (field.alias or name) in stored and name not in ("id", "creation_time")
        }
        return _Part(table, stored, Validator(create_model(f"{cls.__name__}Part", __base__=Document, **given)))  # type: ignore[call-overload]

    def check(self, table: str, document: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
        """The wire values to store for a document about to be written, with defaults filled in.

        Raises:
            DocumentInvalid: it does not fit its class, or cannot be stored; the text names the field.
        """
        given = {name: _unwrapped(value) for name, value in document.items() if value is not UNSET}
        validator = self._validators.get(table)
        if validator is None:
            return _wire_fields(given, table)
        try:
            model: Document = validator(given, catalog)
        except ValidationError as error:
            place, fault = explain(error)
            if fault == NOT_EXPECTED and place in given:
                raise self.no_field(table, place) from None
            raise DocumentInvalid(
                f"A document of {table} does not fit {self._class(table)}: `{place}` {fault}."
            ) from None
        return _wire_fields(model.to_fields(), table)

    def stored_name(self, table: str, field: str) -> str:
        """The name in storage of a field, which Python may know by another."""
        return self._names.get(table, {}).get(field, field)

    def is_int(self, table: str, stored: str) -> bool:
        """Whether a field, by its name in storage, holds whole numbers only."""
        return stored in self._ints.get(table, ())

    def has_field(self, table: str, stored: str) -> bool:
        """Whether a document of the table can have a field of this name in storage."""
        return table not in self._names or stored in self._names[table].values()

    def no_field(self, table: str, field: str) -> DocumentInvalid:
        names = (name for name in self._names[table] if name not in ("id", "creation_time"))
        return DocumentInvalid(f"{self._class(table)} has no field `{field}`; its fields are {', '.join(names)}.")

    def index_value(self, table: str, stored: str, value: Any) -> Any:
        """The wire value, or `ABSENT`, by which an index finds what Python has as `value`.

        Raises:
            InvalidRange: no value that could be stored.
        """
        if value is UNSET:
            return values.ABSENT
        if type(value) is int and stored in self._int64s.get(table, ()):
            return Int64(value)
        try:
            return values.decode(values.encode(value, fallback=as_wire))
        except values.InvalidValue as error:
            raise InvalidRange(f"The bound of `{stored}` must be a value that can be stored: {error}.") from None

    def _class(self, table: str) -> str:
        return self._documents[table].__name__


@dataclass(frozen=True, slots=True)
class _Part:
    """Some fields of the documents of a table, and always their ids and creation times.

    Attributes:
        table: the table, for errors.
        stored: the names of the fields in storage.
        validator: makes what Python gets; None where that is a dict.
    """

    table: str
    stored: tuple[str, ...]
    validator: Validator | None

    def of(self, document: dict[str, Any]) -> Any:
        kept = {name: value for name, value in document.items() if name in self.stored or name in SYSTEM_FIELDS}
        if self.validator is None:
            return kept
        try:
            return self.validator(kept, None)
        except ValidationError as error:
            place, fault = explain(error)
            raise DocumentInvalid(
                f"The document {document['_id']} of {self.table} does not fit what is selected: `{place}` {fault}."
            ) from None


def _int64_fields(cls: type[Document]) -> frozenset[str]:
    """The fields, by their names in storage, that hold an Int64 and no other number."""
    kinds = {
        field.alias or name: {field.annotation, *get_args(field.annotation)} for name, field in cls.model_fields.items()
    }
    return frozenset(name for name, kind in kinds.items() if Int64 in kind and kind.isdisjoint((int, float)))


def _int_fields(cls: type[Document]) -> frozenset[str]:
    """The fields, by their names in storage, that hold whole numbers only."""
    kinds = {
        field.alias or name: {field.annotation, *get_args(field.annotation)} for name, field in cls.model_fields.items()
    }
    return frozenset(name for name, kind in kinds.items() if int in kind and float not in kind)


def _unwrapped(value: Any) -> Any:
    """Models as their fields, so that what they hold is checked anew: it may have been changed since."""
    match value:
        case BaseModel():
            return as_wire(value)
        case dict():
            return {name: _unwrapped(part) for name, part in value.items()}
        case list() | tuple():
            return [_unwrapped(part) for part in value]
    return value


def _wire_fields(fields: dict[str, Any], table: str) -> dict[str, Any]:
    """Fields as decoded wire values, from whatever Python objects stand for them."""
    try:
        decoded = values.decode(values.encode(fields, fallback=as_wire))
    except values.InvalidValue as error:
        raise DocumentInvalid(f"A document of {table} cannot be stored: {error}.") from None
    assert isinstance(decoded, dict)
    return decoded


def table_name(table: type[Document] | str) -> str:
    """The name of a table given as a class or as a string.

    Raises:
        TableNotFound: the class has no table, or the name is of a system table, which is not read and written so.
    """
    name = table if isinstance(table, str) else table.__table__
    if not name:
        raise TableNotFound(f'{table} names no table; write `class Name(Document, table="...")`.')
    if name.startswith("_"):
        raise TableNotFound(f"{name} is a system table; an app keeps its documents in tables of its own.")
    return name


class DatabaseReader:
    """Reads of one transaction."""

    def __init__(self, transaction: Transaction, tables: Tables, pages: Pages) -> None:
        self._transaction = transaction
        self._tables = tables
        self._pages = pages

    @overload
    async def get(self, id: Id[D], /) -> D | None: ...
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
        return TableQuery(self, self._name_of(table))

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

    def _name_of(self, table: type[Document] | str) -> str:
        return table_name(table)

    async def _locate(self, id: str) -> tuple[TableSpec, bytes] | None:
        """The table of an id and the rest of it; None when it is of no table of the app."""
        number, internal = ids.decode_id(id)
        if number < FIRST_USER_TABLE:
            return None
        table = await self._transaction.numbered(number)
        return None if table is None else (table, internal)

    def _load(self, table: str, text: bytes) -> Any:
        return self._tables.load(table, _decoded(text))


class DatabaseWriter(DatabaseReader):
    """Reads and writes of one transaction. Reads see its own writes.

    Attributes:
        turn: held by a write from what it reads to what it changes, so that writes that are awaited side by side, with
            `asyncio.gather`, come one after the other.
    """

    def __init__(self, transaction: Transaction, tables: Tables, pages: Pages) -> None:
        super().__init__(transaction, tables, pages)
        self.turn = asyncio.Lock()

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
            kept = {name: stored[name] for name in SYSTEM_FIELDS}
            checked = self._tables.check(table.name, {**fields, **kept}, self._transaction.catalog)
            await self._transaction.write(table, internal, checked)

    async def delete(self, id: str, /) -> None:
        """Removes the document.

        Raises:
            DocumentNotFound: there is no document with this id.
        """
        async with self.turn:
            table, internal, _ = await self._existing(id, "delete")
            await self._transaction.write(table, internal, None)

    async def _existing(self, id: str, what: str) -> tuple[TableSpec, bytes, dict[str, Any]]:
        found = await self._locate(id)
        text = found and await self._transaction.get(keys.document_key(found[0].number, found[1]))
        if not found or text is None:
            raise DocumentNotFound(
                f"{what}: there is no document with the id {id!r}; see with get whether it is there."
            )
        return *found, _decoded(text)

    def _by_stored_name(self, table: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {self._tables.stored_name(table, field): value for field, value in fields.items()}


class SystemDatabase(DatabaseWriter):
    """Reads and writes of Yugen's own functions: system tables too, and all documents as dicts, as they are stored."""

    def __init__(self, transaction: Transaction, pages: Pages) -> None:
        super().__init__(transaction, Tables({}), pages)

    def _name_of(self, table: type[Document] | str) -> str:
        assert isinstance(table, str)
        return table

    async def _locate(self, id: str) -> tuple[TableSpec, bytes] | None:
        number, internal = ids.decode_id(id)
        table = await self._transaction.numbered(number)
        return None if table is None else (table, internal)


def _decoded(text: bytes) -> dict[str, Any]:
    document = values.loads(text)
    assert isinstance(document, dict)
    return document


@dataclass(frozen=True)
class TableQuery(Generic[D]):
    """A question to one table. Each step gives a new query; nothing is read before the last one."""

    _db: DatabaseReader
    _table: str
    _index: Index | str | None = None
    _bounds: Mapping[str, Any] = field(default_factory=dict)
    _order: Order = "asc"
    _filters: tuple[Callable[[Any], object], ...] = ()
    _part: _Part | None = None

    def with_index(self, index: Index | str, /, **bounds: Any) -> TableQuery[D]:
        """Reads a range of an index, in its order.

        A plain value fixes a field, and `UNSET` its absence; one of `gt, gte, lt, lte, between`, or two joined by `&`,
        bounds the field after those that are fixed. Nested fields are given as `**{"address.city": ...}`.
        """
        if self._index is not None:
            raise InvalidRange(f"A query of {self._table} reads one index; call with_index once.")
        return replace(self, _index=index, _bounds=bounds)

    def order(self, order: Order, /) -> TableQuery[D]:
        """`"asc"` (as it is without this) or `"desc"`."""
        if order not in ("asc", "desc"):
            raise InvalidRange(f'The order of a query is "asc" or "desc", not {order!r}.')
        return replace(self, _order=order)

    def filter(self, predicate: Callable[[D], object], /) -> TableQuery[D]:
        """Keeps the documents for which `predicate(document)` is true. An index reads less; prefer one.

        The predicate is given whole documents, also after `select`. If it is one expression over plain fields, such as
        `lambda m: m.stars > 3 and m.author == me`, a write to documents that it rejects before and after runs nothing.
        """
        return replace(self, _filters=(*self._filters, predicate))

    @overload
    def select(self, shape: type[AnyDocument], /) -> TableQuery[AnyDocument]: ...
    @overload
    def select(self, /, *fields: str) -> TableQuery[Any]: ...
    def select(self, /, *fields: Any) -> TableQuery[Any]:
        """Reads only these fields, besides `id` and `creation_time`: a write that leaves them alone runs nothing.

        Fields are given by name, or as a `Document` class without a table that declares them; the documents then have
        no others.

        Raises:
            DocumentInvalid: the table has no such field.
        """
        wanted = fields[0] if len(fields) == 1 and isinstance(fields[0], type) else fields
        return replace(self, _part=self._db._tables.part(self._table, wanted))

    async def collect(self) -> list[D]:
        """All documents of the range."""
        return [document async for page in self._pages(_PAGE) for document in self._kept(page)]

    async def take(self, count: int, /) -> list[D]:
        """The first `count` documents, fewer if there are no more."""
        if type(count) is not int or count < 0:
            raise InvalidRange(f"take: how many must be a whole number from 0 up, not {count!r}.")
        taken: list[D] = []
        rows = await self._rows()
        while rows is not None and len(taken) < count:
            page = await rows.take(count)
            taken += self._kept(page)
            if len(page) < count:
                break
        return taken[:count]

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
            raise NotUnique(f"unique: the range holds more than one document of {self._table}; narrow it or use first.")
        return found[0] if found else None

    async def paginate(self, options: PaginationOptions, /) -> PaginationResult[D]:
        """One page of the range, which stays gapless while documents come and go; see `PaginationOptions`.

        A query may do this once.

        Raises:
            InvalidCursor: a cursor is not one of this query.
        """
        table = await self._db._transaction.table(self._table)
        if table is None:
            # As long as nothing was ever inserted: a page of no documents, of the query as it will be then.
            table = TableSpec(self._table, 0)
        spec = self._spec(table)
        interval = self._interval(table, spec)
        reverse = self._order == "desc"
        page = self._db._pages.begin(options, interval, query=self._fingerprint(spec, interval), reverse=reverse)
        rows = self._db._transaction.rows(*page.rest, reverse=reverse, guard=self._guard())
        documents: list[D] = []
        exhausted = False
        while not exhausted and (wanted := page.wants(len(documents))):
            batch = min(wanted, _PAGE_BATCH)
            taken = await rows.take(batch)
            exhausted = len(taken) < batch
            for row in taken:
                page.read(row.key, len(row.value))
            documents += self._kept(taken)
        return page.result(documents, exhausted=exhausted)

    def _fingerprint(self, spec: IndexSpec, interval: Interval) -> bytes:
        """What tells the range of this query from any other, in every deployment that has this table."""
        (start, end), prefix_size = interval, len(keys.index_prefix(0, 0))
        bounded = end.startswith(start[:prefix_size])
        parts = self._table, spec.name, spec.fields, self._order, start[prefix_size:], end[prefix_size:] * bounded
        return repr(parts).encode()

    async def count(self) -> int:
        """How many documents the range has; what else is in them does not matter.

        Over an index with totals (`Count`, `Sum`) and without a filter this takes a logarithmic time. Otherwise it
        reads all of them.
        """
        if not self._filters and (total := await self._total(())) is not None:
            return total.count
        count = 0
        async for page in replace(self, _part=_Part(self._table, (), None))._pages(_PAGE):
            count += len(self._kept(page)) if self._filters else len(page)
        return count

    async def sum(self) -> float:
        """The sum of the number that a `Sum` index adds up, over the range; exact, and rounded once.

        Raises:
            IndexNotFound: the index is not one that adds up.
        """
        field, total = await self._numbers("sum")
        whole = total.sum.whole() if self._db._tables.is_int(self._table, field) else None
        return float(total.sum) if whole is None else whole

    async def min(self) -> float | None:
        """The least of the numbers of a `Sum` index in the range, or None."""
        field, total = await self._numbers("min")
        return None if total.least is None else self._number(field, total.least)

    async def max(self) -> float | None:
        """The greatest of the numbers of a `Sum` index in the range, or None."""
        field, total = await self._numbers("max")
        return None if total.greatest is None else self._number(field, total.greatest)

    async def rank(self, id: str, /) -> int | None:
        """How many documents of the range come before this one in its order; None if it is not in the range.

        Takes a logarithmic time over an index with totals, `Count` or `Sum`.

        Raises:
            IndexNotFound: the index has no totals.
        """
        transaction = self._db._transaction
        table, spec = await self._totalled("rank")
        found = await self._db._locate(id)
        if table is None or spec is None or found is None or found[0].number != table.number:
            return None
        text = await transaction.get(keys.document_key(table.number, found[1]))
        if text is None:
            return None
        key = dict(zip(table.indexes, table.entry_keys(_decoded(text), found[1]), strict=True))[spec]
        start, end = self._interval(table, spec)
        if not start <= key < end:
            return None
        before = (start, key) if self._order == "asc" else (key + b"\x00", end)
        return (await transaction.total(*before, Guard(None, ()))).count

    async def _numbers(self, what: str) -> tuple[str, Total]:
        _, spec = await self._totalled(what)
        if spec is None:
            return "", Total()
        if not spec.total:
            raise IndexNotFound(f"{what}: the index {spec.name} of {self._table} only counts; declare a Sum index.")
        total = await self._total((spec.total,))
        return spec.total, total or Total()

    async def _totalled(self, what: str) -> tuple[TableSpec | None, IndexSpec | None]:
        if self._filters:
            raise IndexNotFound(f"{what}: a filter looks at documents, which totals do not read; use an index alone.")
        table = await self._db._transaction.table(self._table)
        if table is None:
            return None, None
        spec = self._spec(table)
        if spec.total is None:
            raise IndexNotFound(
                f"{what}: the index {spec.name} of {self._table} has no totals; declare a Count or a Sum index and "
                "read that."
            )
        return table, spec

    async def _total(self, fields: tuple[str, ...]) -> Total | None:
        """The total of the range; None when its index has none."""
        table = await self._db._transaction.table(self._table)
        if table is None:
            return None
        spec = self._spec(table)
        if spec.total is None:
            return None
        return await self._db._transaction.total(*self._interval(table, spec), Guard(None, fields))

    def _number(self, field: str, number: float) -> float:
        """A number as the field's annotation has it."""
        return int(number) if self._db._tables.is_int(self._table, field) and number.is_integer() else number

    async def __aiter__(self) -> AsyncIterator[D]:
        async for page in self._pages(1):
            for document in self._kept(page):
                yield document

    async def _pages(self, size: int) -> AsyncIterator[list[Row]]:
        rows = await self._rows()
        while rows is not None:
            page = await rows.take(size)
            yield page
            if len(page) < size:
                return

    async def _rows(self) -> Rows | None:
        """The rows of the range; None when there is no such table."""
        transaction = self._db._transaction
        table = await transaction.table(self._table)
        if table is None:
            return None
        start, end = self._interval(table, self._spec(table))
        return transaction.rows(start, end, reverse=self._order == "desc", guard=self._guard())

    def _guard(self) -> Guard | None:
        """What of the range matters; None if everything does."""
        if not self._filters and self._part is None:
            return None
        shape = self._db._tables.shape(self._table)
        conditions = [condition(predicate, shape) for predicate in self._filters]
        if None in conditions:
            return None  # a predicate that nobody can look into may look at anything
        keep = ("and", *conditions) if conditions else None
        return Guard(keep, None if self._part is None else self._part.stored)

    def _kept(self, page: list[Row]) -> list[Any]:
        if self._part is None:
            documents = (self._db._load(self._table, row.value) for row in page)
            return [document for document in documents if self._keeps(document)]
        kept = []
        for row in page:
            stored = _decoded(row.value)
            if not self._filters or self._keeps(self._db._tables.load(self._table, stored)):
                kept.append(self._part.of(stored))
        return kept

    def _keeps(self, document: Any) -> bool:
        return all(keep(document) for keep in self._filters)

    def _spec(self, table: TableSpec) -> IndexSpec:
        index = self._index or BY_CREATION_TIME
        spec = table.index(index if isinstance(index, str) else index.name)
        if spec is None:
            names = ", ".join(["by_id", *(each.name for each in table.indexes)])
            raise IndexNotFound(f"Table {self._table} has no index {index!r}; it has {names}.")
        if isinstance(index, Index) and spec.slot > 1 and spec.fields != index.fields:
            raise IndexNotFound(f"the index {index.name} of {self._table} is not {index!r}; use the one of its class.")
        return spec

    def _interval(self, table: TableSpec, index: IndexSpec) -> Interval:
        prefix = keys.index_prefix(table.number, index.slot)
        tables = self._db._tables
        given = {tables.stored_name(self._table, _system_name(name)): value for name, value in self._bounds.items()}
        if not given:
            return prefix, keys.prefix_end(prefix)
        if index.slot == 0:
            raise InvalidRange("by_id takes no bounds; read one document with ctx.db.get(id).")
        equal: list[Any] = []
        bound: Bound | None = None
        for name in (*index.fields, CREATION_TIME):
            if name not in given or bound is not None:
                break
            value = given.pop(name)
            convert = partial(tables.index_value, self._table, name)
            if isinstance(value, Bound):
                bound = value.with_values(convert)
            else:
                equal.append(convert(value))
        if given:
            raise InvalidRange(
                f"The index {index.name} of {self._table} orders by {', '.join((*index.fields, 'creation_time'))}: fix "
                f"its first fields in that order and bound at most the one after them; "
                f"{', '.join(map(repr, given))} cannot be used so."
            )
        return bounds.interval(prefix, equal, bound)


def _system_name(field: str) -> str:
    return CREATION_TIME if field == "creation_time" else field
