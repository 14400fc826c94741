"""Real clients of a real server, whose history is held against what a serializable one could be.

A server that `yugen serve` runs, clients over real sockets that lose answers at the moment they come, servers and
nodes that are killed, clients that never return. All that clients did and saw is written down, and then judged: `run`
asks, `check` judges.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from reliability.history.check import Verdict, check
from reliability.history.official import witness
from reliability.history.run import Plan, Run

SHOWN_MAX = 20


def main(words: Sequence[str]) -> bool:
    """Runs and judges; returns whether nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m reliability history")
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--round", type=int, default=5000, help="transactions between two moments of quiet")
    parser.add_argument("--cut", type=float, default=0.01, help="share of answers that are cut off on their way")
    parser.add_argument("--kills", type=int, default=0, help="how often the server, or a node, is killed")
    parser.add_argument("--workers", type=int, default=1, help="nodes of the server")
    parser.add_argument("--official", action="store_true", help="have the official clients act, who say no timestamps")
    parser.add_argument("--folder", type=Path, help="where to put the history; it is kept")
    parser.add_argument("--check", type=Path, help="judge the history in this folder, and run nothing")
    told = parser.parse_args(words)
    if told.check:
        return judge(told.check)
    folder: Path = told.folder or Path(tempfile.mkdtemp(prefix="history-"))
    if told.official:
        share = -(-told.transactions // (told.clients + 1))
        print(f"official clients; the same again: --seed {told.seed}", flush=True)
        verdict = asyncio.run(
            witness(folder, seed=told.seed, clients=told.clients, transactions=share, workers=told.workers)
        )
        return _say(verdict, folder, time.monotonic())
    plan = Plan(
        told.seed,
        told.transactions,
        round_size=told.round,
        clients=told.clients,
        cut_share=told.cut,
        kills=told.kills,
        workers=told.workers,
    )
    print(f"{plan}; the same again: --seed {plan.seed}", flush=True)
    began = time.monotonic()
    asyncio.run(Run(plan, folder, lambda text: print(text, flush=True)).go())
    print(f"ran for {time.monotonic() - began:.0f} s", flush=True)
    right = judge(folder)
    if right and not told.folder:
        shutil.rmtree(folder)
    return right


def judge(folder: Path) -> bool:
    """Says what was checked and what is wrong; returns whether nothing is."""
    began = time.monotonic()
    return _say(check(folder), folder, began)


def _say(verdict: Verdict, folder: Path, began: float) -> bool:
    print(f"checked in {time.monotonic() - began:.0f} s: {dict(verdict.counts)}")
    for violation in verdict.violations[:SHOWN_MAX]:
        print(f"  {violation}"[:1000])
    print(f"{len(verdict.violations)} violations" + (f", in {folder}" if verdict.violations else ""))
    return not verdict.violations
