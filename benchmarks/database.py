"""A million documents in a table: totals of them, inserts beside them, and an index built over them."""

import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw
import orjson
import uvloop

from benchmarks import load
from benchmarks.engine import started
from benchmarks.figures import Figure, Section, compared, in_turn
from benchmarks.load import Report
from benchmarks.servers import HERE, yugen_server
from yugen import ids, keys, values
from yugen.catalog import TableSpec
from yugen.runtime.outcome import Answer
from yugen.runtime.runtime import Runtime
from yugen.storage import sqlite_totals
from yugen.storage.interface import Change, Commit
from yugen.storage.sqlite import SqliteStore
from yugen.storage.sqlite_writer import Writer
from yugen.totals import NOTHING, Total

DOCUMENTS = 1_000_000
FEW = 1_000
TABLES = ("plain", "indexed", "counted", "summed")
APP = HERE / "scores"
GAMES = 10
POINTS_MAX = 1_000_000
LOADED_AT_ONCE = 1000
BUILT_AT_ONCE = 200
"""Documents in one commit of the raw loop, as in one of the product."""

CLIENTS = 64
WRITERS = 16


async def loaded(folder: Path, tables: Sequence[str], count: int) -> dict[str, list[str]]:
    """Makes a database with this many documents in each of some tables; gives some of their ids."""
    dice = random.Random(1)
    found: dict[str, list[str]] = {table: [] for table in tables}
    prefixes = []
    async with started(folder, APP) as (runtime, store):
        for name in tables:
            table = runtime.catalog.named(name)
            assert table is not None
            prefixes += [
                keys.index_prefix(table.number, index.slot) for index in table.indexes if index.total is not None
            ]
            now = time.time() * 1000
            for first in range(0, count, LOADED_AT_ONCE):
                times = [now + number / 100 for number in range(first, first + LOADED_AT_ONCE)]
                changes = tuple(insertion(table, each, dice, score(dice)) for each in times)
                for change in changes[::100]:
                    found[name].append(ids.encode_id(table.number, keys.internal_of(change.key)))
                with patch.object(Writer, "tend_totals"):
                    await append(store, changes)
    connection = apsw.Connection(str(database_in(folder)))
    for prefix in prefixes:
        fill_totals(connection, prefix)
    connection.close()
    return found


def fill_totals(connection: apsw.Connection, prefix: bytes) -> None:
    """Makes the nodes over the entries of an index, which the product makes one by one."""
    below = [
        (key, Total.of([keys.number_of(key)]))
        for (key,) in connection.execute(
            "SELECT key FROM entries WHERE key >= ? AND key < ? ORDER BY key", (prefix, keys.prefix_end(prefix))
        )
    ]
    with connection:
        for level in range(1, sqlite_totals.LEVELS + 1):
            nodes = {prefix: Total()}
            place = prefix
            for key, total in below:
                if sqlite_totals._height(key) >= level:
                    place = key
                nodes[place] = nodes.get(place, NOTHING) + total
            sqlite_totals._write(connection, level, nodes)
            below = list(nodes.items())
        connection.execute("DELETE FROM dirty")


def database_in(folder: Path) -> Path:
    return folder / "data" / "data.sqlite3"


def score(dice: random.Random) -> dict[str, Any]:
    """Fields of a document of `scores`."""
    return {
        "game": f"game {dice.randrange(GAMES)}",
        "points": float(dice.randrange(POINTS_MAX)),
        "body": "x" * 100,
    }


def insertion(table: TableSpec, now: float, dice: random.Random, fields: dict[str, Any]) -> Change:
    """The change that adds a document which was made at some time."""
    internal = ids.new_internal(now, dice.randbytes(10))
    document = {
        "_id": ids.encode_id(table.number, internal),
        "_creationTime": now,
        **fields,
    }
    key = keys.document_key(table.number, internal)
    return Change(key, None, values.dumps(document), (), table.entry_keys(document, internal))


async def append(store: SqliteStore, changes: tuple[Change, ...]) -> None:
    await store.append(lambda news, newest: [Commit(max(newest + 1, time.time_ns()), changes)])


def number(answer: Answer) -> float:
    assert answer.value is not None, answer.failure
    found = values.loads(answer.value)
    assert isinstance(found, float)
    return found


