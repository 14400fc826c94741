"""Offered load from a quarter of what a server can do to three times that, and how soon it is itself again after."""

import statistics
import tempfile
from pathlib import Path

from benchmarks import load
from benchmarks.figures import Figure, Goal, Plot, Sample, Section, spin
from benchmarks.load import Report, Slice
from benchmarks.servers import Server, yugen_server
from benchmarks.workloads import NOTE, effort

CLIENTS = 256
INFLIGHT_MAX = 900
"""Calls of a client that may wait: a connection may have a thousand."""

OFFERED = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Parts of the capacity."""

SECONDS = 1.5
"""Of each load, in parts of the seconds of a run."""

BEFORE, OVERLOAD, AFTER = 1.0, 2.0, 4.0
"""The same at half the capacity, at three times, and at half again."""

SLICE_SECONDS = 0.1


def capacity(server: Server) -> float:
    """Calls a second in a closed loop."""
    runs = [load.run(server.port, clients=CLIENTS, args=NOTE, warmup=0.5, seconds=effort.seconds) for _ in range(4)]
    return max(run.per_second for run in runs)


def offer(server: Server, rate: str) -> Report:
    spin()
    options = {"clients": CLIENTS, "inflight": INFLIGHT_MAX, "args": NOTE, "slices": True, "grace": 10}
    return load.run(server.port, rate=rate, **options)


def recovery_seconds(slices: list[Slice], ended: float) -> float:
    """From the end of the overload until calls are answered as before it: p50 at most twice what it was."""
    before = statistics.median(each.p50 for each in slices[3 : int(BEFORE * effort.seconds / SLICE_SECONDS)])
    first = int(ended / SLICE_SECONDS)
    for number, each in enumerate(slices[first:]):
        if each.done and each.p50 <= 2 * before + 1000:
            return number * SLICE_SECONDS
    return (len(slices) - first) * SLICE_SECONDS


def measure_offered(server: Server, most: float) -> tuple[list[Figure], list[Plot]]:
    """Throughput and latency against offered load."""
    reports = {part: offer(server, f"{part * most:.0f}@{SECONDS * effort.seconds}") for part in OFFERED}
    done = [(part, report.per_second / most) for part, report in reports.items()]
    refused = [(part, report.failed / report.seconds / most) for part, report in reports.items()]
    latencies = {
        name: [(part, report.latency[name] / 1e3) for part, report in reports.items()] for name in ("p50", "p99")
    }
    most_done = Sample.of([reports[part].per_second for part in (1.5, 2.0, 3.0)])
    level = Goal(at_least=0.9)
    figures = [
        Figure(
            "done when 1.5 to 3 times the capacity is offered", "1/s", most_done, Sample.of(most), "capacity", level
        ),
        Figure("p99 of what is done at half the capacity", "ms", Sample.of(latencies["p99"][1][1])),
        Figure("p99 of what is done at three times the capacity", "ms", Sample.of(latencies["p99"][-1][1])),
    ]
    across = "offered, in parts of the capacity"
    return figures, [
        Plot("Throughput against offered load", across, "parts of the capacity", {"done": done, "refused": refused}),
        Plot("Latency against offered load", across, "ms", latencies, "y"),
    ]


def measure_recovery(server: Server, most: float) -> tuple[list[Figure], list[Plot]]:
    """Half the capacity, three times it, half again."""
    steps = ((most / 2, BEFORE), (most * 3, OVERLOAD), (most / 2, AFTER))
    report = offer(server, ",".join(f"{rate:.0f}@{part * effort.seconds}" for rate, part in steps))
    seconds = [number * SLICE_SECONDS for number in range(len(report.slices))]
    curves = {
        name: [
            (second, getattr(each, name) / SLICE_SECONDS) for second, each in zip(seconds, report.slices, strict=True)
        ]
        for name in ("sent", "done", "failed")
    }
    p50 = [(second, each.p50 / 1e3) for second, each in zip(seconds, report.slices, strict=True) if each.done]
    recovered = Sample.of(recovery_seconds(report.slices, (BEFORE + OVERLOAD) * effort.seconds))
    return [Figure("recovery after three times the capacity", "s", recovered, goal=Goal(at_most=1))], [
        Plot("Overload and recovery: calls", "s", "1/s", curves),
        Plot("Overload and recovery: p50", "s", "ms", {"p50": p50}, "y"),
    ]


def measure() -> Section:
    with tempfile.TemporaryDirectory() as temporary, yugen_server(Path(temporary)) as server:
        most = capacity(server)
        figures, plots = measure_offered(server, most)
        more, others = measure_recovery(server, most)
    return Section([*figures, *more], [*plots, *others], {"capacity, 256 clients, 1/s": round(most)})
