"""Bringing a store to what an app declares: migrated documents that fit its classes, tables, and indexes.

Runs before anything is served, in steps of which each is a commit or several: a deployment that is cut off is finished
by the next one, for the same app or for another. What can be refused is refused before anything is written, but for
migrations, which come first: each batch of theirs stays.

An index that is not whole, because its entries are being built or removed, is marked as not ready for as long. The
entries of large tables are moved while the app serves (`yugen.runtime.reindex`); until then nothing reads such an
index, and every write keeps it up.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Protocol

from yugen import bounds, ids, keys, values
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
from yugen.values import Int64

_BATCH = 500
"""Documents whose entries are rebuilt in one commit, and that are migrated or checked at a time."""

SMALL_MAX = 5000
"""Documents of a table whose indexes are built before it is served; beyond them that takes longer than one waits."""

logger = logging.getLogger(__name__)


class DeployError(Refused):
    """Tables or indexes that the stored documents do not allow."""

    code = "DeployError"


class Functions(Protocol):
    """Runs Yugen's own functions over the store while it is deployed to."""

    async def query(self, path: str, ts: Timestamp, /, **args: Any) -> Any:
        """The result of a query at a timestamp."""

    async def mutation(self, path: str, ts: Timestamp, /, **args: Any) -> tuple[Any, tuple[Change, ...]]:
        """The result of a mutation at a timestamp, and what it wants to write."""


@dataclass(frozen=True, slots=True)
class Reindexing:
    """Entries that are still to be moved from one set of indexes of a table to another; see `yugen.runtime.reindex`."""

    before: TableSpec
    after: TableSpec


async def stored_catalog(store: Store, newest: Timestamp) -> Catalog:
    """The tables and indexes of a store."""
    return await _Deployment(store, newest, Catalog(), lambda: 0, bytes).stored()


async def deploy(
    store: Store,
    newest: Timestamp,
    info: AppInfo,
    catalog: Catalog,
    functions: Functions,
    *,
    clock: Callable[[], int],
    random_bytes: Callable[[int], bytes],
) -> tuple[Timestamp, list[Reindexing]]:
    """Migrates and checks documents, and enters the app's tables and indexes.

    Nothing is written when the store has them already. Tables that the app does not declare keep what they have.

    Args:
        store: where everything is.
        newest: its newest timestamp.
        info: what the app declares.
        catalog: what the store has; it is brought to what it has then.
        functions: runs the app's migrations and checks.
        clock: nanoseconds since the epoch.
        random_bytes: gives that many random bytes.

    Returns:
        The newest timestamp, and which entries are still to be moved.

    Raises:
        DeployError: documents that do not fit their class, or a unique index over documents that have equal values.
    """
    return await _Deployment(store, newest, catalog, clock, random_bytes).run(info, functions)


def unfinished(catalog: Catalog) -> list[Reindexing]:
    """What a deployment has left to do, and whoever was to do it has not finished."""
    work = []
    for table in catalog:
        moving = [index for index in table.indexes if index.since is None]
        if moving:
            kept = replace(table, indexes=tuple(index for index in table.indexes if index.since is not None))
            going, coming = [index for index in moving if index.going], [index for index in moving if not index.going]
            work.append(Reindexing(_with(kept, going), _with(kept, coming)))
    return work


async def check(store: Store, newest: Timestamp, info: AppInfo, functions: Functions) -> None:
    """Checks whether an app could be deployed, and writes nothing. An app with migrations to do is not checked.

    Raises:
        DeployError: as `deploy`.
    """
    deployment = _Deployment(store, newest, await stored_catalog(store, newest), lambda: 0, bytes)
    if not await functions.query("_system/migrations:pending", newest):
        await deployment.check(info, functions)


async def is_due(store: Store, newest: Timestamp, info: AppInfo, catalog: Catalog, functions: Functions) -> bool:
    """Whether there is anything to do to bring a store to what an app declares, apart from what is under way."""
    return await _Deployment(store, newest, catalog, lambda: 0, bytes).is_due(info, functions)


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
    def removing(self) -> TableSpec:
        """The table while entries are removed from it."""
        return _with(self.table, self.going)

    @property
    def building(self) -> TableSpec:
        """The table while entries are added to it."""
        return _with(self.table, self.coming)

    @property
    def moving(self) -> TableSpec:
        """The table while both is done."""
        return _with(self.table, (*self.going, *self.coming))

    @property
    def can_wait(self) -> bool:
        """Whether the entries can be moved while the app serves.

        Not if those that come take the places of those that go, or one is unique, which is wanted whole from the first
        write on.
        """
        places = {index.slot for index in self.going} & {index.slot for index in self.coming}
        return not places and not any(index.unique for index in self.coming)


