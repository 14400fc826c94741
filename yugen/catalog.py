"""What a deployment has: its tables, their indexes, and its environment variables, as plain data.

An app declares tables by name (`yugen.schema`); a deployment gives each a number, and each of its indexes a slot, and
never gives either to another. Ids and index keys are made of these numbers. The record is kept in two tables of its
own, `_tables` and `_indexes`, which are read and written like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from yugen import keys
from yugen.values import ABSENT

BY_ID = "by_id"
BY_CREATION_TIME = "by_creation_time"
CREATION_TIME = "_creationTime"

FIRST_USER_TABLE = 10_001
"""Numbers below are for system tables (protocol.md 1.5)."""

FIRST_USER_SLOT = 2
"""Slots 0 and 1 of every table are `by_id` and `by_creation_time`."""


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """An index of a deployment.

    Attributes:
        name: its name.
        slot: its place in the key space.
        fields: the dotted field paths it orders by. `creation_time` follows them in every key and is not among them.
        unique: whether no two documents may have the same values.
        since: the timestamp from which on it is whole and can be read; None while it is not.
        going: whether its entries are being removed, and no new ones made.
        total: None for an index without totals, and for one with them the path of the field that is added up, or
            nothing for one that only counts.
    """

    name: str
    slot: int
    fields: tuple[str, ...]
    unique: bool = False
    since: int | None = 0
    going: bool = False
    total: str | None = None


class _Place(NamedTuple):
    """What the keys of one index are made of.

    They begin with `prefix`. The field `total` has the number of an index with totals: "" if it only counts, None if it
    has none.
    """

    prefix: bytes
    fields: tuple[str, ...]
    total: str | None


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table of a deployment. `indexes` leaves `by_id` out, whose entries are the documents themselves."""

    name: str
    number: int
    indexes: tuple[IndexSpec, ...] = field(default=(IndexSpec(BY_CREATION_TIME, 1, ()),))
    _places: tuple[_Place, ...] = field(init=False, repr=False, compare=False)
    _new_places: tuple[_Place, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", tuple(map(self._place, self.indexes)))
        kept = [index for index in self.indexes if not index.going]
        object.__setattr__(self, "_new_places", tuple(map(self._place, kept)))

    def _place(self, index: IndexSpec) -> _Place:
        total = (index.total or "") if index.slot >= keys.FIRST_TOTAL_SLOT else None
        return _Place(keys.index_prefix(self.number, index.slot), index.fields, total)

    def index(self, name: str, ts: int) -> IndexSpec | None:
        """The index of this name if it can be read at a timestamp."""
        if name == BY_ID:
            return IndexSpec(BY_ID, 0, ("_id",))
        found = next((index for index in self.indexes if index.name == name and index.since is not None), None)
        return found if found and found.since is not None and found.since <= ts else None

    def entry_keys(self, document: Mapping[str, Any], internal: bytes) -> tuple[bytes, ...]:
        """The keys under which a document of this table may stand in the table's indexes."""
        return _entry_keys(self._places, document, internal)

    def new_entry_keys(self, document: Mapping[str, Any], internal: bytes) -> tuple[bytes, ...]:
        """The keys under which a document that is written is to stand in the table's indexes."""
        return _entry_keys(self._new_places, document, internal)

    def entry_key(self, index: IndexSpec, document: Mapping[str, Any], internal: bytes) -> bytes:
        """The key of a document of this table in one of the table's indexes."""
        return _entry_keys((self._place(index),), document, internal)[0]


def _entry_keys(places: Iterable[_Place], document: Mapping[str, Any], internal: bytes) -> tuple[bytes, ...]:
    created = keys.encode_value(document[CREATION_TIME])
    found = []
    for prefix, fields, total in places:  # as `keys.entry_key` does it for one, with the time encoded once for all
        key = prefix + b"".join([keys.encode_value(keys.lookup(document, path)) for path in fields]) + created
        if total is not None:
            key += keys.encode_number(keys.lookup(document, total) if total else ABSENT)
        found.append(key + internal)
    return tuple(found)


def _system(name: str, number: int, *indexes: IndexSpec) -> TableSpec:
    return TableSpec(name, number, (IndexSpec(BY_CREATION_TIME, 1, ()), *indexes))


TABLES = _system("_tables", 1, IndexSpec("by_name", 2, ("name",)), IndexSpec("by_number", 3, ("number",)))
INDEXES = _system("_indexes", 2, IndexSpec("by_table", 2, ("table",)))
ENVIRONMENT = _system("_environment_variables", 3, IndexSpec("by_name", 2, ("name",)))
EXPORTS = _system("_exports", 4)
IMPORTS = _system("_imports", 5)
MIGRATIONS = _system("_migrations", 6, IndexSpec("by_name", 2, ("name",)))
_BY_STATE = IndexSpec("by_state", 2, ("kind", "state.kind", "scheduledTime"))
_BY_COMPLETED = IndexSpec("by_completed", 3, ("completedTime",))
SCHEDULED = _system("_scheduled_functions", 7, _BY_STATE, _BY_COMPLETED)
CRON_RUNS = _system("_cron_runs", 8, _BY_STATE, _BY_COMPLETED, IndexSpec("by_cron", 4, ("cron", "completedTime")))
_BY_NAME = IndexSpec("by_name", 2, ("name",))
WORKFLOWS = _system("_workflows", 10, _BY_NAME, _BY_COMPLETED, IndexSpec("by_due", 4, ("due",)))
WORKFLOW_STEPS = _system("_workflow_steps", 11, _BY_STATE, IndexSpec("by_workflow", 3, ("workflow", "number")))
OUTBOX = _system("_outbox", 13, _BY_STATE, _BY_COMPLETED, IndexSpec("by_key", 4, ("key",), unique=True))
_BY_KEY = IndexSpec("by_key", 3, ("key",))
STORAGE = _system("_storage", 9, IndexSpec("by_uuid", 2, ("uuid",)), _BY_KEY)
RENEWALS = _system("_renewals", 12)
DEPLOYMENT = _system("_deployment", 16)
RATE_LIMITS = _system("_rate_limits", 17, IndexSpec("by_full_at", 2, ("fullAt",)))
SYSTEM_TABLES = (
    TABLES,
    INDEXES,
    ENVIRONMENT,
    EXPORTS,
    IMPORTS,
    MIGRATIONS,
    SCHEDULED,
    CRON_RUNS,
    WORKFLOWS,
    WORKFLOW_STEPS,
    OUTBOX,
    STORAGE,
    RENEWALS,
    DEPLOYMENT,
    RATE_LIMITS,
)

_SEEN = ("_id", CREATION_TIME, "args", "completedTime", "name", "state")
READABLE: Mapping[str, tuple[str, ...]] = {
    "_storage": ("_id", CREATION_TIME, "contentType", "sha256", "size"),
    "_scheduled_functions": (*_SEEN, "scheduledTime"),
    "_workflows": _SEEN,
    "_workflow_steps": (*_SEEN, "attempts", "kind", "number", "scheduledTime", "workflow"),
    "_outbox": (*_SEEN, "attempts", "key", "scheduledTime"),
}
"""The system tables that an app may read, and what it sees of their documents: where Convex has them, its fields."""


class Catalog:
    """The tables of a deployment, found by name or by number. Only ever grows while it is in use.

    Attributes:
        environment: what functions see as `ctx.env`, replaced as a whole when any of it changes.
        history: every table that was ever added, those that others have taken the place of included; whoever knows some
            of it needs only the rest to know what there is.
    """

    __slots__ = ("_by_name", "_by_number", "environment", "history")

    def __init__(self, tables: Iterable[TableSpec] = (), environment: Mapping[str, str] | None = None) -> None:
        self.environment: Mapping[str, str] = environment or {}
        self.history: list[TableSpec] = []
        self._by_name: dict[str, TableSpec] = {}
        self._by_number: dict[int, TableSpec] = {}
        for table in (*SYSTEM_TABLES, *tables):
            self.add(table)

    def add(self, table: TableSpec) -> None:
        self.history.append(table)
        self._by_name[table.name] = table
        self._by_number[table.number] = table

    def named(self, name: str) -> TableSpec | None:
        return self._by_name.get(name)

    def numbered(self, number: int) -> TableSpec | None:
        return self._by_number.get(number)

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[TableSpec]:
        return iter(self._by_name.values())
