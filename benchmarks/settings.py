"""What the store's settings are worth: when the WAL is moved, what is cached, and where the log lies.

Over a million documents, whose index entries land all over a file of 600 MB. Takes some minutes.
"""

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks import storage
from benchmarks.figures import Figure, Section, compared, in_turn, spin
from benchmarks.storage import TABLE, Load, build, commit, opened
from yugen import keys
from yugen.storage import sqlite_view, sqlite_writer
from yugen.storage.interface import Commit
from yugen.storage.sqlite import SqliteReader, SqliteStore
from yugen.storage.sqlite_writer import PAGE_BYTES

DOCUMENTS = 1_000_000
APPENDS = 250
GROUP = 64
READS = 2000
ROUNDS = 3

WRITER = {"_CHECKPOINT_FRAMES": (256, 1024, 8192, 32_768), "_CACHE_KIB": (2048, 8192, 131_072)}
"""Other values than the store's of what its writer does: pages in the WAL that are moved, and KiB of cache."""

READER = (2048, 32_768, 131_072)
"""Other values than the store's of a reader's cache, in KiB."""


_seeds = count(100)


@dataclass(frozen=True)
class Appends:
    """Of a mutation among 64 that commit together: microseconds in all, and the slowest hundredth of the appends."""

    each: float
    slow: float
    wal_mib: float


@contextmanager
def changed(module: Any, setting: str, value: int) -> Iterator[None]:
    kept = getattr(module, setting)
    setattr(module, setting, value)
    try:
        yield
    finally:
        setattr(module, setting, kept)


def _size(file: Path) -> int:
    return file.stat().st_size


async def append(path: Path) -> Appends:
    store, wal_file = SqliteStore(path), Path(f"{path}-wal")
    newest, load, spent, wal = await store.open(), Load(next(_seeds)), [], 0
    for number in range(APPENDS):
        batch = [Commit(newest + 1 + n + number * GROUP, c.changes, c.request) for n, c in enumerate(load.take(GROUP))]
        began = time.perf_counter()
        await store.append(lambda news, newest, batch=batch: batch)  # type: ignore[misc]
        spent.append((time.perf_counter() - began) * 1e6)
        wal = max(wal, _size(wal_file))
    await store.close()
    slowest = sorted(spent)[-max(1, APPENDS // 100)]
    return Appends(sum(spent) / APPENDS / GROUP, slowest / 1000, wal / 2**20)


async def read(path: Path) -> float:
    """Microseconds of processor time to read 50 scattered documents through an index."""
    store, reader = SqliteStore(path), SqliteReader(path)
    newest = await store.open()
    await store.close()
    dice, prefix, spent = random.Random(5), keys.index_prefix(TABLE, 2), []
    snapshot = await reader.snapshot(newest)
    for _ in range(READS):
        start = prefix + keys.encode_values([dice.randbytes(10).hex()])
        began = time.thread_time()
        await snapshot.scan(start, keys.prefix_end(prefix), limit=50)
        spent.append(time.thread_time() - began)
    snapshot.close()
    reader.close()
    return statistics.median(spent) * 1e6


def log_in_file(folder: Path, group: int, *, own: bool) -> float:
    """Microseconds of a mutation's durable commit with the log in the same file, or in a file of its own."""
    path = folder / f"{own}.db"
    connection = opened(path)
    connection.pragma("synchronous", "full")
    connection.execute(f"ATTACH '{path}-log' AS apart")
    if own:
        connection.pragma("journal_mode", "wal", schema="apart")
        connection.pragma("synchronous", "full", schema="apart")
    where = "apart" if own else "main"
    parts = [storage.PARTS[kept][0] for kept in ("document", "entries", "log row")]
    names = ["documents", "entries", "log"]
    for part, name in zip(parts, names, strict=True):
        connection.execute(part.schema.replace("TABLE t", f"TABLE {where if name == 'log' else 'main'}.{name}"))
    load, commits = Load(7), max(50, 1000 // group)

    def write(some: Sequence[Commit]) -> None:
        for part, name in zip(parts, names, strict=True):
            replace(part, writes=tuple((sql.replace(" t ", f" {name} "), rows) for sql, rows in part.writes)).write(
                connection, some
            )

    began = time.perf_counter()
    for _ in range(commits):
        some = load.take(group)
        commit(connection, lambda some=some: write(some))  # type: ignore[misc]
    spent = (time.perf_counter() - began) / commits / group * 1e6
    connection.close()
    for file in folder.glob(f"{own}.db*"):
        file.unlink()
    return spent


def measure_writer(path: Path, setting: str, what: str, unit: int) -> list[Figure]:
    """Appends with other values of a setting of the writer, beside those with the store's own."""
    own = getattr(sqlite_writer, setting)
    found: dict[int, list[Appends]] = {value: [] for value in (own, *WRITER[setting])}
    for _ in range(ROUNDS):
        for value, appends in found.items():
            spin()
            with changed(sqlite_writer, setting, value):
                appends.append(asyncio.run(append(path)))
    figures = []
    for value, appends in found.items():
        if value == own:
            continue
        beside = f"{value * unit / 2**20:g} MiB for {own * unit / 2**20:g}"
        for name, measured, attribute in (
            ("mutation, 64 a commit", "µs", "each"),
            ("the slowest of 100 appends of 64", "ms", "slow"),
            ("largest WAL", "MiB", "wal_mib"),
        ):
            if attribute == "wal_mib" and setting != "_CHECKPOINT_FRAMES":
                continue
            ours, others = ([getattr(each, attribute) for each in side] for side in (found[own], appends))
            figures.append(compared(f"{what}: {name}", measured, ours, others, beside))
    return figures


def measure_reader(path: Path) -> list[Figure]:
    own = sqlite_view._CACHE_KIB
    found: dict[int, list[float]] = {value: [] for value in (own, *READER)}
    for _ in range(ROUNDS):
        for value, reads in found.items():
            spin()
            with changed(sqlite_view, "_CACHE_KIB", value):
                reads.append(asyncio.run(read(path)))
    name = "a reader's cache: 50 scattered documents"
    return [
        compared(name, "µs", found[own], found[value], f"{value // 1024} MiB for {own // 1024}") for value in READER
    ]


def measure_log(folder: Path) -> list[Figure]:
    figures = []
    for group in (1, 64):
        found = in_turn(ROUNDS, {own: partial(log_in_file, folder, group, own=own) for own in (False, True)})
        name = f"the log: durable mutation, {group} a commit"
        figures.append(compared(name, "µs", found[False], found[True], "in a file of its own"))
    return figures


def measure() -> Section:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = folder / "store.db"
        build(path, DOCUMENTS)
        return Section(
            [
                *measure_writer(path, "_CHECKPOINT_FRAMES", "a checkpoint", PAGE_BYTES),
                *measure_writer(path, "_CACHE_KIB", "the writer's cache", 1024),
                *measure_reader(path),
                *measure_log(folder),
            ]
        )
