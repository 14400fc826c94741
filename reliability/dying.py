"""`yugen`, whose process is killed at an operation of its disk: `python -m reliability.dying serve ...`.

`YUGEN_DIES` says at which: `sync:-wal:3` is at the third sync of a file whose name ends so, before it is done. The
steps of a commit are the operations of its disk. Each node counts its own. With `YUGEN_FORGETS` it trims its log all
the time, and may do so up to what is older than so many seconds; `--limit log_seconds=` says up to where it does.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from unittest.mock import patch

from reliability.vfs import FaultyVFS, Operation, faulty_disk
from yugen.cli.main import main
from yugen.runtime import retention
from yugen.storage import sqlite_log

DIES: Final = "YUGEN_DIES"
FORGETS: Final = "YUGEN_FORGETS"


class Death:
    """Ends the process at an operation.

    Args:
        plan: at which, as `YUGEN_DIES` has it.
    """

    def __init__(self, plan: str) -> None:
        self._operation, self._ending, left = plan.split(":")
        self._left = int(left)

    def __call__(self, operation: Operation, path: Path) -> None:
        """Takes note of one more."""
        if self._operation in ("any", operation) and path.name.endswith(self._ending):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


_disks: list[FaultyVFS] = []


def live_on() -> None:
    """Has this process die at no operation after all, such as one that was forked to run functions."""
    for disk in _disks:
        disk.on_operation = None


def run(words: Sequence[str]) -> None:
    """Runs `yugen` with these words on its command line."""
    with faulty_disk() as disk, ExitStack() as patches:
        _disks.append(disk)
        if plan := os.environ.pop(DIES, ""):
            disk.on_operation = Death(plan)
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
