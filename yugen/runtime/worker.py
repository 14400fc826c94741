"""A worker process: runs the functions that its server sends it, one transaction at a time or many actions at once.

Workers are forked from the nursery with the app loaded. They write nothing: a worker that is killed loses only what
it was running.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from traceback import extract_tb
from types import FrameType
from typing import Any, NamedTuple, TypeVar

from yugen.catalog import Catalog
from yugen.functions.declare import Function
from yugen.functions.info import Kind, RunKind
from yugen.functions.registry import App
from yugen.intervals import Interval, IntervalSet, point
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
from yugen.runtime.exchange import What
from yugen.runtime.execute import Executor, relayed
from yugen.runtime.limits import ActionCancelled, TimeLimitExceeded
from yugen.runtime.line import Unsettled
from yugen.runtime.masking import MaskedStream
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.runtime.setup import Setup
from yugen.runtime.turns import TransactionLoop
from yugen.storage.interface import Row, Snapshot, SnapshotTooOld, StorageError, Timestamp
from yugen.storage.sqlite import SqliteReader
from yugen.totals import Total

T = TypeVar("T")

_AGAIN_SECONDS = 0.1
"""How soon a function that swallowed its interruption is interrupted again."""


_IDLE_SECONDS = 1.0
"""After so long without a run nobody has waited for one."""

_LOOK_SECONDS = 0.005
"""How long a run takes after which there may be news of those that wait."""


class _Interrupt(BaseException):
    """Raised inside a function when its time is over. Not an Exception, so that `except Exception` lets it pass."""


def _executor(app: App, setup: Setup) -> Executor:
    executor = Executor(
        app,
        Catalog(),
        secret=setup.secret,
        development=setup.development,
        deployment=setup.deployment,
        limits=setup.limits,
        logs_failures=not setup.development,
    )
    if isinstance(sys.stderr, MaskedStream):
        sys.stderr.mask = executor.mask
    return executor


def serve_transactions(sock: socket.socket, app: App, setup: Setup) -> None:
    """Runs queries and mutations until the server closes the socket."""
    channel = BlockingChannel(sock)
    try:
        worker = _Transactions(channel, app, SqliteReader(setup.database), setup)
    except StorageError as error:
        channel.send(("unable", str(error)))
        return
    worker.memory.limit()
    channel.send(("ready",))
    worker.serve()


class _Transactions:
    """Runs queries and mutations one after the other.

    Once a function has been interrupted this process is not trusted any more, for that may have come in the middle of
    anything: it answers, and ends. So it does after one that was allowed to take much memory, and has.
    """

    def __init__(self, channel: BlockingChannel, app: App, reader: SqliteReader, setup: Setup) -> None:
        self._channel = channel
        self._reader = reader
        self._limits = setup.limits
        self._executor = _executor(app, setup)
        self._waiting: deque[tuple[int, Run, _InLine | None]] = deque()
        self._unsettled = Unsettled()
        self._running: Run | None = None
        self._interrupted = False
        self.memory = _Memory(setup.limits.memory_bytes)
        signal.signal(signal.SIGALRM, self._interrupt)

    def serve(self) -> None:
        took = 0.0
        while True:
            if not self._waiting:
                self._reader.pause()
                if not self._channel.has_come(_IDLE_SECONDS):
                    self._reader.release()
                messages = self._channel.receive()
                if not messages:
                    return
            else:
                # What waits may have been given to others when one took long; to look after each costs too much.
                messages = self._channel.receive_ready() if took > _LOOK_SECONDS else []
            for message in messages:
                self._take(message)
            if self._waiting:
                began = time.monotonic()
                answer = self._answer(*self._waiting.popleft())
                took = time.monotonic() - began
                if self._interrupted or not self.memory.limit():
                    self._channel.send(("leaving",))
                    self._channel.send(answer)
                    return
                self._channel.send(answer)

    def _take(self, message: Message) -> None:
        match message:
            case ("run", number, data):
                self._waiting.append((number, run_from_data(data), None))
            case ("mutate", number, data, *place, revoked):
                # At once, for it is said only here, and what waits may be skipped.
                self._unsettled.revoke(revoked)
                self._waiting.append((number, run_from_data(data), _InLine._make(place)))
            case ("skip", numbers):
                skipped = tuple(number for number, *_ in self._waiting if number in numbers)
                self._waiting = deque(waiting for waiting in self._waiting if waiting[0] not in skipped)
                self._channel.send(("skipped", skipped))
            case ("table", data):
                self._executor.catalog.add(table_from_data(data))
            case ("environment", variables):
                self._executor.catalog.environment = variables
            case _:
                raise AssertionError(message)

    def _answer(self, number: int, run: Run, in_line: _InLine | None) -> Message:
        try:
            snapshot = _Watched(self._snapshot(run, in_line))
        except StorageError as error:
            return _unreadable(number, error)
        outcome = self._outcome(run, snapshot)
        if not self._interrupted:
            snapshot.close()
        if snapshot.failure is not None:
            return _unreadable(number, snapshot.failure)  # whatever the function has made of that
        if in_line is not None and outcome.changes:
            self._unsettled.add(in_line.number, outcome.changes)
        return ("outcome", number, outcome_to_data(outcome))

    def _snapshot(self, run: Run, in_line: _InLine | None) -> Snapshot:
        if in_line is None:
            return _finish(self._reader.snapshot(run.ts))
        self._unsettled.settle(in_line.settled)
        return self._reader.newest(in_line.ts, self._unsettled.overlay)

    def _outcome(self, run: Run, snapshot: _Watched) -> Outcome:
        seconds = self._limits.seconds(run)
        if run.long:
            self.memory.lift()
        try:
            self._running = run
            signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
            # In a context of its own, so that nothing it sets there is seen by the next.
            loop = TransactionLoop(partial(self._executor.foreign_await, run))
            outcome = copy_context().run(loop.run, self._executor.transact(run, snapshot))
            self._running = None
        except BaseException as error:
            # If it was not interrupted, such as CancelledError, which a function has no business to raise.
            self._running = None
            if self._interrupted:
                error = TimeLimitExceeded(run.path, seconds, self._last_place(error))
            outcome = self._cut_off(run, snapshot, error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return outcome

    def _cut_off(self, run: Run, snapshot: _Watched, error: BaseException) -> Outcome:
        failure = self._executor.failure(run, error)
        return Outcome(Answer(failure=failure), snapshot.reads(), reads_identity=True)

    def _interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        if self._running is not None:
            self._interrupted = True
            raise _Interrupt

    def _last_place(self, interrupt: BaseException) -> str:
        frames = [frame for frame in extract_tb(interrupt.__traceback__) if self._executor.is_ours(frame.filename)]
        return f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


class _InLine(NamedTuple):
    """The place of a mutation in the line, and what of the line it is to see on top of a timestamp; see `Line`."""

    number: int
    ts: Timestamp
    settled: int


def _unreadable(number: int, error: StorageError) -> Message:
    why = "too old" if isinstance(error, SnapshotTooOld) else "damaged" if error.damaged else "failed"
    return ("unreadable", number, str(error), why)


class _Watched:
    """A snapshot that keeps account of what is asked of it, for a function that does not come to its own account.

    Attributes:
        failure: why something could not be read.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.failure: StorageError | None = None
        self._snapshot = snapshot
        self._asked: list[Interval] = []

    @property
    def ts(self) -> Timestamp:
        return self._snapshot.ts

    async def get(self, key: bytes) -> bytes | None:
        self._asked.append(point(key))
        try:
            return await self._snapshot.get(key)
        except StorageError as error:
            self.failure = error
            raise

    async def scan(self, start: bytes, end: bytes, *, reverse: bool = False, limit: int) -> list[Row]:
        self._asked.append((start, end))
        try:
            return await self._snapshot.scan(start, end, reverse=reverse, limit=limit)
        except StorageError as error:
            self.failure = error
            raise

    async def count(self, start: bytes, end: bytes) -> int:
        self._asked.append((start, end))
        try:
            return await self._snapshot.count(start, end)
        except StorageError as error:
            self.failure = error
            raise

    async def total(self, start: bytes, end: bytes) -> Total:
        self._asked.append((start, end))
        try:
            return await self._snapshot.total(start, end)
        except StorageError as error:
            self.failure = error
            raise

    def close(self) -> None:
        self._snapshot.close()

    def reads(self) -> tuple[Interval, ...]:
        """All that may have been read, as disjoint intervals in order."""
        return tuple(IntervalSet(self._asked))


