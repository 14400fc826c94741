"""Pages of a query that stay without gaps while documents come and go between them.

A page begins at its `cursor` and ends where its first run put its end. The end goes into the query's *journal*, which
the subscription hands to each later run: that run returns everything up to the same end, however much it has become.
So a document inserted into one page moves no other (protocol, 5.3).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from yugen.errors import Refused
from yugen.functions.cursors import Cursors
from yugen.intervals import Interval

T = TypeVar("T")
U = TypeVar("U")

PAGE_ROWS_MAX: Final = 8192
"""Documents that one page reads; an array of the wire has no more elements."""

PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of stored JSON that one page reads, half of what a function may return."""

_NEARLY: Final = 0.75
"""The part of a limit from which a page is better split."""

Status = Literal["SplitRecommended", "SplitRequired"]


class PaginationOptions(BaseModel):
    """Which page of a query a client wants; what `usePaginatedQuery` sends as `paginationOpts`.

    A parameter with this annotation is called `paginationOpts` on the wire, whatever its name in Python.

    Attributes:
        num_items: documents of a page when it is read for the first time.
        cursor: where the page begins: None, or the `continue_cursor` of the page before.
        end_cursor: where the page ends, when that is known; `num_items` then has no effect.
        id: tells two lists of the same query apart. It means nothing here.
        maximum_rows_read: documents to read at most, those that a filter drops included.
        maximum_bytes_read: bytes of stored documents after which no more are read.
    """

    model_config = ConfigDict(extra="ignore", validate_by_name=True, validate_by_alias=True, frozen=True)
    __argument__: ClassVar[str] = "paginationOpts"

    num_items: Annotated[int, Field(alias="numItems", ge=1)]
    cursor: str | None = None
    end_cursor: Annotated[str | None, Field(alias="endCursor")] = None
    id: Any = None
    maximum_rows_read: Annotated[int | None, Field(alias="maximumRowsRead", ge=1)] = None
    maximum_bytes_read: Annotated[int | None, Field(alias="maximumBytesRead", ge=1)] = None


