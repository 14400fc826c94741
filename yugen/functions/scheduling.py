"""`ctx.scheduler`: functions that run later."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, ParamSpec, overload

from yugen import values
from yugen.errors import Refused
from yugen.functions.declare import Action, Function, Mutation, by_name
from yugen.functions.info import Kind

if TYPE_CHECKING:
    from yugen.schema import Id

P = ParamSpec("P")

Named = Callable[["Function[Any, Any] | str", Mapping[str, Any]], tuple[str, Any]]
"""Gives the path of the function that another function refers to, and arguments of it as values of the wire."""

YEARS_MAX: Final = 5
_FARTHEST_SECONDS: Final = YEARS_MAX * 366 * 86_400


ARGUMENTS_SIZE_MAX: Final = values.DOCUMENT_SIZE_MAX - 64 * 1024
"""Size of the arguments of what is scheduled: they stand in a document, in which what came of it has room too."""


class InvalidSchedule(Refused):
    """A time at which, or a function that, nothing can be scheduled."""

    code = "InvalidSchedule"


def check_arguments(path: str, args: Any) -> None:
    """Makes sure that arguments, as values of the wire, can be kept until their function runs.

    Raises:
        InvalidSchedule: they are too large, or cannot stand in a document.
    """
    if (size := values.size(args)) > ARGUMENTS_SIZE_MAX:
        raise InvalidSchedule(
            f"The arguments of {path} take {size:,} bytes, and what is scheduled may have {ARGUMENTS_SIZE_MAX:,}; "
            "store them in documents of their own and give it their ids."
        )
    try:
        values.document_text({"args": [args]})
    except values.InvalidValue as error:
        raise InvalidSchedule(f"The arguments of {path} cannot be kept until it runs: {error}.") from None


class Scheduler:
    """`ctx.scheduler`.

    Args:
        call: runs one of Yugen's own mutations: in the transaction of a mutation, or in one of its own for an action.
        named: see `Named`.
    """

    def __init__(
        self, call: Callable[[Kind, Function[Any, Any] | str, Mapping[str, Any]], Awaitable[Any]], named: Named
    ) -> None:
        self._call = call
        self._named = named

    @overload
    async def run_after(
        self,
        delay: float | timedelta,
        reference: Mutation[P, Any] | Action[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Id[Any]: ...
    @overload
    async def run_after(self, delay: float | timedelta, reference: str, /, **kwargs: Any) -> Id[Any]: ...
    async def run_after(self, delay: float | timedelta, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Has a mutation or an action run later, as nobody in particular: it is not told who has scheduled it.

        Args:
            delay: how much later, in seconds or as a `timedelta`; 0 is as soon as this has committed.
            reference: the function.
            args: its arguments.
            kwargs: the same by name.

        Returns:
            The id of what is scheduled, a document of `_scheduled_functions`.

        Raises:
            InvalidSchedule: the delay is negative or beyond five years, or the function is a query.
            ArgumentValidationError: the arguments do not fit.
        """
        seconds = seconds_of(delay)
        if seconds is None:
            raise InvalidSchedule(
                f"A function cannot run after {delay!r}; give seconds or a timedelta, from 0 up to {YEARS_MAX} years."
            )
        return await self._schedule(reference, args, kwargs, after=seconds * 1000.0)

    @overload
    async def run_at(
        self, when: float | datetime, reference: Mutation[P, Any] | Action[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Id[Any]: ...
    @overload
    async def run_at(self, when: float | datetime, reference: str, /, **kwargs: Any) -> Id[Any]: ...
    async def run_at(self, when: float | datetime, reference: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Has a mutation or an action run at a time; otherwise as `run_after`.

        Args:
            when: milliseconds since the epoch, or a `datetime` with a time zone. What has passed is as soon as can be.
            reference: the function.
            args: its arguments.
            kwargs: the same by name.
        """
        if isinstance(when, datetime):
            if when.tzinfo is None:
                raise InvalidSchedule(f"{when!r} has no time zone; give it one, such as `tzinfo=UTC`.")
            at = when.timestamp() * 1000.0
        elif _is_number(when):
            at = float(when)
        else:
            raise InvalidSchedule(
                f"A function cannot run at {when!r}; give milliseconds since the epoch or a datetime."
            )
        return await self._schedule(reference, args, kwargs, at=at)

    async def cancel(self, id: Id[Any] | str, /) -> None:
        """Has a function not run that is scheduled. One that runs goes on; for one that has run there is nothing to do.

        Raises:
            InvalidSchedule: this is not the id of something scheduled.
        """
        await self._call("mutation", "_system/scheduler:cancel", {"id": id})

    async def _schedule(self, reference: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], **when: float) -> Any:
        path, given = self._named(reference, by_name(reference, args, kwargs))
        return await self._call("mutation", "_system/scheduler:schedule", {"path": path, "args": given, **when})


def seconds_of(delay: float | timedelta) -> float | None:
    """A delay in seconds; None if it is none that can be waited for: negative, not a number, or too long."""
    seconds = delay / timedelta(seconds=1) if isinstance(delay, timedelta) else delay
    return float(seconds) if _is_number(seconds) and 0 <= seconds <= _FARTHEST_SECONDS else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
