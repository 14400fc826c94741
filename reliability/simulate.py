"""The whole system on a simulated network, disk and clock, one run for each seed.

python -m reliability simulate --seeds 1000 --jobs 2
python -m reliability simulate --seed 123      # one, with its trace
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from reliability.simulation import plan, shrink
from reliability.simulation.app import MODULES
from reliability.simulation.plan import FAULTS
from reliability.simulation.run import run
from reliability.simulation.verdict import Report
from yugen.functions.registry import App, load

PROGRESS_SEEDS: Final = 100
"""After how many seeds a line says how far it is."""

CHECKED: Final = ("views", "results compared", "answers replayed", "transactions", "effects", "runs of the cron")
"""What is held against something in every run; where there was none of it, nothing was shown."""

ENOUGH_SEEDS: Final = 100
"""How many seeds have met everything that there is to meet."""

MET: Final = (
    "scheduled",
    "jobs cancelled",
    "jobs and actions done",
    "actions lost",
    "asked once",
    "pages seen again",
    "code taken up",
    "crashes",
    "stops after which nothing was left",
    "disk operations failed",
    "nodes killed",
    "moves to another node",
    "trimmings",
    "trimmings that failed",
    "crashes while the log was trimmed",
    "lives with a trimmed log",
    "back after the log was trimmed",
    "looks back",
    "looks behind the log",
    "requests forgotten",
    "imports",
)


@cache
def app() -> App:
    """The app of the simulation, under a name that no other app of the process has."""
    home = tempfile.mkdtemp(prefix="simulation-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    folder = Path(home) / "simulated"
    folder.mkdir()
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return load(folder)


def one(seed: int) -> tuple[Report, str]:
    """Lives through one seed; the trace stays behind but for its digest."""
    _settled()
    report = run(plan.make(seed), app())
    digest = report.digest
    report.trace.clear()
    return report, digest


@cache
def _settled() -> None:
    app()
    gc.collect()
    gc.freeze()  # what is there by now stays, and need not be looked through after each seed


def main(words: Sequence[str]) -> bool:
    """Lives through seeds; returns whether everything held."""
    parser = argparse.ArgumentParser(prog="python -m reliability simulate")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this one, with its trace, shrunk if it fails")
    parser.add_argument("--first-failure", action="store_true", help="stop at the first failure, without shrinking")
    parser.add_argument("--digests", action="store_true", help="print the digest of each seed's trace")
    told = parser.parse_args(words)
    if os.environ.get("PYTHONHASHSEED") != "0":  # or else sets of texts have another order in each process
        command = [sys.executable, "-m", "reliability", "simulate", *words]
        return subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "0"}, check=False).returncode == 0
    if told.seed is not None:
        return _show(told.seed)
    began, counts, failed, done = time.monotonic(), Counter[str](), list[Report](), 0
    for report, digest in _runs(range(told.first, told.first + told.seeds), told.jobs):
        done += 1
        counts += report.counts
        if told.digests:
            print(f"seed {report.seed}: {digest}")
        if report.violations:
            failed.append(report)
            print(f"seed {report.seed} fails: {report.violations[0][:300]}", flush=True)
            if told.first_failure:
                return False
        if done % PROGRESS_SEEDS == 0:
            taken = time.monotonic() - began
            print(f"{done} seeds, to {report.seed}, in {taken:.0f} s, {len(failed)} failed", flush=True)
    seconds = time.monotonic() - began
    print(f"{done} seeds in {seconds:.0f} s, {len(failed)} failed")
    print(", ".join(f"{what} {count}" for what, count in sorted(counts.items())))
    vacuous = [what for what in (CHECKED if done < ENOUGH_SEEDS else (*CHECKED, *FAULTS, *MET)) if not counts[what]]
    if vacuous:
        print(f"there was nothing of: {', '.join(vacuous)}")
    if failed:
        print(f"again: python -m reliability simulate --seed {failed[0].seed}")
    return not failed and not vacuous


def _runs(seeds: range, jobs: int) -> Iterator[tuple[Report, str]]:
    if jobs == 1:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(one, seeds, chunksize=4)
        finally:
            pool.shutdown(cancel_futures=True)


def _show(seed: int) -> bool:
    made = plan.make(seed)
    report = run(made, app())
    if report.violations:
        made, report = shrink.shrink(made, report, lambda each: run(each, app()))
        print(f"seed {seed} shrinks to {len(made.steps)} steps:")
    print("\n".join(report.trace))
    print("\n".join(report.violations) or "all held")
    return not report.violations
