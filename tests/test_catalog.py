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
        IndexSpec("by_city", 2, ("address.city", "author"), since=7),
        IndexSpec("by_body", 3, ("body",), since=None),
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
    by_city = MESSAGES.index("by_city", 7)
    by_id = MESSAGES.index("by_id", 0)
    assert by_city is not None
    assert by_city.slot == 2
    assert by_id is not None
    assert by_id.slot == 0
    assert MESSAGES.index("by_body", 7) is None
    assert MESSAGES.index("nope", 7) is None
    assert MESSAGES.index("by_city", 6) is None


def test_no_new_entries_are_made_in_an_index_that_goes() -> None:
    table = TableSpec(
        "notes", 10_001, (IndexSpec("by_a", 2, ("a",), since=None, going=True), IndexSpec("by_b", 3, ("b",)))
    )
    document = {"_id": "x", "_creationTime": 5.0, "a": 1.0, "b": 2.0}
    by_a, by_b = table.entry_keys(document, INTERNAL)
    assert table.new_entry_keys(document, INTERNAL) == (by_b,)
    assert table.entry_key(table.indexes[0], document, INTERNAL) == by_a


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
