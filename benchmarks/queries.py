"""Queries: answered from the cache over HTTP, and run over fifty documents."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import cast

import apsw
import uvloop

from benchmarks.engine import started
from benchmarks.figures import Figure, Goal, Section, beside, spin
from benchmarks.servers import peer_server, yugen_server
from benchmarks.workloads import Side, Workload, cpu_each, effort, per_second
from yugen import values
from yugen.runtime.runtime import Runtime

DOCUMENTS = 50
"""In a range, all of one topic."""

TOPICS = 400
BODY = "x" * 100


def measure_cached() -> list[Figure]:
    """A query that everybody has asked before, beside a bare route that returns the same bytes."""
    question = {"path": "notes:topic", "args": {"topic": "cached", "count": DOCUMENTS}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with yugen_server(folder / "yugen") as yugen, peer_server(folder / "peer") as peer:
            for _ in range(DOCUMENTS):
                yugen.call("mutation", "notes:add", {"topic": "cached", "body": BODY})
            peer.request("PUT", "/answer", yugen.request("POST", "/api/query", question))
            sides = {
                "yugen": Side(yugen, {"http": "POST /api/query"}),
                "bare Starlette route": Side(peer, {"http": "POST /answer"}),
            }
            options = {"clients": 16, "args": question}
            name = f"cached query of {DOCUMENTS} documents over HTTP"
            figures = Workload(name, "1/s", per_second, options, Goal(at_least=0.8)).figures(sides)
            return figures + Workload(f"{name}, processor time", "µs", cpu_each, options).figures(sides)


def raw_database(path: Path) -> apsw.Connection:
    """As many documents of the same size in a table of SQLite's own, with a native index."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, topic TEXT, document BLOB)")
    connection.execute("CREATE INDEX by_topic ON notes (topic)")
    document = values.dumps({"_id": "k" * 31, "_creationTime": 1.8e12, "topic": "topic 100", "body": BODY})
    with connection:
        rows = [(f"topic {number % TOPICS}", document) for number in range(TOPICS * DOCUMENTS)]
        connection.executemany("INSERT INTO notes (topic, document) VALUES (?, ?)", rows)
    return connection


def raw_ranges(connection: apsw.Connection) -> float:
    """Microseconds of processor time of SQLite for one range, its rows joined to a JSON array."""
    statement = "SELECT document FROM notes WHERE topic = ? ORDER BY id DESC LIMIT ?"
    began = time.process_time()
    for number in range(TOPICS):
        rows = cast("list[tuple[bytes]]", connection.execute(statement, (f"topic {number}", DOCUMENTS)).fetchall())
        assert len(b"[%b]" % b",".join([document for (document,) in rows])) > DOCUMENTS * len(BODY)
    return (time.process_time() - began) / TOPICS * 1e6


async def add_notes(runtime: Runtime) -> None:
    for number in range(TOPICS):
        args = values.canonical({"topic": f"topic {number}", "body": BODY})
        await asyncio.gather(*(runtime.mutate("notes:add", args) for _ in range(DOCUMENTS)))


async def ranges(runtime: Runtime, round_number: int) -> float:
    """The same by the engine; in another round it is asked another question, which is not cached."""
    count = float(DOCUMENTS + round_number)
    args = [values.canonical({"topic": f"topic {number}", "count": count}) for number in range(TOPICS)]
    keys = [runtime.query_key("notes:topic", each) for each in args]
    began = time.process_time()
    for key in keys:
        await runtime.queries.at(key, None, runtime.ts)
    return (time.process_time() - began) / TOPICS * 1e6


async def measure_uncached() -> list[Figure]:
    """A range of an index that nobody has asked for yet, with functions in the same process."""
    product, raw = [], []
    with tempfile.TemporaryDirectory() as temporary:
        connection = raw_database(Path(temporary) / "raw.sqlite3")
        async with started(Path(temporary)) as (runtime, _):
            await add_notes(runtime)
            for number in range(1 + 3 * effort.rounds):
                spin()
                product.append(await ranges(runtime, number))
                raw.append(raw_ranges(connection))
        connection.close()
    sides = {"yugen": product[1:], "SQLite's own `SELECT`": raw[1:]}
    return beside(f"range of {DOCUMENTS} documents, not cached, processor time", "µs", sides, Goal(at_most=3))


def measure() -> Section:
    return Section(measure_cached() + uvloop.run(measure_uncached()))
