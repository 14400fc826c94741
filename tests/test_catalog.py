"""The record of tables and indexes, and the keys that documents get from it."""

from __future__ import annotations

from yugen import keys
from yugen.catalog import BY_CREATION_TIME, SYSTEM_TABLES, Catalog, IndexSpec, TableSpec
from yugen.values import ABSENT

INTERNAL = bytes(range(16))
MESSAGES = TableSpec(
    "messages",
    10_001,
    (
        IndexSpec(BY_CREATION_TIME, 1, ()),
        IndexSpec("by_city", 2, ("address.city", "author")),
        IndexSpec("by_body", 3, ("body",), ready=False),
    ),
)


def test_a_document_stands_in_every_index_ready_or_not() -> None:
    document = {"_id": "x", "_creationTime": 5.0, "author": "a", "body": "b", "address": {"city": "c"}}
    assert MESSAGES.entry_keys(document, INTERNAL) == (
        keys.entry_key(10_001, 1, [5.0], INTERNAL),
        keys.entry_key(10_001, 2, ["c", "a", 5.0], INTERNAL),
        keys.entry_key(10_001, 3, ["b", 5.0], INTERNAL),
    )


def test_a_field_that_is_missing_is_indexed_as_absent() -> None:
    _, by_city, _ = MESSAGES.entry_keys({"_id": "x", "_creationTime": 5.0, "author": "a", "address": "none"}, INTERNAL)
    assert by_city == keys.entry_key(10_001, 2, [ABSENT, "a", 5.0], INTERNAL)


def test_indexes_are_found_by_name_once_they_are_ready() -> None:
    by_city = MESSAGES.index("by_city")
    by_id = MESSAGES.index("by_id")
    assert by_city is not None
    assert by_city.slot == 2
    assert by_id is not None
    assert by_id.slot == 0
    assert MESSAGES.index("by_body") is None
    assert MESSAGES.index("nope") is None


def test_tables_are_found_by_name_and_number() -> None:
    catalog = Catalog([MESSAGES])
    assert catalog.named("messages") is catalog.numbered(10_001) is MESSAGES
    assert catalog.named("users") is None
    assert catalog.numbered(10_002) is None
    assert list(catalog) == [*SYSTEM_TABLES, MESSAGES]


def test_a_catalog_grows_and_changes_while_it_is_in_use() -> None:
    catalog = Catalog()
    catalog.add(TableSpec("messages", 10_001))
    catalog.add(MESSAGES)
    assert catalog.named("messages") is MESSAGES
    assert len(list(catalog)) == len(SYSTEM_TABLES) + 1
