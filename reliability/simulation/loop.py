"""An event loop whose time is nobody's: it jumps to the next moment at which anything happens.

Everything is a consequence of who asked for what when, so a run is the same each time. What a process that was killed
had begun never goes on: its callbacks are in the context of its *life*, and those of a life that has ended are dropped.
"""

from __future__ import annotations

import asyncio
import random
import select
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any


class Life:
    """A process, from its start to its end.

    Attributes:
        ended: whether nothing of it runs any more.
    """

    def __init__(self) -> None:
        self.ended = False


LIFE: ContextVar[Life | None] = ContextVar("LIFE", default=None)
"""Whose callbacks those of this context are."""


class Stalled(Exception):
    """Everybody waits and nothing is going to happen, or somebody is busy without end and without time passing."""


MOMENT_SECONDS = 0.001
"""What counts as one moment."""

STILL_MAX = 20_000
"""How many rounds of callbacks there may be in one moment."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """The event loop.

    Attributes:
        tasks: all that were begun, and of which life, which must not be collected, for that would run their ends.
        jitter: seconds by which timers come later than they were to, so that those of one moment come in any order.
        hearing: seconds that it takes until somebody sees that there is something to read in a file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.tasks: list[tuple[asyncio.Task[Any], Life | None]] = []
        self.jitter: Callable[[], float] = lambda: 0.0
        self.hearing: Callable[[], float] = lambda: 0.0
        self._files = select.poll()
        self._readers: dict[int, tuple[Context, Callable[..., Any], tuple[Any, ...]]] = {}
        self._about_to_hear: dict[int, asyncio.TimerHandle] = {}
        self._selector = self
        self._still, self._moment = 0, 0.0
        self._clock_resolution = 1e-9
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self.now

    def select(self, timeout: float | None) -> list[Any]:
        """In the place of a selector: what comes is from within, so that what is left of the wait can be skipped."""
        if self._readers and self._look_at_files():
            return []
        if timeout is None:
            raise Stalled("everybody waits, and nothing is going to happen")
        self.now += timeout
        self._still += 1
        if self.now > self._moment + MOMENT_SECONDS:
            self._still, self._moment = 0, self.now
        if self._still > STILL_MAX:
            raise Stalled("somebody is busy without end")
        return []

    def _look_at_files(self) -> bool:
        """Sees to it that who waits for a file hears of what is in it; whether there is anything new."""
        readable = [file for file, _ in self._files.poll(0) if file not in self._about_to_hear]
        for file in readable:
            context, callback, args = self._readers[file]
            timer = self.call_later(self.hearing(), self._hear, file, callback, args, context=context)
            self._about_to_hear[file] = timer
        return bool(readable)

    def _hear(self, file: int, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        del self._about_to_hear[file]
        callback(*args)

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        self.remove_reader(fd)
        file = fd if isinstance(fd, int) else fd.fileno()
        self._readers[file] = copy_context(), callback, args
        self._files.register(file, select.POLLIN)

    def remove_reader(self, fd: Any) -> bool:
        file = fd if isinstance(fd, int) else fd.fileno()
        if self._readers.pop(file, None) is None:
            return False
        self._files.unregister(file)
        if file in self._about_to_hear:
            self._about_to_hear.pop(file).cancel()
        return True

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
        context: Context | None = options.get("context")
        self.tasks.append((task, LIFE.get() if context is None else context.get(LIFE)))
        return task

    def left_of(self, life: Life) -> list[asyncio.Task[Any]]:
        """What a life has begun and not ended, and what of it failed without anybody taking note."""
        return [task for task, begun_by in self.tasks if begun_by is life and (not task.done() or task._log_traceback)]

    def _call_soon(self, callback: Any, args: Any, context: Context | None) -> asyncio.Handle:
        handle: asyncio.Handle = super()._call_soon(callback, args, context)  # type: ignore[misc]
        if _is_dead(context):
            handle.cancel()
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:  # type: ignore[override]
        timer = super().call_at(when + self.jitter(), callback, *args, context=context)
        if _is_dead(context):
            timer.cancel()
        return timer

    def end(self, life: Life) -> None:
        """Has nothing of a life run any more."""
        life.ended = True
        for handle in (*self._ready, *self._scheduled):  # type: ignore[attr-defined]
            if _is_dead(handle._context):
                handle.cancel()
        for file in [file for file, (context, _, _) in self._readers.items() if _is_dead(context)]:
            self.remove_reader(file)

    def bury(self) -> None:
        """Lets go of all that never came to its end, of lives that have ended and of others, after the run."""
        for task, _ in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with suppress(BaseException):
                    task.get_coro().close()
        self.tasks.clear()


def _is_dead(context: Context | None) -> bool:
    life = LIFE.get() if context is None else context.get(LIFE)
    return life is not None and life.ended


class SimulatedThread(Executor):
    """A thread that takes its time, of a life; what it does is done at one moment.

    Args:
        loop: whose time it is.
        seconds: how long the next job takes.
        is_held: whether the next job has to wait for somebody in another process.
    """

    def __init__(
        self, loop: SimulatedLoop, seconds: Callable[[], float], is_held: Callable[[], bool] = lambda: False
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._is_held = is_held
        self._jobs: deque[tuple[Future[Any], Callable[[], Any], Context]] = deque()
        self._busy = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._jobs.append((future, lambda: fn(*args, **kwargs), copy_context()))
        self._next()
        return future

    def _next(self) -> None:
        if not self._busy and self._jobs:
            self._busy = True
            _, _, context = self._jobs[0]
            self._loop.call_later(self._seconds(), self._run, context=context)

    def _run(self) -> None:
        if self._is_held():
            self._loop.call_later(self._seconds(), self._run)
            return
        life = LIFE.get()
        future, job, _ = self._jobs.popleft()
        if future.set_running_or_notify_cancel():
            try:
                result = job()
            except BaseException as error:
                if life is None or not life.ended:
                    future.set_exception(error)
            else:
                if life is None or not life.ended:  # the power may have gone while it wrote
                    future.set_result(result)
        self._busy = False
        self._next()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


def seeded(seed: int, what: str) -> random.Random:
    """Dice of a seed for one purpose, which no other purpose takes from."""
    return random.Random(f"{seed} {what}")
