"""The last runs of functions, for administrators who follow them with `convex logs`.

They are kept in memory and are gone with the process. Each has a *cursor*, a point in time that no other has, so that
whoever has seen some can ask for those that came after, also of the process that comes next. Arguments and results are
not kept, and of Yugen's own functions nothing.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import deque
from collections.abc import Callable
from itertools import takewhile
from typing import Any, Final, NamedTuple

from yugen.functions.info import RunKind
from yugen.functions.names import SYSTEM_PREFIX
from yugen.runtime.outcome import Answer
from yugen.runtime.run import Run

RUNS_MAX: Final = 1000
CHARACTERS_MAX: Final = 4 * 1024 * 1024
"""Of all that is kept."""

_RUN_CHARACTERS: Final = 300
"""What keeping a run takes apart from what it logged."""

_LINE: Final = re.compile(r"\[(DEBUG|INFO|LOG|WARN|ERROR)\] (.*)", re.DOTALL)


class Ran(NamedTuple):
    """A run that has ended.

    Attributes:
        cursor: when it ended, in milliseconds since the epoch, or a little later.
        kind: what it was called as.
        path: the function.
        request_id: what stands before the text of its error.
        signed_in: whether a user called it.
        lines: what it logged, in the form clients parse.
        error: why it gave no value, or None.
        returned: bytes of its value, or None.
        seconds: how long it took.
        characters: what keeping it takes.
    """

    cursor: float
    kind: RunKind
    path: str
    request_id: str
    signed_in: bool
    lines: tuple[str, ...]
    error: str | None
    returned: int | None
    seconds: float
    characters: int

    def to_json(self, *, structured: bool) -> dict[str, Any]:
        """The form in which the convex command line wants it; without `structured`, lines are plain text."""
        seconds = self.cursor / 1000
        return {
            "kind": "Completion",
            "udfType": "HttpAction" if self.kind == "http" else self.kind.capitalize(),
            "componentPath": None,
            "identifier": self.path,
            "logLines": [self._structured(line) if structured else line for line in self.lines],
            "timestamp": seconds,
            "executionTimestamp": seconds - self.seconds,
            "executionTime": self.seconds,
            "cachedResult": False,
            "success": None,
            "error": self.error,
            "returnBytes": self.returned,
            "requestId": self.request_id,
            "identityType": "user" if self.signed_in else "unknown",
            "environment": "python",
        }

    def _structured(self, line: str) -> dict[str, Any]:
        parts = _LINE.fullmatch(line)
        level, text = parts.groups() if parts else ("LOG", line)
        return {"level": level, "messages": [text], "isTruncated": False, "timestamp": self.cursor}


class Runs:
    """The newest runs of a server.

    Args:
        clock: seconds since the epoch.

    Attributes:
        newest: the cursor of the newest run; before there is one, of the beginning.
        closed: whether nobody should wait for news any more.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: deque[Ran] = deque()
        self._characters = 0
        self._news = asyncio.Event()
        self._bound = 0.0  # later than this is what comes
        self.newest = clock() * 1000
        self.closed = False

    @property
    def kept(self) -> int:
        """How many are remembered."""
        return len(self._kept)

    def add(self, run: Run, answer: Answer, seconds: float) -> None:
        """Takes in a run that has ended after so many seconds."""
        if run.path.startswith(SYSTEM_PREFIX):
            return
        self.newest = max(self._clock() * 1000, math.nextafter(max(self.newest, self._bound), math.inf))
        failure, value, lines = answer.failure, answer.value, answer.log_lines
        error = None if failure is None else f"Uncaught {failure.detail}"
        returned = None if value is None else len(value)
        characters = _RUN_CHARACTERS + len(run.path) + len(error or "") + sum(map(len, lines))
        signed_in = run.identity is not None
        # In the order of the fields: by their names it takes twice as long.
        self._kept.append(
            Ran(self.newest, run.kind, run.path, run.request_id, signed_in, lines, error, returned, seconds, characters)
        )
        self._characters += characters
        while len(self._kept) > RUNS_MAX or self._characters > CHARACTERS_MAX:
            self._characters -= self._kept.popleft().characters
        self._wake()

    async def read(self, cursor: float) -> tuple[list[Ran], float]:
        """The runs after a cursor, and the cursor after which those are that come next."""
        return self.after(cursor), self.newest

    def bound(self) -> float:
        """A cursor that no run has yet, and those that come have later ones."""
        self._bound = max(self._clock() * 1000, self.newest, self._bound)
        return self._bound

    def after(self, cursor: float) -> list[Ran]:
        """The runs after a cursor that are still kept, the oldest first."""
        newer = list(takewhile(lambda ran: ran.cursor > cursor, reversed(self._kept)))
        newer.reverse()
        return newer

    async def wait_after(self, cursor: float) -> None:
        """Waits until there is something after a cursor, or this is closed."""
        while self.newest <= cursor and not self.closed:
            await self._news.wait()

    def close(self) -> None:
        """Lets go of those who wait."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news.clear()
