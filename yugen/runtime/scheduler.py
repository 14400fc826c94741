"""Running what is scheduled when its time has come.

The tables hold what there is to run (`yugen.system.scheduler`), and a subscription tells when that changes. How
much runs at once is bounded, for mutations and for actions apart, so that neither waits for the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from yugen import values
from yugen.runtime.limits import RunLimits
from yugen.runtime.own import CallRefused, change, value_of
from yugen.runtime.queries import Subscription
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.storage.interface import StorageError
from yugen.system.scheduler import SWEPT_MAX, Lane, NotPending

LOOK_SECONDS_MAX: Final = 60.0
"""How long it waits before it looks at the clock again, which somebody may have set."""

RETRY_SECONDS: Final = 1.0
"""How long it waits when there is too much to do, or when the store fails."""

SWEEP_SECONDS: Final = 600.0

R = TypeVar("R")

logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    id: str
    path: str
    args: dict[str, Any]
    time: float


class Scheduler:
    """Runs what is scheduled in a deployment. One node of it does.

    Args:
        runtime: the engine, which has been started.
        limits: how much runs at once.
    """

    def __init__(self, runtime: Runtime, limits: RunLimits) -> None:
        self._runtime = runtime
        self._lanes = (
            _Lane(runtime, "mutation", limits.scheduled_mutations_max, self._run_mutation),
            _Lane(runtime, "action", limits.scheduled_actions_max, self._run_action),
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, *, serve: bool = True) -> None:
        """Takes note of what an earlier server has left, and begins to run what is due.

        Args:
            serve: whether it goes on by itself; if not, `run_due` is to be called.
        """
        await self._trying(self._recover())
        await self.take_up_crons()
        for lane in self._lanes:
            lane.subscribe()
        if serve:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._serve(lane)) for lane in self._lanes]
            self._tasks.append(loop.create_task(self._sweep()))

    async def take_up_crons(self) -> None:
        """Has crons run as the app declares them now."""
        await self._trying(change(self._runtime, "_system/scheduler:take_up_crons"))

    async def run_due(self) -> float | None:
        """Runs what is due, and what comes due by that; returns when the next is, in milliseconds, if there is any."""
        while True:
            nexts = [await lane.start_due() for lane in self._lanes]
            running = [task for lane in self._lanes for task in lane.running.values()]
            if not running:
                return min((time for time in nexts if time is not None), default=None)
            await asyncio.wait(running)

    async def close(self) -> None:
        """Begins nothing more, and gives up what runs: mutations run another time, actions count as failed then."""
        running = [task for lane in self._lanes for task in lane.running.values()]
        for task in (*self._tasks, *running):
            task.cancel()
        if self._tasks or running:
            await asyncio.wait([*self._tasks, *running])
        for lane in self._lanes:
            lane.end()

    async def _serve(self, lane: _Lane) -> None:
        while True:
            lane.changed.clear()
            wait: float | None = RETRY_SECONDS
            try:
                due = await lane.start_due()
                wait = None if due is None else max(0.0, (due - self._runtime.now) / 1000)
            except (CallRefused, Overloaded, StorageError) as error:
                logger.warning("what is scheduled cannot be looked at now: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(lane.changed.wait(), None if wait is None else min(wait, LOOK_SECONDS_MAX))

    async def _run_mutation(self, job: _Job) -> None:
        mutated = await self._runtime.mutate(job.path, values.canonical(job.args), public=False, job=job.id)
        failure = mutated.answer.failure
        if failure is not None and not failure.detail.startswith(f"{NotPending.code}: "):
            await change(self._runtime, "_system/scheduler:end", id=job.id, error=failure.detail)

    async def _run_action(self, job: _Job) -> None:
        if not await change(self._runtime, "_system/scheduler:begin", id=job.id):
            return
        # From here on nobody else will run it: what stands in the way is waited out.
        answer = await _persisting(lambda: self._runtime.act(job.path, values.canonical(job.args), public=False))
        error = None if answer.failure is None else answer.failure.detail
        await _persisting(lambda: change(self._runtime, "_system/scheduler:end", id=job.id, error=error))

    async def _recover(self) -> None:
        while count := await change(self._runtime, "_system/scheduler:recover"):
            logger.warning("%d scheduled actions were running when the server stopped; they count as failed", count)

    async def _sweep(self) -> None:
        while True:
            while await self._trying(change(self._runtime, "_system/scheduler:sweep")) == SWEPT_MAX:
                pass
            await asyncio.sleep(SWEEP_SECONDS)

    async def _trying(self, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except (CallRefused, Overloaded, StorageError) as error:
            logger.error("what is scheduled cannot be put in order: %s", error)
            return None


async def _persisting(work: Callable[[], Awaitable[R]]) -> R:
    """Does something as soon as there is not too much to do and the store does not fail."""
    while True:
        try:
            return await work()
        except (Overloaded, StorageError) as error:
            logger.warning("what is scheduled has to wait: %s", error)
            await asyncio.sleep(RETRY_SECONDS)


class _Lane:
    """What is scheduled of one kind.

    Attributes:
        changed: set when there may be something to do.
        running: what runs, by id.
    """

    def __init__(self, runtime: Runtime, kind: Lane, most: int, run: Callable[[_Job], Awaitable[None]]) -> None:
        self.changed = asyncio.Event()
        self.running: dict[str, asyncio.Task[None]] = {}
        self._runtime = runtime
        self._kind = kind
        self._most = most
        self._run = run
        self._subscription: Subscription | None = None

    def subscribe(self) -> None:
        # As many as may run may be among the first without being next, and as many more may be.
        args = values.canonical({"lane": self._kind, "limit": float(2 * self._most)})
        key = self._runtime.query_key("_system/scheduler:pending", args, public=False)
        self._subscription = self._runtime.queries.subscribe(key, None, self.changed.set)

    def end(self) -> None:
        if self._subscription is not None:
            self._subscription()

    async def start_due(self) -> float | None:
        """Begins what is due, as far as there is room; returns when the next is due, if there is room for it."""
        assert self._subscription is not None
        pending = value_of(await self._subscription.at(await self._runtime.latest()))
        for job in (_Job(**each) for each in pending):
            if job.id in self.running:
                continue
            if len(self.running) >= self._most:
                return None  # what ends will say so
            if job.time > self._runtime.now:
                return job.time
            task = asyncio.get_running_loop().create_task(self._carry_out(job))
            self.running[job.id] = task
        return None

    async def _carry_out(self, job: _Job) -> None:
        try:
            await self._run(job)
        except (CallRefused, Overloaded, StorageError) as error:
            logger.warning("%s is scheduled and cannot run now: %s", job.path, error)
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            del self.running[job.id]
            self.changed.set()
