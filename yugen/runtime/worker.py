"""A worker process: runs the functions that its server sends it, one transaction at a time or many actions at once.

Workers are forked from the nursery with the app loaded. They write nothing: a worker that is killed loses only what
it was running.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from asyncio import events
from collections import deque
from collections.abc import Coroutine, Mapping
from pathlib import Path
from traceback import extract_tb
from types import FrameType
from typing import Any, NoReturn, TypeVar

from yugen.catalog import Catalog
from yugen.errors import Refused
from yugen.functions.declare import Function
from yugen.functions.info import Kind
from yugen.functions.registry import App
from yugen.runtime.channel import (
    BlockingChannel,
    Message,
    Unpacker,
    answer_from_data,
    answer_to_data,
    outcome_to_data,
    pack,
    run_from_data,
    table_from_data,
)
from yugen.runtime.execute import Executor
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.storage.sqlite import SqliteReader

T = TypeVar("T")

_AGAIN_SECONDS = 0.1
"""How soon a function that swallowed its interruption is interrupted again."""


class TimeLimitExceeded(Refused):
    """A function ran longer than it may."""

    code = "TimeLimitExceeded"


class ForeignAwait(Refused):
    """A query or a mutation awaited something other than its context."""

    code = "ForeignAwait"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: queries and mutations may await nothing but `ctx`, so that they can run again at any time; "
            "do this in an action."
        )


class _Interrupt(BaseException):
    """Raised inside a function when its time is over. Not an Exception, so that `except Exception` lets it pass."""


class _NoLoop:
    """Stands for an event loop where there must be none, and says so to whoever reaches for it."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ForeignAwait(f"asyncio's {name} is not available here")


def serve_transactions(sock: socket.socket, app: App, database: Path, *, development: bool, limits: RunLimits) -> None:
    """Runs queries and mutations until the server closes the socket."""
    _Transactions(BlockingChannel(sock), app, database, development, limits).serve()


class _Transactions:
    def __init__(
        self, channel: BlockingChannel, app: App, database: Path, development: bool, limits: RunLimits
    ) -> None:
        self._channel = channel
        self._app = app
        self._database = database
        self._limits = limits
        self._executor = Executor(app, Catalog(), development=development)
        self._reader = SqliteReader(database)
        self._waiting: deque[tuple[int, Run]] = deque()
        self._running: Run | None = None
        signal.signal(signal.SIGALRM, self._interrupt)
        events._set_running_loop(_NoLoop())  # type: ignore[arg-type]

    def serve(self) -> None:
        while True:
            if not self._waiting:
                self._reader.release()
            messages = self._channel.receive_ready() if self._waiting else self._channel.receive()
            if not messages and not self._waiting:
                return
            for message in messages:
                self._take(message)
            if self._waiting:
                number, run = self._waiting.popleft()
                self._channel.send(("outcome", number, outcome_to_data(self._outcome(run))))

    def _take(self, message: Message) -> None:
        match message:
            case ("run", number, data):
                self._waiting.append((number, run_from_data(data)))
            case ("skip", numbers):
                self._waiting = deque(waiting for waiting in self._waiting if waiting[0] not in numbers)
            case ("table", data):
                self._executor.catalog.add(table_from_data(data))
            case _:
                raise AssertionError(message)

    def _outcome(self, run: Run) -> Outcome:
        try:
            try:
                self._running = run
                signal.setitimer(signal.ITIMER_REAL, self._limits.transaction_seconds, _AGAIN_SECONDS)
                return _drive(self._transact(run))
            finally:
                self._running = None
                signal.setitimer(signal.ITIMER_REAL, 0)
        except _Interrupt as interrupt:
            self._running = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            # The interruption may have come in the middle of anything, also of what keeps account of snapshots.
            self._reader.close()
            self._reader = SqliteReader(self._database)
            return Outcome(Answer(failure=self._executor.failure(run, self._exceeded(run, interrupt))))

    async def _transact(self, run: Run) -> Outcome:
        snapshot = await self._reader.snapshot(run.ts)
        try:
            return await self._executor.transact(run, snapshot)
        finally:
            snapshot.close()

    def _interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        if self._running is not None:
            raise _Interrupt

    def _exceeded(self, run: Run, interrupt: _Interrupt) -> TimeLimitExceeded:
        places = [
            f" in {Path(frame.filename).name}:{frame.lineno}"
            for frame in extract_tb(interrupt.__traceback__)
            if Path(frame.filename).is_relative_to(self._app.folder)
        ]
        return time_limit_exceeded(run.path, self._limits.transaction_seconds, places[-1] if places else "")


