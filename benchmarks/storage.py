"""What SQLite takes to keep a small mutation, part by part, in the layout of the store and in others; and growth.

A mutation inserts one document of about 150 bytes with two index entries, and leaves a row in the log and the record of
its request. `storage` takes some minutes; `growth` builds ten million documents, for which it needs 6 GB of disk.
"""

import asyncio
import json
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import apsw

from benchmarks.figures import Figure, Section, compared
from yugen import ids, keys
from yugen.storage import sqlite_batch, sqlite_requests
from yugen.storage.interface import Change, Commit, RequestRecord
from yugen.storage.sqlite import SqliteReader, SqliteStore
from yugen.storage.sqlite_connect import connect, reserve
from yugen.storage.sqlite_schema import MIGRATIONS, pack_keys
from yugen.storage.sqlite_writer import PAGE_BYTES

TABLE = 10_003
"""The table that is written; those beside it have keys before and after it."""

DOCUMENTS = 100_000
GROWN = 10_000_000
FEW = 1_000
SESSIONS = 64
GROUPS = (1, 16, 64, 256)
CHECKPOINT_BYTES = 8 * 1024 * 1024
_EPOCH_MS = 1.7e12

Rows = list[tuple[Any, ...]]
Write = tuple[str, Callable[[Sequence[Commit]], Rows]]
"""A statement with `{rows}` in it, and the rows that some commits give it."""


@dataclass(frozen=True)
class Part:
    """One way to keep one part of what is kept."""

    name: str
    schema: str
    writes: tuple[Write, ...]
    merge: str = ""
    page_bytes: int = PAGE_BYTES

    def write(self, connection: apsw.Connection, commits: Sequence[Commit]) -> None:
        for statement, rows_of in self.writes:
            rows = sorted(rows_of(commits))
            for first in range(0, len(rows), 256):
                some = rows[first : first + 256]
                marks = ", ".join([f"({', '.join('?' * len(some[0]))})"] * len(some))
                connection.execute(statement.format(rows=marks), tuple(chain.from_iterable(some)))
        if self.merge and connection.execute("SELECT count(*) FROM recent").get >= sqlite_requests.MERGE_AT:
            connection.execute(self.merge)


def changes(commits: Sequence[Commit]) -> Iterator[tuple[int, Change]]:
    return ((commit.ts, change) for commit in commits for change in commit.changes)


def records(commits: Sequence[Commit]) -> Iterator[tuple[int, RequestRecord]]:
    return ((commit.ts, commit.request) for commit in commits if commit.request is not None)


def documents(commits: Sequence[Commit]) -> Rows:
    return [(change.key, change.after) for _, change in changes(commits)]


def entries(commits: Sequence[Commit]) -> Rows:
    return [(key,) for _, change in changes(commits) for key in change.keys_after]


def covering(commits: Sequence[Commit]) -> Rows:
    return [(key, change.after) for _, change in changes(commits) for key in change.keys_after]


def logged(commits: Sequence[Commit]) -> Rows:
    return [(ts, 0, c.key, c.after, b"", pack_keys(c.keys_after)) for ts, c in changes(commits)]


def packed(commits: Sequence[Commit]) -> Rows:
    return [(ts, pack_keys((c.key, b"", c.after or b"", b"", *c.keys_after))) for ts, c in changes(commits)]


def by_session(commits: Sequence[Commit]) -> Rows:
    return [(r.session, r.request, ts, r.digest, r.value, "[]") for ts, r in records(commits)]


def by_uuid(commits: Sequence[Commit]) -> Rows:
    return [(uuid.UUID(r.session).bytes, r.request, ts, r.digest, r.value, "[]") for ts, r in records(commits)]


def by_hash(commits: Sequence[Commit]) -> Rows:
    return [
        (sha256(f"{r.request} {r.session}".encode()).digest()[:16], ts, r.digest, r.value, "[]")
        for ts, r in records(commits)
    ]


def places(commits: Sequence[Commit]) -> Rows:
    return [(r.session, r.request, ts) for ts, r in records(commits)]


def by_time(commits: Sequence[Commit]) -> Rows:
    return [(ts, r.digest, r.value, "[]") for ts, r in records(commits)]


def tables_of_one(prefix: bytes) -> Callable[[Sequence[Commit]], Rows]:
    """The entries of one index, for a table of its own."""
    return lambda commits: [row for row in entries(commits) if row[0].startswith(prefix)]


_VALUE = "key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL"
_KEY = "key BLOB NOT NULL PRIMARY KEY"
_LOG = "ts INTEGER NOT NULL, n INTEGER NOT NULL, key BLOB, after BLOB, a BLOB, b BLOB, PRIMARY KEY (ts, n)"
_RECORD = "ts INTEGER NOT NULL, digest BLOB NOT NULL, value BLOB NOT NULL, log_lines TEXT NOT NULL"
_REQUEST = f"session ANY NOT NULL, request INTEGER NOT NULL, {_RECORD}, PRIMARY KEY (session, request)"
_PLACE = "(session TEXT NOT NULL, request INTEGER NOT NULL, ts INTEGER NOT NULL, PRIMARY KEY (session, request))"
_UPSERT = "INSERT INTO t VALUES {rows} ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_INSERT = "INSERT INTO t VALUES {rows}"
_IGNORE = "INSERT OR IGNORE INTO t VALUES {rows}"