async def reads(runtime: Runtime, known: dict[str, list[str]], rounds: int) -> dict[str, float]:
    """Microseconds of each kind of read within a query; the kinds take turns."""
    dice = random.Random()  # a query asked before is answered from the cache
    found: dict[str, list[float]] = {kind: [] for kind in ("gets", "counts", "sums", "ranks", "wholes")}
    for _ in range(rounds):
        for kind, waits in found.items():
            args: dict[str, Any] = {"seed": float(dice.randrange(1 << 30)), "times": 20.0}
            if kind in ("gets", "ranks"):
                args = {"ids": dice.choices(known["summed"], k=20)}
            waits.append(number(await runtime.query(f"scores:{kind}", values.canonical(args))))
    return {kind: statistics.median(waits) for kind, waits in found.items()}


def raw_reads(database: Path, table: TableSpec, times: int) -> tuple[float, float]:
    """Microseconds of SQLite for one document, and for counting the entries of a range one by one."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    dice = random.Random(3)
    start = keys.index_prefix(table.number, 0)
    documents = "SELECT key FROM documents WHERE key >= ? AND key < ?"
    rows = [key for (key,) in connection.execute(documents, (start, keys.prefix_end(start)))]
    gets, counts = [], []
    for key in dice.choices(rows, k=times):
        began = time.perf_counter()
        orjson.loads(connection.execute("SELECT value FROM documents WHERE key = ?", (key,)).get)
        gets.append(time.perf_counter() - began)
    prefix = keys.index_prefix(table.number, table.indexes[-1].slot)
    for _ in range(times // 20):
        low, high = sorted(dice.sample(range(POINTS_MAX), 2))
        game = f"game {dice.randrange(GAMES)}"
        bounds = [prefix + keys.encode_values([game, float(points)]) for points in (low, high)]
        began = time.perf_counter()
        assert connection.execute("SELECT count(*) FROM entries WHERE key >= ? AND key < ?", bounds).get >= 0
        counts.append(time.perf_counter() - began)
    connection.close()
    return statistics.median(gets) * 1e6, statistics.median(counts) * 1e6


async def measure_reads(folder: Path, few: Path) -> list[Figure]:
    known, known_few = await loaded(folder, TABLES, DOCUMENTS), await loaded(few, TABLES, FEW)
    async with started(few, APP) as (runtime, _):
        of_few = await reads(runtime, known_few, 40)
    async with started(folder, APP) as (runtime, _):
        found = await reads(runtime, known, 40)
        table = runtime.catalog.named("counted")
        assert table is not None
        get, count = raw_reads(database_in(folder), table, 2000)
        for _ in range(15):  # the first makes totals know of all there is
            await runtime.mutate("scores:add", values.canonical({"table": "counted"}))
        behind = await reads(runtime, known, 40)
    names = {
        "counts": "count of a range",
        "sums": "sum of a range",
        "ranks": "rank of a document",
        "wholes": "count of the table",
    }
    figures = [compared("point read, `ctx.db.get`", "µs", found["gets"], get, "SQLite's `SELECT`, parsed")]
    figures += [compared(name, "µs", found[kind], found["gets"], "point read") for kind, name in names.items()]
    figures += [
        compared("count of the table, 14 inserts later", "µs", behind["wholes"], behind["gets"], "point read"),
        compared("count of a range, 14 inserts later", "µs", behind["counts"], behind["gets"], "point read"),
        compared("count of a range", "µs", found["counts"], of_few["counts"], f"among {FEW:,} documents"),
        compared("count of a range", "µs", found["counts"], count, "SQLite, one by one"),
    ]
    return figures


def inserts(port: int, table: str, clients: int, seconds: float) -> Report:
    """Inserts over the real protocol."""
    args = {"table": table}
    return load.run(port, clients=clients, mutation="scores:add", args=args, seconds=seconds)


def measure_inserts(folder: Path, rounds: int) -> list[Figure]:
    """What it costs an insert that something is kept of it."""

    def rate(table: str) -> float:
        return inserts(server.port, table, CLIENTS, 2).per_second

    def rate_watched() -> float:
        with load.held(server.port, listeners=1, query="scores:size"):
            return rate("counted")

    with yugen_server(folder, APP) as server:
        for table in TABLES:
            rate(table)  # warms
        measures: dict[str, Callable[[], float]] = {table: partial(rate, table) for table in TABLES}
        rates = in_turn(rounds, {**measures, "watched": rate_watched})
    assert "indexes of" not in (folder / "log").read_text(), "nothing is built meanwhile"
    kept = {"indexed": "an `Index`", "summed": "a `Sum`", "counted": "a `Count`"}
    figures = [
        compared(f"inserts with {name}, {CLIENTS} clients", "1/s", rates[table], rates["plain"], "inserts without")
        for table, name in kept.items()
    ]
    name = "the same while somebody watches the count of the table"
    return [*figures, compared(name, "1/s", rates["watched"], rates["counted"], "nobody watches")]


def wait_until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.05)


def with_index(folder: Path) -> Path:
    """The app with one more index."""
    app = folder / "indexed"
    app.mkdir()
    text = (APP / "scores.py").read_text()
    body = "    body: str\n"
    (app / "scores.py").write_text(text.replace(body, f'{body}\n    by_points = Index("game", "points")\n', 1))
    return app


def is_ready(log: Path) -> bool:
    return "indexes of plain: ready" in log.read_text()


def raw_build(database: Path) -> float:
    """Seconds in which a loop writes the same entries, as many documents to a durable commit."""
    connection = apsw.Connection(str(database))
    connection.pragma("synchronous", 2)
    connection.pragma("cache_size", -32 * 1024)
    table, slot = 10_001, 2
    start = keys.index_prefix(table, 0)
    end = keys.prefix_end(start)
    page = "SELECT key, value FROM documents WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
    began = time.perf_counter()
    while rows := list(connection.execute(page, (start, end, BUILT_AT_ONCE))):
        entries = []
        for key, text in rows:
            document = orjson.loads(text)
            fields = [document["game"], document["points"], document["_creationTime"]]
            entries.append((keys.entry_key(table, slot, fields, keys.internal_of(key)),))
        with connection:
            connection.executemany("INSERT INTO entries VALUES (?)", sorted(entries))
        start = rows[-1][0] + b"\0"
    seconds = time.perf_counter() - began
    connection.close()
    return seconds


def raw_create_index(database: Path) -> float:
    """Seconds of SQLite for an index of its own over the same fields, while nobody can write."""
    connection = apsw.Connection(str(database))
    fields = ", ".join(f"json_extract(CAST(value AS TEXT), '$.{field}')" for field in ("game", "points"))
    began = time.perf_counter()
    connection.execute(f"CREATE INDEX by_points ON documents ({fields})")
    seconds = time.perf_counter() - began
    connection.close()
    return seconds


def measure_build(folder: Path) -> tuple[list[Figure], float]:
    """An index over everything, by itself and while many write; and how much larger it makes the database."""
    uvloop.run(loaded(folder / "busy", ["plain"], DOCUMENTS))
    copies = [folder / name for name in ("alone", "loop", "statement")]
    for copy in copies:
        shutil.copytree(folder / "busy", copy)
    alone, loop, statement = map(database_in, copies)
    raw, created = raw_build(loop), raw_create_index(statement)
    app = with_index(folder)
    with yugen_server(folder / "alone", app):
        began = time.perf_counter()
        wait_until(partial(is_ready, folder / "alone" / "log"))
        by_itself = time.perf_counter() - began
    grown = alone.stat().st_size / loop.stat().st_size
    with yugen_server(folder / "busy", APP) as server:
        inserts(server.port, "plain", WRITERS, 2)
        before = inserts(server.port, "plain", WRITERS, 15)
    writers = {"clients": WRITERS, "mutation": "scores:add", "args": {"table": "plain"}}
    with yugen_server(folder / "busy", app) as server:
        began = time.perf_counter()
        with load.held(server.port, **writers) as reports:
            wait_until(partial(is_ready, folder / "busy" / "log"))
        beside = time.perf_counter() - began
    (during,) = reports
    name = f"inserts while an index is built, {WRITERS} clients"
    figures = [
        compared("index built", "s", by_itself, raw, "loop that writes the same entries"),
        compared("index built", "s", by_itself, created, "`CREATE INDEX`, nobody else writing"),
        compared("index built while others write", "s", beside, by_itself, "nobody else writing"),
        compared(name, "1/s", during.per_second, before.per_second, "before"),
    ]
    for part in ("p50", "p99", "max"):
        now, then = during.latency[part] / 1e3, before.latency[part] / 1e3
        figures.append(compared(f"{name}, {part}", "ms", now, then, "before"))
    return figures, grown


def measure() -> Section:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        built, grown = measure_build(folder)
        figures = uvloop.run(measure_reads(folder / "many", folder / "few"))
        figures += measure_inserts(folder / "many", 8)
    larger = "database after the index was built, in those after the loop"
    return Section(figures + built, (), {larger: round(grown, 2)})
