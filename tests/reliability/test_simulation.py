"""The simulation: everything holds, a seed is the same run each time, and a bug is found and shrunk."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from reliability.simulate import app
from reliability.simulation import plan, shrink
from reliability.simulation import run as running
from reliability.simulation.verdict import Report
from yugen.runtime.interval_index import IntervalIndex


def _simulate(*words: str) -> str:
    command = [sys.executable, "-m", "reliability", "simulate", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ)).stdout


def test_seeds_hold_and_are_the_same_run_each_time() -> None:
    first, second = (_simulate("--seeds", "3", "--digests") for _ in range(2))
    digests = [line for line in first.splitlines() if line.startswith("seed")]
    assert len(digests) == 3
    assert digests == [line for line in second.splitlines() if line.startswith("seed")]


def test_a_lost_invalidation_is_found_and_shrinks_to_few_steps() -> None:
    right = running._readers

    def readers(index: IntervalIndex[Any], keys: Any) -> list[Any]:
        return [slot for slot in right(index, keys) if slot.query.key.path != "g:first"]

    def broken(made: plan.Plan) -> Report:
        with patch.object(running, "_readers", readers):
            return running.run(made, app())

    made = plan.make(5)
    made = replace(made, steps=tuple(step for step in made.steps if step.what not in plan.FAULTS)[:40])
    assert not running.run(made, app()).violations
    assert not logging.getLogger("yugen_client").disabled  # what runs later in this process is to be heard
    report = broken(made)
    assert report.violations
    with patch.object(shrink, "RUNS_MAX", 12):
        shorter, again = shrink.shrink(made, report, broken)
    assert again.violations[0].startswith("wrong view: ")
    assert "watch" in {step.what for step in shorter.steps}
    assert len(shorter.steps) <= 4
