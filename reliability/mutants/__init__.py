"""Bugs put into the code, each of which another machine must catch: who watches the watchmen.

Each is an exact replacement of a text of the product, in a copy of the repository; what it is held against is run there
and has to fail. First comes the simulation, where there is one, and then the tests that the bug names. Before all that,
the same tests have to pass without any bug.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from reliability.mutants.bugs import BUGS, Bug

ROOT: Final = Path(__file__).parent.parent.parent

SECONDS_MAX: Final = 600.0
"""How long one machine may take over one bug; one that hangs is caught as well."""

_PYTEST: Final = ("-m", "pytest", "-x", "-n", "0", "-p", "no:cacheprovider", "--timeout", "60", "--no-header")


def main(words: Sequence[str]) -> bool:
    """Holds the bugs against the machines; returns whether each was caught."""
    parser = argparse.ArgumentParser(prog="python -m reliability mutants")
    parser.add_argument("names", nargs="*", help="of some bugs; by default all")
    parser.add_argument("--seeds", type=int, default=200, help="how many simulations a bug has to survive")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the machines without any bug first")
    parser.add_argument("--only", default="", help="hold them against machines and tests only whose name begins so")
    told = parser.parse_args(words)
    bugs = [bug for bug in BUGS if not told.names or bug.name in told.names]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = copy_of(ROOT, Path(folder) / "tree")
        if not told.no_baseline and not _are_right(bugs, tree, told.seeds, told.only):
            return False
        caught = [_is_caught(bug, tree, told.seeds, told.only) for bug in bugs]
    print(f"{sum(caught)} of {len(bugs)} bugs caught")
    return bool(bugs) and all(caught)


def copy_of(root: Path, tree: Path) -> Path:
    """A copy of what is in the repository, and of what is built into it."""
    ignored = shutil.ignore_patterns("node_modules", ".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
    return Path(shutil.copytree(root, tree, ignore=ignored, symlinks=True))


def mutated(bug: Bug, root: Path) -> str:
    """The text of a bug's file with the bug in it.

    Raises:
        ValueError: the text to replace does not occur once; the product has changed, and so must the bug.
    """
    text = (root / bug.file).read_text()
    if text.count(bug.old) != 1:
        raise ValueError(f"{bug.name}: what it replaces occurs {text.count(bug.old)} times in {bug.file}")
    return text.replace(bug.old, bug.new)


def _are_right(bugs: Sequence[Bug], tree: Path, seeds: int, only: str) -> bool:
    """Whether all machines are content when there is no bug, without which their discontent would say nothing."""
    machines = dict(each for bug in bugs for each in _machines(bug, seeds, only))
    wrong = {name: how for name, command in machines.items() if (how := _fails(command, tree))}
    for name, how in wrong.items():
        print(f"{name} fails without any bug: {how}", flush=True)
    return not wrong


def _is_caught(bug: Bug, tree: Path, seeds: int, only: str) -> bool:
    file = tree / bug.file
    good = file.read_text()
    file.write_text(mutated(bug, tree))
    began = time.monotonic()
    try:
        for name, command in _machines(bug, seeds, only):
            how = _fails(command, tree)
            if how:
                print(f"{bug.name:22} caught by {name} in {time.monotonic() - began:.0f} s: {how}", flush=True)
                return True
    finally:
        file.write_text(good)
    print(f"{bug.name:22} NOT CAUGHT in {time.monotonic() - began:.0f} s: {bug.what}", flush=True)
    return False


def _machines(bug: Bug, seeds: int, only: str) -> list[tuple[str, list[str]]]:
    machines = [f"simulate --seeds {seeds} --first-failure", *bug.held]
    machines = [each for each in machines if each.startswith(only)]
    there = [each for each in machines if is_test(each) or find_spec(f"reliability.{each.split()[0]}") is not None]
    return [(each, [*_PYTEST, each] if is_test(each) else ["-m", "reliability", *each.split()]) for each in there]


def is_test(held: str) -> bool:
    """Whether a bug is held against a file of tests, and not against a machine."""
    return held.endswith(".py")


def _fails(command: list[str], tree: Path) -> str:
    """How a machine ends with the bug, in a line; nothing if it does not notice."""
    paths = os.pathsep.join([str(tree), str(tree / "client/python")])
    try:
        ended = subprocess.run(
            [sys.executable, *command],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it hangs"
    if ended.returncode == 0:
        return ""
    lines = (ended.stdout + ended.stderr).splitlines()
    telling = [line for line in lines if line.startswith(("FAILED", "ERROR")) or "seed" in line]
    return (telling or lines or ["it fails"])[-1][:160]
