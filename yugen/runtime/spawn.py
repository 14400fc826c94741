"""Starting the nursery's process. It needs as long for its imports as the server for its own, so it may begin first."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import NamedTuple

STOPS = frozenset((signal.SIGINT, signal.SIGTERM))
"""What tells a server to stop."""

ENCRYPTION_KEY = "YUGEN_ENCRYPTION_KEY"
"""The variable of the server's own environment that holds the keys it seals secrets with."""

_STDERR = 2


class Spawned(NamedTuple):
    """A nursery that waits to be told what to load, and our end of its channel. It ends when that is closed."""

    process: subprocess.Popen[bytes]
    channel: socket.socket


_early: list[Spawned] = []


def spawn_early() -> None:
    """Starts a process for whoever wants one next, before it is known what for."""
    _early.append(_spawn())


def end_early() -> None:
    """Ends those that were started early and that nobody has wanted."""
    while _early:
        process, channel = _early.pop()
        channel.close()
        process.kill()
        process.wait()


def spawn() -> Spawned:
    """The process that was started early, or a new one."""
    return _early.pop() if _early else _spawn()


def _spawn() -> Spawned:
    ours, theirs = socket.socketpair()
    with theirs:
        # Until it has imports behind it and leaves these to the server, it does not hear of them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            process = subprocess.Popen(
                # -P: a module of the app must not stand in for one of the standard library.
                [sys.executable, "-P", "-m", "yugen.runtime.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # What it and its workers print goes to standard error, since standard output is the server's own.
                stdout=_STDERR,
                # The code of the app has no business with that key.
                env={name: value for name, value in os.environ.items() if name != ENCRYPTION_KEY},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Spawned(process, ours)
