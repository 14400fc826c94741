"""`yugen`, whose process is killed at an operation of its disk: `python -m reliability.dying serve ...`.

`YUGEN_DIES` says at which: `sync:-wal:3` is at the third sync of a file whose name ends so, before it is done. The
steps of a commit are the operations of its disk. Each node counts its own.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from reliability.vfs import Operation, faulty_disk
from yugen.cli.main import main

DIES = "YUGEN_DIES"


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


if __name__ == "__main__":
    with faulty_disk() as disk:
        if plan := os.environ.pop(DIES, ""):
            disk.on_operation = Death(plan)
        sys.argv[0] = "yugen"
        main()
