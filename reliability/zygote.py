"""Servers that start in a moment, each forked from a process that has imported everything: `Zygote`.

Of the seconds that a server takes to start, nearly all are imports, its own and those of its nursery. A machine that
kills a thousand servers would do little else. What runs in the fork is `reliability.dying`, to its end a process
of its own, with its own group, output and environment.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn, Self
from unittest.mock import patch

from reliability import dying
from yugen.runtime import spawn
from yugen.runtime.channel import BlockingChannel

MESSAGE_MAX: Final = 2**20
_IMPORTED: Final = (
    "uvloop",
    "yugen.cli.dev",
    "yugen.cli.serve",
    "yugen.cli.supervise",
    "yugen.runtime.nursery",  # which turns off the search for garbage, here and not where this module is used
    "yugen.server.asgi",
    "yugen.server.listen",
)

_ROOT: Final = Path(__file__).parent.parent

_NEVER: Final = 1e6

_STDERR: Final = 2

_FILES_MAX: Final = 4096
"""Numbers that open files have at the most, in a process that has just begun."""


class Forked:
    """A program that was started so, as `asyncio.subprocess.Process` is one that was started otherwise.

    Attributes:
        pid: its process id.
        returncode: its exit status, negative for a signal; None while it runs.
        stdout: what it prints, both streams together.
    """

    def __init__(self, pid: int, stdout: asyncio.StreamReader, status: asyncio.StreamReader) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout: asyncio.StreamReader | None = stdout
        self._ending = asyncio.create_task(self._end(status))

    async def _end(self, status: asyncio.StreamReader) -> int:
        self.returncode = int(await status.read())
        return self.returncode

    async def wait(self) -> int:
        """Waits until it has ended; its exit status."""
        return await asyncio.shield(self._ending)

    def send_signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Zygote:
    """The process that is forked from. It begins with the first start; leaving `with` ends it, and not the others."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._socket.close()
            self._process.wait()

    async def start(self, words: Sequence[str], *, cwd: Path, env: dict[str, str]) -> Forked:
        """Starts `yugen` with these words on its command line."""
        (out, their_out), (status, their_status) = socket.socketpair(), socket.socketpair()
        with their_out, their_status:
            self._ask(words, cwd, env, their_out.fileno(), their_status.fileno())
        stdout, told = [await _read(end) for end in (out, status)]
        return Forked(int(await told.readline()), stdout, told)

    def start_nursery(self) -> spawn.Spawned:
        """As `yugen.runtime.spawn._spawn`, for an app that this process itself serves."""
        (ours, theirs), (status, their_status) = socket.socketpair(), socket.socketpair()
        with theirs, their_status:
            self._ask(None, Path.cwd(), dict(os.environ), _STDERR, their_status.fileno(), theirs.fileno())
        return spawn.Spawned(_Told(status), ours)  # type: ignore[arg-type]

    def _ask(self, words: Sequence[str] | None, cwd: Path, env: dict[str, str], *files: int) -> None:
        if self._process is None:
            self._begin()
        message = json.dumps({"words": words, "cwd": str(cwd), "env": env}).encode()
        socket.send_fds(self._socket, [message], files)

    def _begin(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-u", "-m", "reliability.zygote", str(theirs.fileno())]
            self._process = subprocess.Popen(command, cwd=_ROOT, pass_fds=[theirs.fileno()])


async def _read(end: socket.socket) -> asyncio.StreamReader:
    """What comes at this end, which is closed when the other one is."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**22)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), end)
    return reader


def main(file: int) -> None:
    """Forks what it is asked for until nobody asks any more."""
    for name in _IMPORTED:
        with suppress(ImportError):  # there is no uvloop on every platform
            import_module(name)
    asked = socket.socket(fileno=file)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    running: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([asked.fileno(), woken], [], [])
        if asked.fileno() in readable:
            message, files, *_ = socket.recv_fds(asked, MESSAGE_MAX, 3)
            if not message:
                return
            out, status, *channel = files
            pid = os.fork()
            if pid == 0:
                _become(json.loads(message), out, *channel)
            for end in (out, *channel):
                os.close(end)
            running[pid] = socket.socket(fileno=status)
            _tell(running[pid], pid)
        if woken in readable:
            os.read(woken, MESSAGE_MAX)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, code = ended
                with running.pop(pid) as told:
                    _tell(told, os.waitstatus_to_exitcode(code))


def _tell(told: socket.socket, number: int) -> None:
    with suppress(OSError):  # who asked has gone
        told.sendall(b"%d\n" % number)


def _become(what: dict[str, Any], out: int, channel: int | None = None) -> NoReturn:
    """Is the program to its end; or the nursery, where there is a channel to one."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for file, place in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(file, place)
        _close_all_but(channel)
        os.chdir(what["cwd"])
        os.environ.clear()
        os.environ.update(what["env"])
        sys.path[0] = str(Path(sys.executable).parent)  # as it is for a script there
        random.seed()
        if channel is not None:
            signal.pthread_sigmask(signal.SIG_BLOCK, spawn.STOPS)
            _be_nursery(socket.socket(fileno=channel))
            sys.exit(0)
        with patch.object(spawn, "_spawn", _fork_first), patch("yugen.cli.dev.SPARE_SECONDS", _NEVER):
            dying.run(what["words"])
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        logging.getLogger(__name__).exception("it has failed")
    finally:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(status)


def _close_all_but(file: int | None) -> None:
    os.closerange(3, file or 3)
    os.closerange((file or 2) + 1, _FILES_MAX)


def _be_nursery(channel: socket.socket) -> None:
    """Is the nursery until its channel is closed, and has what `yugen.runtime.spawn` leaves to one."""
    os.environ.pop(spawn.ENCRYPTION_KEY, None)
    with suppress(ConnectionError):
        import_module("yugen.runtime.nursery").main(BlockingChannel(channel))


class _Told:
    """What there is to a process that another one has forked, as `subprocess.Popen` is of one's own.

    Args:
        status: where it is told, first its process id and then its exit status.
    """

    def __init__(self, status: socket.socket) -> None:
        self._status = status.makefile()
        self._socket = status
        self.pid = int(self._status.readline())
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self._code is None:
            if not select.select([self._socket], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("nursery", timeout or 0)
            with self._socket, self._status:
                self._code = int(self._status.readline())
        return self._code

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class _Child:
    """What there is to a process of one's own that was forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self._status is None:
            with ExitStack() as opened:
                ended = os.pidfd_open(self.pid)
                opened.callback(os.close, ended)
                if not select.select([ended], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("nursery", timeout or 0)
            _, status = os.waitpid(self.pid, 0)
            self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


_start_nursery: Final = spawn._spawn
_starts: Final = itertools.count(1)


def _fork_first() -> spawn.Spawned:
    """As `yugen.runtime.spawn._spawn`, without the imports, the first time.

    Later the event loop runs, which is for a fork to share and not to have.
    """
    if next(_starts) > 1:
        return _start_nursery()
    ours, theirs = socket.socketpair()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, spawn.STOPS)
    pid = os.fork()
    if pid == 0:
        try:
            dying.live_on()
            signal.set_wakeup_fd(-1)
            os.dup2(_STDERR, 1)
            _close_all_but(theirs.fileno())
            _be_nursery(theirs)
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return spawn.Spawned(_Child(pid), ours)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(int(sys.argv[1]))
