"""The results as one HTML page: a table and the curves of each section, drawn as SVG, with nothing to load."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.figures import HERE, RESULTS

PAGE = HERE / "report.html"
COLORS = ("#2a6fdb", "#d1495b", "#3a9d5d", "#b5832d", "#7a5bbf")
WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 28, 30, 42

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; width: 100%; margin: 1em 0; font-size: 14px; }
th, td { padding: 3px 8px; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.met { color: #2c7a47; } .missed { color: #b3263a; }
.bar { background: #eee; width: 110px; height: 9px; position: relative; }
.bar i { position: absolute; height: 9px; left: 0; }
.bar b { left: 50%; position: absolute; width: 2px; height: 15px; top: -3px; background: #222; }
.plots { display: flex; flex-wrap: wrap; gap: 20px; } figure { margin: 0; } figcaption { font-weight: 600; }
svg text { font-size: 11px; fill: #444; } p.noise { color: #666; font-size: 13px; }
"""


class Axis:
    """Where a value stands on a plot."""

    def __init__(self, values: Iterable[float], start: float, end: float, *, logarithmic: bool) -> None:
        known = [value for value in values if value > 0 or not logarithmic]
        self.logarithmic = logarithmic
        self.low = min(known, default=1.0) if logarithmic else min(0.0, *known, 0.0)
        self.high = max(known, default=1.0)
        if self.high == self.low:
            self.high = self.low * 2 or 1.0
        self.start, self.end = start, end

    def place(self, value: float) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = (math.log(max(each, self.low)) for each in (value, low, high))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1)] or [self.low, self.high]
        step = 10 ** math.floor(math.log10(self.high - self.low))
        step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2) if (self.high - self.low) / (step * part) <= 6)
        return [step * number for number in range(math.floor(self.high / step + 1e-9) + 1)]


def plot(drawn: Mapping[str, Any]) -> str:
    """One plot as a figure."""
    curves: Mapping[str, Sequence[Sequence[float]]] = drawn["curves"]
    points = [point for curve in curves.values() for point in curve]
    across = Axis((x for x, _ in points), LEFT, WIDTH - RIGHT, logarithmic="x" in drawn["logarithmic"])
    up = Axis((y for _, y in points), HEIGHT - BOTTOM, TOP, logarithmic="y" in drawn["logarithmic"])
    parts = []
    for tick in up.ticks:
        y = up.place(tick)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,.6g}</text>')
    for tick in across.ticks:
        x = across.place(tick)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:,.6g}</text>')
    for number, (name, curve) in enumerate(curves.items()):
        color = COLORS[number % len(COLORS)]
        line = " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in curve)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        dots = (f'<circle cx="{across.place(x):.1f}" cy="{up.place(y):.1f}" r="2" fill="{color}"/>' for x, y in curve)
        parts += dots
        place = f'x="{LEFT + 100 * number}" y="{TOP - 14}"'
        parts.append(f'<text {place} style="fill:{color};font-weight:600">{escape(name)}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(drawn["across"])}</text>'
    )
    caption = f"<figcaption>{escape(drawn['name'])} <small>{escape(drawn['up'])}</small></figcaption>"
    return f'<figure>{caption}<svg width="{WIDTH}" height="{HEIGHT}">{"".join(parts)}</svg></figure>'


def bar(figure: Mapping[str, Any]) -> str:
    """A ratio with a goal: how far it is, with the goal as a mark in the middle."""
    reached = figure["yugen"] if figure["ratio"] is None else figure["ratio"]
    goal = float(figure["goal"].split()[1])
    color = "#2c7a47" if figure["met"] else "#b3263a"
    width = min(reached / goal * 50, 100)
    return f'<div class="bar"><i style="width:{width:.0f}%;background:{color}"></i><b></b></div>'


def row(figure: Mapping[str, Any]) -> str:
    def number(value: float | None) -> str:
        if value is None:
            return "<td></td>"
        digits = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
        return f'<td class="number">{value:,.{digits}f} {escape(figure["unit"])}</td>'

    ratio = "" if figure["ratio"] is None else f"{figure['ratio']:.2f}"
    goal = "<td></td><td></td>"
    if figure["goal"]:
        met = "met" if figure["met"] else "missed"
        goal = f'<td class="{met}">{escape(figure["goal"])}, {met}</td><td>{bar(figure)}</td>'
    name, beside = escape(figure["name"]), escape(figure["raw_is"])
    return (
        f"<tr><td>{name}</td>{number(figure['yugen'])}{number(figure['raw'])}<td>{beside}</td>"
        f'<td class="number">{ratio}</td>{goal}</tr>'
    )


def section(name: str, found: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{title}</th>" for title in ("", "Yugen", "beside it", "what that is", "ratio", "goal", ""))
    rows = "".join(map(row, found["figures"]))
    others = "".join(f"<li>{escape(what)}: {value}</li>" for what, value in found["others"].items())
    plots = "".join(map(plot, found["plots"]))
    noise = " / ".join(f"{value} ms" for value in found["noise"].values()) or "not measured"
    return (
        f"<h2>{escape(name.capitalize())}</h2><table><tr>{head}</tr>{rows}</table><ul>{others}</ul>"
        f'<div class="plots">{plots}</div><p class="noise">A fixed loop, best / median / worst: {noise}.</p>'
    )


def write(names: Iterable[str]) -> None:
    """Makes the page of what `results.json` holds, in the order of these sections."""
    results = json.loads(RESULTS.read_text())
    body = "".join(section(name, results[name]) for name in names if name in results)
    intro = "What is measured, and how, is in README.md. A bar is green where the goal, its middle, is met."
    PAGE.write_text(
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Yugen: benchmarks</title><style>{STYLE}</style>'
        f"<h1>Benchmarks</h1><p>{intro}</p>{body}</html>\n"
    )
