"""An event loop for one transaction: its tasks take turns, and there is nothing else to wait for.

A worker answers every read at once, so a function never has to wait for one. What it may still do is run several of its
coroutines side by side, with `asyncio.gather` or a `TaskGroup`. Everything else that a loop is for, clocks, sockets,
threads, has no place in a transaction, and reaching for it is refused in the function's own terms.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, copy_context
from itertools import chain
from types import FrameType
from typing import Any, NoReturn, TypeVar

from yugen.errors import Refused

T = TypeVar("T")


class ForeignAwait(Refused):
    """A query or a mutation awaited something other than its context."""

    code = "ForeignAwait"


logger = logging.getLogger(__name__)

Refuse = Callable[[Iterator[FrameType]], BaseException]
"""Makes the error for a function that awaits what it must not, out of the frames it is in, the innermost first."""


class TransactionLoop:
    """Runs one coroutine, and those it starts, to its end.

    Args:
        refuse: makes the error for what cannot be awaited here.
    """

    task_class: Callable[..., asyncio.Task[Any]] = asyncio.Task

    def __init__(self, refuse: Refuse) -> None:
        self._refuse = refuse
        self._ready: deque[tuple[Context, Callable[..., Any], tuple[Any, ...]]] = deque()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of the coroutine, or its error raised. Tasks that nobody waits for have their turns too."""
        outer = events._get_running_loop()
        events._set_running_loop(self)  # type: ignore[arg-type]
        try:
            main: asyncio.Task[T] = self.create_task(coroutine)
            while True:
                self.take_turns()
                if main.done():
                    return main.result()
                self.idle(main)
        finally:
            events._set_running_loop(outer)

    def take_turns(self) -> None:
        """Goes on until all tasks wait or are done."""
        ready = self._ready
        while ready:
            context, callback, args = ready.popleft()
            try:
                context.run(callback, *args)
            except Exception as error:  # as of a task that a group has ended before
                self.call_exception_handler({"message": f"{callback!r} failed", "exception": error})

    # What asyncio asks of a loop for tasks and futures

    def create_task(self, coroutine: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        if not isinstance(coroutine, _Turns):
            coroutine = _Turns(coroutine, self, self._refuse)
        return self.task_class(coroutine, loop=self, **options)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)  # type: ignore[arg-type]

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> None:
        # Tasks and futures, which alone call this, take no notice of a handle.
        self._ready.append((copy_context() if context is None else context, callback, args))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        logger.error("%s", context.get("message"), exc_info=context.get("exception"))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def __getattr__(self, name: str) -> NoReturn:
        raise self._refuse(_outward(sys._getframe(1)))

    def idle(self, main: asyncio.Task[Any]) -> None:
        """Ends the wait for something that nobody in this transaction will ever bring about."""
        tasks: list[Any] = []
        waits_for: Any = main
        while True:
            if isinstance(waits_for, asyncio.Task):
                tasks.insert(0, waits_for)
                waits_for = waits_for._fut_waiter  # type: ignore[attr-defined]
            elif children := [child for child in getattr(waits_for, "_children", ()) if not child.done()]:
                waits_for = children[0]
            else:
                break
        waits_for.set_exception(self._refuse(chain.from_iterable(_inward(task.get_coro().inner) for task in tasks)))


class _Turns(Coroutine[Any, Any, T]):
    """A coroutine that may wait for tasks and futures of its loop and for nothing else."""

    __slots__ = ("_loop", "_refuse", "inner")

    def __init__(self, inner: Coroutine[Any, Any, T], loop: Any, refuse: Refuse) -> None:
        self.inner = inner
        self._loop = loop
        self._refuse = refuse

    def send(self, value: Any) -> Any:
        return self._checked(self.inner.send(value))

    def throw(self, error: Any, value: Any = None, traceback: Any = None) -> Any:
        return self._checked(self.inner.throw(error))

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Any:
        return self.inner.__await__()

    def _checked(self, yielded: Any) -> object:
        while not isinstance(yielded, asyncio.Future) or yielded.get_loop() is not self._loop:
            yielded = self.inner.throw(self._refuse(_inward(self.inner)))
        return yielded


def _inward(coroutine: Any) -> Iterator[FrameType]:
    """The frames in which a coroutine is suspended, the innermost first."""
    frames: list[FrameType] = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        frames.append(frame)
        coroutine = coroutine.cr_await
    return reversed(frames)


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and those that called it."""
    while frame is not None:
        yield frame
        frame = frame.f_back
