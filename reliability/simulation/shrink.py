"""Makes the plan of a run that fails as short as it can be: Zeller's delta debugging over its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reliability.simulation.plan import Plan
from reliability.simulation.verdict import Report

RUNS_MAX = 300
"""How often the plan is carried out for that."""


def shrink(plan: Plan, report: Report, run: Callable[[Plan], Report]) -> tuple[Plan, Report]:
    """The shortest plan found that still breaks the same promise, and what came of it."""
    rule = _rule(report)
    parts, runs = 2, 0
    while len(plan.steps) > 1 and runs < RUNS_MAX:
        size = -(-len(plan.steps) // parts)
        for start in range(0, len(plan.steps), size):
            fewer = replace(plan, steps=plan.steps[:start] + plan.steps[start + size :])
            tried = run(fewer)
            runs += 1
            if tried.violations and _rule(tried) == rule:
                plan, report, parts = fewer, tried, max(parts - 1, 2)
                break
            if runs >= RUNS_MAX:
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(plan.steps))
    return plan, report


def _rule(report: Report) -> str:
    return report.violations[0].partition(":")[0]
