"""Storms, in which very many want something at once: `python -m reliability load --clients 1000 --queries 10`."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from reliability.loads.storm import storm


def main(words: Sequence[str]) -> bool:
    """Runs the storm; returns whether everything held."""
    options = argparse.ArgumentParser(prog="python -m reliability load", description=__doc__)
    options.add_argument("--clients", type=int, default=1000)
    options.add_argument("--queries", type=int, default=10)
    given = options.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        figures, failures = asyncio.run(storm(Path(folder, "data"), clients=given.clients, queries=given.queries))
    for name, figure in figures.items():
        print(f"{name}: {figure}")
    for failure in failures:
        print("FAILED", failure)
    return not failures
