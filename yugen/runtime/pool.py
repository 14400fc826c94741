"""Running functions in worker processes, so that nothing a function does can stall or take down the server.

Queries and mutations write nothing while they run, so they may run twice: whoever waits behind a function that takes
its time is given to another worker. A function past its limit is interrupted in its process; if it holds out, the
process is killed and only that function has failed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

from yugen.catalog import Catalog
from yugen.errors import Refused
from yugen.functions.info import AppInfo
from yugen.runtime.channel import (
    BlockingChannel,
    Message,
    Unpacker,
    answer_from_data,
    answer_to_data,
    outcome_from_data,
    pack,
    run_to_data,
    table_to_data,
)
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer, Failure, Outcome
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack, Overloaded

Role = Literal["transactions", "actions"]


class AppFailed(Refused):
    """The app does not load; the text says where and why."""

    code = "AppFailed"


class Nursery:
    """The process with the app loaded. It begins to load when this is made; the server may get ready meanwhile."""

    def __init__(self, app: Path, database: Path, *, development: bool, limits: RunLimits) -> None:
        ours, theirs = socket.socketpair()
        self._control = BlockingChannel(ours)
        self._turn = asyncio.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "yugen.runtime.nursery", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        self._control.send(("load", str(app), str(database), development, astuple(limits)))

    async def load(self) -> AppInfo:
        """Waits until the app is loaded.

        Raises:
            AppFailed: it does not load.
        """
        match await self._receive():
            case ("loaded", info), _:
                return AppInfo.from_data(info)
            case ("failed", text), _:
                raise AppFailed(text)
            case message, _:
                raise AssertionError(message)

    async def fork(self, role: Role) -> tuple[int, socket.socket]:
        """A new worker: its process id and our end of its channel."""
        async with self._turn:
            self._control.send(("fork", role))
            (_, pid), file = await self._receive()
            return pid, socket.socket(fileno=file)

    async def close(self) -> None:
        """Ends the process. Its workers end with it."""
        self._control.socket.close()
        await asyncio.to_thread(self._process.wait)

    async def _receive(self) -> tuple[Message, int | None]:
        try:
            return await asyncio.to_thread(self._control.receive_with_file)
        except (EOFError, ConnectionError):
            code = await asyncio.to_thread(self._process.wait)
            raise AppFailed(f"The process that loads the app ended with status {code}; see what it printed.") from None


@dataclass(eq=False, slots=True)
class _Job:
    """A run on its way. `worker` is where it is now, None while it waits for one."""

    number: int
    run: Run
    done: asyncio.Future[Any]
    call: CallBack | None = None
    worker: _Worker | None = field(default=None, repr=False)
    started: bool = False


class _Worker(asyncio.Protocol):
    """The server's end of one worker process.

    Attributes:
        jobs: what it was given and has not answered, in the order it will run. The first one is running.
        since: the loop's time from which the first job has been running.
        slow: its first job takes so long that others are sent around it.
    """

    def __init__(self, pid: int, received: Callable[[_Worker, Message], None], lost: Callable[[_Worker], None]) -> None:
        self.pid = pid
        self.jobs: dict[int, _Job] = {}
        self.since = 0.0
        self.slow = False
        self.retired = False
        self._received = received
        self._lost = lost
        self._unpacker = Unpacker()
        self._frames: list[bytes] = []
        self._tables_known = 0
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for message in self._unpacker.feed(data):
            self._received(self, message)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost(self)

    def send(self, message: Message) -> None:
        """Sends with whatever else is sent in this turn of the event loop."""
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(pack(message))

    def tell_tables(self, catalog: Catalog) -> None:
        """Tells of the tables that were added since it was last told."""
        for table in islice(catalog, self._tables_known, None):
            self.send(("table", table_to_data(table)))
        self._tables_known = len(catalog)

    def retire(self) -> None:
        """Lets the process end by itself, once it has nothing left to do."""
        self.retired = True
        self._transport.close()

    def kill(self) -> None:
        """Ends the process at once."""
        self.retired = True
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._transport.abort()

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        self._transport.write(b"".join(frames))


class WorkerPool:
    """A `Runner` over worker processes.

    Args:
        nursery: where workers come from; the pool closes it.
        info: what the nursery's app holds.
        development: whether the text of errors goes to clients.
    """

    def __init__(self, nursery: Nursery, info: AppInfo, *, limits: RunLimits) -> None:
        self.info = info
        self._nursery = nursery
        self._limits = limits
        self._numbers = 0
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._transactions = _Transactions(self)
        self._actions = _Actions(self)

    @classmethod
    async def launch(
        cls, app: Path, database: Path, *, development: bool, limits: RunLimits | None = None
    ) -> WorkerPool:
        """A pool for the app in a folder.

        Raises:
            AppFailed: the app does not load.
        """
        limits = limits or RunLimits()
        nursery = Nursery(app, database, development=development, limits=limits)
        try:
            return cls(nursery, await nursery.load(), limits=limits)
        except BaseException:
            await nursery.close()
            raise

    async def start(self, catalog: Catalog) -> None:
        """As `Runner.start`: one worker is there when this returns."""
        self.catalog = catalog
        await self._transactions.add_worker()

    async def transact(self, run: Run) -> Outcome:
        """As `Runner.transact`."""
        outcome: Outcome = await self._transactions.submit(self.job(run))
        return outcome

    async def act(self, run: Run, call: CallBack) -> Answer:
        """As `Runner.act`."""
        answer: Answer = await self._actions.submit(self.job(run, call))
        return answer

    async def close(self) -> None:
        """Kills what still runs and ends all processes."""
        self._closed = True
        self._transactions.close()
        self._actions.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._nursery.close()

    def statistics(self) -> dict[str, int]:
        """How many workers there are, and how many runs they have or that wait for one."""
        return {
            "transaction_workers": len(self._transactions.workers),
            "action_workers": len(self._actions.workers),
            "running": sum(len(worker.jobs) for worker in self._transactions.workers),
            "waiting": len(self._transactions.waiting),
        }

    @property
    def limits(self) -> RunLimits:
        return self._limits

    @property
    def closed(self) -> bool:
        return self._closed

    def job(self, run: Run, call: CallBack | None = None) -> _Job:
        self._numbers += 1
        return _Job(self._numbers, run, asyncio.get_running_loop().create_future(), call)

    def spawn(self, work: Any) -> None:
        """Runs a coroutine beside everything else, until the pool closes."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def connect(
        self, role: Role, received: Callable[[_Worker, Message], None], lost: Callable[[_Worker], None]
    ) -> _Worker:
        """A new worker of this role."""
        pid, sock = await self._nursery.fork(role)
        _, worker = await asyncio.get_running_loop().create_connection(lambda: _Worker(pid, received, lost), sock=sock)
        return worker


