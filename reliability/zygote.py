"""Servers that start in a moment, each forked from a process that has imported everything: `Zygote`.

Of the seconds that a server takes to start, nearly all are imports, its own and those of its nursery. A machine that
kills a thousand servers would do little else. What runs in the fork is `reliability.dying`, to its end a process
of its own, with its own group, output and environment.
"""

from __future__ import annotations

import asyncio
import gc
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
from types import TracebackType
from typing import Any, Final, NoReturn, Self
from unittest.mock import patch

from reliability import dying
from yugen.runtime import spawn
from yugen.runtime.channel import BlockingChannel

MESSAGE_MAX: Final = 2**20
_IMPORTED: Final = (
    "uvloop",
    "yugen.cli.serve",
    "yugen.cli.supervise",
    "yugen.runtime.nursery",  # which turns off the search for garbage, here and not where this module is used
    "yugen.server.asgi",
    "yugen.server.listen",
)

_FILES_MAX: Final = 4096
"""Numbers that open files have at the most, in a process that has just begun."""


class Forked:
    """A program that was started so, as `asyncio.subprocess.Process` is one that was started otherwise.

    Attributes:
        pid: its process id.
        returncode: its exit status, negative for a signal; None while it runs.
        stdout: what it prints, both streams together.
    """

    def __init__(self, pid: int, stdout: asyncio.StreamReader) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout: asyncio.StreamReader | None = stdout
        self.has_ended = asyncio.Event()

    async def wait(self) -> int:
        """Waits until it has ended; its exit status."""
        await self.has_ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Zygote:
    """The process that is forked from. Leaving `async with` ends it, and not what it has started."""

    async def __aenter__(self) -> Self:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            file = theirs.fileno()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "reliability.zygote", str(file), pass_fds=[file]
            )
        self._socket.setblocking(False)
        self._running: dict[int, Forked] = {}
        self._turn = asyncio.Lock()
        self._starting: tuple[asyncio.StreamReader, asyncio.Future[Forked]] | None = None
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        await self._process.wait()

    async def start(self, words: Sequence[str], *, cwd: Path, env: dict[str, str]) -> Forked:
        """Starts `yugen` with these words on its command line."""
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        stdout = asyncio.StreamReader(limit=2**22)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(reading, "rb", 0))
        async with self._turn:
            started: asyncio.Future[Forked] = loop.create_future()
            self._starting = stdout, started
            message = json.dumps({"words": words, "cwd": str(cwd), "env": env}).encode()
            try:
                socket.send_fds(self._socket, [message], [writing])
            finally:
                os.close(writing)
            return await started

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while message := self._socket.recv(MESSAGE_MAX):
                match json.loads(message):
                    case {"began": pid}:
                        assert self._starting is not None, "it was asked for one"
                        stdout, started = self._starting
                        self._running[pid] = Forked(pid, stdout)
                        started.set_result(self._running[pid])
                    case {"ended": pid, "status": status}:
                        forked = self._running.pop(pid)
                        forked.returncode = status
                        forked.has_ended.set()


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
    while True:
        readable, _, _ = select.select([asked.fileno(), woken], [], [])
        if asked.fileno() in readable:
            message, files, *_ = socket.recv_fds(asked, MESSAGE_MAX, 1)
            if not message:
                return
            [out] = files
            pid = os.fork()
            if pid == 0:
                _become(json.loads(message), out)
            os.close(out)
            asked.send(json.dumps({"began": pid}).encode())
        if woken in readable:
            os.read(woken, MESSAGE_MAX)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                asked.send(json.dumps({"ended": pid, "status": os.waitstatus_to_exitcode(status)}).encode())


def _become(what: dict[str, Any], out: int) -> NoReturn:
    """Is the program to its end."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for file, place in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(file, place)
        os.closerange(3, _FILES_MAX)
        os.chdir(what["cwd"])
        os.environ.clear()
        os.environ.update(what["env"])
        random.seed()
        with patch("yugen.runtime.spawn._spawn", _fork_nursery):
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


class _Nursery:
    """What there is to a process that was forked, for whom `subprocess.Popen` is not."""

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


def _fork_nursery() -> Any:
    """As `yugen.runtime.spawn._spawn`, without the imports."""
    nursery = import_module("yugen.runtime.nursery")
    ours, theirs = socket.socketpair()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, spawn.STOPS)
    pid = os.fork()
    if pid == 0:
        try:
            dying.live_on()
            signal.set_wakeup_fd(-1)
            os.dup2(2, 1)
            file = theirs.fileno()
            os.closerange(3, file)
            os.closerange(file + 1, _FILES_MAX)
            with suppress(ConnectionError):
                nursery.main(BlockingChannel(theirs))
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return spawn.Spawned(_Nursery(pid), ours)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(int(sys.argv[1]))
