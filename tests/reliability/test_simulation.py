"""The simulation: everything holds, a seed is the same run each time, and a bug is found and shrunk."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from unittest.mock import patch

from reliability.simulate import app
from reliability.simulation import plan, shrink
from reliability.simulation.run import run
from reliability.simulation.verdict import Report
from yugen.runtime.queries import Queries


def _simulate(*words: str) -> str:
    command = [sys.executable, "-m", "reliability", "simulate", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ)).stdout


def test_seeds_hold_and_are_the_same_run_each_time() -> None:
    first, second = (_simulate("--seeds", "4", "--digests") for _ in range(2))
    digests = [line for line in first.splitlines() if line.startswith("seed")]
    assert len(digests) == 4
    assert digests == [line for line in second.splitlines() if line.startswith("seed")]


def test_a_lost_invalidation_is_found_and_shrinks_to_few_steps() -> None:
    def broken(made: plan.Plan) -> Report:
        with patch.object(Queries, "publish", lambda self, *args, **options: None):
            return run(made, app())

    made = plan.make(3)
    made = replace(made, steps=tuple(step for step in made.steps if step.what not in plan.FAULTS)[:24])
    assert not run(made, app()).violations
    report = broken(made)
    assert report.violations
    with patch.object(shrink, "RUNS_MAX", 12):
        shorter, again = shrink.shrink(made, report, broken)
    assert again.violations
    assert len(shorter.steps) < len(made.steps)
