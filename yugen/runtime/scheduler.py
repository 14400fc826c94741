"""Running what is scheduled when its time has come.

The tables hold what there is to run (`yugen.system.scheduler`), and a subscription tells when that changes. How
much runs at once is bounded, for mutations and for actions apart, so that neither waits for the other.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, TypeVar

from yugen import values
from yugen.functions.info import Kind
from yugen.functions.scheduling import ARGUMENTS_SIZE_MAX
from yugen.runtime.causes import Why
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer
from yugen.runtime.own import CallRefused, change, value_of
from yugen.runtime.queries import Subscription
from yugen.runtime.runner import Closing, Overloaded
from yugen.runtime.runtime import Runtime
from yugen.storage.interface import StorageError

LOOK_SECONDS_MAX: Final = 60.0
"""How long it waits before it looks at the clock again, which somebody may have set."""

RETRY_SECONDS: Final = 1.0
"""How long it waits when there is too much to do, or when the store fails."""

PAUSE_SECONDS_MIN: Final = 0.001
"""How long it waits at least for what was waited for already, and still is not due."""

SWEEP_SECONDS: Final = 600.0

FINISH_SECONDS_MAX: Final = 2.0
"""How long the ends of what runs may take to be noted when the server stops."""
AHEAD: Final = 256
"""How much of what is next is looked at in one go."""

ERROR_LENGTH_MAX: Final = 8000
"""Characters of an error that are kept of what has failed."""

ROUNDS_MAX: Final = 10_000
"""How often what has run may have left something that is due at once, where time does not pass by itself."""

R = TypeVar("R")

logger = logging.getLogger(__name__)


class _Job(NamedTuple):
    """Something that is scheduled.

    Attributes:
        id: of its row.
        path: the function.
        args: its arguments, as values of the wire.
        time: when it is to run, in milliseconds since the epoch.
        what: why it runs.
        key: the idempotency key, of what has one.
    """

    id: str
    path: str
    args: dict[str, Any]
    time: float
    what: str
    key: str | None

    @property
    def why(self) -> Why:
        return Why(scheduled=self.what)


class Endless(Exception):
    """What is scheduled schedules more, and that does too, without any time between them."""


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

    async def start(self) -> None:
        """Takes note of what an earlier server has left, and gets ready to run what is due: see `run_due`."""
        await self._recover()
        await self.take_up_crons()
        for lane in self._lanes:
            lane.subscribe()

    def measure(self) -> dict[str, dict[str, float]]:
        """What there is of each kind, by the names of `yugen.server.metrics`."""
        now = self._runtime.now
        return {
            "yugen_scheduled_pending": {lane.kind: len(lane.known) for lane in self._lanes},
            "yugen_scheduled_running": {lane.kind: len(lane.running) for lane in self._lanes},
            "yugen_scheduler_lag_seconds": {lane.kind: lane.lag_ms(now) / 1000 for lane in self._lanes},
        }

    def serve(self) -> None:
        """Starts, and runs from here on what is due, by itself."""
        self._begin(self._serve())

    async def take_up_crons(self) -> None:
        """Has crons run as the app declares them now."""
        await self._put_in_order("take_up_crons")

    async def run_due(self) -> float | None:
        """Runs what is due, and what comes due by that; returns when the next is, in milliseconds, if there is any.

        Raises:
            Endless: what runs has more run at once, again and again.
        """
        running: list[asyncio.Task[None]] = []
        for _ in range(ROUNDS_MAX):
            for lane in self._lanes:
                lane.changed.clear()
            nexts = [await lane.start_due() for lane in self._lanes]
            running = [task for lane in self._lanes for task in lane.running.values()]
            if running:
                await asyncio.wait(running)
            elif not any(lane.changed.is_set() for lane in self._lanes):  # by what has ended while another looked
                return min((time for time in nexts if time is not None), default=None)
        paths = ", ".join(sorted({task.get_name() for task in running}))
        raise Endless(f"There is no end of what is due at once: {paths}; let it run later by a second or more.")

    async def rest(self) -> None:
        """Begins nothing more; what runs goes on."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def finish(self) -> None:
        """Waits until the end is noted of what runs, where that takes no longer than a commit."""
        running = [task for lane in self._lanes for task in lane.running.values()]
        if running:
            await asyncio.wait(running, timeout=FINISH_SECONDS_MAX)

    async def close(self) -> None:
        """Begins nothing more, and gives up what runs: mutations run another time, actions count as failed then."""
        running = [task for lane in self._lanes for task in lane.running.values()]
        for task in (*self._tasks, *running):
            task.cancel()
        if self._tasks or running:
            await asyncio.wait([*self._tasks, *running])
        for lane in self._lanes:
            lane.end()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _serve(self) -> None:
        await self.start()
        for lane in self._lanes:
            self._begin(self._serve_lane(lane))
        self._begin(self._sweep())

    async def _serve_lane(self, lane: _Lane) -> None:
        # Somebody may set the clock back, and what is next then stay as far away as it is for an hour: what was waited
        # for in vain is waited for longer.
        missed, pause = -1.0, 0.0
        while True:
            lane.changed.clear()
            due, wait = None, RETRY_SECONDS
            try:
                due = await lane.start_due()
                pause = min(2 * pause + PAUSE_SECONDS_MIN, RETRY_SECONDS) if due == missed else 0.0
                wait = math.inf if due is None else max(pause, (due - self._runtime.now) / 1000)
            except Exception as error:
                _warn("what is scheduled cannot be looked at now: %s", error)
            missed = -1.0
            # Not `wait_for`, which in Python 3.11 forgets that it was cancelled when what it waits for comes just then.
            try:
                async with asyncio.timeout(None if wait == math.inf else min(wait, LOOK_SECONDS_MAX)):
                    await lane.changed.wait()
            except TimeoutError:
                if due is not None and wait <= LOOK_SECONDS_MAX:
                    missed = due

    async def _run_mutation(self, job: _Job) -> None:
        args = values.canonical(job.args)
        mutated = await self._runtime.mutate(job.path, args, public=False, job=job.id, why=job.why)
        if mutated.answer.failure is not None:
            # If the server dies before this, it fails once more; nothing of it is left.
            await self._end(job, mutated.answer)

    async def _run_action(self, job: _Job) -> None:
        if not await change(self._runtime, "_system/scheduler:begin", id=job.id):
            return
        # From here on nobody else will run it: what stands in the way is waited out.
        args = values.canonical(job.args)
        try:
            answer = await _persisting(
                lambda: self._runtime.act(job.path, args, public=False, why=job.why, key=job.key)
            )
        except Closing:
            # It has not begun after all, and is for the next server to run.
            await change(self._runtime, "_system/scheduler:put_back", id=job.id)
            return
        await _persisting(lambda: self._end(job, answer))

    async def _end(self, job: _Job, answer: Answer) -> None:
        ended: dict[str, Any] = {"error": _error_of(answer)}
        data = None if answer.failure is None else answer.failure.data
        if data is not None and len(data) <= ARGUMENTS_SIZE_MAX:  # more has no room beside the rest
            ended["data"] = [values.loads(data)]
        elif answer.value is not None and job.key is not None:
            ended["result"] = values.loads(answer.value)
        report = await change(self._runtime, "_system/scheduler:end", id=job.id, **ended)
        if report is not None:
            logger.error("%s", report)

    async def _recover(self) -> None:
        while count := await self._put_in_order("recover"):
            logger.warning("%d scheduled actions were running when the server stopped; they count as failed", count)

    async def _sweep(self) -> None:
        while True:
            while await self._put_in_order("sweep"):
                pass
            await asyncio.sleep(SWEEP_SECONDS)

    async def _put_in_order(self, what: str) -> Any:
        """Has one of Yugen's own mutations look after what is scheduled; gives its result, or None if it has none."""
        try:
            return await _persisting(lambda: change(self._runtime, f"_system/scheduler:{what}"))
        except Closing:
            return None  # the next server does so first
        except CallRefused as error:
            logger.error("what is scheduled cannot be put in order: %s", error)
            return None


