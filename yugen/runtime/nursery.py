"""The process that has the app loaded and forks workers from itself: `python -m yugen.runtime.nursery`.

It runs no function and opens no database, has one thread and nothing at stake. A worker forked from it is ready in
about a millisecond and shares its memory. New code is a new nursery.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from yugen.errors import Refused
from yugen.functions.registry import App, describe, load
from yugen.runtime.channel import BlockingChannel
from yugen.runtime.limits import RunLimits
from yugen.runtime.worker import die_with_parent, serve_actions, serve_transactions


def main(control: BlockingChannel) -> None:
    """Loads the app it is told to, says what it holds, and forks workers on request until the channel closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the server, which ends us by closing the channel
    (what, folder, database, development, limits), *_ = control.receive()
    assert what == "load"
    try:
        app = load(Path(folder))
    except Refused as error:
        control.send(("failed", str(error)))
        return
    control.send(("loaded", describe(app).to_data()))
    gc.collect()
    gc.freeze()  # so that a collection in a worker does not copy what it shares with the others
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a worker ended
    while messages := control.receive():
        for what, role in messages:
            assert what == "fork"
            _fork(control, role, app, Path(database), development=development, limits=RunLimits(*limits))


def _fork(
    control: BlockingChannel, role: str, app: App, database: Path, *, development: bool, limits: RunLimits
) -> None:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        control.send(("forked", pid), (theirs.fileno(),))
        ours.close()
        theirs.close()
        return
    status = 1
    try:
        control.socket.close()
        theirs.close()
        die_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if role == "actions":
            serve_actions(ours, app, development=development, limits=limits)
        else:
            serve_transactions(ours, app, database, development=development, limits=limits)
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        status = 0  # the server is gone
    except BaseException:
        logging.getLogger("yugen.worker").exception("a worker process failed")
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(BlockingChannel(socket.socket(fileno=int(sys.argv[1]))))
