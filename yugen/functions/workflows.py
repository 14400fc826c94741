"""Workflows: what they can do, and `ctx.workflows`, by which others start them.

A workflow is run from its beginning each time one of its steps has ended, with what its steps gave before; see
`yugen.runtime.replay`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar, overload

from yugen.errors import Refused
from yugen.functions.context import Call, log
from yugen.functions.declare import Action, Function, Mutation, Query, Workflow, by_name
from yugen.functions.retry import Retry
from yugen.functions.scheduling import YEARS_MAX, Named, seconds_of

if TYPE_CHECKING:
    from yugen.schema import Id

P = ParamSpec("P")
R = TypeVar("R")

NAME_SIZE_MAX: Final = 1024


class InvalidWorkflow(Refused):
    """Something that is no workflow, or no step of one."""

    code = "InvalidWorkflow"


class Steps(Protocol):
    """What a workflow's context needs from whoever runs it."""

    @property
    def now(self) -> float: ...
    async def call(self, reference: Function[Any, Any] | str, given: Mapping[str, Any], retry: Retry | None) -> Any: ...
    async def sleep(self, seconds: float) -> None: ...
    async def event(self, name: str, timeout: float | None) -> Any: ...


class _Stepping:
    """Carries out steps in one way."""

    def __init__(self, steps: Steps, retry: Retry | None = None) -> None:
        self._steps = steps
        self._retry = retry

    @overload
    async def step(
        self, reference: Query[P, R] | Mutation[P, R] | Action[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def step(self, reference: str, /, **kwargs: Any) -> Any: ...
    async def step(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Has a function carried out and gives its result, however often this workflow is resumed.

        A query and a mutation are carried out exactly once. An action that fails is tried again, by default four times
        in all; `ctx.idempotency_key` is the same each time. It is given up at once when it raises a `YugenError`.

        Args:
            reference: the function.
            args: its arguments.
            kwargs: the same by name.

        Raises:
            YugenError: the function raised one.
            FunctionFailed: it failed otherwise, the last time it was tried.
            ArgumentValidationError: the arguments do not fit.
        """
        return await self._steps.call(reference, by_name(reference, args, kwargs), self._retry)


class WorkflowCtx(_Stepping):
    """Steps of one workflow. Several at once are awaited with `asyncio.gather`, a `TaskGroup` and the like.

    Attributes:
        id: the id of the workflow, a document of `_workflows`.
        now: the time in milliseconds since the epoch at which its last step ended, or at which it was started.
        random: a source of randomness that gives the same each time the workflow is resumed.
        log: a logger.
    """

    log = log

    def __init__(self, id: Id[Any], steps: Steps) -> None:
        super().__init__(steps)
        self.id = id
        self.random = Random(id)

    @property
    def now(self) -> float:
        """The time in milliseconds since the epoch at which its last step ended, or at which it was started."""
        return self._steps.now

    def with_retry(self, retry: Retry, /) -> _Stepping:
        """The same steps, tried again in another way: `await ctx.with_retry(Retry(attempts=8)).step(...)`."""
        return _Stepping(self._steps, retry)

    async def sleep(self, delay: float | timedelta, /) -> None:
        """Waits, for as long as five years.

        Args:
            delay: seconds or a `timedelta`.

        Raises:
            InvalidWorkflow: it is negative or too long.
        """
        await self._steps.sleep(_seconds(delay, "sleep for"))

    async def wait_for_event(self, name: str, /, timeout: float | timedelta | None = None) -> Any:
        """Waits until `ctx.workflows.send_event` sends an event of this name, and gives the value sent with it.

        Events that were sent before somebody waits for them are kept, and each goes to one who waits.

        Args:
            name: the name.
            timeout: how long to wait, in seconds or as a `timedelta`; by default as long as it takes.

        Raises:
            TimeoutError: it was not sent in time.
        """
        seconds = None if timeout is None else _seconds(timeout, "wait for")
        return await self._steps.event(_event_name(name), seconds)


class Workflows:
    """`ctx.workflows`.

    Args:
        call: runs one of Yugen's own mutations: in the transaction of a mutation, or in one of its own for an action.
        named: gives the path of a function and its arguments as values of the wire.
    """

    def __init__(self, call: Call, named: Named) -> None:
        self._call = call
        self._named = named

    @overload
    async def start(self, reference: Workflow[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Id[Any]: ...
    @overload
    async def start(self, reference: str, /, **kwargs: Any) -> Id[Any]: ...
    async def start(self, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Starts a workflow, as soon as this has committed.

        Args:
            reference: the workflow.
            args: its arguments.
            kwargs: the same by name.

        Returns:
            Its id, a document of `_workflows`.

        Raises:
            InvalidWorkflow: the function is no workflow.
            ArgumentValidationError: the arguments do not fit.
        """
        path, given = self._named(reference, by_name(reference, args, kwargs))
        return await self._call("mutation", "_system/workflows:start", {"path": path, "args": given})

    async def cancel(self, id: Id[Any] | str, /) -> None:
        """Ends a workflow: no more steps begin, and what a running action gives is left alone.

        For one that has ended there is nothing to do.

        Raises:
            InvalidWorkflow: this is not the id of a workflow.
        """
        await self._call("mutation", "_system/workflows:cancel", {"id": id})

    async def send_event(self, id: Id[Any] | str, name: str, value: Any = None, /) -> bool:
        """Sends an event to a workflow, for its `ctx.wait_for_event`.

        Args:
            id: the workflow.
            name: the name of the event.
            value: any value of the wire.

        Returns:
            Whether the workflow gets it; if not, it has ended or was never there.

        Raises:
            InvalidWorkflow: this is not the id of a workflow, or too many events wait there already.
        """
        given = {"id": id, "name": _event_name(name), "value": value}
        return await self._call("mutation", "_system/workflows:send_event", given)  # type: ignore[no-any-return]


def _seconds(delay: float | timedelta, what: str) -> float:
    seconds = seconds_of(delay)
    if seconds is None:
        raise InvalidWorkflow(
            f"A workflow cannot {what} {delay!r}; give seconds or a timedelta, from 0 up to {YEARS_MAX} years."
        )
    return seconds


def _event_name(given: object) -> str:
    if not isinstance(given, str) or not 0 < len(given) <= NAME_SIZE_MAX:
        raise InvalidWorkflow(
            f"An event cannot be called {str(given)[:100]!r}; give it a name of up to {NAME_SIZE_MAX} characters."
        )
    return given
