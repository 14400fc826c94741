"""The nursery and its workers as their server sees them: programs at the other ends of channels."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engine import SECRET
from yugen.runtime.channel import BlockingChannel
from yugen.runtime.limits import RunLimits
from yugen.runtime.setup import Setup


@contextmanager
def nursery(app: Path, limits: RunLimits | None = None) -> Iterator[tuple[BlockingChannel, subprocess.Popen[bytes]]]:
    """A nursery that has been told to load an app; it has ended when the block has."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "yugen.runtime.nursery", str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    theirs.close()
    channel = BlockingChannel(ours)
    setup = Setup(app, app.parent / "app.db", SECRET, True, limits or RunLimits())
    channel.send(("load", setup.to_data()))
    try:
        yield channel, process
    finally:
        ours.close()
        process.wait()


def fork(channel: BlockingChannel, role: str) -> tuple[int, BlockingChannel]:
    """A worker of a nursery that has loaded its app: its process id and its channel."""
    channel.send(("fork", role))
    while (received := channel.receive_file_ready()) is None:
        select.select([channel.socket], [], [])
    (what, pid), file = received
    assert what == "forked"
    assert file is not None
    return pid, BlockingChannel(socket.socket(fileno=file))
