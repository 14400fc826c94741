"""The server's end of worker processes: one of them, and what all of one role have in common."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, Generic, TypeVar, cast

from yugen.catalog import Catalog
from yugen.runtime.channel import Message, Unpacker, pack, table_to_data
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer, Failure
from yugen.runtime.processes import Role
from yugen.runtime.run import Run
from yugen.runtime.runner import Closing, Overloaded

logger = logging.getLogger(__name__)

Fork = Callable[[Role], Awaitable[tuple[int, socket.socket]]]
"""Makes a worker process of a role: its process id and our end of its channel."""


STARTS_MAX: Final = 3
"""How many processes in a row may end before they are ready; one may have been killed from outside."""


class EndedEarly(Overloaded):
    """A process has ended before it was ready."""


class Worker(asyncio.Protocol, ABC):
    """The server's end of one worker process.

    Attributes:
        ready: done when the process can take work; fails when it cannot.
        ended: done when the process has ended and all that it was given is settled.
        gone: whether it has ended or is about to; nothing is sent to it any more.
        slow: what it runs takes so long that others are sent around it.
    """

    def __init__(self, pid: int) -> None:
        self.gone = False
        self.slow = False
        self._pid = pid
        self._unpacker = Unpacker()
        self._frames: list[bytes] = []
        self._catalog: Catalog | None = None
        self._tables_known = 0
        self._environment_known: Mapping[str, str] | None = None
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Future[None] = self._loop.create_future()

    @abstractmethod
    def received(self, message: Message) -> None:
        """A message from the process."""

    @abstractmethod
    def lost(self) -> None:
        """The process, which was ready, has ended. Called once, after all that it sent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for message in self._unpacker.feed(data):
            match message:
                case ("ready",):
                    self.ready.set_result(None)
                case ("unable", text):
                    self.ready.set_exception(Overloaded(text))
                case _:
                    self.received(message)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        if self.ready.done():
            self.lost()
        else:
            self.ready.set_exception(EndedEarly("The process ended before it was ready; see what it printed."))
        self.ended.set_result(None)

    def send(self, message: Message) -> None:
        """Sends with whatever else is sent in this turn of the event loop."""
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(pack(message))

    def tell_catalog(self, catalog: Catalog) -> None:
        """Tells of the tables that were added since it was last told, and of other environment variables."""
        if self._environment_known is not catalog.environment:
            self._environment_known = catalog.environment
            self.send(("environment", dict(catalog.environment)))
        if self._catalog is not catalog:
            self._catalog, self._tables_known = catalog, 0
        if self._tables_known < len(catalog.history):
            for table in catalog.history[self._tables_known :]:
                self.send(("table", table_to_data(table)))
            self._tables_known = len(catalog.history)

    def kill(self) -> None:
        """Ends the process at once; `lost` follows."""
        if self.gone:
            return
        self.gone = True
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._transport.abort()

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        if not self.gone:
            self._transport.write(b"".join(frames))


W = TypeVar("W", bound=Worker)


class Workers(ABC, Generic[W]):
    """The worker processes of one role.

    Args:
        fork: makes a process.
        limits: how long and how much functions may run.

    Attributes:
        all: those that can be given work, sooner or later.
        catalog: the tables of the deployment.
        losses: how many have ended with functions in them, which they were not to.
    """

    role: Role

    def __init__(self, fork: Fork, limits: RunLimits) -> None:
        self.all: list[W] = []
        self.catalog = Catalog()
        self.limits = limits
        self.closed = False
        self.losses = 0
        self._fork = fork
        self._loop = asyncio.get_running_loop()
        self._adding: set[asyncio.Task[None]] = set()
        self._open: set[W] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None  # for those who wait for that

    @property
    @abstractmethod
    def is_idle(self) -> bool:
        """Whether nothing runs or waits."""

    @abstractmethod
    def make(self, pid: int) -> W:
        """Our end of a new process."""

    @abstractmethod
    def pump(self) -> None:
        """Gives out what waits, to processes that are there or to be made."""

    @abstractmethod
    def look(self) -> bool:
        """Looks after what takes long; whether to look again."""

    @abstractmethod
    def delayed(self, seconds: float) -> None:
        """This process stood still for a time that must not be counted against any function."""

    @abstractmethod
    def fail_waiting(self, error: Exception) -> None:
        """Fails what has no process to run in."""

    async def add(self) -> None:
        """Makes a process and gives it what waits.

        Raises:
            AppFailed: the app does not load any more.
            Overloaded: no process can be started.
        """
        worker = await self._launch(STARTS_MAX)
        if not worker.gone:
            self.all.append(worker)
        self.pump()

    async def _launch(self, starts: int) -> W:
        """A process that is ready, which may take so many starts."""
        pid, sock = await self._fork(self.role)
        try:
            _, worker = await self._loop.create_connection(lambda: self.make(pid), sock=sock)
        except BaseException:
            sock.close()  # which ends the process too
            raise
        self._open.add(worker)
        worker.ended.add_done_callback(lambda _: self._open.discard(worker))
        try:
            await worker.ready
        except EndedEarly:
            if starts == 1:
                raise
            return await self._launch(starts - 1)
        except BaseException:
            worker.kill()
            raise
        return worker

    def grow(self) -> None:
        """Makes a process beside everything else."""
        task = self._loop.create_task(self._add_or_fail())
        self._adding.add(task)
        task.add_done_callback(self._added)

    @property
    def adding(self) -> int:
        """How many processes are being made."""
        return len(self._adding)

    def watch(self) -> None:
        """Has `look` called from time to time."""
        if self._watch is None and not self.closed:
            seconds = self.limits.slow_seconds
            self._watch = self._loop.call_later(seconds, self._look, self._loop.time() + seconds)

    def discard(self, worker: W) -> None:
        """Gives this worker nothing more."""
        if worker in self.all:
            self.all.remove(worker)

    def kill(self, worker: W) -> None:
        """Ends a process; what it was given is settled when it is lost."""
        self.discard(worker)
        worker.kill()

    async def finish(self) -> None:
        """Waits until nothing runs or waits."""
        while not self.is_idle:
            if self._idle is None:
                self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)

    def settled(self) -> None:
        """Something that ran or waited does so no more."""
        if self._idle is not None and self.is_idle:
            self._idle.set_result(None)
            self._idle = None

    async def close(self) -> None:
        """Kills all processes and fails all that is under way."""
        self.closed = True
        if self._watch is not None:
            self._watch.cancel()
        ended = [worker.ended for worker in self._open]
        for worker in list(self._open):
            self.kill(worker)
        for task in self._adding:
            task.cancel()
        self.fail_waiting(Closing())
        await asyncio.gather(*self._adding, *ended, return_exceptions=True)

    async def _add_or_fail(self) -> None:
        try:
            await self.add()
        except Exception as error:
            logger.error("no process could be started to run %s: %s", self.role, error)
            self.fail_waiting(Overloaded(str(error)))

    def _added(self, task: asyncio.Task[None]) -> None:
        self._adding.discard(task)
        if not self.closed:
            self.pump()

    def _look(self, expected: float) -> None:
        self._watch = None
        late = self._loop.time() - expected
        if late > self.limits.slow_seconds:
            self.delayed(late)
        if self.look():
            self.watch()


def failed(run: Run, code: str, text: str) -> Answer:
    """The answer of a function that did not come to answer itself."""
    detail = f"{code}: {text}"
    return Answer(failure=Failure(f"[Request ID: {run.request_id}] Server Error\nUncaught {detail}", detail=detail))
