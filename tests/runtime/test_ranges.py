from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import values as wire_values
from yugen import bounds, ids, keys
from yugen.bounds import between, gt, gte, lt, lte
from yugen.catalog import Catalog, IndexSpec, TableSpec
from yugen.guards import ANYTHING, Guard
from yugen.intervals import point
from yugen.runtime import ranges
from yugen.values import ABSENT

INDEX = IndexSpec("by_book", 2, ("book", "page"))
CATALOG = Catalog([TableSpec("notes", 10_001, (IndexSpec("by_creation_time", 1, ()), INDEX))])
PREFIX = keys.index_prefix(10_001, 2)
INTERNAL = bytes(range(16))


def shown(equal: list[Any], bound: bounds.Bound | None = None, guard: Guard = ANYTHING) -> str:
    return ranges.shown((bounds.interval(PREFIX, equal, bound), guard), CATALOG)


@pytest.mark.parametrize(
    ("equal", "bound", "expected"),
    [
        ([], None, "all"),
        (["a"], None, 'book == "a"'),
        (["a", 3.0], None, 'book == "a", page == 3.0'),
        ([ABSENT], None, "book == UNSET"),
        ([], gt("a"), 'book > "a"'),
        ([], gte("a"), 'book >= "a"'),
        ([], lt("a"), 'book < "a"'),
        ([], lte("a"), 'book <= "a"'),
        (["a"], gt(3.0), 'book == "a", page > 3.0'),
        (["a"], gte(3.0), 'book == "a", page >= 3.0'),
        (["a"], lt(3.0), 'book == "a", page < 3.0'),
        (["a"], lte(3.0), 'book == "a", page <= 3.0'),
        (["a"], between(1.0, 3.0), 'book == "a", page >= 1.0, page <= 3.0'),
        (["a"], between(3.0, 3.0), 'book == "a", page == 3.0'),
        ([], lte([1.0, {"a": None}]), "book <= [1.0, {'a': None}]"),
        ([], gt({"a": True}), "book > {'a': True}"),
        (["x" * 100], None, f'book == "{"x" * 59}…'),
    ],
)
def test_ranges_are_shown_as_they_are_written(equal: list[Any], bound: bounds.Bound | None, expected: str) -> None:
    assert shown(equal, bound) == f"notes.by_book: {expected}"


def test_what_ends_at_the_last_key_that_was_read() -> None:
    last = PREFIX + keys.encode_values(["a", 7.0, 1000.5]) + INTERNAL
    start, end = bounds.interval(PREFIX, ["a"], None)
    assert ranges.shown(((start, last + b"\x00"), ANYTHING), CATALOG) == (
        'notes.by_book: book == "a", (page, _creationTime) <= (7.0, 1000.5)'
    )
    assert ranges.shown(((last, end), ANYTHING), CATALOG) == (
        'notes.by_book: book == "a", (page, _creationTime) >= (7.0, 1000.5)'
    )


def test_documents_and_what_is_narrowed() -> None:
    document = keys.document_key(10_001, INTERNAL)
    assert ranges.shown((point(document), ANYTHING), CATALOG) == f"notes {ids.encode_id(10_001, INTERNAL)}"
    prefix = keys.index_prefix(10_001, 0)
    assert ranges.shown(((prefix, keys.prefix_end(prefix)), ANYTHING), CATALOG) == "notes.by_id: all"
    assert ranges.shown(((document, keys.prefix_end(prefix)), ANYTHING), CATALOG) == "notes.by_id: some"
    assert ranges.shown((point(keys.document_key(10_002, INTERNAL)), ANYTHING), CATALOG) == "table number 10002"
    gone = keys.index_prefix(10_001, 9)
    assert ranges.shown(((gone, keys.prefix_end(gone)), ANYTHING), CATALOG) == "notes, an index that has gone"
    assert shown(["a"], guard=Guard(("value", True), ("text",))) == 'notes.by_book: book == "a", filtered, only text'
    assert shown(["a"], guard=Guard(None, ())) == 'notes.by_book: book == "a", only which there are'


@given(st.lists(wire_values, max_size=2), wire_values, st.sampled_from([gt, gte, lt, lte]))
def test_every_range_can_be_shown(equal: list[Any], value: Any, side: Any) -> None:
    assert shown(equal[:1], side(value)).startswith("notes.by_book: ")
    assert shown(equal).startswith("notes.by_book: ")
