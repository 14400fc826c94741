"""Running a workflow from its beginning, with what its steps gave before.

A workflow is a coroutine that may wait for steps and for nothing else. Where it stands follows from its arguments and
from the *ends* of its steps, in the order in which they came. So it needs no stack that is kept: it is run from the
beginning, is given one recorded end after the other, each when it has nothing left to do without it, and so comes to
where it was. What it asks for on the way must be what is recorded that it has asked for; what it asks for beyond that
is new. When there are no ends left it is put aside.

Nothing here reads or writes: a history comes in, and what is to be added to it goes out.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from itertools import count
from typing import Any, Final, NamedTuple, TypeVar

from yugen import values
from yugen.errors import Refused
from yugen.functions.declare import Function
from yugen.functions.info import Kind
from yugen.functions.retry import Retry
from yugen.functions.workflows import WorkflowCtx
from yugen.runtime.turns import Refuse, TransactionLoop
from yugen.system.workflows import Asked, History, Recorded, Replayed

T = TypeVar("T")

ACTION_RETRY: Final = Retry()
"""How actions are tried again for which nothing is said."""


class WorkflowChanged(Refused):
    """A workflow whose code does not lead to where it was."""

    code = "WorkflowChanged"


class Called(NamedTuple):
    """A function that is a step: what it is, its path, its arguments on the wire, and how its result is read."""

    kind: Kind
    path: str
    args: dict[str, Any]
    result: Callable[[Any], Any]


class _Stopped(BaseException):
    """Raised in a workflow that is not to go on. Not an Exception, so that `except Exception` lets it pass."""


class Replay:
    """One run of a workflow.

    Args:
        history: what has happened in it so far.
        find: the function that a step refers to.
        check_steps: refuses so many steps if that is too many.
        refuse: makes the error for what cannot be awaited.
        fresh: told when the workflow has come to where it was the last time.

    Attributes:
        now: when what it knows last happened, in milliseconds since the epoch.
    """

    def __init__(
        self,
        history: History,
        *,
        find: Callable[[Function[Any, Any] | str, Mapping[str, Any]], Called],
        check_steps: Callable[[int], None],
        refuse: Refuse,
        fresh: Callable[[], None] = lambda: None,
    ) -> None:
        self.now = history.began
        self._history = history
        self._find = find
        self._check_steps = check_steps
        self._fresh = fresh
        self._loop = _Loop(refuse, self._give_next, self._close)
        self._ends = sorted((step for step in history.steps if step.finished is not None), key=_finished)
        self._given = 0
        self._asked: list[Asked] = []
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._fault: WorkflowChanged | None = None
        self._stopped = False
        self._dropped: frozenset[int] | None = None  # None until nothing more can be asked for

    def run(self, start: Callable[[WorkflowCtx], Coroutine[Any, Any, Any]]) -> Replayed:
        """What is new.

        Raises:
            WorkflowChanged: the code does not ask for what is recorded.
            BaseException: the workflow failed with it.
        """
        result = None
        try:
            result = copy_context().run(self._loop.run, start(WorkflowCtx(self._history.id, self)))
        except (Exception, BaseExceptionGroup, asyncio.CancelledError, _Stopped) as error:
            if not self._stopped and self._fault is None:
                if isinstance(error, asyncio.CancelledError):
                    raise RuntimeError(f"{self._history.path} has canceled itself") from error
                raise
        known = len(self._history.steps)
        if self._fault is None and len(self._asked) < known:
            self._fault = self._changed(f"has taken {known} steps and would take {len(self._asked)} now")
        if self._fault is not None:
            raise self._fault
        assert self._dropped is not None
        return Replayed(tuple(self._asked[known:]), self._dropped, self._given, not self._stopped, result)

    async def call(self, reference: Function[Any, Any] | str, given: Mapping[str, Any], retry: Retry | None) -> Any:
        called = self._find(reference, given)
        if retry is None:
            retry = ACTION_RETRY if called.kind == "action" else Retry.ONCE
        return called.result(await self._ask(Asked(called.kind, called.path, called.args, retry=retry)))

    async def sleep(self, seconds: float) -> None:
        await self._ask(Asked("sleep", "", {"seconds": seconds}, until=self.now + seconds * 1000))

    async def event(self, name: str, timeout: float | None) -> Any:
        until = None if timeout is None else self.now + timeout * 1000
        return await self._ask(Asked("event", name, {"timeout": timeout}, until=until))

    def _close(self) -> None:
        self._dropped = frozenset(number for number, future in self._waiting.items() if future.cancelled())

    async def _ask(self, asked: Asked) -> Any:
        if self._stopped or self._dropped is not None:
            raise _Stopped
        number, steps = len(self._asked), self._history.steps
        if number < len(steps):
            self._compare(steps[number], asked)
        else:
            self._check_steps(number + 1)
        self._asked.append(asked)
        future = self._waiting[number] = self._loop.create_future()
        return await future

    def _compare(self, was: Recorded, now: Asked) -> None:
        alike = (was.kind, was.name) == (now.kind, now.name)
        if alike and (was.args == now.args or values.canonical(was.args) == values.canonical(now.args)):
            return
        other = " with other arguments" if alike else ""
        self._fault = self._changed(
            f"asked for {_shown(was)} in step {was.number}, and asks for {_shown(now)}{other} now"
        )
        raise _Stopped

    def _changed(self, how: str) -> WorkflowChanged:
        return WorkflowChanged(
            f"The code of {self._history.path} has changed while this ran: it {how}. Give changed code another name, "
            "and let what has begun come to its end under the old one."
        )

    def _give_next(self) -> bool:
        """Gives the workflow the next end of a step, as it has nothing left to do without it, or stops it for now.

        Returns:
            False if nothing that it waits for will ever end.
        """
        if self._stopped:
            return False
        if self._given == self._history.seen:
            self._fresh()
        if self._fault is None and self._given < len(self._ends):
            step = self._ends[self._given]
            self._given += 1
            self.now = step.time
            future = self._waiting.get(step.number)
            if future is not None:
                if not future.done():
                    step.settle(future)
                return True
            self._fault = self._changed(f"waited for step {step.number}, {_shown(step)}, and does not now")
        waiting = {number: future for number, future in self._waiting.items() if not future.done()}
        known = self._history.steps
        if gone := [known[number] for number in waiting if number < len(known) and known[number].canceled]:
            self._fault = self._changed(f"gave up step {gone[0].number}, {_shown(gone[0])}, and waits for it now")
        if self._fault is None and not waiting:
            return False
        self._stopped = True
        for future in waiting.values():
            future.set_exception(_Stopped())
            future.exception()  # it is no fault if nobody looks at it
        return True


class _Task(asyncio.Task[Any]):
    """A task whose place in a set, such as that of a `TaskGroup`, is the same in each run."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], *, loop: Any, **options: Any) -> None:
        self._number: int = next(loop.numbers)  # before the task is made, which goes into a set
        super().__init__(coroutine, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


class _Loop(TransactionLoop):
    """A loop whose tasks wait for steps.

    Args:
        refuse: as of `TransactionLoop`.
        give_next: has something happen when all tasks wait; returns False if nothing can.
        close: called when all that is left was cancelled: what it asks for after that, it does not get.
    """

    task_class = _Task

    def __init__(self, refuse: Refuse, give_next: Callable[[], bool], close: Callable[[], None]) -> None:
        super().__init__(refuse)
        self._give_next = give_next
        self._close = close
        self._tasks: list[asyncio.Task[Any]] = []
        self.numbers = count()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return super().run(coroutine)
        finally:
            self._end_tasks()

    def create_task(self, coroutine: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        task = super().create_task(coroutine, **options)
        self._tasks.append(task)
        return task

    def idle(self, main: asyncio.Task[Any]) -> None:
        if not self._give_next():
            super().idle(main)

    def _end_tasks(self) -> None:
        """Cancels what is left, as `asyncio.run` does, and once more what cleans up by steps that nobody awaits."""
        outer = events._get_running_loop()
        events._set_running_loop(self)  # type: ignore[arg-type]
        try:
            self._cancel_tasks()
            self._close()
            self._cancel_tasks()
        finally:
            events._set_running_loop(outer)
        for task in self._tasks:
            if not task.done():  # it will not be canceled; that it never ends is no fault of Yugen
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            elif not task.cancelled():
                task.exception()

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.take_turns()


def _finished(step: Recorded) -> int:
    assert step.finished is not None
    return step.finished


def _shown(step: Recorded | Asked) -> str:
    match step.kind:
        case "sleep":
            return "a sleep"
        case "event":
            return f"the event {step.name!r}"
        case _:
            return step.name
