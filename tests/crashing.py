"""A program that lives the lives of an engine, each in a process of its own that dies where it is told to.

It reads one JSON object per line, `{"app", "data", "dies_at"}`: the app package, the folder of its data, and at which
boundary this life ends, or null for one that lives until nothing is left to do. It answers each by one line, with the
status that the life ended with, `-9` if it was killed, and how many boundaries it passed.

A boundary is before and after anything that lasts: a commit, and a request of an action to the outside. Waiting takes
no time here: when nothing is due, the clock moves to what is due next.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.engine import SECRET
from yugen import values
from yugen.functions.registry import load
from yugen.runtime.inline import InlineRunner
from yugen.runtime.limits import RunLimits
from yugen.runtime.own import value_of
from yugen.runtime.runtime import Runtime
from yugen.runtime.scheduler import Scheduler
from yugen.storage.interface import Commit
from yugen.storage.sqlite import SqliteStore

PASSED = "passed"
"""The name of the file that says how many boundaries the last life has passed."""

_life: Life | None = None


class Life:
    """Counts boundaries, and ends the process at one of them."""

    def __init__(self, folder: Path, dies_at: int | None) -> None:
        self.passed = 0
        self._folder = folder
        self._dies_at = dies_at

    def boundary(self) -> None:
        self.passed += 1
        if self.passed == self._dies_at:
            self.note()
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self) -> None:
        (self._folder / PASSED).write_text(str(self.passed))


def boundary() -> None:
    """For the functions of an app that reach outside."""
    if _life is not None:
        _life.boundary()


class _Store(SqliteStore):
    def __init__(self, path: Path, life: Life) -> None:
        super().__init__(path)
        self._life = life

    async def append(self, decide: Any) -> Sequence[Commit]:
        self._life.boundary()
        commits = await super().append(decide)
        self._life.boundary()
        return commits


async def live(app: Path, folder: Path, life: Life) -> None:
    """One life: the app's mutation `f:begin` is called, and all that follows from it carried out."""
    moved = 0

    def clock() -> int:
        return time.time_ns() + moved

    store = _Store(folder / "app.db", life)
    runner = InlineRunner(load(app), store, secret=SECRET)
    runtime = Runtime(store, runner, clock=clock)
    try:
        await runtime.start()
        scheduler = Scheduler(runtime, RunLimits())
        await scheduler.start()
        value_of((await runtime.mutate("f:begin", b"{}")).answer)
        while (due := await scheduler.run_due()) is not None:
            moved += max(0, int((due - runtime.now) * 1_000_000)) + 1000
        state = value_of(await runtime.query("f:everything", b"{}"))
        (folder / "state.json").write_bytes(values.dumps(state))
        await scheduler.close()
    finally:
        await runtime.close()


def main() -> None:
    """Forks a process for each life."""
    global _life  # noqa: PLW0603 -- which an app's functions find here
    for line in sys.stdin:
        told = json.loads(line)
        folder = Path(told["data"])
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                logging.disable(logging.CRITICAL)
                _life = Life(folder, told["dies_at"])
                asyncio.run(live(Path(told["app"]), folder, _life))
                _life.note()
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        passed = int((folder / PASSED).read_text())
        sys.stdout.write(json.dumps({"status": os.waitstatus_to_exitcode(status), "passed": passed}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    # Under its name, by which an app imports it.
    from tests import crashing

    crashing.main()