def _finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a store on this machine answers at once")


def serve_actions(sock: socket.socket, app: App, setup: Setup) -> None:
    """Runs actions, any number at once on one event loop, until the server closes the socket."""
    asyncio.run(_Actions(app, setup).serve(sock))


class _Actions(asyncio.Protocol):
    """One end of an action worker's channel.

    An action waits for the server's word before it starts, so that one which a blocked worker has not begun can be
    given to another worker without ever running twice.
    """

    def __init__(self, app: App, setup: Setup) -> None:
        self._executor = _executor(app, setup)
        self._limits = setup.limits
        self._unpacker = Unpacker()
        self._offered: dict[int, Run] = {}
        self._asking: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: dict[int, asyncio.Future[Answer]] = {}
        self._last_call = 0
        self._stopping = False
        self._gone = asyncio.Event()

    async def serve(self, sock: socket.socket) -> None:
        # Python's own has a few threads, so that the blocking calls of one action would wait for those of others.
        threads = ThreadPoolExecutor(self._limits.actions_max, thread_name_prefix="action")
        asyncio.get_running_loop().set_default_executor(threads)
        self._transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, sock=sock)
        self._send(("ready",))
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
                    waiting = self._calls.pop(call, None)
                    if waiting is not None and not waiting.done():  # whoever waits may just have been cancelled
                        waiting.set_result(answer_from_data(answer))
                case ("cancel",):
                    self._stopping = True
                    for task in self._tasks:
                        task.cancel()
                case ("table", table):
                    self._executor.catalog.add(table_from_data(table))
                case ("environment", variables):
                    self._executor.catalog.environment = variables
                case _:
                    raise AssertionError(message)

    def connection_lost(self, error: Exception | None) -> None:
        self._gone.set()

    def _send(self, message: Message) -> None:
        self._transport.write(pack(message))

    def _ask(self) -> None:
        """Says that the next action could start, one at a time: the one before may block in its first step."""
        if self._asking is None and self._offered:
            self._asking = next(iter(self._offered))
            self._send(("free", self._asking))

    def _asked(self) -> None:
        self._asking = None
        asyncio.get_running_loop().call_soon(self._ask)

    async def _run(self, number: int, run: Run) -> None:
        async def call(kind: Kind, target: Function[Any, Any] | str, args: Mapping[str, Any]) -> Any:
            registered = self._executor.reference(target)
            encoded = registered.signature.encode_arguments(args, self._executor.catalog)
            return self._executor.received(registered, await self._call(number, kind, registered.path, encoded))

        async def wire(what: What, data: bytes) -> bytes:
            return relayed(await self._call(number, "http", what, data))

        try:
            async with asyncio.timeout(self._limits.action_seconds):
                if run.request is None:
                    answer = await self._executor.act(run, call)
                else:
                    answer = await self._executor.respond(run, call, wire)
        except TimeoutError:
            exceeded = TimeLimitExceeded(run.path, self._limits.action_seconds, is_action=True)
            answer = Answer(failure=self._executor.failure(run, exceeded))
        except BaseException as error:
            # A CancelledError too: whoever raised it, the server waits for an answer.
            if self._stopping and isinstance(error, asyncio.CancelledError):
                error = ActionCancelled(run.path)
            answer = Answer(failure=self._executor.failure(run, error))
        self._send(("acted", number, answer_to_data(answer)))

    async def _call(self, number: int, kind: RunKind, path: str, args: bytes) -> Answer:
        self._last_call += 1
        call = self._last_call
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._calls[call] = answer
        self._send(("call", call, number, kind, path, args))
        try:
            return await answer
        finally:
            self._calls.pop(call, None)


class _Memory:
    """The memory that this process may take beyond what it has at the start, where the kernel can see to that.

    A function that asks for too much then fails with a MemoryError, and no other process is killed for its sake.
    """

    def __init__(self, more: int) -> None:
        self._lifted = True
        self._most = self._taken() + more if sys.platform == "linux" else None
        self._room = more // 2

    def limit(self) -> bool:
        """Has the limit hold, again if it was lifted; returns whether it can, for little enough was taken meanwhile."""
        if self._most is not None and self._lifted:
            if self._taken() > self._most - self._room:
                return False
            self._set(self._most)
            self._lifted = False
        return True

    def lift(self) -> None:
        """Lets this process have as much memory as there is, for a function that knows its own limits."""
        if self._most is not None:
            self._set(resource.RLIM_INFINITY)
            self._lifted = True

    def _set(self, most: int) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard if most == resource.RLIM_INFINITY else most, hard))

    @staticmethod
    def _taken() -> int:
        return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def die_with_parent(parent: int) -> None:
    """Has the kernel end this process when the one that forked it ends, where the kernel can."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
