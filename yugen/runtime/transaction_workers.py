"""The processes that run queries and mutations: a queue, and workers that are given several ahead.

Queries and mutations write nothing while they run, so they may run twice: what waits behind a function that takes its
time is given to another worker, and so is what a dying worker has not answered.

Mutations all go to one worker, the *lead*, as long as they are quick: there they run in line (`yugen.runtime.line`),
and two that touch the same document are not in conflict. Queries go wherever there is room.

Functions take turns. A commit may have thousands of queries of one function run again; others do not wait for them all.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from yugen.intervals import Interval
from yugen.runtime.channel import Message, outcome_from_data, run_to_data
from yugen.runtime.fair_queue import FairQueue
from yugen.runtime.limits import RunLimits, TimeLimitExceeded
from yugen.runtime.line import Line, Place
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.processes import Role
from yugen.runtime.run import Run
from yugen.runtime.runner import Closing, Overloaded
from yugen.runtime.workers import Fork, Worker, Workers, failed
from yugen.storage.interface import SnapshotTooOld, StorageError

_DEATHS_MAX: Final = 2
"""How many processes may die under one function before it counts as the cause."""

_PACE_WEIGHT: Final = 1 / 16
"""Of the newest run in the pace of a worker."""

_LEAD_SECONDS: Final = 0.002
"""How much the lead may have before it before mutations go to other workers as well, where they may conflict."""

_EVERYTHING: Final[Interval] = (b"", b"\xff" * 32)
"""What a function may have read whose process did not come to tell: any commit may change its answer."""


@dataclass(eq=False, slots=True)
class _Job:
    """A run on its way to its outcome.

    Attributes:
        number: rises with each job.
        run: what to run.
        done: gets the outcome.
        deaths: how many processes have died while they ran it.
    """

    number: int
    run: Run
    done: asyncio.Future[Outcome]
    deaths: int = 0

    @property
    def in_line(self) -> bool:
        """Whether it runs in line: a mutation, unless it may take long."""
        return self.run.kind == "mutation" and not self.run.long

    def settle(self, answer: Answer) -> None:
        if not self.done.done():
            self.done.set_result(Outcome(answer, (_EVERYTHING,), reads_identity=True))


class _Worker(Worker):
    """A worker with what it was given.

    Attributes:
        jobs: what it has not answered, in the order it runs them. The first one is running.
        line: the mutations that it runs in line.
        pace: how many seconds its runs have taken of late.
        skipped: the numbers of those that were given to others too; it may not have heard yet that it is to skip them.
        since: the loop's time from which the first job has been running.
        overdue: it is killed because its first job holds out against its limit.
        leaving: it ends by itself after the outcome that comes.
    """

    def __init__(self, pid: int, workers: TransactionWorkers) -> None:
        super().__init__(pid)
        self.jobs: dict[int, _Job] = {}
        self.pace = 0.0
        self.line = Line()
        self._places: dict[int, Place] = {}
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
                place = self._places.get(number)
                job = self._answered(number)
                outcome = outcome_from_data(data, place)
                if self.leaving and outcome.answer.failure is not None:
                    # It was cut off: that is so whatever it has seen, and to find out may take as long again.
                    outcome = outcome._replace(place=None)
                self.pace += _PACE_WEIGHT * (outcome.used.seconds - self.pace)
                if not job.done.done():
                    job.done.set_result(outcome)
                elif place is not None:
                    self.line.revoke(place.number, outcome.changes)
            case ("unreadable", number, text, why):
                job = self._answered(number)
                if not job.done.done():
                    too_old = why == "too old"
                    job.done.set_exception(
                        SnapshotTooOld(text) if too_old else StorageError(text, damaged=why == "damaged")
                    )
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

    def give(self, job: _Job) -> None:
        """Has it run a job after all that it has."""
        if not self.jobs:
            self.since = self._loop.time()
        self.jobs[job.number] = job
        data = run_to_data(job.run)
        if job.in_line:
            place, revoked = self.line.enter(job.run.ts)
            self._places[job.number] = place
            self.send(("mutate", job.number, data, place.number, place.ts, self.line.settled, revoked))
        else:
            self.send(("run", job.number, data))

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
        self._places.pop(number, None)
        return self.jobs.pop(number)


class TransactionWorkers(Workers[_Worker]):
    """Runs queries and mutations.

    Attributes:
        waiting: what no worker has, by functions.
        waiting_in_line: the same of mutations that run in line.
    """

    role: Role = "transactions"

    def __init__(self, fork: Fork, limits: RunLimits, cores: int | None = None) -> None:
        super().__init__(fork, limits)
        self.waiting: FairQueue[_Job] = FairQueue()
        self.waiting_in_line: FairQueue[_Job] = FairQueue()
        self._line_had_its_turn = False
        self._last_number = 0
        # One core is the server's; more workers than the others have nothing to run on.
        self._wanted = max(1, (cores or os.cpu_count() or 1) - 1)

    def run(self, run: Run) -> asyncio.Future[Outcome]:
        """As `Runner.transact`."""
        self._last_number += 1
        job = _Job(self._last_number, run, self._loop.create_future())
        if self.closed:
            job.done.set_exception(Closing())
        elif self._is_full():
            text = f"{self.limits.waiting_max} functions wait to run already; try again in a moment."
            job.done.set_exception(Overloaded(text))
        else:
            self._queue_of(job).add(job.run.path, job)
            self.pump()
        return job.done

    @property
    def is_idle(self) -> bool:
        return not any(worker.jobs for worker in self._open) and not self.count_waiting()

    def count_waiting(self) -> int:
        """How many wait for a worker, and somebody for them."""
        for queue in (self.waiting, self.waiting_in_line):
            queue.drop(lambda job: job.done.done())
        return len(self.waiting) + len(self.waiting_in_line)

    def _is_full(self) -> bool:
        figure = self.limits.waiting_max
        return len(self.waiting) + len(self.waiting_in_line) >= figure and self.count_waiting() >= figure

    def make(self, pid: int) -> _Worker:
        return _Worker(pid, self)

    def pump(self) -> None:
        prompt = [worker for worker in self.all if not worker.slow]
        while (turn := self._next_turn(prompt)) is not None:
            self._give_next(*turn)
        if (
            (self.waiting or self.waiting_in_line or any(len(worker.jobs) > 1 for worker in prompt))
            and len(prompt) + self.adding < self._wanted
            and len(self.all) + self.adding < self.limits.workers_max
        ):
            self.grow()
        if self._idle is not None:
            self.settled()

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
            self.losses += 1
            self._blame(jobs[0], overdue=worker.overdue)
        self._put_back([job for job in jobs if job.number not in worker.skipped])
        if self.closed:
            self.fail_waiting(Closing())
        elif not self.all and not self.adding:
            self.grow()
        self.pump()

    def fail_waiting(self, error: Exception) -> None:
        if self.all:
            return  # they will come to it
        for queue in (self.waiting, self.waiting_in_line):
            for job in queue:
                if not job.done.done():
                    job.done.set_exception(error)
            queue.clear()
        self.settled()

    def _queue_of(self, job: _Job) -> FairQueue[_Job]:
        return self.waiting_in_line if job.in_line else self.waiting

    def _next_turn(self, prompt: Sequence[_Worker]) -> tuple[_Worker, FairQueue[_Job]] | None:
        """The next worker with room, and whose turn it is: what is in line and the rest alternate where both wait."""
        if self.waiting_in_line and not (self.waiting and self._line_had_its_turn):
            worker = self._lead(prompt)
            if worker is not None:
                self._line_had_its_turn = True
                return worker, self.waiting_in_line
        if self.waiting:
            worker = self._freest(prompt)
            if worker is not None:
                self._line_had_its_turn = False
                return worker, self.waiting
        return None

    def _lead(self, prompt: Sequence[_Worker]) -> _Worker | None:
        """The worker for the next mutation in line: another than the lead only where that has much to do."""
        lead = prompt[0] if prompt else None
        if lead is None or len(lead.jobs) < self.limits.depth:
            return lead
        return self._freest(prompt) if lead.pace * len(lead.jobs) > _LEAD_SECONDS else None

    def _freest(self, prompt: Sequence[_Worker]) -> _Worker | None:
        worker = min(prompt, key=lambda each: len(each.jobs), default=None)
        return worker if worker is not None and len(worker.jobs) < self.limits.depth else None

    def _give_next(self, worker: _Worker, queue: FairQueue[_Job]) -> None:
        job = queue.take()
        if not job.done.done():
            worker.tell_catalog(self.catalog)
            worker.give(job)
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
                self._queue_of(job).put_back(job.run.path, job)

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
