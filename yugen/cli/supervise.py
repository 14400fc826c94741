"""`yugen serve --workers`: several server processes, the *nodes*, over the same data, and the process that keeps them.

The supervisor holds the lock of the database and the port, forks the nodes, and forks another where one dies. It serves
nothing, runs no event loop and opens no database while nodes live, so that forking it is safe at any time. The first
node brings the data to what the app declares before the others begin.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NoReturn

from yugen.cli.edge import Outside
from yugen.cli.serve import Listeners, allow_many_files, docs, forget_address, listen, listen_on, run, say_ready, serve
from yugen.errors import Refused
from yugen.runtime.memory import give_back_large_blocks
from yugen.runtime.worker import die_with_parent
from yugen.server import logs
from yugen.server.caller import AdminKey
from yugen.server.limits import parse
from yugen.server.mail import Mail
from yugen.server.nodes import Node
from yugen.server.yugen import Yugen
from yugen.storage.board import Board
from yugen.storage.interface import StorageError
from yugen.storage.sqlite_nodes import finish
from yugen.storage.sqlite_writer import lock_file

PAUSE_SECONDS_MAX: Final = 10.0
"""How long the place of a node that dies again and again stays empty."""

SILENCE_SECONDS_MAX: Final = 20.0
"""How long a node may not have come around to say that it lives; others may wait for what it holds."""

_BEAT_SECONDS: Final = 1.0
_SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)


def serve_in_nodes(
    nodes: int,
    app: Path,
    *,
    host: str,
    port: int,
    site_port: int | None,
    data: Path | None,
    url: str | None,
    site_url: str | None,
    files: str,
    limits: list[str] | None,
    environment: str,
    **outside: Any,
) -> NoReturn:
    """Serves with several processes until it is interrupted or terminated, which ends it with status 0.

    It exits with status 1, and says why, when it cannot begin. What else it takes are the options of `Outside`.
    """
    logs.configure(readable=False, at_once=True)
    allow_many_files()
    give_back_large_blocks()
    try:
        if not app.is_dir():
            raise OSError(f"There is no folder {app}; name the folder of your app package.")
        edge = Outside.of(**outside)
        places = listen(host, port, site_port, _reserve)

        def make(node: Node | None = None) -> Yugen:
            numbers = parse(limits or [])
            at, site = places.urls(url, site_url, edge.scheme)
            return Yugen(
                app,
                database=data,
                url=at,
                site_url=site,
                files=files,
                limits=numbers,
                node=node,
                docs=docs(),
                environment=environment,
                origins=edge.origins,
                allowed_hosts=edge.allowed_hosts,
                hsts_seconds=edge.hsts,
            )

        yugen = make()
        AdminKey(yugen.data / "admin_key")  # made here, or each node would make one
        lock_file(yugen.database)  # of which every node inherits a part: it holds until the last one is gone
        with TemporaryDirectory(prefix="yugen-") as folder:
            try:
                ready = partial(say_ready, yugen, places, edge.scheme)
                status = _Supervisor(nodes, make, places, edge, Path(folder), ready).run()
            finally:
                forget_address(yugen)
        if yugen.database.exists():
            finish(yugen.database)
    except (Refused, StorageError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    sys.exit(status)


def _reserve(host: str, port: int) -> socket.socket:
    """A socket that has the port, for others of ours to listen on.

    The kernel spreads connections evenly over sockets that listen on one port, and leaves out those that are gone. Of a
    socket that all wait on, whoever wakes first takes most.
    """
    with listen_on(host, port) as alone:  # which fails where the port is anybody's, also if they would share it
        family, port = alone.family, alone.getsockname()[1]
    return _bind(family, host, port)


def _bind_like(place: socket.socket) -> socket.socket:
    """Another socket at the place of this one."""
    return _bind(place.family, *place.getsockname()[:2])


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    place = socket.socket(family, socket.SOCK_STREAM)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        place.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    place.bind((host, port))
    return place


@dataclass(slots=True)
class _Child:
    """A node's process.

    Attributes:
        number: which node it is.
        began: when, in seconds of the monotonic clock.
        ready: the file it writes to when it serves; None when it has.
    """

    number: int
    began: float
    ready: int | None


class _Supervisor:
    """Keeps the nodes.

    Args:
        nodes: how many.
        make: makes what a node serves.
        places: have the ports.
        edge: how the way there is secured.
        folder: one that only we may enter.
        ready: called once, when all serve.
    """

    def __init__(
        self,
        nodes: int,
        make: Callable[[Node], Yugen],
        places: Listeners,
        edge: Outside,
        folder: Path,
        ready: Callable[[], None],
    ) -> None:
        self._make = make
        self._places = places
        self._edge = edge
        self._folder = folder
        self._ready = ready
        self._board = Board(nodes)
        self._mail = Mail(nodes)
        self._code: bytes | None = None
        self._children: dict[int, _Child] = {}
        self._missing = dict.fromkeys(range(nodes), 0.0)  # to when they are due
        self._pauses = dict.fromkeys(range(nodes), 0.0)
        self._complete = False  # whether all have served
        self._stopping = False
        self._status = 0
        self._woken, self._wake = os.pipe()

    def run(self) -> int:
        """Keeps the nodes until it is told to stop, or they do not come to serve; the exit status."""
        # What is loaded by now is shared by all nodes.
        gc.collect()
        gc.freeze()
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        while self._children or not self._stopping:
            if not self._stopping:
                self._fork_missing()
                self._end_silent()
            self._wait()
        return self._status

    def _fork_missing(self) -> None:
        now = time.monotonic()
        for number, due in list(self._missing.items()):
            # The first one shows what the app declares, and that the data can be brought to it.
            if due <= now and (number == 0 or self._code is not None):
                self._fork(number)

    def _fork(self, number: int) -> None:
        node = Node(number, self._board, self._mail, self._folder, deployed=self._code is not None, code=self._code)
        ready, theirs = os.pipe()
        self._board.beat(number)
        supervisor = os.getpid()
        # Until it is no supervisor any more, a node would take what ends it for a word to that, and go on.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(ready)
                self._become(node, supervisor, theirs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(theirs)
        del self._missing[number]
        self._children[pid] = _Child(number, time.monotonic(), ready)

    def _become(self, node: Node, supervisor: int, ready: int) -> NoReturn:
        """Is a node to its end."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # A terminal tells all processes at once, and a second time would be one of the supervisor's.
            signal.signal(signal.SIGINT, lambda *_: None)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            die_with_parent(supervisor)
            logs.configure(readable=False)
            api, site = self._places
            listeners = Listeners(_bind_like(api), site and _bind_like(site))
            yugen = self._make(node)
            yugen.load_early()
            began = partial(_begin, node, yugen, ready)
            run(serve(yugen, listeners, began, lambda: None, self._edge, signals=(signal.SIGTERM,)))
            status = 0
        except (Refused, StorageError, OSError) as error:
            print(error, file=sys.stderr)
        except BaseException:
            logger.exception("node %d has failed", node.number)
        finally:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _wait(self) -> None:
        """Waits until something has happened, and sees to it."""
        starting = {child.ready: child for child in self._children.values() if child.ready is not None}
        readable, _, _ = select.select([self._woken, *starting], [], [], _BEAT_SECONDS)
        for file in readable:
            if file == self._woken:
                for number in os.read(file, 4096):
                    if number != signal.SIGCHLD:
                        self._stop()
            else:
                self._heard(starting[file])
        self._bury()
        serving = not self._missing and all(each.ready is None for each in self._children.values())
        if serving and not self._complete and not self._stopping:
            self._complete = True
            self._ready()

    def _heard(self, child: _Child) -> None:
        """Takes in the code of a node that serves now. One that ends says nothing."""
        assert child.ready is not None
        code = os.read(child.ready, 64)
        os.close(child.ready)
        child.ready = None
        self._code = self._code or code or None
        if code and self._complete:
            logger.info("node %d serves again", child.number)

    def _bury(self) -> None:
        """Sees which nodes have ended."""
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self._children.pop(pid)
            if child.ready is not None:
                os.close(child.ready)
            code = os.waitstatus_to_exitcode(status)
            # One that has not come to serve ends by the signal that tells it to.
            failed = code not in (0, -signal.SIGTERM)
            self._ended(child, f"by signal {-code}" if code < 0 else f"with status {code}", failed=failed)

    def _ended(self, child: _Child, how: str, *, failed: bool) -> None:
        if self._stopping or not self._complete:
            # It has said why it does not come to serve.
            self._status = self._status or int(failed or not self._stopping)
            if not self._stopping:
                self._stop()
            return
        self._board.set_present(child.number, False)
        for other in self._mail.others(child.number):
            self._mail.post(other, {"gone": child.number})
        self._board.ring()  # it may have committed what it did not come to tell
        now = time.monotonic()
        lasted = now - child.began > PAUSE_SECONDS_MAX
        pause = 0.0 if lasted else min(PAUSE_SECONDS_MAX, 2 * self._pauses[child.number] or 0.1)
        self._pauses[child.number] = pause
        self._missing[child.number] = now + pause
        logger.error("node %d has ended %s; another one takes its place", child.number, how)

    def _end_silent(self) -> None:
        for pid, child in self._children.items():
            silent = self._board.silence(child.number)
            if child.ready is None and silent > SILENCE_SECONDS_MAX:
                logger.error("node %d has not been heard of for %.0f s", child.number, silent)
                self._board.beat(child.number)
                os.kill(pid, signal.SIGKILL)

    def _stop(self) -> None:
        """Tells all nodes to end. A second time has them wait for nobody."""
        self._stopping = True
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)


def _begin(node: Node, yugen: Yugen, ready: int) -> None:
    """Tells the supervisor that a node serves, and from now on that it lives. One that has failed ends."""
    assert node.code is not None
    os.write(ready, node.code)
    os.close(ready)

    def beat() -> None:
        node.board.beat(node.number)
        if yugen.has_failed:
            logger.error("node %d cannot go on", node.number)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        asyncio.get_running_loop().call_later(_BEAT_SECONDS, beat)

    beat()