def _error_of(answer: Answer) -> str | None:
    """The text of a function's failure, as it can be stored; None if it has not failed."""
    if answer.failure is None:
        return None
    text = answer.failure.detail.encode(errors="backslashreplace").decode()
    return text if len(text) <= ERROR_LENGTH_MAX else f"{text[:ERROR_LENGTH_MAX]}… ({len(text):,} characters)"


async def _persisting(work: Callable[[], Awaitable[R]]) -> R:
    """Does something as soon as there is not too much to do and the store does not fail."""
    while True:
        try:
            return await work()
        except Closing:
            raise
        except (Overloaded, StorageError) as error:
            _warn("what is scheduled has to wait: %s", error)
            await asyncio.sleep(RETRY_SECONDS)


def _warn(text: str, error: Exception, *more: object) -> None:
    """Logs what is in the way of what is scheduled; with its place, if nobody has thought of it."""
    foreseen = isinstance(error, CallRefused | Overloaded | StorageError)
    logger.log(logging.WARNING if foreseen else logging.ERROR, text, *more, error, exc_info=None if foreseen else error)


class _Lane:
    """What is scheduled of one kind.

    Attributes:
        kind: the kind.
        changed: set when there may be something to do.
        running: what runs, by id.
        known: what is next, as it was when it was last looked at.
    """

    def __init__(self, runtime: Runtime, kind: Kind, most: int, run: Callable[[_Job], Awaitable[None]]) -> None:
        self.changed = asyncio.Event()
        self.running: dict[str, asyncio.Task[None]] = {}
        self.known: deque[_Job] = deque()
        self._runtime = runtime
        self.kind = kind
        self._most = most
        self._run = run
        self._subscription: Subscription | None = None
        # What has ended since it was last looked at what is next, and may be among that.
        self._ended: set[str] = set()

    def subscribe(self) -> None:
        # As many as may run may be among the first without being next.
        args = values.canonical({"lane": self.kind, "limit": float(self._most + AHEAD)})
        key = self._runtime.query_key("_system/scheduler:pending", args, public=False)
        self._subscription = self._runtime.queries.subscribe(key, None, self.changed.set)

    def lag_ms(self, now: float) -> float:
        """For how long what is next has been due."""
        return max(0.0, now - self.known[0].time) if self.known else 0.0

    def end(self) -> None:
        if self._subscription is not None:
            self._subscription()

    async def start_due(self) -> float | None:
        """Begins what is due, as far as there is room; returns when the next is due, if there is room for it."""
        if not self._start_known():
            return None  # what ends will say so
        # There may be more, and other than was known.
        self.known = await self._look()
        return self.known[0].time if self._start_known() and self.known else None

    def _start_known(self) -> bool:
        """Begins what is due of what is known, the earliest first; returns whether there is room for more."""
        while self.known and self.known[0].time <= self._runtime.now:
            if len(self.running) >= self._most:
                return False
            job = self.known.popleft()
            self.running[job.id] = asyncio.get_running_loop().create_task(self._carry_out(job), name=job.path)
        return len(self.running) < self._most

    async def _look(self) -> deque[_Job]:
        assert self._subscription is not None
        self._ended.clear()
        pending = value_of(await self._subscription.at(await self._runtime.latest()))
        jobs = (_Job(**each) for each in pending)
        return deque(job for job in jobs if job.id not in self.running and job.id not in self._ended)

    async def _carry_out(self, job: _Job) -> None:
        try:
            await self._run(job)
        except Exception as error:
            _warn("%s is scheduled and cannot run now: %s", error, job.path)
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            del self.running[job.id]
            self._ended.add(job.id)
            self.changed.set()
