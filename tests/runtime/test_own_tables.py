"""What commits say of tables, variables and files; of indexes, see `test_reindex`."""

from __future__ import annotations

from yugen import keys, values
from yugen.catalog import STORAGE, TABLES, Catalog
from yugen.runtime.own_tables import take_in
from yugen.storage.interface import Change


def change(table: int, internal: int, before: dict[str, object] | None, after: dict[str, object] | None) -> Change:
    key = keys.document_key(table, internal.to_bytes(16))
    was, became = (None if each is None else values.canonical(each) for each in (before, after))
    return Change(key, was, became)


def test_a_new_table_is_in_the_catalog_once() -> None:
    catalog = Catalog()
    made = [change(TABLES.number, n, None, {"name": f"t{n}", "number": 10_000.0 + n}) for n in range(2)]
    take_in([*made, made[0]], catalog, None, lambda _: None)
    assert [(table.name, table.number) for table in catalog.history[-2:]] == [("t0", 10_000), ("t1", 10_001)]


def test_files_are_told_of_whose_bytes_are_no_longer_named() -> None:
    deleted: list[str] = []
    changes = [
        change(STORAGE.number, 0, None, {"key": "new"}),
        change(STORAGE.number, 1, {"key": "gone"}, None),
        change(STORAGE.number, 2, {"key": "same"}, {"key": "same", "name": "b"}),
        change(STORAGE.number, 3, {"key": "replaced"}, {"key": "other"}),
        change(12_345, 4, {"key": "of an app"}, None),
    ]
    take_in(changes, Catalog(), None, deleted.append)
    assert deleted == ["gone", "replaced"]
