"""Bringing a store to the tables and indexes that an app declares.

Runs before anything is served, in steps of which each is a commit or several: a deployment that is cut off is finished
by the next one, for the same app or for another. An index that is not whole, because its entries are being built or
removed, is marked as not ready for as long; the next deployment clears it away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from yugen import ids, keys, values
from yugen.catalog import (
    BY_CREATION_TIME,
    ENVIRONMENT,
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

    Nothing is written when the store has them already. Tables that the app does not declare keep what they have.

    Raises:
        DeployError: a unique index over documents that have equal values. Nothing was changed.
    """
    return await _Deployment(store, newest, clock, random_bytes).run(info)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What becomes of the indexes of one table.

    Attributes:
        table: as it is, with the indexes that stay and no others.
        going: indexes whose entries are to be removed.
        coming: indexes whose entries are to be built.
    """

    table: TableSpec
    going: tuple[IndexSpec, ...]
    coming: tuple[IndexSpec, ...]

    @property
    def before(self) -> TableSpec:
        return _with(self.table, self.going)

    @property
    def after(self) -> TableSpec:
        return _with(self.table, self.coming)


def _plan(table: TableSpec, declared: Mapping[str, IndexInfo]) -> _Plan:
    staying = tuple(
        index
        for index in table.indexes
        if index.name == BY_CREATION_TIME
        or (index.ready and declared.get(index.name) == IndexInfo(index.fields, index.unique, index.total))
    )
    going = tuple(index for index in table.indexes if index not in staying)
    names, taken = {index.name for index in staying}, {index.slot for index in staying}
    # Those that go are gone by the time the others come, so their slots are free.
    plain = (slot for slot in range(FIRST_USER_SLOT, keys.FIRST_TOTAL_SLOT) if slot not in taken)
    with_totals = (slot for slot in range(keys.FIRST_TOTAL_SLOT, keys.SLOTS_MAX) if slot not in taken)
    coming = tuple(
        IndexSpec(
            name,
            next(plain if index.total is None else with_totals),
            index.fields,
            index.unique,
            total=index.total,
        )
        for name, index in declared.items()
        if name not in names
    )
    return _Plan(replace(table, indexes=staying), going, coming)


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
        # All that can be refused is refused before anything is written.
        for name, declared in info.tables.items():
            if name in stored:
                await self._check_unique(stored[name], _plan(stored[name], declared).coming)

        missing = [name for name in info.tables if name not in stored]
        await self._commit(lambda transaction: _create_tables(transaction, missing))
        stored = await self._stored()
        plans = [_plan(stored[name], declared) for name, declared in info.tables.items()]

        removing = [plan for plan in plans if plan.going]
        await self._enter(_with(plan.table, _unready(plan.going)) for plan in removing)
        for plan in removing:
            await self._rekey(plan.before, plan.table)
        await self._enter(plan.table for plan in removing)

        building = [plan for plan in plans if plan.coming]
        await self._enter(_with(plan.table, _unready(plan.coming)) for plan in building)
        for plan in building:
            await self._rekey(plan.table, plan.after)
        await self._enter(plan.after for plan in building)

        environment = {document["name"]: document["value"] async for document in self._documents(ENVIRONMENT)}
        return Catalog({**stored, **{plan.table.name: plan.after for plan in plans}}.values(), environment), self._ts

    async def _check_unique(self, table: TableSpec, indexes: Iterable[IndexSpec]) -> None:
        for index in indexes:
            if not index.unique:
                continue
            seen: dict[bytes, str] = {}
            async for document in self._documents(table):
                fields = [keys.lookup(document, path) for path in index.fields]
                if values.ABSENT in fields:
                    continue
                first = seen.setdefault(keys.encode_values(fields), document["_id"])
                if first != document["_id"]:
                    raise DeployError(
                        f"The unique index {table.name}.{index.name} cannot be built: {first} and {document['_id']} "
                        f"have the same {', '.join(index.fields)}; change one of them first."
                    )

    async def _enter(self, tables: Iterable[TableSpec]) -> None:
        """Makes the indexes of these tables those of `_indexes`."""
        wanted = {table.name: table for table in tables}
        entered = [document async for document in self._documents(INDEXES) if document["table"] in wanted]
        await self._commit(lambda transaction: _enter_indexes(transaction, entered, wanted))

    async def _rekey(self, before: TableSpec, after: TableSpec) -> None:
        """Moves the entries of every document from one set of indexes to another."""
        changes: list[Change] = []
        async for row in self._rows(before):
            document = values.loads(row.value)
            assert isinstance(document, dict)
            entry_keys = (table.entry_keys(document, keys.internal_of(row.key)) for table in (before, after))
            changes.append(Change(row.key, row.value, row.value, *entry_keys))
            if len(changes) == _BATCH:
                await self._append(changes)
                changes.clear()
        await self._append(changes)

    async def _commit(self, write: Callable[[Transaction], Awaitable[None]]) -> None:
        """Runs a transaction of the deployment itself; nobody else writes, so it always commits."""
        snapshot = await self._store.snapshot(self._ts)
        try:
            transaction = Transaction(
                snapshot, Catalog(), now=self._clock() / 1_000_000, random_bytes=self._random_bytes
            )
            await write(transaction)
        finally:
            snapshot.close()
        await self._append(transaction.changes)

    async def _append(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        commits = await self._store.append(
            lambda news, newest: [Commit(max(newest + 1, self._clock()), tuple(changes))]
        )
        self._ts = commits[-1].ts

    async def _stored(self) -> dict[str, TableSpec]:
        indexes: dict[str, list[IndexSpec]] = defaultdict(list)
        async for document in self._documents(INDEXES):
            indexes[document["table"]].append(
                IndexSpec(
                    document["name"],
                    int(document["slot"]),
                    tuple(document["fields"]),
                    document["unique"],
                    document["ready"],
                    document.get("total"),
                )
            )
        tables = [TableSpec(document["name"], int(document["number"])) async for document in self._documents(TABLES)]
        return {table.name: _with(table, indexes[table.name]) for table in tables}

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


async def _create_tables(transaction: Transaction, names: Iterable[str]) -> None:
    for name in names:
        await transaction.table(name, create=True)


async def _enter_indexes(
    transaction: Transaction, entered: Iterable[Mapping[str, Any]], tables: Mapping[str, TableSpec]
) -> None:
    for document in entered:
        _, internal = ids.decode_id(document["_id"])
        await transaction.write(INDEXES, internal, None)
    for table in tables.values():
        for index in table.indexes:
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
                        "total": index.total,
                    },
                )


def _with(table: TableSpec, indexes: Iterable[IndexSpec]) -> TableSpec:
    return replace(table, indexes=tuple(sorted((*table.indexes, *indexes), key=attrgetter("slot"))))


def _unready(indexes: Iterable[IndexSpec]) -> tuple[IndexSpec, ...]:
    return tuple(replace(index, ready=False) for index in indexes)