def time_limit_exceeded(path: str, seconds: float, place: str = "") -> TimeLimitExceeded:
    """The error of a function that was stopped."""
    return TimeLimitExceeded(
        f"{path} ran for more than {seconds:g} s and was stopped{place}; do less in one call, or do it in an action."
    )


def _drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that has nothing to wait for: a store on this machine answers at once."""
    try:
        coroutine.send(None)
        while True:
            coroutine.throw(ForeignAwait("something other than ctx was awaited"))
    except StopIteration as stop:
        result: T = stop.value
        return result


def serve_actions(sock: socket.socket, app: App, *, development: bool, limits: RunLimits) -> None:
    """Runs actions, any number at once on one event loop, until the server closes the socket."""
    asyncio.run(_Actions(app, development, limits).serve(sock))


class _Actions(asyncio.Protocol):
    """One end of an action worker's channel.

    An action waits for the server's word before it starts, so that one which a blocked worker has not begun can be
    given to another worker without ever running twice.
    """

    def __init__(self, app: App, development: bool, limits: RunLimits) -> None:
        self._executor = Executor(app, Catalog(), development=development)
        self._limits = limits
        self._unpacker = Unpacker()
        self._offered: dict[int, Run] = {}
        self._asking: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: dict[int, asyncio.Future[Answer]] = {}
        self._last_call = 0
        self._gone = asyncio.Event()

    async def serve(self, sock: socket.socket) -> None:
        self._transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, sock=sock)
        await self._gone.wait()

    def data_received(self, data: bytes) -> None:
        for message in self._unpacker.feed(data):
            match message:
                case ("act", number, run):
                    self._offered[number] = run_from_data(run)
                    self._ask()
                case ("start", number):
                    task = asyncio.get_running_loop().create_task(self._run(number, self._offered.pop(number)))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                    self._asked()
                case ("withdraw", number):
                    del self._offered[number]
                    self._asked()
                case ("answer", call, answer):
                    self._calls.pop(call).set_result(answer_from_data(answer))
                case ("table", table):
                    self._executor.catalog.add(table_from_data(table))
                case _:
                    raise AssertionError(message)

    def connection_lost(self, error: Exception | None) -> None:
        self._gone.set()

    def _ask(self) -> None:
        """Says that the next action could start, one at a time: the one before may block in its first step."""
        if self._asking is None and self._offered:
            self._asking = next(iter(self._offered))
            self._transport.write(pack(("free", self._asking)))

    def _asked(self) -> None:
        self._asking = None
        asyncio.get_running_loop().call_soon(self._ask)

    async def _run(self, number: int, run: Run) -> None:
        async def call(kind: Kind, target: Function[Any, Any] | str, args: Mapping[str, Any]) -> Any:
            registered = self._executor.reference(target)
            self._last_call += 1
            answer = self._calls[self._last_call] = asyncio.get_running_loop().create_future()
            request = ("call", self._last_call, number, kind, registered.path, self._executor.encode_arguments(args))
            self._transport.write(pack(request))
            return self._executor.received(registered, await answer)

        try:
            async with asyncio.timeout(self._limits.action_seconds):
                answer = await self._executor.act(run, call)
        except TimeoutError:
            exceeded = time_limit_exceeded(run.path, self._limits.action_seconds)
            answer = Answer(failure=self._executor.failure(run, exceeded))
        self._transport.write(pack(("acted", number, answer_to_data(answer))))


def die_with_parent() -> None:
    """Has the kernel end this process when the one that forked it ends, where the kernel can."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)
