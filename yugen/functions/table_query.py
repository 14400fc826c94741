"""Questions to one table: a range of an index, what is kept of it, and what is made of that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

from yugen import bounds, ids, keys
from yugen.bounds import Bound, InvalidRange
from yugen.catalog import BY_CREATION_TIME, CREATION_TIME, IndexSpec, TableSpec
from yugen.functions.faults import IndexNotFound, NotUnique
from yugen.functions.pagination import Pages, PaginationOptions, PaginationResult
from yugen.functions.predicates import condition
from yugen.functions.tables import Part, Tables, decoded
from yugen.functions.transaction import Rows, Transaction
from yugen.guards import Guard
from yugen.intervals import Interval, point
from yugen.schema import Document, Index
from yugen.storage.interface import Row
from yugen.totals import NOTHING, Total

D = TypeVar("D")
AnyDocument = TypeVar("AnyDocument", bound=Document)
Order = Literal["asc", "desc"]

PAGE = 250
"""Rows asked of the store at a time when all are wanted."""

_PAGE_BATCH = 100
"""Rows asked of the store at a time for a page, whose bytes are counted in between."""


class Source(NamedTuple):
    """Where the documents of a query come from, and what they look like.

    Attributes:
        transaction: reads them.
        tables: their classes.
        pages: where pages end.
        visible: those of some rows that the caller may see, if there are others.
    """

    transaction: Transaction
    tables: Tables
    pages: Pages
    visible: Callable[[list[Row]], Awaitable[list[Row]]] | None = None


class TableQuery(Generic[D]):
    """A question to one table. Each step gives a new query; nothing is read before the last one."""

    def __init__(self, source: Source, table: str) -> None:
        self._source = source
        self._table = table

    _index: Index | str | None = None
    _bounds: Mapping[str, Any] = MappingProxyType({})
    _order: Order = "asc"
    _filters: tuple[Callable[[Any], object], ...] = ()
    _part: Part | None = None
    _counts: bool = False

    def _with(self, **changed: Any) -> TableQuery[Any]:
        """The same query but for what has changed."""
        query: TableQuery[Any] = TableQuery(self._source, self._table)
        query.__dict__.update(self.__dict__)
        query.__dict__.update(changed)
        return query

    def with_index(self, index: Index | str, /, **bounds: Any) -> TableQuery[D]:
        """Reads a range of an index, in its order.

        A plain value fixes a field, and `UNSET` its absence; one of `gt, gte, lt, lte, between`, or two joined by `&`,
        bounds the field after those that are fixed. Nested fields are given as `**{"address.city": ...}`.
        """
        if self._index is not None:
            raise InvalidRange(f"A query of {self._table} reads one index; call with_index once.")
        return self._with(_index=index, _bounds=bounds)

    def order(self, order: Order, /) -> TableQuery[D]:
        """`"asc"` (as it is without this) or `"desc"`."""
        if order not in ("asc", "desc"):
            raise InvalidRange(f'The order of a query is "asc" or "desc", not {order!r}.')
        return self._with(_order=order)

    def filter(self, predicate: Callable[[D], object], /) -> TableQuery[D]:
        """Keeps the documents for which `predicate(document)` is true. An index reads less; prefer one.

        The predicate is given whole documents, also after `select`. If it is one expression over plain fields, such as
        `lambda m: m.stars > 3 and m.author == me`, a write to documents that it rejects before and after runs nothing.
        """
        return self._with(_filters=(*self._filters, predicate))

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
        return self._with(_part=self._source.tables.part(self._table, wanted))

    async def collect(self) -> list[D]:
        """All documents of the range."""
        return [document async for page in self._pages(PAGE) for document in self._kept(page)]

    async def take(self, count: int, /) -> list[D]:
        """The first `count` documents, fewer if there are no more."""
        if type(count) is not int or count < 0:
            raise InvalidRange(f"take: how many must be a whole number from 0 up, not {count!r}.")
        taken: list[D] = []
        visible = self._source.visible
        rows = await self._rows()
        while rows is not None and len(taken) < count:
            wanted = count - len(taken)  # and no more, for what comes after the last one is not to matter
            page = await rows.take(wanted)
            taken += self._kept(page if visible is None else await visible(page))
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
            raise NotUnique(f"unique: the range holds more than one document of {self._table}; narrow it or use first.")
        return found[0] if found else None

    async def paginate(self, options: PaginationOptions, /) -> PaginationResult[D]:
        """One page of the range, which stays gapless while documents come and go; see `PaginationOptions`.

        A query may do this once.

        Raises:
            InvalidCursor: a cursor is not one of this query.
        """
        table = await self._source.transaction.table(self._table)
        if table is None:
            # As long as nothing was ever inserted: a page of no documents, of the query as it will be then.
            table = TableSpec(self._table, 0)
        spec = self._spec(table)
        interval = self._interval(table, spec)
        reverse = self._order == "desc"
        page = self._source.pages.begin(options, interval, query=self._fingerprint(spec, interval), reverse=reverse)
        rows = self._source.transaction.rows(*page.rest, reverse=reverse, guard=self._guard())
        documents: list[D] = []
        visible = self._source.visible
        exhausted = False
        while not exhausted and (wanted := page.wants(len(documents))):
            batch = min(wanted, _PAGE_BATCH)
            taken = await rows.take(batch)
            exhausted = len(taken) < batch
            for row in taken:
                page.read(row.key, len(row.value))
            documents += self._kept(taken if visible is None else await visible(taken))
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
        table = await self._source.transaction.table(self._table)
        hidden = self._filters or self._source.visible is not None
        if table is not None and not hidden and (spec := self._spec(table)).total is not None:
            return await self._source.transaction.count(*self._interval(table, spec))
        count = 0
        async for page in self._with(_part=Part(self._table, (), None), _counts=True)._pages(PAGE):
            count += len(self._kept(page)) if self._filters else len(page)
        return count

    async def sum(self) -> float:
        """The sum of the number that a `Sum` index adds up, over the range; exact, and rounded once.

        Raises:
            IndexNotFound: the index is not one that adds up.
        """
        field, total = await self._numbers("sum")
        whole = total.sum.whole() if self._source.tables.is_int(self._table, field) else None
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
        transaction = self._source.transaction
        table, spec = await self._totalled("rank")
        number, internal = ids.decode_id(id)
        if table is None or spec is None or number != table.number:
            return None
        # Of the document itself it takes what places it, and nothing else.
        placed = Guard(None, (*spec.fields, *([spec.total] if spec.total else [])))
        row = await transaction.rows(*point(keys.document_key(number, internal)), guard=placed).take(1)
        if not row:
            return None
        key = table.entry_key(spec, decoded(row[0].value), internal)
        start, end = self._interval(table, spec)
        if not start <= key < end:
            return None
        before = (start, key) if self._order == "asc" else (key + b"\x00", end)
        return await transaction.count(*before)

    async def _numbers(self, what: str) -> tuple[str, Total]:
        table, spec = await self._totalled(what)
        if table is None or spec is None:
            return "", NOTHING
        if not spec.total:
            raise IndexNotFound(f"{what}: the index {spec.name} of {self._table} only counts; declare a Sum index.")
        guard = Guard(None, (spec.total,), places=False)
        return spec.total, await self._source.transaction.total(*self._interval(table, spec), guard)

    async def _totalled(self, what: str) -> tuple[TableSpec | None, IndexSpec | None]:
        if self._filters:
            raise IndexNotFound(f"{what}: a filter looks at documents, which totals do not read; use an index alone.")
        if self._source.visible is not None:
            raise IndexNotFound(
                f"{what}: totals know no rules, and some documents of {self._table} are not for everybody; add up what "
                "is read, or read `ctx.db.unrestricted` where you have checked who asks."
            )
        table = await self._source.transaction.table(self._table)
        if table is None:
            return None, None
        spec = self._spec(table)
        if spec.total is None:
            raise IndexNotFound(
                f"{what}: the index {spec.name} of {self._table} has no totals; declare a Count or a Sum index and "
                "read that."
            )
        return table, spec

    def _number(self, field: str, number: float) -> float:
        """A number as the field's annotation has it."""
        return int(number) if self._source.tables.is_int(self._table, field) and number.is_integer() else number

    async def __aiter__(self) -> AsyncIterator[D]:
        async for page in self._pages(1):
            for document in self._kept(page):
                yield document

    async def _pages(self, size: int) -> AsyncIterator[list[Row]]:
        visible = self._source.visible
        rows = await self._rows()
        while rows is not None:
            page = await rows.take(size)
            yield page if visible is None else await visible(page)
            if len(page) < size:
                return

    async def _rows(self) -> Rows | None:
        """The rows of the range; None when there is no such table."""
        transaction = self._source.transaction
        table = await transaction.table(self._table)
        if table is None:
            return None
        start, end = self._interval(table, self._spec(table))
        return transaction.rows(start, end, reverse=self._order == "desc", guard=self._guard())

    def _guard(self) -> Guard | None:
        """What of the range matters; None if everything does."""
        if self._source.visible is not None:
            return None  # a rule may look at anything
        if not self._filters and self._part is None:
            return None
        shape = self._source.tables.shape(self._table)
        conditions = [condition(predicate, shape) for predicate in self._filters]
        if None in conditions:
            return None  # a predicate that nobody can look into may look at anything
        keep = ("and", *conditions) if conditions else None
        return Guard(keep, None if self._part is None else self._part.stored, places=not self._counts)

    def _kept(self, page: list[Row]) -> list[Any]:
        if self._part is None:
            documents = self._source.tables.read(self._table, [row.value for row in page])
            return [document for document in documents if self._keeps(document)] if self._filters else documents
        kept = []
        for row in page:
            stored = decoded(row.value)
            if not self._filters or self._keeps(self._source.tables.load(self._table, stored)):
                kept.append(self._part.of(stored))
        return kept

    def _keeps(self, document: Any) -> bool:
        return all(keep(document) for keep in self._filters)

    def _spec(self, table: TableSpec) -> IndexSpec:
        index = self._index or BY_CREATION_TIME
        name = index if isinstance(index, str) else index.name
        spec = self._source.transaction.index(table, name)
        if spec is None:
            raise self._no_index(table, index, name)
        if isinstance(index, Index) and spec.slot > 1 and spec.fields != index.fields:
            raise IndexNotFound(f"the index {index.name} of {self._table} is not {index!r}; use the one of its class.")
        return spec

    def _no_index(self, table: TableSpec, index: Index | str, name: str) -> IndexNotFound:
        known = next((each for each in table.indexes if each.name == name and not each.going), None)
        if known is None:
            names = ", ".join(["by_id", *(each.name for each in table.indexes if not each.going)])
            return IndexNotFound(f"Table {self._table} has no index {index!r}; it has {names}.")
        if known.since is None:
            return IndexNotFound(
                f"The index {name} of {self._table} is still being built; wait until the log says that it is ready."
            )
        return IndexNotFound(f"The index {name} of {self._table} was not whole yet then; read at a later timestamp.")

    def _interval(self, table: TableSpec, index: IndexSpec) -> Interval:
        prefix = keys.index_prefix(table.number, index.slot)
        tables = self._source.tables
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