class PaginationResult(BaseModel, Generic[T]):
    """One page, as `paginate` gives it.

    Attributes:
        page: the documents, or what a function has made of them.
        is_done: there is nothing after this page.
        continue_cursor: where the next page begins.
        split_cursor: a place near the middle, for clients that want to split the page; None when it is too short.
        page_status: `SplitRecommended` for a page near the limits of what is read at once, `SplitRequired` for one that
            is beyond them and not all here.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    page: list[T]
    is_done: Annotated[bool, Field(alias="isDone")]
    continue_cursor: Annotated[str, Field(alias="continueCursor")]
    split_cursor: Annotated[str | None, Field(alias="splitCursor")] = None
    page_status: Annotated[Status | None, Field(alias="pageStatus")] = None

    def with_page(self, page: list[U]) -> PaginationResult[U]:
        """The same place in the query with other things on the page, one for each document or fewer."""
        return PaginationResult(
            page=page,
            is_done=self.is_done,
            continue_cursor=self.continue_cursor,
            split_cursor=self.split_cursor,
            page_status=self.page_status,
        )


class PaginatedTwice(Refused):
    """A query that reads two pages, of which its journal can only remember one."""

    code = "PaginatedTwice"


class Pages:
    """What the pages of one function run have in common.

    Args:
        cursors: seals and opens cursors.
        journal: where an earlier run ended its page.

    Attributes:
        remembers: whether this is a query, whose journal is kept.
        journal: where this run has ended its page; None while it has read none.
    """

    def __init__(self, cursors: Cursors, *, remembers: bool, journal: str | None = None) -> None:
        self.cursors = cursors
        self.remembers = remembers
        self.journal: str | None = None
        self._given = journal

    def begin(self, options: PaginationOptions, interval: Interval, *, query: bytes, reverse: bool) -> Page:
        """The page that is asked for.

        Args:
            options: which.
            interval: the whole range of the query.
            query: what tells the query from any other.
            reverse: the range is read from its end.

        Raises:
            InvalidCursor: a cursor is of another query.
            PaginatedTwice: this query has read a page before.
        """
        if self.remembers and self.journal is not None:
            raise PaginatedTwice("A query paginates once, so that its page can stay the same; read the rest with take.")
        end = options.end_cursor
        if end is None and self.remembers:
            end = self._given
        return Page(self, options, interval, query, reverse, end)


# A place is one of these and, but for the end of the range, the key of the last row before it without its prefix.
_AFTER = b"\x01"
_AT_END = b"\x02"
_PREFIX_SIZE = 4


class Page:
    """One page on its way to being read.

    Attributes:
        rows_max: rows it may read.
        bytes_max: bytes of stored documents it may read.
        rest: the interval it lies in.
    """

    def __init__(
        self, pages: Pages, options: PaginationOptions, interval: Interval, query: bytes, reverse: bool, end: str | None
    ) -> None:
        self._pages = pages
        self._query = query
        self._wanted = options.num_items
        self._end = end
        self._keys: list[bytes] = []
        self._bytes = 0
        self.rows_max = min(options.maximum_rows_read or PAGE_ROWS_MAX, PAGE_ROWS_MAX)
        self.bytes_max = min(options.maximum_bytes_read or PAGE_BYTES_MAX, PAGE_BYTES_MAX)
        if end is not None:
            self.rows_max, self.bytes_max = PAGE_ROWS_MAX, PAGE_BYTES_MAX

        start, stop = interval
        prefix = start[:_PREFIX_SIZE]
        begin_key = self._key(options.cursor, prefix)
        end_key = self._key(end, prefix)
        self._ends_at_end = end_key == b""
        if begin_key == b"":
            start = stop
        elif begin_key is not None:
            start, stop = (start, begin_key) if reverse else (begin_key + b"\x00", stop)
        if end_key:
            start, stop = (end_key, stop) if reverse else (start, end_key + b"\x00")
        self.rest: Interval = (start, max(start, stop))

    def wants(self, documents: int) -> int:
        """How many rows to read next, when the page has this many documents; 0 when it needs no more."""
        room = self.rows_max - len(self._keys)
        if self._bytes >= self.bytes_max or room <= 0:
            return 0
        return room if self._end is not None else min(room, self._wanted - documents)

    def read(self, key: bytes, size: int) -> None:
        """Takes account of a row with this key and this many bytes."""
        self._keys.append(key)
        self._bytes += size

    def result(self, documents: list[T], *, exhausted: bool) -> PaginationResult[T]:
        """The page with these documents; `exhausted` tells that its interval has no more rows."""
        if self._end is not None:
            end = self._end
            done = self._ends_at_end and exhausted
        else:
            end = self._seal(None if exhausted else self._keys[-1])
            done = exhausted
        self._pages.journal = end
        return PaginationResult(
            page=documents,
            is_done=done,
            continue_cursor=end,
            split_cursor=self._seal(self._keys[(len(self._keys) - 1) // 2]) if len(self._keys) > 2 else None,
            page_status=self._status(exhausted=exhausted),
        )

    def _status(self, *, exhausted: bool) -> Status | None:
        if self._end is not None and not exhausted:
            return "SplitRequired"
        nearly = len(self._keys) > _NEARLY * PAGE_ROWS_MAX or self._bytes > _NEARLY * PAGE_BYTES_MAX
        return "SplitRecommended" if nearly and len(self._keys) > 2 else None

    def _seal(self, key: bytes | None) -> str:
        place = _AT_END if key is None else _AFTER + key[_PREFIX_SIZE:]
        return self._pages.cursors.seal(place, self._query)

    def _key(self, cursor: str | None, prefix: bytes) -> bytes | None:
        """The key of the row after which a cursor stands; empty for the end of the range, None for no cursor."""
        if cursor is None:
            return None
        place = self._pages.cursors.open(cursor, self._query)
        return b"" if place == _AT_END else prefix + place[len(_AFTER) :]
