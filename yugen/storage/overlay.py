"""Documents laid over a snapshot, so that it reads as if they were stored there.

Used twice: a transaction sees its own uncommitted writes this way, and a store shows an earlier timestamp by laying
the images from before over the documents that changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import NamedTuple, Protocol

from sortedcontainers import SortedList

from yugen.keys import index_prefix, internal_of, number_of, table_of, to_document_key
from yugen.storage.interface import Row
from yugen.totals import Total


class Base(Protocol):
    """Anything that can be read as a `Snapshot` can."""

    async def scan(self, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]: ...
    async def count(self, start: bytes, end: bytes) -> int: ...
    async def total(self, start: bytes, end: bytes) -> Total: ...


class Laid(NamedTuple):
    """What an overlay says of one document: its stored JSON, or None where it is deleted, and its entry keys.

    `hidden` are the entry keys that the document has in the base.
    """

    value: bytes | None
    entry_keys: tuple[bytes, ...]
    hidden: tuple[bytes, ...] = ()


class Overlay:
    """A set of documents that hide those of the same keys in a base.

    A document laid here hides the base's one in every index, so an entry that has moved is found only where it is now.

    Attributes:
        writes: how often a document was laid.
    """

    __slots__ = ("_documents", "_row_keys", "_unsorted", "writes")

    def __init__(self) -> None:
        self.writes = 0
        self._documents: dict[bytes, Laid] = {}
        self._row_keys: SortedList[bytes] | None = None
        # The documents laid since the row keys were sorted, and what was laid for them then. Many a transaction writes
        # and never reads a range, and does without the sorting.
        self._unsorted: dict[bytes, Laid | None] = {}

    def put(
        self, key: bytes, value: bytes | None, entry_keys: Sequence[bytes] = (), hidden: Sequence[bytes] = ()
    ) -> None:
        """Lays a document, in place of what was laid for it before; the value None lays a deletion.

        Args:
            key: of the document.
            value: its stored JSON.
            entry_keys: the keys of its index entries.
            hidden: those that it has in the base.
        """
        assert value is not None or not entry_keys, "a deleted document has no entries"
        self.writes += 1
        self._unsorted.setdefault(key, self._documents.get(key))
        self._documents[key] = Laid(value, tuple(entry_keys), tuple(hidden))

    def lift(self, key: bytes) -> None:
        """Takes away what is laid for a document, which is as in the base again."""
        self.writes += 1
        laid = self._documents.pop(key)
        if self._unsorted.setdefault(key, laid) is None:
            del self._unsorted[key]  # the row keys do not know of it

    def get(self, key: bytes) -> Laid | None:
        """What is laid for a document; None when nothing is, and the base has the say."""
        return self._documents.get(key)

    def __len__(self) -> int:
        return len(self._documents)

    async def scan(self, base: Base, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]:
        """The first `limit` rows in [start, end) of the base with this laid over it; as `Snapshot.scan`.

        The base is asked for no more rows than are missing, and again only for what takes the place of hidden ones.
        """
        if not self._documents:
            return await base.scan(start, end, reverse=reverse, limit=limit)
        documents = index_prefix(table_of(start), 0)
        rows: list[Row] = []
        hidden = 0
        exhausted = False
        while len(rows) < limit and not exhausted:
            missing = limit - len(rows)
            # Asking for as many again as were hidden keeps the number of pages logarithmic where many deleted
            # documents lie together, as at the head of a queue that a transaction empties.
            page = await base.scan(start, end, reverse=reverse, limit=missing + hidden)
            kept = [row for row in page if documents + internal_of(row.key) not in self._documents]
            exhausted = len(page) < missing + hidden
            hidden += len(page) - len(kept)
            # The page answers for the keys up to its last one, and those laid in between belong among its rows.
            page_start, page_end = start, end
            if not exhausted and reverse:
                page_start = end = page[-1].key
            elif not exhausted:
                page_end = start = page[-1].key + b"\x00"
            laid = self._rows(page_start, page_end, reverse=reverse, limit=missing)
            rows += sorted(kept + laid, key=attrgetter("key"), reverse=reverse)
        return rows[:limit]

    async def count(self, base: Base, start: bytes, end: bytes) -> int:
        """How many entries there are in [start, end) of the base with this laid over it; as `Snapshot.count`."""
        row_keys = self._sorted()
        laid = row_keys.bisect_left(end) - row_keys.bisect_left(start)
        hidden = sum(start <= key < end for document in self._documents.values() for key in document.hidden)
        return await base.count(start, end) + laid - hidden

    async def total(self, base: Base, start: bytes, end: bytes) -> Total:
        """What the entries in [start, end) of the base with this laid over it amount to; as `Snapshot.total`."""
        hidden = sorted(key for laid in self._documents.values() for key in laid.hidden if start <= key < end)
        total = Total.of(number_of(key) for key in self._sorted().irange(start, end, inclusive=(True, False)))
        for key in hidden:
            total += await base.total(start, key)
            start = key + b"\x00"
        return total + await base.total(start, end)

    def _sorted(self) -> SortedList[bytes]:
        """The keys of documents that are not deleted, and those of their entries."""
        if self._row_keys is None:
            self._row_keys = SortedList()
        for key, before in self._unsorted.items():
            for row_key in _row_keys(key, before):
                self._row_keys.remove(row_key)
        self._row_keys.update(chain.from_iterable(_row_keys(key, self._documents.get(key)) for key in self._unsorted))
        self._unsorted.clear()
        return self._row_keys

    def _rows(self, start: bytes, end: bytes, *, reverse: bool, limit: int) -> list[Row]:
        """The first `limit` rows laid in [start, end), last ones if `reverse`; in ascending order either way."""
        row_keys = self._sorted()
        low, high = row_keys.bisect_left(start), row_keys.bisect_left(end)
        if reverse:
            low = max(low, high - limit)
        else:
            high = min(high, low + limit)
        return [Row(key, self._value_of(key)) for key in row_keys.islice(low, high)]

    def _value_of(self, row_key: bytes) -> bytes:
        value = self._documents[to_document_key(row_key)].value
        assert value is not None, "a deleted document has no rows"
        return value


def _row_keys(key: bytes, laid: Laid | None) -> Iterable[bytes]:
    return () if laid is None or laid.value is None else (key, *laid.entry_keys)
