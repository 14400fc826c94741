"""Much that is scheduled for the same moment: how soon it is done, how late one alone is, and what others notice."""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import load
from benchmarks.figures import Figure, Goal, Sample, Section, compared
from benchmarks.load import Report
from benchmarks.servers import Server, yugen_server
from benchmarks.workloads import NOTE, effort

AT_ONCE = 10_000
"""Due at the same moment."""

EACH = 200
"""Scheduled in one mutation."""

ALONE = 40
"""Due one after the other, so far apart that each is alone."""

AHEAD_MS, AHEAD_EACH_MS = 1000.0, 1.0
"""How much later than now the moment is, and more for each that has to be scheduled by then."""

_LOOK_SECONDS = 0.02


def schedule(server: Server, batch: str, count: int, step: float) -> float:
    """Schedules so many, so many milliseconds apart; returns when the first is due, in milliseconds."""
    due = time.time() * 1000 + AHEAD_MS + AHEAD_EACH_MS * count
    for first in range(0, count, EACH):
        args = {"batch": batch, "first": first, "count": min(EACH, count - first), "due": due, "step": step}
        server.call("mutation", "later:schedule", args)
    assert time.time() * 1000 < due, "there is too little time to schedule all of it"
    return due


def wait(server: Server, batch: str, count: int) -> float:
    """Waits until so many are done; returns when, in seconds."""
    while server.call("query", "later:done", {"batch": batch}) < count:
        time.sleep(_LOOK_SECONDS)
    return time.time()


def lateness(server: Server, batch: str, count: int) -> list[float]:
    """By how many milliseconds each was late. None is lost, and none has run twice."""
    found = []
    for first in range(0, count, EACH):
        found += server.call("query", "later:lateness", {"batch": batch, "first": first, "count": EACH})
    assert [number for number, _ in found] == list(range(count))
    return [milliseconds for _, milliseconds in found]


def called(server: Server, batch: str) -> float:
    """The same mutations a second, called by clients."""
    args = f'{{"batch":"{batch}","number":%call,"due":0}}'
    options = {"mutation": "later:note", "args": args, "warmup": 0.5, "seconds": effort.seconds}
    report = load.run(server.port, clients=64, **options)
    assert not report.failed
    return report.per_second


def canary(server: Server) -> Report:
    """One client that inserts a note at a time."""
    report = load.run(server.port, clients=1, args=NOTE, warmup=0.2, seconds=1.0)
    assert not report.failed
    return report


def measure() -> Section:
    rates: list[float] = []
    calls: list[float] = []
    alone: list[float] = []
    idle: list[Report] = []
    meanwhile: list[Report] = []
    for _ in range(effort.rounds):
        with tempfile.TemporaryDirectory() as temporary, yugen_server(Path(temporary)) as server:
            calls.append(called(server, "called"))
            idle.append(canary(server))
            schedule(server, "alone", ALONE, 50.0)
            wait(server, "alone", ALONE)
            alone += lateness(server, "alone", ALONE)
            due = schedule(server, "at once", AT_ONCE, 0.0)
            time.sleep(max(0.0, due / 1000 - time.time()))
            with ThreadPoolExecutor(1) as thread:
                noticed = thread.submit(canary, server)
                rates.append(AT_ONCE / (wait(server, "at once", AT_ONCE) - due / 1000))
                meanwhile.append(noticed.result())
            lateness(server, "at once", AT_ONCE)
    return Section(
        [
            compared(f"{AT_ONCE:,} scheduled mutations, due at once", "1/s", rates, calls, "called by 64 clients"),
            Figure("a scheduled mutation alone, from its time to its run", "ms", Sample.of(alone)),
            *(
                compared(
                    f"one client's insert while they run, {name}",
                    "ms",
                    [report.latency[name] / 1e3 for report in meanwhile],
                    [report.latency[name] / 1e3 for report in idle],
                    "while nothing is due",
                )
                for name in ("p50", "p99")
            ),
            Figure(
                "the longest of those inserts",
                "ms",
                Sample.of([report.latency["max"] / 1e3 for report in meanwhile]),
                goal=Goal(at_most=1000),
            ),
        ]
    )
