"""Starting the nursery's process. It needs as long for its imports as the server for its own, so it may begin first."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import NamedTuple

_STDERR = 2


class Spawned(NamedTuple):
    """A nursery that waits to be told what to load, and our end of its channel. It ends when that is closed."""

    process: subprocess.Popen[bytes]
    channel: socket.socket


_early: list[Spawned] = []


def spawn_early() -> None:
    """Starts a process for whoever wants one next, before it is known what for."""
    _early.append(_spawn())


def spawn() -> Spawned:
    """The process that was started early, or a new one."""
    return _early.pop() if _early else _spawn()


def _spawn() -> Spawned:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            # -P: a module of the app must not stand in for one of the standard library.
            [sys.executable, "-P", "-m", "yugen.runtime.nursery", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            # What it and its workers print goes to standard error, since standard output is the server's own.
            stdout=_STDERR,
        )
    return Spawned(process, ours)
