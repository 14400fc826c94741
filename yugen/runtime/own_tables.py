"""What commits say in Yugen's own tables: of tables, indexes, environment variables and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from yugen import values
from yugen.catalog import ENVIRONMENT, INDEXES, STORAGE, TABLES, Catalog, IndexSpec, TableSpec
from yugen.keys import table_of
from yugen.runtime.deploy import index_of
from yugen.runtime.environment import Variables
from yugen.storage.interface import Change


def take_in(
    changes: Iterable[Change], catalog: Catalog, variables: Variables | None, file_deleted: Callable[[str], None]
) -> None:
    """Brings a catalog up to what has been committed.

    Args:
        changes: those of the commits, in their order.
        catalog: is changed.
        variables: opens the environment variables, if there are any.
        file_deleted: called for each file that is deleted, with the key of its bytes.
    """
    indexes: list[Change] = []
    for change in changes:
        match table_of(change.key):
            case TABLES.number if change.after is not None:
                document = _fields(change.after)
                if catalog.named(document["name"]) is None:
                    catalog.add(TableSpec(document["name"], int(document["number"])))
            case INDEXES.number:
                indexes.append(change)
            case ENVIRONMENT.number if variables is not None:
                catalog.environment = variables.after(catalog.environment, change)
            case STORAGE.number if change.before is not None:
                key = _fields(change.before)["key"]
                if change.after is None or _fields(change.after)["key"] != key:
                    file_deleted(key)
    for table in _tables_after(catalog, indexes):
        catalog.add(table)


def _tables_after(catalog: Catalog, changes: Sequence[Change]) -> list[TableSpec]:
    """The tables whose indexes have changed, as they are then."""
    indexes: dict[str, dict[str, IndexSpec]] = {}
    for change in changes:
        for image, there in ((change.before, False), (change.after, True)):
            if image is None:
                continue
            document = _fields(image)
            table = catalog.named(document["table"])
            if table is None:
                continue
            of = indexes.setdefault(table.name, {str(index.slot): index for index in table.indexes})
            spec = index_of(document)
            if there:
                of[str(spec.slot)] = spec
            elif of.get(str(spec.slot)) == spec:
                del of[str(spec.slot)]
    return [
        replace(table, indexes=tuple(sorted(indexes[table.name].values(), key=attrgetter("slot"))))
        for name in indexes
        if (table := catalog.named(name)) is not None
    ]


def _fields(text: bytes) -> dict[str, Any]:
    document = values.loads(text)
    assert isinstance(document, dict)
    return document