def _plan(table: TableSpec, declared: Mapping[str, IndexInfo]) -> _Plan:
    staying = tuple(
        index
        for index in table.indexes
        if index.name == BY_CREATION_TIME
        or (index.since is not None and declared.get(index.name) == IndexInfo(index.fields, index.unique, index.total))
    )
    going = tuple(replace(index, since=None, going=True) for index in table.indexes if index not in staying)
    names, taken = {index.name for index in staying}, {index.slot for index in staying}
    # The slots of those that go are taken last: those who come to them have to wait until the others are gone.
    leaving = {index.slot for index in going}
    free = sorted(set(range(FIRST_USER_SLOT, keys.SLOTS_MAX)) - taken, key=lambda slot: (slot in leaving, slot))
    plain = (slot for slot in free if slot < keys.FIRST_TOTAL_SLOT)
    with_totals = (slot for slot in free if slot >= keys.FIRST_TOTAL_SLOT)
    coming = tuple(
        IndexSpec(
            name,
            next(plain if index.total is None else with_totals),
            index.fields,
            index.unique,
            since=None,
            total=index.total,
        )
        for name, index in declared.items()
        if name not in names
    )
    return _Plan(replace(table, indexes=staying), going, coming)


class _Deployment:
    def __init__(
        self,
        store: Store,
        newest: Timestamp,
        catalog: Catalog,
        clock: Callable[[], int],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._ts = newest
        self._catalog = catalog
        self._clock = clock
        self._random_bytes = random_bytes

    async def run(self, info: AppInfo, functions: Functions) -> tuple[Timestamp, list[Reindexing]]:
        await self._migrate(functions)
        await self.check(info, functions)

        missing = [name for name in info.tables if self._catalog.named(name) is None]
        await self._commit(lambda transaction: _create_tables(transaction, missing))
        shapes = await self._shapes()
        changed = {name: shape for name, shape in info.shapes.items() if shapes.get(name) != shape}
        await self._commit(lambda transaction: _enter_shapes(transaction, changed))
        stored = {table.name: table for table in await self.stored()}
        plans = [_plan(stored[name], declared) for name, declared in info.tables.items()]
        later: list[Reindexing] = []
        for plan in [plan for plan in plans if (plan.going or plan.coming) and plan.can_wait]:
            if await self._is_large(plan.table):
                await self._enter([plan.moving])
                later.append(Reindexing(plan.removing, plan.building))
                plans.remove(plan)

        removing = [plan for plan in plans if plan.going]
        await self._enter(plan.removing for plan in removing)
        for plan in removing:
            await self._rekey(plan.removing, plan.table)
        await self._enter(plan.table for plan in removing)

        building = [plan for plan in plans if plan.coming]
        await self._enter(plan.building for plan in building)
        for plan in building:
            await self._rekey(plan.table, plan.building)
        await self._enter(finished(plan.building, self._ts) for plan in building)

        for table in await self.stored():
            if self._catalog.named(table.name) != table:
                self._catalog.add(table)
        return self._ts, later

    async def is_due(self, info: AppInfo, functions: Functions) -> bool:
        """Whether `run` would do anything that nobody does already."""
        shapes = await self._shapes()
        if any(shapes.get(name) != shape for name, shape in info.shapes.items()):
            return True
        for name, declared in info.tables.items():
            table = self._catalog.named(name)
            kept = () if table is None else [index for index in table.indexes if not index.going]
            there = {each.name: IndexInfo(each.fields, each.unique, each.total) for each in kept}
            there.pop(BY_CREATION_TIME, None)
            if table is None or there != declared:
                return True
        return bool(await functions.query("_system/migrations:pending", self._ts))

    async def _migrate(self, functions: Functions) -> None:
        for name in await functions.query("_system/migrations:pending", self._ts):
            done = False
            while not done:
                progress, changes = await functions.mutation(
                    "_system/migrations:step", self._ts, name=name, limit=_BATCH
                )
                await self._append(changes)
                done = progress["done"]
                logger.info("migration %s: %d documents%s", name, progress["migrated"], ", done" if done else "")

    async def check(self, info: AppInfo, functions: Functions) -> None:
        """Holds the stored documents against what the app declares of them."""
        for name, declared in info.tables.items():
            table = self._catalog.named(name)
            if table is not None:
                await self._check_unique(table, _plan(table, declared).coming)
        shapes = await self._shapes()
        for name, shape in info.shapes.items():
            if self._catalog.named(name) is not None and shapes.get(name) != shape:
                await self._check_shape(name, functions)

    async def _check_shape(self, name: str, functions: Functions) -> None:
        after = None
        while True:
            found = await functions.query("_system/schema:check", self._ts, table=name, after=after, limit=_BATCH)
            if found["faults"]:
                raise DeployError(
                    f"Documents of {name} do not fit its class:\n  " + "\n  ".join(found["faults"]) + "\nLet the class "
                    "take them, or bring them into its form with a migration (docs/migrations.md)."
                )
            after = found["after"]
            if after is None:
                return

    async def _shapes(self) -> dict[str, str]:
        """The shapes that stored documents are known to have, by table."""
        return {document["name"]: document.get("shape", "") async for document in self._documents(TABLES)}

    async def _is_large(self, table: TableSpec) -> bool:
        count = 0
        async for _ in self._rows(table):
            count += 1
            if count > SMALL_MAX:
                return True
        return False

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
        await self._commit(lambda transaction: enter_indexes(transaction, entered, wanted))

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

    async def stored(self) -> Catalog:
        """What the store has."""
        indexes: dict[str, list[IndexSpec]] = defaultdict(list)
        async for document in self._documents(INDEXES):
            indexes[document["table"]].append(index_of(document))
        tables = [TableSpec(document["name"], int(document["number"])) async for document in self._documents(TABLES)]
        return Catalog([_with(table, indexes[table.name]) for table in tables])

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


def index_of(document: Mapping[str, Any]) -> IndexSpec:
    """An index from its document in `_indexes`."""
    return IndexSpec(
        document["name"],
        int(document["slot"]),
        tuple(document["fields"]),
        document["unique"],
        None if document.get("since") is None else int(document["since"]),
        document.get("going", False),
        document.get("total"),
    )


async def _create_tables(transaction: Transaction, names: Iterable[str]) -> None:
    for name in names:
        await transaction.table(name, create=True)


async def _enter_shapes(transaction: Transaction, shapes: Mapping[str, str]) -> None:
    for name, shape in shapes.items():
        start, end = bounds.interval(keys.index_prefix(TABLES.number, 2), [name], None)
        for row in await transaction.rows(start, end).take(1):
            document = values.loads(row.value)
            assert isinstance(document, dict)
            await transaction.write(TABLES, keys.internal_of(row.key), {**document, "shape": shape})


async def enter_indexes(
    transaction: Transaction, entered: Iterable[Mapping[str, Any]], tables: Mapping[str, TableSpec]
) -> None:
    """Makes the indexes of these tables those of `_indexes`, in the place of what is entered there of them."""
    wanted = {(table.name, index) for table in tables.values() for index in table.indexes}
    for document in entered:
        place = (document["table"], index_of(document))
        if place in wanted:
            wanted.remove(place)
        else:
            await transaction.write(INDEXES, ids.decode_id(document["_id"])[1], None)
    for name, index in sorted(wanted, key=lambda place: (place[0], place[1].slot)):
        if index.name != BY_CREATION_TIME:
            await transaction.insert(
                INDEXES,
                {
                    "table": name,
                    "name": index.name,
                    "slot": float(index.slot),
                    "fields": list(index.fields),
                    "unique": index.unique,
                    "since": None if index.since is None else Int64(index.since),
                    "going": index.going,
                    "total": index.total,
                },
            )


def _with(table: TableSpec, indexes: Iterable[IndexSpec]) -> TableSpec:
    return replace(table, indexes=tuple(sorted((*table.indexes, *indexes), key=attrgetter("slot"))))


def finished(table: TableSpec, ts: Timestamp) -> TableSpec:
    """A table whose indexes can all be read from a timestamp on, or from before it."""
    return replace(
        table, indexes=tuple(index if index.since is not None else replace(index, since=ts) for index in table.indexes)
    )
