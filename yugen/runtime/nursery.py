"""The process that has the app loaded and forks workers from itself: `python -m yugen.runtime.nursery`.

It runs no function and opens no database, has one thread and nothing at stake. A worker forked from it is ready in
about a millisecond and shares its memory. New code is a new nursery.
"""

from __future__ import annotations

import gc

gc.disable()  # imports and loading an app make next to no garbage; searching for it takes a fifth of the time

import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import TextIO, cast

from yugen.errors import Refused
from yugen.functions.registry import App, describe, load
from yugen.runtime.channel import BlockingChannel
from yugen.runtime.formats import Json, Readable
from yugen.runtime.masking import MaskedStream
from yugen.runtime.memory import give_back_large_blocks
from yugen.runtime.setup import Setup
from yugen.runtime.spawn import STOPS
from yugen.runtime.worker import die_with_parent, serve_actions, serve_transactions
from yugen.system.functions import with_system_functions

GOODBYE_SECONDS = 1
"""How long workers may take to end by themselves."""


def main(control: BlockingChannel) -> None:
    """Loads the app it is told to, says what it holds, and forks workers on request until the channel closes."""
    give_back_large_blocks()
    sys.stdout = sys.stderr = cast("TextIO", MaskedStream(sys.stderr))
    # These are for the server, which ends us by closing the channel, also when they are sent to all its processes.
    # Not SIG_IGN, which programs that an action starts would inherit.
    for stop in STOPS:
        signal.signal(stop, _leave_it)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    if not (messages := control.receive()):
        return
    [(_, data)] = messages
    setup = Setup.from_data(data)
    if logging.lastResort is not None:
        # What apps and workers log without having set anything up reads like the log of the server.
        logging.lastResort.setFormatter(Readable(coloured=False) if setup.development else Json())
    try:
        app = with_system_functions(load(setup.app))
    except Refused as error:
        control.send(("failed", str(error)))
        return
    control.send(("loaded", describe(app).to_data()))
    if app.http:
        import_module("yugen.runtime.responding")  # so that workers share it
    gc.collect()
    gc.enable()
    gc.set_threshold(10_000, 20, 100)  # a function makes hundreds of objects and hardly a cycle
    gc.freeze()  # so that a collection in a worker does not copy what it shares with the others
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a worker ended
    while messages := control.receive():
        for _, role in messages:
            _fork(control, role, app, setup)
    # Those that cannot be bothered to end by themselves die with this process, which the alarm ends.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(GOODBYE_SECONDS)
    with suppress(ChildProcessError):
        os.wait()


def _leave_it(signal_number: int, frame: FrameType | None) -> None:
    pass


def _fork(control: BlockingChannel, role: str, app: App, setup: Setup) -> None:
    parent = os.getpid()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            pid = os.fork()
        except OSError as error:
            control.send(("unable", str(error)))
            return
        if pid:
            control.send(("forked", pid), (theirs.fileno(),))
            return
        status = 1
        try:
            die_with_parent(parent)
            control.socket.close()
            theirs.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if role == "actions":
                serve_actions(ours, app, setup)
            else:
                serve_transactions(ours, app, setup)
            status = 0
        except ConnectionError:
            status = 0  # the server is gone, or has no more use for this worker
        except BaseException:
            logging.getLogger("yugen.worker").exception("a worker process failed")
        finally:
            os._exit(status)


if __name__ == "__main__":
    with suppress(ConnectionError):  # the server is gone
        main(BlockingChannel(socket.socket(fileno=int(sys.argv[1]))))
