"""One execution's view of the database: a snapshot, its own writes laid over it, and a record of what it read.

Every read leaves an interval of the key space behind, and nothing but reads does. `reads` and `changes` are all that
the commit needs to know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Final

from yugen import bounds, ids, keys, values
from yugen.catalog import CREATION_TIME, FIRST_USER_TABLE, INDEXES, SYSTEM_TABLES, TABLES, Catalog, IndexSpec, TableSpec
from yugen.errors import DocumentInvalid
from yugen.functions.faults import UniqueError
from yugen.guards import Guard, GuardedRead
from yugen.intervals import IntervalSet, point
from yugen.runtime.budget import Budget
from yugen.storage.interface import Change, Row, Snapshot
from yugen.storage.overlay import Laid, Overlay
from yugen.totals import Total

_GUARDED_MAX = 256
"""Guards of one transaction, each of which is asked about each commit near it; what is read beyond them has none."""


_AHEAD_MAX: Final = 64
"""Rows that are read ahead."""

_PRESENCE: Final = Guard(None, (), places=False)
"""That documents are there, wherever they are."""

_value = attrgetter("value")

_NOTHING = Laid(None, ())
"""The image of a document that does not exist."""


class Rows:
    """The rows of a range in order, as `yugen.functions.database.Rows` wants them.

    Whoever takes a few at a time is answered from what was read ahead, each time twice as much as before, for as long
    as the transaction writes nothing in between.
    """

    def __init__(
        self, transaction: Transaction, start: bytes, end: bytes, *, reverse: bool, reads: IntervalSet
    ) -> None:
        self._transaction = transaction
        self._start = start
        self._end = end
        self._reverse = reverse
        self._reads = reads
        self._ahead: Sequence[Row] = ()
        self._asked = 0
        self._writes = 0

    def read_all(self) -> None:
        """Records the whole range, which was read in another way."""
        self._reads.add(self._start, self._end)

    async def take(self, count: int) -> list[Row]:
        """The next `count` rows. Records the interval up to the last of them, or to the end when there are fewer."""
        rows = await self._next(count)
        start, end = self._start, self._end
        if len(rows) == count and rows:
            if self._reverse:
                start = self._end = rows[-1].key
            else:
                end = self._start = rows[-1].key + b"\x00"
        else:
            self._start = self._end = end
        self._reads.add(start, end)
        self._transaction.budget.has_read(len(rows), sum(map(len, map(_value, rows))))
        return rows

    async def _next(self, count: int) -> list[Row]:
        overlay = self._transaction.overlay
        if self._writes != overlay.writes:
            self._writes, self._ahead, self._asked = overlay.writes, (), 0
        if len(self._ahead) < count:
            self._asked = min(2 * self._asked, _AHEAD_MAX) if self._asked else count
            self._ahead = await overlay.scan(
                self._transaction.snapshot, self._start, self._end, reverse=self._reverse, limit=max(count, self._asked)
            )
        rows, self._ahead = list(self._ahead[:count]), self._ahead[count:]
        return rows


class Transaction:
    """A transaction over a snapshot.

    Args:
        snapshot: the database to read; the owner closes it.
        catalog: the tables that stood when the snapshot was taken, or later.
        now: creation time of the first document it inserts, in milliseconds since the epoch; the next ones follow
            as closely as floats can, so that they keep the order they were inserted in.
        random_bytes: gives that many random bytes, for ids.
        budget: what it may read and write; without one, as much as it likes.

    Attributes:
        reads: what was read so far, as intervals of the key space.
        overlay: its own writes.
    """

    __slots__ = (
        "_before",
        "_creation_time",
        "_guarded",
        "_last",
        "_random_bytes",
        "_replaced",
        "_seen",
        "budget",
        "catalog",
        "overlay",
        "reads",
        "snapshot",
    )

    def __init__(
        self,
        snapshot: Snapshot,
        catalog: Catalog,
        *,
        now: float,
        random_bytes: Callable[[int], bytes],
        budget: Budget | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.catalog = catalog
        self.reads = IntervalSet()
        self._guarded: list[tuple[Guard, IntervalSet]] = []
        self.overlay = Overlay()
        self.budget = budget or Budget(None)
        self._creation_time = now
        self._random_bytes = random_bytes
        self._before: dict[bytes, Laid] = {}
        # What was laid before each write of the savepoints that are open, if any are.
        self._replaced: list[tuple[bytes, Laid | None]] | None = None
        self._seen: dict[bytes, bytes | None] = {}
        self._last: tuple[bytes | None, dict[str, Any]] = None, {}

    async def table(self, name: str, *, create: bool = False, number: int | None = None) -> TableSpec | None:
        """The table of this name. When there is none, it is created, or its absence counts as read.

        Args:
            name: its name.
            create: whether to create it.
            number: the number to give it if no other table has that; by default, the next one.
        """
        known = self.catalog.named(name)
        if known is not None:
            return known
        start, end = bounds.interval(keys.index_prefix(TABLES.number, 2), [name], None)
        found = await self.rows(start, end).take(1)
        if found:
            return TableSpec(name, int(_field(found[0].value, "number")))
        if not create:
            return None
        self.budget.creates_table(len(self.catalog) - len(SYSTEM_TABLES))
        if number is None or await self.numbered(number) is not None:
            start, end = bounds.interval(keys.index_prefix(TABLES.number, 3), [], None)
            last = await self.rows(start, end, reverse=True).take(1)
            number = int(_field(last[0].value, "number")) + 1 if last else FIRST_USER_TABLE
        await self.insert(TABLES, {"name": name, "number": float(number)})
        return TableSpec(name, number)

    async def numbered(self, number: int) -> TableSpec | None:
        """The table of this number, also when this transaction has created it."""
        known = self.catalog.numbered(number)
        if known is not None:
            return known
        start, end = bounds.interval(keys.index_prefix(TABLES.number, 3), [float(number)], None)
        found = await self.rows(start, end).take(1)
        return TableSpec(str(_field(found[0].value, "name")), number) if found else None

    def index(self, table: TableSpec, name: str) -> IndexSpec | None:
        """The index of this name of a table, if it can be read. When it cannot, that counts as read."""
        found = table.index(name, self.snapshot.ts)
        if found is None:
            self.reads.add(*bounds.interval(keys.index_prefix(INDEXES.number, 2), [table.name], None))
        return found

    async def get(self, key: bytes) -> bytes | None:
        """The stored JSON of the document at a document key, or None."""
        if key not in self._seen:
            self.reads.add(*point(key))
        self.budget.reads_range()
        laid = self.overlay.get(key)
        text = await self._stored(key) if laid is None else laid.value
        if text is not None:
            self.budget.has_read(1, len(text))
        return text

    async def document(self, key: bytes) -> dict[str, Any] | None:
        """The document at a document key, or None; it is not to be changed."""
        text = await self.get(key)
        return None if text is None else self._document_of(text)

    async def _stored(self, key: bytes) -> bytes | None:
        """What the snapshot has at a document key: a function that changes a document has often looked at it before."""
        if key not in self._seen:
            self._seen[key] = await self.snapshot.get(key)
        return self._seen[key]

    def _document_of(self, text: bytes) -> dict[str, Any]:
        """A stored document. The last one is kept, for what is read to be changed is looked at twice."""
        last, document = self._last
        if last is not text:
            document = _decoded(text)
            self._last = text, document
        return document

    def rows(self, start: bytes, end: bytes, *, reverse: bool = False, guard: Guard | None = None) -> Rows:
        """The rows of [start, end), which lies within one index. What `guard` leaves out does not count as read."""
        self.budget.reads_range()
        reads = self.reads
        if guard is not None and len(self._guarded) < _GUARDED_MAX:
            reads = IntervalSet()
            self._guarded.append((guard, reads))
        return Rows(self, start, end, reverse=reverse, reads=reads)

    async def count(self, start: bytes, end: bytes) -> int:
        """How many entries there are in [start, end) of one index with totals; nothing else of them counts as read."""
        count = await self.overlay.count(self.snapshot, start, end)
        self.rows(start, end, guard=_PRESENCE).read_all()
        return count

    async def total(self, start: bytes, end: bytes, guard: Guard) -> Total:
        """What the entries in [start, end) of one index with totals amount to."""
        total = await self.overlay.total(self.snapshot, start, end)
        self.rows(start, end, guard=guard).read_all()
        return total

    def schedules(self) -> None:
        """Counts a function that is scheduled."""
        self.budget.schedules()

    @property
    def guarded(self) -> tuple[GuardedRead, ...]:
        """What was read under guards."""
        return tuple([(interval, guard) for guard, reads in self._guarded for interval in reads])

    async def insert(self, table: TableSpec, fields: dict[str, Any]) -> str:
        """Adds a document of checked wire values and returns its id."""
        internal = ids.new_internal(self._creation_time, self._random_bytes(10))
        new_id = ids.encode_id(table.number, internal)
        ids.remember(new_id, table.number, internal)
        # Nobody else makes this id, so that its absence needs no reading.
        self._before[keys.document_key(table.number, internal)] = _NOTHING
        await self.write(table, internal, {"_id": new_id, CREATION_TIME: self._creation_time, **fields})
        self._creation_time = math.nextafter(self._creation_time, math.inf)
        return new_id

    async def write(self, table: TableSpec, internal: bytes, document: dict[str, Any] | None) -> None:
        """Gives a document this content, or deletes it.

        Raises:
            DocumentInvalid: the document breaks a limit of documents.
            UniqueError: another document has its values in a unique index.
        """
        key = keys.document_key(table.number, internal)
        text: bytes | None = None
        entry_keys: tuple[bytes, ...] = ()
        if document is not None:
            try:
                # orjson leaves a text in a buffer of kilobytes, and what is written stays until the commit.
                text = memoryview(values.document_text(document)).tobytes()
            except values.InvalidValue as error:
                raise DocumentInvalid(f"A document of {table.name} cannot be stored: {error}.") from None
            entry_keys = table.new_entry_keys(document, internal)
            for index in table.indexes:
                if index.unique and not index.going:
                    await self._check_unique(table, index, document, internal)
        self.budget.writes(0 if text is None else len(text), first=self.overlay.get(key) is None)
        before = self._before.get(key)
        if before is None:
            # The image from before goes into the commit, so it must still be true by then.
            if key not in self._seen:
                self.reads.add(*point(key))
            stored = await self._stored(key)
            before = self._before[key] = (
                _NOTHING if stored is None else Laid(stored, table.entry_keys(self._document_of(stored), internal))
            )
        if self._replaced is not None:
            self._replaced.append((key, self.overlay.get(key)))
        self.overlay.put(key, text, entry_keys, before.entry_keys)

    async def _check_unique(
        self, table: TableSpec, index: IndexSpec, document: dict[str, Any], internal: bytes
    ) -> None:
        same = [keys.lookup(document, path) for path in index.fields]
        if values.ABSENT in same:
            return
        start, end = bounds.interval(keys.index_prefix(table.number, index.slot), same, None)
        for row in await self.rows(start, end).take(2):
            if keys.internal_of(row.key) != internal:
                shown = {path: values.dumps(value).decode() for path, value in zip(index.fields, same, strict=True)}
                raise UniqueError(table.name, index.name, shown)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undoes the writes made within when it is left by an error. What was read within stays read."""
        outer = self._replaced
        replaced = self._replaced = [] if outer is None else outer
        begun = len(replaced)
        try:
            yield
        except BaseException:
            while len(replaced) > begun:
                key, laid = replaced.pop()
                before = self._before[key]
                value, entry_keys, _ = laid or before
                self.overlay.put(key, value, entry_keys, before.entry_keys)
            raise
        finally:
            self._replaced = outer

    @property
    def changes(self) -> tuple[Change, ...]:
        """The writes so far, one for each document whose content differs from the snapshot."""
        changes = []
        for key, before in self._before.items():
            after = self.overlay.get(key)
            if after is not None and (after.value, after.entry_keys) != (before.value, before.entry_keys):
                keys_before = before.entry_keys
                if keys_before == after.entry_keys:
                    keys_before = self._entered(key, keys_before)
                changes.append(Change(key, before.value, after.value, keys_before, after.entry_keys))
        return tuple(changes)

    def _entered(self, key: bytes, entry_keys: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """The entry keys of a document without those of indexes being built: for all one knows they are not there yet.

        A store leaves entries alone that stay as they are.
        """
        table = self.catalog.numbered(keys.table_of(key))
        building = [index.slot for index in table.indexes if index.since is None] if table else []
        return tuple([each for each in entry_keys if keys.slot_of(each) not in building]) if building else entry_keys


def _field(text: bytes, name: str) -> Any:
    return _decoded(text)[name]


def _decoded(text: bytes) -> dict[str, Any]:
    document = values.reloads(text)
    assert isinstance(document, dict)
    return document
