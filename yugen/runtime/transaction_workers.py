"""The processes that run queries and mutations: a queue, and workers that are given several ahead.

Queries and mutations write nothing while they run, so they may run twice: what waits behind a function that takes its
time is given to another worker, and so is what a dying worker has not answered.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from yugen.intervals import Interval
from yugen.runtime.channel import Message, outcome_from_data, run_to_data
from yugen.runtime.limits import RunLimits, TimeLimitExceeded
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.processes import Role
from yugen.runtime.run import Run
from yugen.runtime.runner import Overloaded
from yugen.runtime.workers import CLOSING, Fork, Worker, Workers, failed
from yugen.storage.interface import StorageError

_DEATHS_MAX: Final = 2
"""How many processes may die under one function before it counts as the cause."""

_EVERYTHING: Final[Interval] = (b"", b"\xff" * 32)
"""What a function may have read whose process did not come to tell: any commit may change its answer."""


@dataclass(eq=False, slots=True)
class _Job:
    """A run on its way to its outcome. `deaths` counts the processes that have died while they ran it."""

    number: int
    run: Run
    done: asyncio.Future[Outcome]
    deaths: int = 0

    def settle(self, answer: Answer) -> None:
        if not self.done.done():
            self.done.set_result(Outcome(answer, (_EVERYTHING,), reads_identity=True))


class _Worker(Worker):
    """A worker with what it was given.

    Attributes:
        jobs: what it has not answered, in the order it runs them. The first one is running.
        skipped: the numbers of those that were given to others too; it may not have heard yet that it is to skip them.
        since: the loop's time from which the first job has been running.
        overdue: it is killed because its first job holds out against its limit.
        leaving: it ends by itself after the outcome that comes.
    """

    def __init__(self, pid: int, workers: TransactionWorkers) -> None:
        super().__init__(pid)
        self.jobs: dict[int, _Job] = {}
        self.skipped: set[int] = set()
        self.since = 0.0
        self.overdue = False
        self.leaving = False
        self._workers = workers

    @property
    def running(self) -> Run:
        """What it runs, if it has anything."""
        return next(iter(self.jobs.values())).run

    def received(self, message: Message) -> None:
        match message:
            case ("outcome", number, data):
                job = self._answered(number)
                if not job.done.done():
                    job.done.set_result(outcome_from_data(data))
            case ("unreadable", number, text):
                job = self._answered(number)
                if not job.done.done():
                    job.done.set_exception(StorageError(text))
            case ("skipped", numbers):
                for number in numbers:
                    self._forget(number)
                self.slow = bool(self.jobs)
            case ("leaving",):
                self.leaving = True
                self._workers.discard(self)
            case _:
                raise AssertionError(message)
        self._workers.pump()

    def lost(self) -> None:
        self._workers.lost(self)

    def skip(self, jobs: Sequence[_Job]) -> None:
        """Takes back what it has not begun."""
        numbers = [job.number for job in jobs]
        self.skipped.update(numbers)
        self.send(("skip", tuple(numbers)))

    def _answered(self, number: int) -> _Job:
        """The job that has an answer; it may have one from another worker already."""
        self.since = self._loop.time()
        job = self._forget(number)
        self.slow = bool(self.skipped)  # which it could be given again, and would skip
        return job

    def _forget(self, number: int) -> _Job:
        self.skipped.discard(number)
        return self.jobs.pop(number)


class TransactionWorkers(Workers[_Worker]):
    """Runs queries and mutations.

    Attributes:
        waiting: what no worker has, the next one first.
    """

    role: Role = "transactions"

    def __init__(self, fork: Fork, limits: RunLimits) -> None:
        super().__init__(fork, limits)
        self.waiting: OrderedDict[int, _Job] = OrderedDict()
        self._last_number = 0
        # One core is the server's; more workers than the others have nothing to run on.
        self._wanted = max(1, (os.cpu_count() or 1) - 1)

    async def run(self, run: Run) -> Outcome:
        """As `Runner.transact`."""
        if self.closed:
            raise Overloaded(CLOSING)
        if len(self.waiting) >= self.limits.waiting_max:
            raise Overloaded(f"{len(self.waiting)} functions wait to run already; try again in a moment.")
        self._last_number += 1
        job = _Job(self._last_number, run, self._loop.create_future())
        self.waiting[job.number] = job
        try:
            self.pump()
            return await job.done
        finally:
            self.waiting.pop(job.number, None)

    def make(self, pid: int) -> _Worker:
        return _Worker(pid, self)

    def pump(self) -> None:
        while self.waiting:
            free = [worker for worker in self.all if not worker.slow and len(worker.jobs) < self.limits.depth]
            if not free:
                break
            _, job = self.waiting.popitem(last=False)
            if not job.done.done():
                self._give(min(free, key=lambda each: len(each.jobs)), job)
        prompt = [worker for worker in self.all if not worker.slow]
        if (
            (self.waiting or any(len(worker.jobs) > 1 for worker in prompt))
            and len(prompt) + self.adding < self._wanted
            and len(self.all) + self.adding < self.limits.workers_max
        ):
            self.grow()

    def look(self) -> bool:
        limits = self.limits
        now = self._loop.time()
        for worker in [worker for worker in self.all if worker.jobs]:
            seconds = now - worker.since
            if seconds > limits.seconds(worker.running) + limits.grace_seconds:
                worker.overdue = True
                self.kill(worker)
            elif seconds > limits.slow_seconds and not worker.slow:
                self._send_around(worker)
        if any(worker.jobs for worker in self.all):
            return True
        for worker in self.all[self._wanted :]:
            self.kill(worker)
        return False

    def delayed(self, seconds: float) -> None:
        for worker in self.all:
            worker.since += seconds

    def lost(self, worker: _Worker) -> None:
        """Settles or gives to others what a process had that has ended."""
        self.discard(worker)
        jobs = list(worker.jobs.values())
        worker.jobs.clear()
        if jobs and not worker.leaving and not self.closed:
            self._blame(jobs[0], overdue=worker.overdue)
        self._put_back([job for job in jobs if job.number not in worker.skipped])
        if self.closed:
            self.fail_waiting(Overloaded(CLOSING))
        elif not self.all and not self.adding:
            self.grow()
        self.pump()

    def fail_waiting(self, error: Exception) -> None:
        if self.all:
            return  # they will come to it
        for job in self.waiting.values():
            if not job.done.done():
                job.done.set_exception(error)
        self.waiting.clear()

    def _give(self, worker: _Worker, job: _Job) -> None:
        if not worker.jobs:
            worker.since = self._loop.time()
        worker.jobs[job.number] = job
        worker.tell_catalog(self.catalog)
        worker.send(("run", job.number, run_to_data(job.run)))
        self.watch()

    def _send_around(self, worker: _Worker) -> None:
        worker.slow = True
        behind = [job for job in list(worker.jobs.values())[1:] if job.number not in worker.skipped]
        if behind:
            worker.skip(behind)
            self._put_back(behind)
        self.pump()

    def _put_back(self, jobs: Sequence[_Job]) -> None:
        """Has these jobs run before all that waits."""
        for job in reversed(jobs):
            if not job.done.done():
                self.waiting[job.number] = job
                self.waiting.move_to_end(job.number, last=False)

    def _blame(self, job: _Job, *, overdue: bool) -> None:
        """Ends a function that is the cause of its process's end. One death may have come from outside."""
        if overdue:
            error = TimeLimitExceeded(job.run.path, self.limits.seconds(job.run))
            job.settle(failed(job.run, TimeLimitExceeded.code, str(error)))
            return
        job.deaths += 1
        if job.deaths >= _DEATHS_MAX:
            text = f"{job.run.path} ended the process it ran in; look for what it calls outside Python."
            job.settle(failed(job.run, "WorkerDied", text))
