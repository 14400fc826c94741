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

from benchmarks.figures import Figure
from benchmarks.load import SyncClient
from benchmarks.servers import HERE, yugen_server
from benchmarks.serving import CLIENTS, MESSAGE, mutations
from yugen import values
from yugen.functions.registry import load
from yugen.runtime import queries
from yugen.runtime.inline import InlineRunner
from yugen.runtime.runtime import Runtime
from yugen.storage.sqlite import SqliteStore

SUBSCRIBERS = 1000
TESTS = 1000

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
    runtime = Runtime(store, InlineRunner(load(app), store, secret=bytes(32)))
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


async def subscribe(port: int, function: str) -> list[SyncClient]:
    """Subscriptions that a write to the topic "a" leaves as they are, a hundred to a connection."""
    clients = []
    for first in range(0, SUBSCRIBERS, 100):
        client = await SyncClient().open(port)
        client.subscribe(*((function, {"topic": f"other {number}"}) for number in range(first, first + 100)))
        await client.transition()
        clients.append(client)
    return clients


async def guards(rounds: int) -> dict[str, float]:
    """Durable mutations a second that concern nobody: beside no subscribers, those of other ranges, and filters."""
    kinds = {"none": None, "ranges": "notes:newest", "filters": "notes:filtered"}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        ports = {kind: servers.enter_context(yugen_server(Path(folder) / kind)).port for kind in kinds}
        subscribers = []
        for kind, function in kinds.items():
            await mutations(ports[kind], 8, 50)  # warm
            if function is not None:
                subscribers += await subscribe(ports[kind], function)
        for _ in range(rounds):
            for kind, port in ports.items():
                rates[kind].append((await mutations(port, CLIENTS, 20))[1])
        assert all(client.transitions == 1 for client in subscribers)
        for client in subscribers:
            client.socket.close()
    return {kind: statistics.median(found) for kind, found in rates.items()}


async def measure() -> tuple[list[Figure], dict[str, float]]:
    figures = []
    rates = await guards(10)
    for kind, of in (("ranges", "other ranges"), ("filters", "filters that reject it")):
        name = f"durable mutations beside {SUBSCRIBERS} subscribers of {of}"
        figures.append(Figure(name, "1/s", rates[kind], rates["none"], "no subscribers"))
    for readers, writes in ((1, 4000), (100, 400)):
        noted, silent = await with_causes(readers, writes)
        name = f"a mutation that reruns {readers} {'query' if readers == 1 else 'queries'}"
        figures.append(Figure(f"{name}, processor time", "µs", noted, silent, "the same, causes not noted"))
    small, empty = tests_a_minute(SMALL_TESTS), tests_a_minute(EMPTY_TESTS)
    figures.append(Figure("small tests with `yugen.testing`", "1/min", small, empty, "empty tests"))
    return figures, {}