class _Group:
    """The workers of one role."""

    role: Role

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self.workers: list[_Worker] = []
        self._adding = 0
        self._watch: asyncio.TimerHandle | None = None

    async def add_worker(self) -> None:
        self._adding += 1
        try:
            worker = await self.pool.connect(self.role, self.received, self._lost)
        finally:
            self._adding -= 1
        self.workers.append(worker)
        self.pump()

    def received(self, worker: _Worker, message: Message) -> None:
        raise NotImplementedError

    def pump(self) -> None:
        """Gives out what waits."""
        raise NotImplementedError

    def died(self, worker: _Worker) -> None:
        """Settles the jobs of a worker whose process has ended."""
        raise NotImplementedError

    def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        for worker in list(self.workers):
            worker.kill()

    def _lost(self, worker: _Worker) -> None:
        if worker in self.workers:
            self.workers.remove(worker)
        if self.pool.closed:
            for job in worker.jobs.values():
                job.done.cancel()
            return
        self.died(worker)
        self.pump()


def _failed(run: Run, code: str, text: str) -> Answer:
    return Answer(failure=Failure(f"[Request ID: {run.request_id}] Server Error\nUncaught {code}: {text}"))


class _Transactions(_Group):
    """Queries and mutations: a queue, and workers that take several ahead."""

    role: Role = "transactions"

    def __init__(self, pool: WorkerPool) -> None:
        super().__init__(pool)
        self.waiting: deque[_Job] = deque()
        # One core is the server's; more workers than the others have nothing to run on.
        self._wanted = max(1, (os.cpu_count() or 1) - 1)

    async def submit(self, job: _Job) -> Any:
        if len(self.waiting) >= self.pool.limits.waiting_max:
            raise Overloaded(f"{len(self.waiting)} functions wait to run already; try again in a moment.")
        self.waiting.append(job)
        self.pump()
        return await job.done

    def pump(self) -> None:
        depth = self.pool.limits.depth
        while self.waiting:
            free = [worker for worker in self.workers if not worker.slow and len(worker.jobs) < depth]
            if not free:
                break
            worker = min(free, key=lambda each: len(each.jobs))
            if worker.jobs and len(self._prompt()) + self._adding < self._wanted:
                self._grow()
            job = self.waiting.popleft()
            if not job.done.done():
                self._give(worker, job)
        if self.waiting and not self._adding and len(self._prompt()) < self._wanted:
            self._grow()

    def _prompt(self) -> list[_Worker]:
        return [worker for worker in self.workers if not worker.slow]

    def _grow(self) -> None:
        if len(self.workers) + self._adding < self.pool.limits.workers_max:
            self.pool.spawn(self.add_worker())

    def _give(self, worker: _Worker, job: _Job) -> None:
        if not worker.jobs:
            worker.since = asyncio.get_running_loop().time()
        worker.jobs[job.number] = job
        worker.tell_tables(self.pool.catalog)
        worker.send(("run", job.number, run_to_data(job.run)))
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(self.pool.limits.slow_seconds, self._look)

    def received(self, worker: _Worker, message: Message) -> None:
        _, number, data = message
        job = worker.jobs.pop(number, None)
        if job is None:
            return  # it was given to another worker, and then this one came round to it first
        worker.since = asyncio.get_running_loop().time()
        worker.slow = False
        if not job.done.done():
            job.done.set_result(outcome_from_data(data))
        if not worker.jobs and len(self._prompt()) > self._wanted:
            self.workers.remove(worker)
            worker.retire()
        self.pump()

    def _look(self) -> None:
        """Looks after workers whose first job takes long, for as long as there is any job."""
        self._watch = None
        loop = asyncio.get_running_loop()
        limits = self.pool.limits
        for worker in list(self.workers):
            if not worker.jobs:
                continue
            seconds = loop.time() - worker.since
            if seconds > limits.transaction_seconds + limits.grace_seconds:
                worker.kill()
                self._lost(worker)
            elif seconds > limits.slow_seconds and not worker.slow:
                self._send_around(worker)
        if any(worker.jobs for worker in self.workers):
            self._watch = loop.call_later(limits.slow_seconds, self._look)

    def _send_around(self, worker: _Worker) -> None:
        worker.slow = True
        behind = list(worker.jobs.values())[1:]
        for job in behind:
            del worker.jobs[job.number]
        if behind:
            worker.send(("skip", tuple(job.number for job in behind)))
        self.waiting.extendleft(reversed(behind))
        self.pump()

    def died(self, worker: _Worker) -> None:
        jobs = list(worker.jobs.values())
        worker.jobs.clear()
        if not jobs:
            return
        first, *behind = jobs
        self.waiting.extendleft(reversed(behind))
        limits = self.pool.limits
        seconds = asyncio.get_running_loop().time() - worker.since
        if seconds > limits.transaction_seconds:
            answer = _failed(
                first.run,
                "TimeLimitExceeded",
                f"{first.run.path} ran for more than {limits.transaction_seconds:g} s and its process was stopped; "
                "do less in one call, or do it in an action.",
            )
        else:
            answer = _failed(
                first.run,
                "WorkerDied",
                f"{first.run.path} ended the process it ran in; look for what it calls outside Python.",
            )
        if not first.done.done():
            first.done.set_result(Outcome(answer))


