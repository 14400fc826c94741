"""What single duties of the engine cost: explaining reruns, guarding subscriptions; and how fast an app's tests are."""

import gc
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from unittest.mock import patch

import uvloop

from benchmarks import load
from benchmarks.figures import Section, compared, in_turn
from benchmarks.servers import HERE, yugen_server
from benchmarks.workloads import Side, Workload, effort, per_second
from yugen import values
from yugen.functions import registry
from yugen.runtime import queries
from yugen.runtime.inline import InlineRunner
from yugen.runtime.runtime import Runtime
from yugen.storage.sqlite import SqliteStore

SUBSCRIBERS = 1000
TESTS = 1000
MESSAGE = "x" * 100
INSERTS = Workload(
    "inserts", "1/s", per_second, {"clients": 64, "args": '{"topic":"a","body":"%x(100)"}', "seconds": 1}
)

EMPTY_TESTS = """
import pytest

@pytest.mark.parametrize("number", range({count}))
async def test(number):
    assert number >= 0
"""
SMALL_TESTS = """
import pytest
from yugen.testing import TestApp

@pytest.mark.parametrize("number", range({count}))
async def test(number):
    async with TestApp({app!r}) as t:
        id = await t.mutation("notes:add", topic="a", body="first")
        assert [note.id for note in await t.query("notes:newest", topic="a")] == [id]
"""


@asynccontextmanager
async def started(folder: Path, app: Path = HERE / "app") -> AsyncIterator[tuple[Runtime, SqliteStore]]:
    """The engine over a database in a folder, with functions on this event loop."""
    store = SqliteStore(folder / "data" / "data.sqlite3")
    runtime = Runtime(store, InlineRunner(registry.load(app), store, secret=bytes(32)))
    try:
        await runtime.start()
        yield runtime, store
    finally:
        await runtime.close()


async def with_causes(readers: int, writes: int) -> tuple[float, float]:
    """Microseconds of processor time of a write and the reruns it causes: with their causes noted, and without.

    Processor time, turn by turn, and medians, since the difference is less than what a disk or a neighbour adds.
    """

    async def once() -> float:
        began = time.process_time()
        await runtime.mutate("notes:add", add)
        for key in stale:
            await runtime.queries.at(key, None, runtime.ts)
        assert len(stale) == readers
        stale.clear()
        return (time.process_time() - began) * 1e6

    with tempfile.TemporaryDirectory() as folder:
        async with started(Path(folder)) as (runtime, _):
            add = values.canonical({"topic": "a", "body": MESSAGE})
            stale = []
            for reader in range(readers):
                key = runtime.query_key("notes:newest", values.canonical({"topic": "a", "reader": float(reader)}))
                runtime.queries.subscribe(key, None, lambda key=key: stale.append(key))  # type: ignore[misc]
                await runtime.queries.at(key, None, runtime.ts)
            for _ in range(200):
                await once()
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)  # as in the server
            noted, silent = [], []
            dice = random.Random(1)  # or whatever happens every other time would be on one side
            for _ in range(2 * writes):
                if dice.random() < 0.5:
                    noted.append(await once())
                else:
                    with unexplained(runtime):
                        silent.append(await once())
            assert len(list(runtime.queries.causes)) > 0
    return statistics.median(noted), statistics.median(silent)


class Unexplained:
    """In place of `Causes`, and of `Cause`: nothing is noted of why things run."""

    def of(self, *_: object) -> None: ...
    def add_rerun(self, *_: object) -> None: ...
    def add_loss(self, *_: object) -> None: ...
    def add_if_slow(self, *_: object) -> None: ...


@contextmanager
def unexplained(runtime: Runtime) -> Iterator[None]:
    # Not by patching methods: Python forgets all it has learned of a class that changes.
    nothing = Unexplained()
    with patch.object(runtime.queries, "causes", nothing), patch.object(queries, "Cause", nothing):
        yield


def tests_a_minute(text: str) -> float:
    """How many tests pytest gets through, its own start included."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pytest.ini").write_text(
            "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        )
        (Path(folder) / "test_app.py").write_text(text.format(count=TESTS, app=str(HERE / "app")))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--rootdir",
            folder,
        ]
        began = time.perf_counter()
        subprocess.run([*command, folder], check=True, stdout=subprocess.DEVNULL)
        return TESTS * 60 / (time.perf_counter() - began)


def guards(rounds: int) -> dict[str, list[float]]:
    """Durable mutations a second that concern nobody: beside no subscribers, those of other ranges, and filters."""
    kinds = {"none": None, "ranges": "notes:newest", "filters": "notes:filtered"}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        sides = {kind: Side(running.enter_context(yugen_server(Path(folder) / kind))) for kind in kinds}
        for side in sides.values():
            INSERTS.run(side)
        held = {"listeners": SUBSCRIBERS // 100, "queries": 100, "query_args": '{"topic":"other %subscription"}'}
        reports = [
            running.enter_context(load.held(sides[kind].server.port, query=query, **held))
            for kind, query in kinds.items()
            if query is not None
        ]
        measures = {kind: lambda side=side: per_second(INSERTS.run(side)) for kind, side in sides.items()}
        rates = in_turn(rounds, measures)
        running.pop_all().close()
    assert not any(report.transitions for (report,) in reports)
    return rates


def measure() -> Section:
    rates = guards(effort.rounds)
    figures = []
    for kind, of in (("ranges", "other ranges"), ("filters", "filters that reject it")):
        name = f"durable mutations beside {SUBSCRIBERS} subscribers of {of}"
        figures.append(compared(name, "1/s", rates[kind], rates["none"], "no subscribers"))
    for readers, writes in ((1, 1300 * effort.rounds), (100, 130 * effort.rounds)):
        noted, silent = uvloop.run(with_causes(readers, writes))
        name = f"a mutation that reruns {readers} {'query' if readers == 1 else 'queries'}"
        figures.append(compared(f"{name}, processor time", "µs", noted, silent, "the same, causes not noted"))
    small, empty = tests_a_minute(SMALL_TESTS), tests_a_minute(EMPTY_TESTS)
    figures.append(compared("small tests with `yugen.testing`", "1/min", small, empty, "empty tests"))
    return Section(figures)
