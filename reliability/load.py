"""Very many, very much, or very bad, and a canary beside it: `python -m reliability load storm --clients 1000`.

Each scenario has sizes of its own. What is right must be so on any machine; times are said, and count where `--strict`
says that the machine does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

from reliability.loads.scene import Scene, scene

SCENARIOS: Final = ("storm", "idle", "flood", "slow", "giant", "hoard", "queued", "functions", "tables", "mutations")
"""Modules of `reliability/loads`. Each has its SIZES, and plays with them."""


async def run(module: ModuleType, data: Path, sizes: Mapping[str, int], *, strict: bool) -> Scene:
    """Plays a scenario with such sizes; returns where that was, which says what came of it."""
    may_refuse, options = getattr(module, "MAY_REFUSE", False), getattr(module, "OPTIONS", ())
    async with scene(data, *options, strict=strict, may_refuse=may_refuse) as made:
        await module.play(made, **sizes)
    return made


def main(words: Sequence[str]) -> bool:
    """Runs a scenario, or all of them; returns whether everything held."""
    options = argparse.ArgumentParser(prog="python -m reliability load", description=__doc__)
    options.add_argument("--strict", action="store_true", help="times count")
    modules = {name: import_module(f"reliability.loads.{name}") for name in SCENARIOS}
    named = options.add_subparsers(dest="scenario", required=True)
    named.add_parser("all", help="all of these, one after the other")
    for name, module in modules.items():
        parser = named.add_parser(name, help=(module.__doc__ or "").partition("\n")[0])
        for size, default in module.SIZES.items():
            parser.add_argument(f"--{size}", type=int, default=default)
    given = vars(options.parse_args(words))
    strict, scenario = given.pop("strict"), given.pop("scenario")
    chosen = modules if scenario == "all" else {scenario: modules[scenario]}
    held = [_run(name, module, strict=strict, **given) for name, module in chosen.items()]
    return all(held)


def _run(name: str, module: ModuleType, *, strict: bool, **given: int) -> bool:
    sizes = module.SIZES | given
    print(f"{name}: {', '.join(f'{count} {size}' for size, count in sizes.items())}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        made = asyncio.run(run(module, Path(folder, "data"), sizes, strict=strict))
    for what, figure in made.figures.items():
        print(f"  {what}: {figure}")
    print(f"  load average: {os.getloadavg()[0]:.1f} of {os.cpu_count()} processors")
    for failure in made.failures:
        print(f"  FAILED {failure}")
    return not made.failures
