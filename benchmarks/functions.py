"""What running one function costs where it runs: from encoded arguments to an outcome, in a worker's own way.

Reads are answered from memory at once, so that the store does not count; but for the range, which SQLite answers, and
which is held against SQLite's own time for it.
"""

import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw
import uvloop

from benchmarks.engine import started
from benchmarks.figures import Figure, Section, compared
from benchmarks.servers import HERE
from yugen import keys, values
from yugen.functions.info import Kind
from yugen.functions.registry import load
from yugen.runtime.execute import Executor
from yugen.runtime.outcome import Outcome
from yugen.runtime.run import Run
from yugen.runtime.runtime import Runtime
from yugen.runtime.setup import LOCAL_URL
from yugen.runtime.turns import TransactionLoop
from yugen.storage.interface import Row, Snapshot
from yugen.storage.sqlite import SqliteReader
from yugen.system.deployment import Deployment
from yugen.totals import Total

T = TypeVar("T")

APP = HERE / "calls"
DOCUMENTS = 50
BODY = "x" * 100
TOPICS = 20
NOW = 1_700_000_000_000.0

_RANGE = """
    SELECT e.key, d.value FROM entries e CROSS JOIN documents d ON d.key = CAST(? || substr(e.key, -16) AS BLOB)
    WHERE e.key >= ? AND e.key < ? ORDER BY e.key DESC LIMIT ?
"""
"""What the product asks of SQLite for a range."""


class Held:
    """A snapshot of documents in memory, without indexes."""

    ts = 1

    def __init__(self, documents: Mapping[bytes, bytes]) -> None:
        self._documents = documents

    async def get(self, key: bytes) -> bytes | None:
        return self._documents.get(key)

    async def scan(self, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]:
        return []

    async def count(self, start: bytes, end: bytes) -> int:
        raise NotImplementedError

    async def total(self, start: bytes, end: bytes) -> Total:
        raise NotImplementedError

    def close(self) -> None: ...


class Functions:
    """The functions of an app in an executor, run as a worker runs them."""

    def __init__(self, runtime: Runtime) -> None:
        self._executor = Executor(
            load(APP),
            runtime.catalog,
            secret=bytes(32),
            development=False,
            deployment=Deployment(LOCAL_URL, APP),
        )

    def run(self, run: Run, snapshot: Snapshot) -> Outcome:
        loop = TransactionLoop(partial(self._executor.foreign_await, run))
        return copy_context().run(loop.run, self._executor.transact(run, snapshot))


def a_run(kind: Kind, name: str, args: Mapping[str, Any]) -> Run:
    return Run(kind, f"calls:{name}", values.dumps(dict(args)), True, 1, NOW, bytes(16), "0123456789abcdef")


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError


def microseconds(once: Callable[[], object], count: int = 4000, times: int = 7) -> float:
    """Processor time of one turn; the least of several, for what else goes on only ever adds to it."""
    for _ in range(count // 4):
        once()
    found = []
    for _ in range(times):
        began = time.process_time()
        for _ in range(count):
            once()
        found.append((time.process_time() - began) / count * 1e6)
    return min(found)


async def prepared(runtime: Runtime) -> list[str]:
    """Fills the database; gives the ids of two accounts."""
    for number in range(DOCUMENTS * TOPICS):
        await runtime.mutate(
            "calls:add", values.canonical({"topic": f"topic {number % TOPICS}", "body": f"{BODY} {number}"})
        )
    found = []
    for owner in ("ann", "bob"):
        arguments = values.canonical({"owner": owner, "balance": 1000.0})
        answer = (await runtime.mutate("calls:open_account", arguments)).answer
        assert answer.value is not None
        found.append(str(values.loads(answer.value)))
    return found


def of_functions(functions: Functions, ids: list[str], snapshot: Snapshot) -> dict[str, Callable[[], Outcome]]:
    """What is measured without a store, by name."""
    source, target = ids
    runs = {
        "a mutation that does nothing": a_run("mutation", "nothing", {}),
        "an insert of a small document": a_run("mutation", "add", {"topic": "topic 1", "body": BODY}),
        "a transfer: two gets, two patches": a_run(
            "mutation", "transfer", {"source": source, "target": target, "amount": 5.0}
        ),
    }
    return {name: partial(functions.run, run, snapshot) for name, run in runs.items()}


async def costs() -> Section:
    figures: list[Figure] = []
    others: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with started(Path(folder), APP) as (runtime, _):
            ids = await prepared(runtime)
            functions = Functions(runtime)
            database = Path(folder) / "data" / "data.sqlite3"
            held = Held(dict(everything(database)))
            for name, once in of_functions(functions, ids, held).items():
                assert once().answer.failure is None, once()
                others[f"{name}, µs"] = round(microseconds(once), 1)
            figures.append(in_range(functions, runtime, database))
    return Section(figures, (), others)


def everything(database: Path) -> list[tuple[bytes, bytes]]:
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    rows = list(connection.execute("SELECT key, value FROM documents"))
    connection.close()
    return rows


def in_range(functions: Functions, runtime: Runtime, database: Path) -> Figure:
    """A query of documents through an index, against SQLite alone."""
    notes = runtime.catalog.named("notes")
    assert notes is not None
    index = notes.index("by_topic", runtime.ts)
    assert index is not None
    start = keys.index_prefix(notes.number, index.slot) + keys.encode_values(["topic 1"])
    documents = keys.index_prefix(notes.number, 0)
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    connection.execute("BEGIN")

    def alone() -> int:
        return len(list(connection.execute(_RANGE, (documents, start, keys.prefix_end(start), DOCUMENTS))))

    reader = SqliteReader(database)
    snapshot = finished(reader.snapshot(runtime.ts))
    once = partial(functions.run, a_run("query", "newest", {"topic": "topic 1"}), snapshot)
    answer = once().answer
    assert answer.value is not None, answer
    found = values.loads(answer.value)
    assert isinstance(found, list)
    assert len(found) == alone() == DOCUMENTS
    figure = compared(
        f"a query of {DOCUMENTS} documents through an index",
        "µs",
        microseconds(once, 500),
        microseconds(alone, 500),
        "SQLite alone",
    )
    snapshot.close()
    reader.close()
    connection.close()
    return figure


def measure() -> Section:
    return uvloop.run(costs())
