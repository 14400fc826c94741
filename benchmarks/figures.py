"""What the benchmarks find, how it is found in turn, and how it is written down."""

import json
import re
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
Found = TypeVar("Found")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Sample:
    """The same thing measured several times."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float] | float) -> "Sample":
        return cls((values,) if isinstance(values, int | float) else tuple(values))

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """How far the values lie apart, as a part of the median."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0

    def __str__(self) -> str:
        text = f"{self.median:,.{2 if abs(self.median) < 10 else 1 if abs(self.median) < 1000 else 0}f}"
        return f"{text} ± {self.spread / 2:.0%}" if len(self.values) > 1 else text


@dataclass(frozen=True)
class Goal:
    """What a figure is to reach: its ratio to what stands beside it or, where nothing does, the figure itself."""

    at_least: float | None = None
    at_most: float | None = None

    def met(self, reached: float) -> bool:
        return (self.at_least is None or reached >= self.at_least) and (self.at_most is None or reached <= self.at_most)

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True)
class Figure:
    """One measurement: the product, what it is held against, how the two compare, and how they should.

    Attributes:
        name: what was done.
        unit: of both.
        yugen: what the product took or reached.
        raw: what stands beside it: a raw limit, a peer, or the product without something.
        raw_is: what that is.
        goal: what it is to reach, if that has been set.
    """

    name: str
    unit: str
    yugen: Sample
    raw: Sample | None = None
    raw_is: str = ""
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        return self.yugen.median / self.raw.median if self.raw else None

    @property
    def met(self) -> bool | None:
        reached = self.yugen.median if self.ratio is None else self.ratio
        return None if self.goal is None else self.goal.met(reached)

    @property
    def row(self) -> list[str]:
        """As a row of a table; see `HEAD`."""
        return [
            self.name,
            f"{self.yugen} {self.unit}",
            f"{self.raw} {self.unit}" if self.raw else "",
            self.raw_is,
            "" if self.ratio is None else f"{self.ratio:.2f}",
            "" if self.goal is None else f"{self.goal}, {'met' if self.met else 'missed'}",
        ]


def compared(
    name: str,
    unit: str,
    yugen: Sequence[float] | float,
    raw: Sequence[float] | float,
    raw_is: str,
    goal: Goal | None = None,
) -> Figure:
    """A measurement beside another, of numbers measured once or several times."""
    return Figure(name, unit, Sample.of(yugen), Sample.of(raw), raw_is, goal)


def beside(name: str, unit: str, values: Mapping[str, Sequence[float]], goal: Goal | None = None) -> list[Figure]:
    """The first of some measurements beside each of the others; the goal is of the first of those."""
    (_, first), *others = values.items()
    return [
        compared(name, unit, first, each, what, goal if number == 0 else None)
        for number, (what, each) in enumerate(others)
    ]


HEAD = ("", "Yugen", "beside it", "what that is", "ratio", "goal")


@dataclass(frozen=True)
class Plot:
    """Curves over one axis; `logarithmic` tells which axes are."""

    name: str
    across: str
    up: str
    curves: Mapping[str, Sequence[tuple[float, float]]]
    logarithmic: str = ""


@dataclass(frozen=True)
class Section:
    """What one part of the benchmarks found."""

    figures: Sequence[Figure]
    plots: Sequence[Plot] = ()
    others: Mapping[str, float] = field(default_factory=dict)


# Measuring ---------------------------------------------------------------------------------------------------------

_spins: list[float] = []
"""Milliseconds of a loop that always does the same, since the last section: how noisy the machine was."""


def spin() -> None:
    """Measures the machine itself. What it takes longer than at its best, somebody else had."""
    started = time.perf_counter()
    sum(range(400_000))
    _spins.append((time.perf_counter() - started) * 1e3)


def in_turn(rounds: int, sides: Mapping[Key, Callable[[], Found]]) -> dict[Key, list[Found]]:
    """Measures several things one after the other, time and again, so that what a neighbour does meets all of them."""
    found: dict[Key, list[Found]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            spin()
            found[name].append(measure())
    return found


def noise() -> dict[str, float]:
    """The machine's noise since this was asked last: the fixed loop's best, median and worst milliseconds."""
    for _ in range(5):
        spin()
    best, median, worst = min(_spins), statistics.median(_spins), max(_spins)
    _spins.clear()
    return {"best": round(best, 2), "median": round(median, 2), "worst": round(worst, 2)}


# Writing down ------------------------------------------------------------------------------------------------------


def table(section: Section, noise: Mapping[str, float]) -> str:
    """Measurements as Markdown."""
    rows = [figure.row for figure in section.figures]
    rows += [[name, str(value), "", "", "", ""] for name, value in section.others.items()]
    rows.append(["noise: a fixed loop, best / median / worst", " / ".join(map(str, noise.values())) + " ms", *[""] * 4])
    lines = [f"| {' | '.join(HEAD)} |", "| --- | ---: | ---: | --- | ---: | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |".replace("  |", " |") for row in rows)])


def as_json(section: Section, noise: Mapping[str, float]) -> dict[str, Any]:
    """Measurements as they stand in `results.json`."""
    figures = [
        {
            "name": figure.name,
            "unit": figure.unit,
            "yugen": figure.yugen.median,
            "raw": figure.raw.median if figure.raw else None,
            "raw_is": figure.raw_is,
            "ratio": figure.ratio,
            "goal": str(figure.goal) if figure.goal else None,
            "met": figure.met,
            "values": {"yugen": figure.yugen.values, "raw": figure.raw.values if figure.raw else []},
        }
        for figure in section.figures
    ]
    plots = [asdict(plot) for plot in section.plots]
    return {"figures": figures, "plots": plots, "others": dict(section.others), "noise": dict(noise)}


def publish(name: str, section: Section, noise: Mapping[str, float]) -> None:
    """Puts measurements into `results.json` and into their place in `README.md`."""
    results = json.loads(RESULTS.read_text())
    results[name] = as_json(section, noise)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    page = HERE / "README.md"
    between = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
    page.write_text(between.sub(lambda _: f"{table(section, noise)}\n", page.read_text(), count=1))
