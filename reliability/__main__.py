"""`python -m reliability MACHINE [OPTIONS]`: runs a machine, and fails if it has found something.

Each machine is a package or module of this folder with a `main(words)`, which reads its own options, prints what it
did in figures, and returns whether everything held.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

MACHINES: Final = {
    "simulate": "the whole system on a simulated network, disk and clock, one run for each seed",
    "crash": "a real server, killed at random and at every step of a commit",
    "disk": "a real database on a disk that fails, tears and forgets",
    "history": "real clients of a real server, whose history is held against what a serializable one could be",
    "fuzz": "hostile input at every surface",
    "load": "storms, floods and those who never read",
    "soak": "hours of ordinary use, with memory and answers watched",
    "mutants": "bugs put into the code, each of which another machine must catch",
}


def main(words: Sequence[str]) -> int:
    """Runs the machine that is named; returns the status to exit with."""
    if not words or words[0] not in MACHINES:
        print(__doc__)
        for name, what in MACHINES.items():
            print(f"  {name:9} {what}")
        return 2
    machine = import_module(f"reliability.{words[0]}")
    return 0 if machine.main(words[1:]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
