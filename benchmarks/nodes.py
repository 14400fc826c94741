"""One server process against two over the same database: what they do in a second, and what that costs."""

import tempfile
from pathlib import Path

from benchmarks.figures import Figure, Section
from benchmarks.servers import HERE, yugen_server
from benchmarks.workloads import NOTE, Side, Workload, cpu_each, per_second

NEWEST = '{"path":"notes:newest","args":{"topic":"t%client"}}'
UNCACHED = '{"path":"notes:newest","args":{"topic":"t%client","reader":%call}}'
QUERIES = {"http": "POST /api/query", "clients": 64}

WORKLOADS = [
    Workload("inserts, 64 clients", "1/s", per_second, {"clients": 64, "args": NOTE}),
    Workload("insert, 64 clients, processor time", "µs", cpu_each, {"clients": 64, "args": NOTE}),
    Workload("cached queries over HTTP, 64 clients", "1/s", per_second, QUERIES | {"args": NEWEST}),
    Workload("queries nobody has asked before, 64 clients", "1/s", per_second, QUERIES | {"args": UNCACHED}),
]


def measure() -> Section:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder, app = Path(temporary), HERE / "app"
        with yugen_server(folder / "two", app, "--workers", "2") as two, yugen_server(folder / "one") as one:
            sides = {"yugen": Side(two), "one process": Side(one)}
            for workload in WORKLOADS:
                figures += workload.figures(sides)
    return Section(figures)