class _Actions(_Group):
    """Actions: started only by the word of the server, so that each runs at most once."""

    role: Role = "actions"

    def __init__(self, pool: WorkerPool) -> None:
        super().__init__(pool)
        self.jobs: dict[int, _Job] = {}

    async def submit(self, job: _Job) -> Any:
        if len(self.jobs) >= self.pool.limits.actions_max:
            raise Overloaded(f"{len(self.jobs)} actions run already; try again in a moment.")
        self.jobs[job.number] = job
        try:
            self.pump()
            return await job.done
        finally:
            del self.jobs[job.number]

    def pump(self) -> None:
        worker = next((worker for worker in self.workers if not worker.slow), None)
        for job in self.jobs.values():
            if job.worker is None and worker is not None:
                self._give(worker, job)
            elif job.worker is None and not self._adding:
                self.pool.spawn(self.add_worker())

    def _give(self, worker: _Worker, job: _Job) -> None:
        job.worker = worker
        worker.jobs[job.number] = job
        worker.tell_tables(self.pool.catalog)
        worker.send(("act", job.number, run_to_data(job.run)))
        loop = asyncio.get_running_loop()
        loop.call_later(self.pool.limits.slow_seconds * 5, self._look_at, worker, job)

    def received(self, worker: _Worker, message: Message) -> None:
        worker.slow = False
        match message:
            case ("free", number):
                job = self.jobs.get(number)
                if job is None or job.worker is not worker:
                    worker.send(("withdraw", number))
                    return
                job.started = True
                worker.send(("start", number))
                limits = self.pool.limits
                seconds = limits.action_seconds + limits.grace_seconds
                asyncio.get_running_loop().call_later(seconds, self._overdue, worker, job)
            case ("call", call, number, kind, path, args):
                self.pool.spawn(self._call(worker, call, number, kind, path, args))
            case ("acted", number, answer):
                job = worker.jobs.pop(number)
                if not job.done.done():
                    job.done.set_result(answer_from_data(answer))
            case _:
                raise AssertionError(message)

    async def _call(self, worker: _Worker, call: int, number: int, kind: Any, path: str, args: bytes) -> None:
        job = worker.jobs.get(number)
        if job is None or job.call is None:
            return
        try:
            answer = await job.call(kind, path, args)
        except Exception as error:
            answer = _failed(job.run, type(error).__name__, str(error))
        if not worker.retired:
            worker.send(("answer", call, answer_to_data(answer)))

    def _look_at(self, worker: _Worker, job: _Job) -> None:
        """Gives a job that its worker has not begun, because another action blocks it, to another worker."""
        if job.started or job.done.done() or job.worker is not worker:
            return
        worker.slow = True
        worker.jobs.pop(job.number, None)
        job.worker = None
        self.pump()

    def _overdue(self, worker: _Worker, job: _Job) -> None:
        if job.done.done() or worker.retired:
            return
        worker.kill()
        self._lost(worker)

    def died(self, worker: _Worker) -> None:
        jobs = list(worker.jobs.values())
        worker.jobs.clear()
        for job in jobs:
            if not job.started:
                job.worker = None
            elif not job.done.done():
                text = f"{job.run.path} was stopped with the process it ran in; it may have done part of its work."
                job.done.set_result(_failed(job.run, "ActionLost", text))
