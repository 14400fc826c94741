"""What running a function gives, as plain data that crosses process and layer boundaries."""

from __future__ import annotations

from typing import NamedTuple

from yugen import values
from yugen.errors import FunctionFailed, Refused, YugenError
from yugen.guards import GuardedRead
from yugen.intervals import Interval
from yugen.runtime.line import Place
from yugen.storage.interface import Change, Timestamp


class Failure(NamedTuple):
    """Why a function gave no value.

    `message` is for the caller. `data` is the encoded JSON of what a `YugenError` carries and None for every other
    error, so that data which is null stays data (`b"null"`). `detail` is for administrators: the error by its name and
    its text, also where callers do not get to see them. `traceback` is for the developer who looks at the log: where it
    was raised, without the frames of Yugen itself.
    """

    message: str
    data: bytes | None = None
    detail: str = ""
    traceback: str = ""

    def error(self) -> YugenError | FunctionFailed:
        """The same as an exception, for a caller in Python who may see all of it."""
        if self.data is not None:
            return YugenError(values.loads(self.data))
        shown = self.message.partition("\n")[2]
        return FunctionFailed(shown or (f"Uncaught {self.detail}" if self.detail else self.message))


class Answer(NamedTuple):
    """What a caller learns: the encoded JSON of the value, or the failure; and the lines the function logged.

    `journal` is what a paginated query asks to be given when it runs again. The value of an HTTP action is what
    `yugen.runtime.exchange.Exchange.remainder` gives.
    """

    value: bytes | None = None
    failure: Failure | None = None
    log_lines: tuple[str, ...] = ()
    journal: str | None = None

    @property
    def size(self) -> int:
        """Bytes of what in it grows with what a function gives."""
        size = len(self.value or b"")
        if self.failure is not None:
            size += len(self.failure.data or b"")
        return size + sum(map(len, self.log_lines)) if self.log_lines else size


class Used(NamedTuple):
    """What a run has used: seconds from its start to its end, without the wait for it, and documents read."""

    seconds: float = 0.0
    documents: int = 0


class Outcome(NamedTuple):
    """An answer with what the run read and wants to write.

    `reads` are disjoint intervals of the key space in order, `guarded` are those of which not everything matters. They
    are complete also when the function failed, since a failed query is a result like any other. `reads_identity` tells
    whether the answer may differ for another caller. `place` is that of a mutation which ran in line.
    """

    answer: Answer
    reads: tuple[Interval, ...] = ()
    changes: tuple[Change, ...] = ()
    reads_identity: bool = False
    guarded: tuple[GuardedRead, ...] = ()
    used: Used = Used()
    place: Place | None = None


class MutationAnswer(NamedTuple):
    """A mutation's answer; `ts` is its commit timestamp, or None when it failed and nothing was written."""

    answer: Answer
    ts: Timestamp | None


def refused(error: Refused, request_id: str) -> Answer:
    """The answer of a call that is refused before anything runs."""
    detail = f"{error.code}: {error}"
    return Answer(failure=Failure(f"[Request ID: {request_id}] Server Error\nUncaught {detail}", detail=detail))