PARTS = {
    "document": (
        Part("", f"CREATE TABLE t ({_VALUE}) STRICT;", ((_UPSERT, documents),)),
        Part("WITHOUT ROWID", f"CREATE TABLE t ({_VALUE}) STRICT, WITHOUT ROWID;", ((_UPSERT, documents),)),
        Part("pages of 8 KiB", f"CREATE TABLE t ({_VALUE}) STRICT;", ((_UPSERT, documents),), page_bytes=8192),
    ),
    "entries": (
        Part("", f"CREATE TABLE t ({_KEY}) STRICT, WITHOUT ROWID;", ((_IGNORE, entries),)),
        Part(
            "SQL table for each index",
            f"CREATE TABLE t ({_KEY}) STRICT, WITHOUT ROWID; CREATE TABLE u ({_KEY}) STRICT, WITHOUT ROWID;",
            (
                (_IGNORE, tables_of_one(keys.index_prefix(TABLE, 1))),
                ("INSERT OR IGNORE INTO u VALUES {rows}", tables_of_one(keys.index_prefix(TABLE, 2))),
            ),
        ),
        Part("covering", f"CREATE TABLE t ({_VALUE}) STRICT, WITHOUT ROWID;", ((_UPSERT, covering),)),
        Part(
            "pages of 8 KiB",
            f"CREATE TABLE t ({_KEY}) STRICT, WITHOUT ROWID;",
            ((_IGNORE, entries),),
            page_bytes=8192,
        ),
    ),
    "log row": (
        Part("", f"CREATE TABLE t ({_LOG}) STRICT;", ((_INSERT, logged),)),
        Part("WITHOUT ROWID", f"CREATE TABLE t ({_LOG}) STRICT, WITHOUT ROWID;", ((_INSERT, logged),)),
        Part(
            "one blob a commit",
            "CREATE TABLE t (ts INTEGER PRIMARY KEY, changes BLOB NOT NULL) STRICT;",
            ((_INSERT, packed),),
        ),
    ),
    "request": (
        Part(
            "",
            f"CREATE TABLE t ({_RECORD}, PRIMARY KEY (ts)) STRICT;"
            f"CREATE TABLE recent {_PLACE} STRICT, WITHOUT ROWID; CREATE TABLE merged {_PLACE} STRICT, WITHOUT ROWID;",
            ((_INSERT, by_time), ("INSERT INTO recent VALUES {rows}", places)),
            merge="INSERT INTO merged SELECT * FROM recent; DELETE FROM recent;",
        ),
        Part("key by session, rowid", f"CREATE TABLE t ({_REQUEST}) STRICT;", ((_INSERT, by_session),)),
        Part("key by UUID", f"CREATE TABLE t ({_REQUEST}) STRICT, WITHOUT ROWID;", ((_INSERT, by_uuid),)),
        Part("key by hash", f"CREATE TABLE t ({_KEY}, {_RECORD}) STRICT, WITHOUT ROWID;", ((_INSERT, by_hash),)),
    ),
}
"""What is kept of a mutation; of each part the way of the store comes first, without a name."""


