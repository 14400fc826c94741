"""The processes that run actions, any number of them at once in one process.

An action may do anything, so it runs at most once: the process asks before it starts one. What a blocked process has
not started is given to another.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Final

from yugen.functions.info import RunKind
from yugen.runtime.channel import Message, answer_from_data, answer_to_data, run_to_data
from yugen.runtime.limits import RunLimits, TimeLimitExceeded
from yugen.runtime.outcome import Answer
from yugen.runtime.processes import Role
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack, Closing, Overloaded
from yugen.runtime.workers import Fork, Worker, Workers, failed

logger = logging.getLogger(__name__)

_PATIENCE: Final = 5
"""How many times `slow_seconds` a process may take to ask for an action before it goes to another."""


@dataclass(eq=False, slots=True)
class _Job:
    """An action on its way to its answer.

    Attributes:
        worker: where it is now, None while it waits for one.
        since: the loop's time at which it was given to that worker, and later at which it started.
        started: whether it has begun, so that nobody else may begin it.
        calling: how many actions of its own it waits for.
        has_place: whether it counts as running.
    """

    number: int
    run: Run
    call: CallBack
    done: asyncio.Future[Answer]
    worker: _Worker | None = None
    since: float = 0.0
    started: bool = False
    calling: int = 0
    has_place: bool = False


class _Worker(Worker):
    def __init__(self, pid: int, workers: ActionWorkers) -> None:
        super().__init__(pid)
        self._workers = workers

    def received(self, message: Message) -> None:
        self._workers.received(self, message)

    def lost(self) -> None:
        self._workers.lost(self)


class ActionWorkers(Workers[_Worker]):
    """Runs actions, so many at once, and has others wait for those to end.

    An action that waits for actions it has called lends them its place, so that places cannot all be taken by those who
    wait for one.

    Attributes:
        jobs: those that wait and those that run, by number.
    """

    role: Role = "actions"

    def __init__(self, fork: Fork, limits: RunLimits) -> None:
        super().__init__(fork, limits)
        self.jobs: dict[int, _Job] = {}
        self._waiting: deque[_Job] = deque()
        self._places = 0  # that are taken
        self._last_number = 0
        self._calls: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def run(self, run: Run, call: CallBack) -> Answer:
        """As `Runner.act`."""
        if self.closed or self._stopping:
            raise Closing()
        # Those for whom there is a place wait for no more than a process.
        waiting = len(self._waiting) - max(0, self.limits.actions_max - self._places)
        if waiting >= self.limits.actions_waiting_max:
            most = self.limits.actions_max
            raise Overloaded(f"{most} actions run and {waiting} wait for their turn; try again in a moment.")
        self._last_number += 1
        job = _Job(self._last_number, run, call, self._loop.create_future())
        self.jobs[job.number] = job
        self._waiting.append(job)
        self.pump()
        # An action goes on when nobody waits for it any more.
        return await asyncio.shield(job.done)

    @property
    def is_idle(self) -> bool:
        return not self.jobs

    def make(self, pid: int) -> _Worker:
        return _Worker(pid, self)

    def pump(self) -> None:
        while self._waiting and (self._waiting[0].has_place or self._places < self.limits.actions_max):
            worker = next((worker for worker in self.all if not worker.slow), None)
            if worker is None:
                if not self.adding:
                    self.grow()
                return
            self._give(worker, self._waiting.popleft())

    def look(self) -> bool:
        limits = self.limits
        now = self._loop.time()
        for job in list(self.jobs.values()):
            seconds = now - job.since
            if job.worker is None:
                continue
            if job.started and seconds > limits.action_seconds + limits.cleanup_seconds:
                self._give_up(job)
            elif not job.started and seconds > limits.slow_seconds * _PATIENCE:
                job.worker.slow = True
                self._take_back(job)
        self.pump()
        busy = {job.worker for job in self.jobs.values()}
        for worker in [worker for worker in self.all[1:] if worker not in busy]:
            self.kill(worker)
        return bool(self.jobs)

    def delayed(self, seconds: float) -> None:
        for job in self.jobs.values():
            job.since += seconds

    def received(self, worker: _Worker, message: Message) -> None:
        """Takes in what a process says, which also shows that it is not blocked."""
        worker.slow = False
        match message:
            case ("free", number):
                self._start(worker, number)
            case ("call", call, number, kind, path, args):
                task = self._loop.create_task(self._call(worker, call, number, kind, path, args))
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)
            case ("acted", number, answer):
                job = self.jobs.get(number)
                if job is not None:  # else it has been given up
                    self._end(job, answer_from_data(answer))
                    self.pump()
            case _:
                raise AssertionError(message)

    def lost(self, worker: _Worker) -> None:
        """Settles what a process had started that has ended, and gives the rest to another."""
        self.discard(worker)
        jobs = [job for job in self.jobs.values() if job.worker is worker]
        self.losses += bool(jobs) and not self.closed
        for job in jobs:
            if job.started:
                text = f"{job.run.path} was stopped with the process it ran in; it may have done part of its work."
                self._end(job, failed(job.run, "ActionLost", text))
            else:
                self._take_back(job)
        if self.closed:
            self.fail_waiting(Closing())
        self.pump()

    def fail_waiting(self, error: Exception) -> None:
        while self._waiting:
            job = self._waiting.popleft()
            del self.jobs[job.number]
            self._leave_place(job)
            job.done.set_exception(error)
        self.settled()

    async def drain(self) -> None:
        """As `Runner.drain`."""
        seconds = self.limits.shutdown_seconds
        if self.jobs:
            logger.info("Waiting %g s for %d actions; interrupt again to stop at once", seconds, len(self.jobs))
        try:
            async with asyncio.timeout(seconds):
                await self.finish()
        except TimeoutError:
            self._stopping = True
            self.fail_waiting(Closing())
            for worker in self._open:
                worker.send(("cancel",))
            with suppress(TimeoutError):
                async with asyncio.timeout(self.limits.cleanup_seconds):
                    await self.finish()
            for worker in tuple(self._open):
                self.kill(worker)
            await self.finish()

    async def close(self) -> None:
        await super().close()
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _give(self, worker: _Worker, job: _Job) -> None:
        self._take_place(job)
        job.worker = worker
        job.since = self._loop.time()
        worker.tell_catalog(self.catalog)
        worker.send(("act", job.number, run_to_data(job.run)))
        self.watch()

    def _take_back(self, job: _Job) -> None:
        """Has what a process has not started wait for another, ahead of those that have not been given out."""
        job.worker = None
        self._waiting.appendleft(job)

    def _start(self, worker: _Worker, number: int) -> None:
        job = self.jobs.get(number)
        if job is None or job.worker is not worker:
            worker.send(("withdraw", number))
        elif self._stopping:
            worker.send(("withdraw", number))
            self._take_back(job)
            self.fail_waiting(Closing())
        else:
            job.started = True
            job.since = self._loop.time()
            worker.send(("start", number))

    def _give_up(self, job: _Job) -> None:
        """Waits no longer for an action that holds out against being stopped.

        Its process gets nothing more, and ends with the last of the others that have started there.
        """
        worker = job.worker
        assert worker is not None
        self.discard(worker)
        for other in [each for each in self.jobs.values() if each.worker is worker and not each.started]:
            self._take_back(other)
        error = TimeLimitExceeded(job.run.path, self.limits.action_seconds, is_action=True)
        self._end(job, failed(job.run, TimeLimitExceeded.code, str(error)))

    def _end(self, job: _Job, answer: Answer) -> None:
        del self.jobs[job.number]
        self._leave_place(job)
        if not job.done.done():
            job.done.set_result(answer)
        worker = job.worker
        if (
            worker not in self.all
            and worker is not None
            and all(each.worker is not worker for each in self.jobs.values())
        ):
            worker.kill()
        self.settled()

    def _take_place(self, job: _Job) -> None:
        if not job.has_place:
            job.has_place = True
            self._places += 1

    def _leave_place(self, job: _Job) -> None:
        if job.has_place:
            job.has_place = False
            self._places -= 1

    async def _call(self, worker: _Worker, call: int, number: int, kind: RunKind, path: str, args: bytes) -> None:
        job = self.jobs.get(number)
        if job is None:
            return  # its time is over
        try:
            with self._place_lent(job) if kind == "action" else nullcontext():
                answer = await job.call(kind, path, args)
        except Exception as error:
            answer = failed(job.run, type(error).__name__, str(error))
        if not worker.gone:
            worker.send(("answer", call, answer_to_data(answer)))

    @contextmanager
    def _place_lent(self, job: _Job) -> Iterator[None]:
        job.calling += 1
        self._leave_place(job)
        try:
            yield
        finally:
            job.calling -= 1
            if not job.calling and job.number in self.jobs:
                self._take_place(job)
