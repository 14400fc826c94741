"""`yugen`, whose disk kills its process, fails or is full: `python -m reliability.dying serve ...`.

Which operation of the disk is told by the environment. `sync:-wal:3` is the third sync of a file whose name ends so,
before it is done; the steps of a commit are such operations. Each node counts its own.

- `YUGEN_DIES`: at this operation the process is killed.
- `YUGEN_FAILS`: from this operation on, all of its kind fail with an error of input and output.
- `YUGEN_FILLS`: as long as the file of this name is there, the disk has no space.
- `YUGEN_FORGETS`: it trims its log all the time, and may do so up to what is older than so many seconds;
  `--limit log_seconds=` says up to where it does.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from unittest.mock import patch

import apsw

from reliability.vfs import FaultyVFS, Operation, faulty_disk, io_error
from yugen.cli.main import main
from yugen.runtime import retention
from yugen.storage import sqlite_log

DIES: Final = "YUGEN_DIES"
FAILS: Final = "YUGEN_FAILS"
FILLS: Final = "YUGEN_FILLS"
FORGETS: Final = "YUGEN_FORGETS"

OnOperation = Callable[[Operation, Path], None]


class Countdown:
    """Tells when an operation has come.

    Args:
        plan: which, as the environment has it.
    """

    def __init__(self, plan: str) -> None:
        self._operation, self._ending, left = plan.split(":")
        self._left = int(left)

    def has_come(self, operation: Operation, path: Path) -> bool:
        """Takes note of one more; whether it is this one, or one like it that comes later."""
        if self._operation in ("any", operation) and path.name.endswith(self._ending):
            self._left -= 1
            return self._left <= 0
        return False


def death(plan: str) -> OnOperation:
    """Ends the process at an operation."""
    countdown = Countdown(plan)

    def on_operation(operation: Operation, path: Path) -> None:
        if countdown.has_come(operation, path):
            os.kill(os.getpid(), signal.SIGKILL)

    return on_operation


def failure(plan: str) -> OnOperation:
    """Fails an operation and those of its kind that come later."""
    countdown = Countdown(plan)

    def on_operation(operation: Operation, path: Path) -> None:
        if countdown.has_come(operation, path):
            raise io_error(operation)

    return on_operation


def fullness(file: str) -> OnOperation:
    """Has no space while a file is there."""

    def on_operation(operation: Operation, _: Path) -> None:
        if operation == "write" and Path(file).exists():
            raise apsw.exception_for(apsw.SQLITE_FULL)

    return on_operation


_disks: list[FaultyVFS] = []


def live_on() -> None:
    """Has this process die at no operation after all, such as one that was forked to run functions."""
    for disk in _disks:
        disk.on_operation = None


def run(words: Sequence[str]) -> None:
    """Runs `yugen` with these words on its command line."""
    with ExitStack() as patches:
        plans = ((DIES, death), (FAILS, failure), (FILLS, fullness))
        for on_operation in [make(told) for name, make in plans if (told := os.environ.pop(name, ""))][-1:]:
            disk = patches.enter_context(faulty_disk())
            disk.on_operation = on_operation
            _disks.append(disk)
        if seconds := os.environ.pop(FORGETS, ""):
            _forget_after(float(seconds), patches)
        sys.argv = ["yugen", *words]
        main()


def _forget_after(seconds: float, patches: ExitStack) -> None:
    for what, name, value in (
        (retention, "LOG_SECONDS_MIN", seconds),
        (retention, "LOOK_SECONDS", seconds),
        (retention, "RETRY_SECONDS", seconds),
        (sqlite_log, "ROWS_MAX", 10),
    ):
        patches.enter_context(patch.object(what, name, value))


if __name__ == "__main__":
    run(sys.argv[1:])
