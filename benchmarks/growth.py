"""How cost grows: with live intervals, with documents, with subscriptions."""

import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import intervals, load
from benchmarks.database import append, insertion
from benchmarks.engine import started
from benchmarks.figures import Figure, Goal, Plot, Sample, Section, compared, spin
from benchmarks.servers import yugen_server
from benchmarks.workloads import Side, Workload, cpu_each

INTERVALS = (1_000, 10_000, 100_000, 1_000_000)
SIZES = ((1_000, 1_000), (10_000, 3_000), (100_000, 10_000))
LARGE_SIZES = ((1_000, 1_000), (100_000, 10_000), (1_000_000, 30_000), (10_000_000, 100_000))
"""Documents and subscriptions."""

PER_TOPIC = 10
QUERIES = 100
"""Subscriptions on one connection."""

INSERT = Workload(
    "insert", "µs", cpu_each, {"clients": 16, "args": '{"topic":"new %client(16)","body":"%x(100)"}', "warmup": 0.3}
)


def measure_intervals() -> tuple[list[Figure], Plot]:
    """To find whom a write concerns, by the shape of what was read; every interval was read by somebody else."""
    figures, curves = [], {}
    for shape in (intervals.newest, intervals.period):
        costs = {}
        for count in INTERVALS:
            spin()
            costs[count] = intervals.cost(shape, count).write
        least, most = INTERVALS[0], INTERVALS[-1]
        name = f"whom a write concerns, among {most:,} intervals ({shape.__name__})"
        figures.append(compared(name, "µs", costs[most], costs[least], f"among {least:,}", Goal(at_most=2)))
        curves[shape.__name__] = [(float(count), cost) for count, cost in costs.items()]
    return figures, Plot("Whom a write concerns", "live intervals", "µs of processor time", curves, "x")


async def fill(folder: Path, documents: int) -> None:
    """Makes a database with this many notes, ten to a topic."""
    dice = random.Random(1)
    async with started(folder) as (runtime, store):
        table = runtime.catalog.named("notes")
        assert table is not None
        now = time.time() * 1000
        for first in range(0, documents, 1000):
            numbers = range(first, min(first + 1000, documents))
            notes = [{"topic": f"other {number // PER_TOPIC}", "body": "x" * 100} for number in numbers]
            changes = [insertion(table, now + n / 100, dice, note) for n, note in zip(numbers, notes, strict=True)]
            await append(store, tuple(changes))


@dataclass(frozen=True)
class Costs:
    """What is found at one size: seconds of a start, and microseconds of processor time of a write and of a read."""

    start: float
    write: Sample
    read: Sample


def costs(documents: int, subscriptions: int) -> Costs:
    """What a write costs over so many documents and beside so many subscriptions, and what a read does."""
    args = f'{{"topic":"other %uniform({documents // PER_TOPIC})","count":1%call}}'  # a count makes it another query
    body = f'{{"path":"notes:topic","args":{args}}}'
    read = Workload("read", "µs", cpu_each, {"clients": 8, "http": "POST /api/query", "args": body})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        asyncio.run(fill(folder, documents))
        with yugen_server(folder):  # what has to be brought up to date after the filling is not what is measured
            pass
        with yugen_server(folder) as server:
            subscribed = {"query": "notes:newest", "query_args": '{"topic":"other %subscription"}'}
            with load.held(server.port, listeners=subscriptions // QUERIES, queries=QUERIES, **subscribed):
                writes = [INSERT.of(run) for run in INSERT.runs({"yugen": Side(server)})["yugen"]]
            reads = [read.of(run) for run in read.runs({"yugen": Side(server)})["yugen"]]
            return Costs(server.start_seconds, Sample.of(writes), Sample.of(reads))


def measure_sizes(sizes: Sequence[tuple[int, int]]) -> Section:
    found = {size: costs(*size) for size in sizes}
    (least, few), (most, many) = sizes[0], sizes[-1]
    small, large = found[least, few], found[most, many]
    beside = f"{least:,} and {few:,}"
    figures = [
        Figure(
            f"insert over {most:,} documents and {many:,} subscriptions, processor time",
            "µs",
            large.write,
            small.write,
            beside,
            Goal(at_most=1.5),
        ),
        Figure(
            f"query over {most:,} documents, processor time", "µs", large.read, small.read, beside, Goal(at_most=1.5)
        ),
        Figure(
            f"start over {most:,} documents",
            "s",
            Sample.of(large.start),
            Sample.of(small.start),
            beside,
            Goal(at_most=1.5),
        ),
    ]
    writes = [(float(documents), each.write.median) for (documents, _), each in found.items()]
    reads = [(float(documents), each.read.median) for (documents, _), each in found.items()]
    across = "documents; subscriptions: " + ", ".join(f"{subscriptions:,}" for _, subscriptions in sizes)
    plot = Plot("Cost against size", across, "µs of processor time", {"insert": writes, "query": reads}, "x")
    return Section(figures, [plot])


def measure() -> Section:
    figures, plot = measure_intervals()
    sizes = measure_sizes(SIZES)
    return Section([*figures, *sizes.figures], [plot, *sizes.plots])


def measure_large() -> Section:
    """The same over ten million documents: half an hour, and 20 GB of disk."""
    return measure_sizes(LARGE_SIZES)