class Load:
    """Mutations of many sessions in turn, at 20,000 a second, each by another user on one of ten topics."""

    def __init__(self, seed: int, sessions: int = SESSIONS) -> None:
        self._dice = random.Random(seed)
        self._sessions = [str(uuid.UUID(bytes=self._dice.randbytes(16), version=4)) for _ in range(sessions)]
        self._count = 0

    def take(self, count: int, table: int = TABLE) -> list[Commit]:
        return [self._one(table) for _ in range(count)]

    def _one(self, table: int) -> Commit:
        dice, number = self._dice, self._count
        self._count += 1
        now = _EPOCH_MS + number / 20
        internal = ids.new_internal(now, dice.randbytes(10))
        topic, user = f"topic {dice.randrange(10)}", dice.randbytes(10).hex()
        text = json.dumps({"_id": "x" * 32, "_creationTime": now, "topic": topic, "body": "y" * 60}).encode()
        entry_keys = (keys.entry_key(table, 1, [topic, now], internal), keys.entry_key(table, 2, [user], internal))
        session = self._sessions[number % len(self._sessions)]
        request = RequestRecord(session, number // len(self._sessions), dice.randbytes(32), b'"' + b"k" * 32 + b'"')
        change = Change(keys.document_key(table, internal), None, text, (), entry_keys)
        return Commit(int(_EPOCH_MS * 1e6) + number * 50_000 + table, (change,), request)


def opened(path: Path, page_bytes: int = PAGE_BYTES, *, checked: bool = False) -> apsw.Connection:
    connection = connect(path) if checked else apsw.Connection(str(path))
    connection.pragma("page_size", page_bytes)
    if checked:
        reserve(connection)
    connection.pragma("journal_mode", "wal")
    connection.pragma("cache_size", -32 * 1024)
    connection.wal_autocheckpoint(0)
    return connection


def commit(connection: apsw.Connection, write: Callable[[], None]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    write()
    connection.execute("COMMIT")


def cost(part: Part, folder: Path) -> dict[int, float]:
    """Microseconds of processor time of a mutation by how many commit together, checkpoints and commits included."""
    path = folder / "part.db"
    connection = opened(path, part.page_bytes)
    connection.execute(part.schema)
    before, load = Load(1, 1000), Load(2)
    connection.pragma("synchronous", "off")
    for table in (TABLE - 1, TABLE + 1, *[TABLE] * (DOCUMENTS // 5000)):
        some = before.take(5000, table)
        commit(connection, lambda some=some: part.write(connection, some))  # type: ignore[misc]
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    load.take(before._count)  # so that it goes on in time
    connection.pragma("synchronous", "full")
    found = {}
    for group in GROUPS:
        spent = []
        for _ in range(4):
            batches = [load.take(group) for _ in range(max(10, 2000 // group))]
            began = time.process_time()
            for batch in batches:
                commit(connection, lambda batch=batch: part.write(connection, batch))  # type: ignore[misc]
                frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
                if frames * part.page_bytes > CHECKPOINT_BYTES:
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            spent.append((time.process_time() - began) / len(batches) / group * 1e6)
        found[group] = min(spent)  # neighbours only ever add
    connection.close()
    path.unlink()
    return found


def measure() -> Section:
    figures: list[Figure] = []
    for kept, (chosen, *others) in PARTS.items():
        with tempfile.TemporaryDirectory() as folder:
            own = cost(chosen, Path(folder))
            for other in others:
                found = cost(other, Path(folder))
                figures += [
                    compared(f"{kept}, {group} a commit, processor time", "µs", own[group], found[group], other.name)
                    for group in GROUPS
                ]
    return Section(figures)


def build(path: Path, count: int, *, checked: bool = True) -> list[bytes]:
    """A database of the store with so many documents, whose pages have checksums or not; some of their keys."""
    connection = opened(path, checked=checked)
    for migration in MIGRATIONS:
        connection.execute(migration)
    connection.pragma("application_id", int.from_bytes(b"Yugn", "big"))
    connection.pragma("user_version", len(MIGRATIONS))
    connection.pragma("synchronous", "off")
    sqlite_batch.prepare(connection)
    load, known = Load(1, 1000), []
    for first in range(0, count, 10_000):
        some = load.take(min(10_000, count - first))
        known.append(some[0].changes[0].key)
        commit(connection, lambda some=some: sqlite_batch.Batch(some).write(connection))  # type: ignore[misc]
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        commit(connection, lambda: sqlite_requests.merge(connection))
    connection.close()
    return known


async def steps(path: Path, known: Sequence[bytes]) -> dict[str, float]:
    """Seconds to open a store, and microseconds of inserts and reads in it."""
    store, dice = SqliteStore(path), random.Random(3)
    began = time.perf_counter()
    newest = await store.open()
    found = {"start": (time.perf_counter() - began) * 1e3}
    load, spent = Load(4), []
    for number in range(60):
        batch = [Commit(newest + 1 + n + number * 64, c.changes, c.request) for n, c in enumerate(load.take(64))]
        began = time.process_time()
        await store.append(lambda news, newest, batch=batch: batch)  # type: ignore[misc]
        spent.append((time.process_time() - began) / 64 * 1e6)
    found["insert, 64 a commit"] = statistics.median(spent)
    reader = SqliteReader(path)
    snapshot = await reader.snapshot(newest + 60 * 64)
    prefix, gets, scans = keys.index_prefix(TABLE, 2), [], []
    for _ in range(500):
        key, start = dice.choice(known), prefix + keys.encode_values([dice.randbytes(10).hex()])
        began = time.thread_time()
        assert await snapshot.get(key) is not None
        gets.append(time.thread_time() - began)
        began = time.thread_time()
        await snapshot.scan(start, keys.prefix_end(prefix), limit=50)
        scans.append(time.thread_time() - began)
    found["point read"] = statistics.median(gets) * 1e6
    found["50 scattered documents through an index"] = statistics.median(scans) * 1e6
    snapshot.close()
    reader.close()
    await store.close()
    return found


def measure_growth() -> Section:
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for count in (FEW, GROWN):
            path = Path(folder) / f"{count}.db"
            found.append(asyncio.run(steps(path, build(path, count))))
            path.unlink()
    few, many = found
    grown = f"{GROWN:,} documents"
    return Section(
        [
            compared(f"{name}, {grown}", "ms" if name == "start" else "µs", many[name], few[name], f"{FEW:,}")
            for name in few
        ]
    )
