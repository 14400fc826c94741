"""Yugen's own functions, as the engine and the server call them themselves."""

from __future__ import annotations

from typing import Any

from yugen import values
from yugen.runtime.outcome import Answer
from yugen.runtime.runtime import Runtime


class CallRefused(Exception):
    """A function refuses what it was asked, or has failed.

    Attributes:
        code: the name of its error.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


async def change(runtime: Runtime, path: str, **args: Any) -> Any:
    """What one of Yugen's own mutations gives.

    Raises:
        CallRefused: it refuses.
        Overloaded: too much is waiting already.
        StorageError: the store failed and nothing was written.
    """
    try:
        encoded = values.canonical(args)
    except values.InvalidValue as error:
        raise CallRefused(error.code, str(error)) from None
    return value_of((await runtime.mutate(path, encoded, public=False)).answer)


def value_of(answer: Answer) -> Any:
    """The value that a function gave.

    Raises:
        CallRefused: it gave none.
    """
    if answer.failure is not None:
        code, _, text = answer.failure.detail.partition(": ")
        raise CallRefused(code, text)
    assert answer.value is not None
    return values.loads(answer.value)
