"""Bringing a store to the tables and indexes that an app declares.

Runs before anything is served: what an app adds is entered in `_tables` and `_indexes`, entries of new indexes are
built for the documents that are there, and those of indexes that went are removed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

from yugen import ids, keys, values
from yugen.catalog import (
    BY_CREATION_TIME,
    FIRST_USER_SLOT,
    INDEXES,
    TABLES,
    Catalog,
    IndexSpec,
    TableSpec,
)
from yugen.errors import Refused
from yugen.functions.info import AppInfo, IndexInfo
from yugen.runtime.transaction import Transaction
from yugen.storage.interface import Change, Commit, Row, Store, Timestamp

_BATCH = 500
"""Documents whose entries are rebuilt in one commit."""


class DeployError(Refused):
    """Tables or indexes that the stored documents do not allow."""

    code = "DeployError"


async def deploy(
    store: Store,
    newest: Timestamp,
    info: AppInfo,
    *,
    clock: Callable[[], int],
    random_bytes: Callable[[int], bytes],
) -> tuple[Catalog, Timestamp]:
    """Enters the app's tables and indexes; returns the catalog to serve with and the newest timestamp.

    Raises:
        DeployError: a unique index over documents that have equal values.
    """
    return await _Deployment(store, newest, clock, random_bytes).run(info)


class _Deployment:
    def __init__(
        self, store: Store, newest: Timestamp, clock: Callable[[], int], random_bytes: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._ts = newest
        self._clock = clock
        self._random_bytes = random_bytes

    async def run(self, info: AppInfo) -> tuple[Catalog, Timestamp]:
        stored = await self._stored()
        catalog = Catalog(stored.values())
        for name, declared in info.tables.items():
            before = stored.get(name)
            if before is None:
                async with _Step(self, catalog) as transaction:
                    created = await transaction.table(name, create=True)
                    assert created is not None
                before = created
            after = await self._indexed(catalog, before, declared)
            catalog.add(after)
        return catalog, self._ts

    async def _indexed(self, catalog: Catalog, table: TableSpec, declared: Mapping[str, IndexInfo]) -> TableSpec:
        kept = [
            index
            for index in table.indexes
            if index.name == BY_CREATION_TIME
            or (index.ready and declared.get(index.name) == IndexInfo(index.fields, index.unique))
        ]
        names = {index.name for index in kept}
        used = {index.slot for index in table.indexes}
        free = (slot for slot in range(FIRST_USER_SLOT, keys.SLOTS_MAX) if slot not in used)
        added = [
            IndexSpec(name, next(free), index.fields, index.unique)
            for name, index in declared.items()
            if name not in names
        ]
        after = replace(table, indexes=(*kept, *added))
        if after == table:
            return table
        for index in added:
            if index.unique:
                await self._check_unique(table, index)
        await self._enter(catalog, table, [replace(index, ready=False) for index in added])
        await self._rekey(table, after)
        await self._enter(catalog, table, [*kept, *added])
        return after

    async def _enter(self, catalog: Catalog, table: TableSpec, indexes: list[IndexSpec]) -> None:
        """Makes these the indexes of the table in `_indexes`; those with `ready` false are added to what is there."""
        async with _Step(self, catalog) as transaction:
            replaced = all(index.ready for index in indexes)
            async for document in self._documents(INDEXES):
                if replaced and document["table"] == table.name:
                    _, internal = ids.decode_id(str(document["_id"]))
                    await transaction.write(INDEXES, internal, None)
            for index in indexes:
                if index.name != BY_CREATION_TIME:
                    await transaction.insert(
                        INDEXES,
                        {
                            "table": table.name,
                            "name": index.name,
                            "slot": float(index.slot),
                            "fields": list(index.fields),
                            "unique": index.unique,
                            "ready": index.ready,
                        },
                    )

    async def _check_unique(self, table: TableSpec, index: IndexSpec) -> None:
        seen: dict[bytes, str] = {}
        async for document in self._documents(table):
            fields = [keys.lookup(document, path) for path in index.fields]
            if values.ABSENT in fields:
                continue
            first = seen.setdefault(keys.encode_values(fields), document["_id"])
            if first != document["_id"]:
                raise DeployError(
                    f"The unique index {table.name}.{index.name} cannot be built: {first} and {document['_id']} have "
                    f"the same {', '.join(index.fields)}; change one of them first."
                )

    async def _rekey(self, before: TableSpec, after: TableSpec) -> None:
        """Moves the entries of every document from one set of indexes to another."""
        changes: list[Change] = []
        async for row in self._rows(before):
            document = values.loads(row.value)
            assert isinstance(document, dict)
            entry_keys = (each.entry_keys(document, keys.internal_of(row.key)) for each in (before, after))
            changes.append(Change(row.key, row.value, row.value, *entry_keys))
            if len(changes) == _BATCH:
                await self.append(tuple(changes))
                changes.clear()
        if changes:
            await self.append(tuple(changes))

    async def append(self, changes: tuple[Change, ...]) -> None:
        def decide(news: object, newest: Timestamp) -> list[Commit]:
            return [Commit(max(newest + 1, self._clock()), changes)]

        commits = await self._store.append(decide)
        self._ts = commits[-1].ts

    async def _stored(self) -> dict[str, TableSpec]:
        indexes: dict[str, list[IndexSpec]] = defaultdict(lambda: [IndexSpec(BY_CREATION_TIME, 1, ())])
        async for document in self._documents(INDEXES):
            indexes[document["table"]].append(
                IndexSpec(
                    document["name"],
                    int(document["slot"]),
                    tuple(document["fields"]),
                    document["unique"],
                    document["ready"],
                )
            )
        return {
            document["name"]: TableSpec(document["name"], int(document["number"]), tuple(indexes[document["name"]]))
            async for document in self._documents(TABLES)
        }

    async def _documents(self, table: TableSpec) -> AsyncIterator[dict[str, Any]]:
        async for row in self._rows(table):
            document = values.loads(row.value)
            assert isinstance(document, dict)
            yield document

    async def _rows(self, table: TableSpec) -> AsyncIterator[Row]:
        start = keys.index_prefix(table.number, 0)
        end = keys.prefix_end(start)
        snapshot = await self._store.snapshot(self._ts)
        try:
            while page := await snapshot.scan(start, end, limit=_BATCH):
                for row in page:
                    yield row
                start = page[-1].key + b"\x00"
        finally:
            snapshot.close()


class _Step:
    """A transaction of the deployment itself; nobody else writes, so it always commits."""

    def __init__(self, deployment: _Deployment, catalog: Catalog) -> None:
        self._deployment = deployment
        self._catalog = catalog

    async def __aenter__(self) -> Transaction:
        deployment = self._deployment
        self._snapshot = await deployment._store.snapshot(deployment._ts)
        now = deployment._clock() / 1_000_000
        self._transaction = Transaction(
            self._snapshot, self._catalog, now=now, random_bytes=deployment._random_bytes
        )
        return self._transaction

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._snapshot.close()
        if kind is None and self._transaction.changes:
            await self._deployment.append(self._transaction.changes)
