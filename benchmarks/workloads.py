"""Loads with a name, put in turn on servers that are compared. A new workload is one `Workload(...)` in a list."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks import load
from benchmarks.figures import Figure, Goal, beside, in_turn
from benchmarks.load import Report
from benchmarks.servers import Server


@dataclass
class Effort:
    """How much is measured: rounds, and seconds of a run. A quick look takes less of both, and finds less."""

    rounds: int = 3
    seconds: float = 2.0

    def be_quick(self) -> None:
        self.rounds, self.seconds = 1, 0.7


effort = Effort()

NOTE = '{"topic":"a%client(16)","body":"%x(100)"}'
"""Arguments of `notes:add` that nobody looks at."""


@dataclass(frozen=True)
class Side:
    """A server that is measured, and what it wants to be asked differently from others, as options of the load."""

    server: Server
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One run of a load: what was answered, and the processor time that it took the server."""

    report: Report
    cpu_seconds: float


def per_second(run: Run) -> float:
    return run.report.per_second


def updates_per_second(run: Run) -> float:
    """Transitions with something in them; of a raw server, texts to listeners."""
    return run.report.updates_per_second


def p50(run: Run) -> float:
    """Median microseconds of a call."""
    return run.report.p50


def p50_ms(run: Run) -> float:
    return run.report.p50 / 1e3


def p99_ms(run: Run) -> float:
    return run.report.latency["p99"] / 1e3


def cpu_each(run: Run) -> float:
    """Microseconds of processor time of a call, in all processes of the server."""
    return run.cpu_seconds / run.report.done * 1e6


@dataclass(frozen=True)
class Workload:
    """A load, and what of it is of interest.

    Attributes:
        name: what is done.
        unit: of what `of` gives.
        of: the figure of one run.
        options: of the load client.
        goal: of the ratio of the product to the first of its peers.
    """

    name: str
    unit: str
    of: Callable[[Run], float]
    options: Mapping[str, Any]
    goal: Goal | None = None

    def run(self, side: Side, seconds: float | None = None) -> Run:
        """Puts the load on a server once; no call may fail."""
        before = side.server.cpu_seconds
        report = load.run(side.server.port, **{"seconds": seconds or effort.seconds, **self.options, **side.options})
        assert not report.failed, f"{self.name}: {report.failures}"
        return Run(report, side.server.cpu_seconds - before)

    def runs(self, sides: Mapping[str, Side]) -> dict[str, list[Run]]:
        """Runs of all sides in turn, after one each that only warms."""
        for side in sides.values():
            self.run(side, 0.5)
        measures = {name: lambda side=side: self.run(side) for name, side in sides.items()}
        return in_turn(effort.rounds, measures)

    def figures(self, sides: Mapping[str, Side]) -> list[Figure]:
        """The product, the first of the sides, beside each of the others; the goal is of the first of those."""
        found = self.runs(sides)
        return beside(self.name, self.unit, {side: list(map(self.of, runs)) for side, runs in found.items()}, self.goal)
