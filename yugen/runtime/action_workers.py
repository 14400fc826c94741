"""The processes that run actions, any number of them at once in one process.

An action may do anything, so it runs at most once: the process asks before it starts one. What a blocked process has
not started is given to another.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from yugen.functions.info import Kind
from yugen.runtime.channel import Message, answer_from_data, answer_to_data, run_to_data
from yugen.runtime.limits import RunLimits, TimeLimitExceeded
from yugen.runtime.outcome import Answer
from yugen.runtime.processes import Role
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack, Overloaded
from yugen.runtime.workers import CLOSING, Fork, Worker, Workers, failed

_PATIENCE: Final = 5
"""How many times `slow_seconds` a process may take to ask for an action before it goes to another."""


@dataclass(eq=False, slots=True)
class _Job:
    """An action on its way to its answer.

    Attributes:
        worker: where it is now, None while it waits for one.
        since: the loop's time at which it was given to that worker, and later at which it started.
    """

    number: int
    run: Run
    call: CallBack
    done: asyncio.Future[Answer]
    worker: _Worker | None = None
    since: float = 0.0
    started: bool = False
    overdue: bool = False

    def settle(self, answer: Answer) -> None:
        if not self.done.done():
            self.done.set_result(answer)


class _Worker(Worker):
    def __init__(self, pid: int, workers: ActionWorkers) -> None:
        super().__init__(pid)
        self._workers = workers

    def received(self, message: Message) -> None:
        self._workers.received(self, message)

    def lost(self) -> None:
        self._workers.lost(self)


class ActionWorkers(Workers[_Worker]):
    """Runs actions.

    Attributes:
        jobs: those that wait and those that run, by number.
    """

    role: Role = "actions"

    def __init__(self, fork: Fork, limits: RunLimits) -> None:
        super().__init__(fork, limits)
        self.jobs: dict[int, _Job] = {}
        self._last_number = 0
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self, run: Run, call: CallBack) -> Answer:
        """As `Runner.act`."""
        if self.closed:
            raise Overloaded(CLOSING)
        if len(self.jobs) >= self.limits.actions_max:
            raise Overloaded(f"{len(self.jobs)} actions run already; try again in a moment.")
        self._last_number += 1
        job = _Job(self._last_number, run, call, self._loop.create_future())
        self.jobs[job.number] = job
        self.pump()
        # An action goes on when nobody waits for it any more.
        return await asyncio.shield(job.done)

    @property
    def is_idle(self) -> bool:
        return not self.jobs

    def make(self, pid: int) -> _Worker:
        return _Worker(pid, self)

    def pump(self) -> None:
        waiting = [job for job in self.jobs.values() if job.worker is None]
        worker = next((worker for worker in self.all if not worker.slow), None)
        if worker is not None:
            for job in waiting:
                self._give(worker, job)
        elif waiting and not self.adding:
            self.grow()

    def look(self) -> bool:
        limits = self.limits
        now = self._loop.time()
        for job in list(self.jobs.values()):
            seconds = now - job.since
            if job.worker is None:
                continue
            if job.started and seconds > limits.action_seconds + limits.grace_seconds:
                job.overdue = True
                self.kill(job.worker)
            elif not job.started and seconds > limits.slow_seconds * _PATIENCE:
                job.worker.slow = True
                job.worker = None
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
                self.jobs.pop(number).settle(answer_from_data(answer))
                self.settled()
            case _:
                raise AssertionError(message)

    def lost(self, worker: _Worker) -> None:
        """Settles what a process had started that has ended, and gives the rest to another."""
        self.discard(worker)
        for job in [job for job in self.jobs.values() if job.worker is worker]:
            if not job.started:
                job.worker = None
                continue
            del self.jobs[job.number]
            if job.overdue:
                error = TimeLimitExceeded(job.run.path, self.limits.action_seconds)
                job.settle(failed(job.run, TimeLimitExceeded.code, str(error)))
            else:
                text = f"{job.run.path} was stopped with the process it ran in; it may have done part of its work."
                job.settle(failed(job.run, "ActionLost", text))
        if self.closed:
            self.fail_waiting(Overloaded(CLOSING))
        self.pump()
        self.settled()

    def fail_waiting(self, error: Exception) -> None:
        for job in [job for job in self.jobs.values() if job.worker is None]:
            del self.jobs[job.number]
            job.done.set_exception(error)
        self.settled()

    async def close(self) -> None:
        await super().close()
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _give(self, worker: _Worker, job: _Job) -> None:
        job.worker = worker
        job.since = self._loop.time()
        worker.tell_catalog(self.catalog)
        worker.send(("act", job.number, run_to_data(job.run)))
        self.watch()

    def _start(self, worker: _Worker, number: int) -> None:
        job = self.jobs.get(number)
        if job is None or job.worker is not worker:
            worker.send(("withdraw", number))
            return
        job.started = True
        job.since = self._loop.time()
        worker.send(("start", number))

    async def _call(self, worker: _Worker, call: int, number: int, kind: Kind, path: str, args: bytes) -> None:
        job = self.jobs.get(number)
        if job is None:
            return  # its time is over
        try:
            answer = await job.call(kind, path, args)
        except Exception as error:
            answer = failed(job.run, type(error).__name__, str(error))
        if not worker.gone:
            worker.send(("answer", call, answer_to_data(answer)))
