"""The command line called from a test, in its own process or as a program."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from unittest.mock import patch

from yugen.cli.main import main


@dataclass(frozen=True)
class Called:
    """How a command ended, and what it has printed."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> list[Any]:
        """What each line says."""
        return [json.loads(line) for line in self.lines]


def call(*arguments: str | Path, stdin: str | TextIO = "") -> Called:
    """Carries a command out in this process."""
    out, err = io.StringIO(), io.StringIO()
    given = io.StringIO(stdin) if isinstance(stdin, str) else stdin
    status: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), patch("sys.stdin", given):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            status = ended.code
    if not isinstance(status, int):
        raise TypeError(f"{arguments} ended with {status!r}")
    return Called(status, out.getvalue(), err.getvalue())


def done(*arguments: str | Path, stdin: str = "") -> Called:
    """The same of a command that must not fail."""
    called = call(*arguments, stdin=stdin)
    assert called.status == 0, called
    return called


async def call_there(*arguments: str | Path, stdin: str = "") -> Called:
    """Carries a command out on another thread, for a test that runs on an event loop."""
    return await asyncio.to_thread(call, *arguments, stdin=stdin)


async def done_there(*arguments: str | Path, stdin: str = "") -> Called:
    """The same of a command that must not fail."""
    return await asyncio.to_thread(done, *arguments, stdin=stdin)


@contextlib.contextmanager
def held(data: Path, address: str) -> Iterator[None]:
    """A folder as of a server that has its data open, and has noted this address there."""
    data.mkdir(exist_ok=True)
    (data / "admin_key").write_text("yugen|ours\n")
    (data / "address").write_text(f"{address}\n")
    with (data / "data.sqlite3.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("7")
        lock.flush()
        yield
