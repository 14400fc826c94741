"""A paginated query as one list that grows page by page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from yugen_client.errors import InvalidResult
from yugen_client.messages import QueryId
from yugen_client.outcome import Failure, Outcome, Success
from yugen_client.subscriptions import LiveResult
from yugen_client.values import Json

if TYPE_CHECKING:
    from yugen_client.async_client import AsyncClient

T = TypeVar("T")

_SPLIT_STATUSES: Final = ("SplitRecommended", "SplitRequired")
_GROWN: Final = 2
"""A page that has grown to more than so many times its size is split."""


@dataclass(frozen=True)
class PagedResults(Generic[T]):
    """What a list holds of its query, from the beginning on.

    Attributes:
        results: The rows of all pages that are loaded, in order, without gaps or duplicates, all of one moment.
        is_done: There is nothing after them.
    """

    results: list[T]
    is_done: bool


@dataclass(frozen=True)
class _Page:
    """One page, which begins after `cursor` and, once it was split off another, ends at `end_cursor`."""

    query_id: QueryId
    cursor: str | None
    end_cursor: str | None = None


class PaginatedSubscription(LiveResult[PagedResults[T]]):
    """A list that follows a paginated query, as far as it was loaded; made by `AsyncClient.subscribe_pages`.

    It is read like a `Subscription`. While a page is being loaded, the next result waits for it.
    """

    def __init__(
        self,
        client: AsyncClient,
        subscribe: Callable[[Mapping[str, Any]], QueryId],
        page_size: int,
        convert: Callable[[Any], list[T]],
        new_id: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._subscribe = subscribe
        self._page_size = page_size
        self._convert = convert
        self._new_id = new_id
        self._list_id = new_id()
        self._pages = [self._page(None, page_size)]
        self._may_restart = False
        super().__init__(client, (self._pages[0].query_id,), loop)

    def load_more(self, count: int | None = None) -> bool:
        """Loads another page; returns False if there is none, or the last one is still being loaded.

        Args:
            count: How many rows at first; by default as many as on the first page.
        """
        if self._closed:
            return False
        shown = self._client._shown((self._pages[-1].query_id,))
        last = _page_of(shown[0]) if shown else None
        if last is None or last["isDone"]:
            return False
        self._arrange([*self._pages, self._page(last["continueCursor"], count or self._page_size)])
        return True

    def _value(self, outcomes: tuple[Outcome, ...]) -> PagedResults[T]:
        results: list[T] = []
        is_done = False
        for outcome in outcomes:
            value = outcome.unwrap()
            if _page_of(outcome) is None:
                raise InvalidResult("the query gave what is no page; subscribe to a query that ends in `paginate`")
            results += self._convert(value)
            is_done = bool(value["isDone"])
        return PagedResults(results, is_done)

    def _is_final(self, outcomes: tuple[Outcome, ...]) -> bool:
        """Whether these results are to be shown; otherwise pages were rearranged, and others will come."""
        if self._may_restart and any(map(_is_cursor_invalid, outcomes)):
            self._may_restart = False
            self._list_id = self._new_id()
            self._arrange([self._page(None, self._page_size)])
            return False
        pages: list[_Page] = []
        for page, outcome in zip(self._pages, outcomes, strict=True):
            pages += self._split(page, _page_of(outcome))
        if len(pages) > len(self._pages):
            self._arrange(pages)
            return False
        self._may_restart = True
        return True

    def _split(self, page: _Page, value: Mapping[str, Any] | None) -> list[_Page]:
        """The page, or two that take its place."""
        if value is None or not isinstance(middle := value.get("splitCursor"), str):
            return [page]
        if value.get("pageStatus") not in _SPLIT_STATUSES and len(value["page"]) <= _GROWN * self._page_size:
            return [page]
        end = value["continueCursor"]
        return [
            self._page(page.cursor, self._page_size, middle),
            self._page(middle, self._page_size, end),
        ]

    def _page(self, cursor: str | None, count: int, end_cursor: str | None = None) -> _Page:
        options: dict[str, Any] = {"numItems": count, "cursor": cursor, "id": self._list_id}
        if end_cursor is not None:
            options["endCursor"] = end_cursor
        return _Page(self._subscribe(options), cursor, end_cursor)

    def _arrange(self, pages: Iterable[_Page]) -> None:
        """Goes on with other pages; each of the new ones has been subscribed to."""
        before = set(self._query_ids)
        self._pages = list(pages)
        self._query_ids = tuple(page.query_id for page in self._pages)
        now = set(self._query_ids)
        self._client._watch(now - before, self._news)
        self._client._unwatch(before - now, self._news)


def _page_of(outcome: Outcome) -> Mapping[str, Any] | None:
    """A page in its encoded form; None for what is none."""
    value: Json = outcome.value if isinstance(outcome, Success) else None
    if not isinstance(value, dict) or not isinstance(value.get("page"), list):
        return None
    is_page = isinstance(value.get("isDone"), bool) and isinstance(value.get("continueCursor"), str)
    return value if is_page else None


def _is_cursor_invalid(outcome: Outcome) -> bool:
    """Whether a page cannot be found any more, as after a change of the index; a list then begins anew."""
    if not isinstance(outcome, Failure):
        return False
    data = outcome.data if isinstance(outcome.data, dict) else {}
    return data.get("paginationError") == "InvalidCursor" or "InvalidCursor" in outcome.message
