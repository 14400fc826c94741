"""Taking the first step of a coroutine where it is begun: what need not wait is then a plain call."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


@dataclass(slots=True)
class Done(Generic[Result]):
    """The result of a coroutine that did not wait."""

    result: Result


def step(coroutine: Coroutine[Any, Any, Result]) -> Done[Result] | Awaitable[Result]:
    """Runs a coroutine until it ends or waits for something; in the second case, what is left of it, to be awaited."""
    try:
        waits_for = coroutine.send(None)
    except StopIteration as end:
        return Done(end.value)
    return _rest(coroutine, waits_for)


@types.coroutine
def _rest(begun: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    try:
        while True:
            try:
                result = yield waits_for
            except BaseException as error:
                waits_for = begun.throw(error)
            else:
                waits_for = begun.send(result)
    except StopIteration as end:
        return end.value
