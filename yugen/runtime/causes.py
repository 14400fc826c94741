"""Why things ran: which write made a query run again, which made a mutation lose, and what took long.

What is noted costs a few microseconds: references to what is there anyway. Sentences are made of it when somebody asks.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from yugen import ids, keys, values
from yugen.catalog import Catalog
from yugen.functions.info import RunKind
from yugen.guards import ANYTHING, GuardedRead
from yugen.intervals import Interval
from yugen.runtime import ranges
from yugen.runtime.outcome import Outcome, Used
from yugen.runtime.run import Run
from yugen.runtime.writes import Origin, Touch, Written
from yugen.storage.interface import Change, Timestamp

KEPT_MAX: Final = 1000
"""Occurrences of a kind that are remembered, the newest."""

SLOW_SECONDS: Final = 0.1
"""What takes as long from when it was asked for is slow."""

SLOW_ACTION_SECONDS: Final = 5.0
"""The same for actions, which wait for others."""

IMAGE_SIZE_MAX: Final = 4 * 1024
"""Bytes of a document up to which its content before and after is kept, to tell what has changed in it."""

RANGES_SHOWN_MAX: Final = 8
"""Of those that a function has read."""

_ARGUMENTS_SHOWN: Final = 200


class Cause(NamedTuple):
    """A write that made a difference to what somebody had read.

    Attributes:
        ts: the commit.
        origin: the function that made it; None for another node, or Yugen itself.
        change: the first change in it that mattered, without its images if they are large; None if that is unknown.
        read: which of what had been read it was in.
        is_new_code: whether it was not what was written that made the difference, but the code of the app.
    """

    ts: Timestamp
    origin: Origin | None
    change: Change | None
    read: GuardedRead | None
    is_new_code: bool = False

    @classmethod
    def new_code(cls, ts: Timestamp) -> Cause:
        """What the commit was with which another version of the app took over: it concerns whatever was read."""
        return cls(ts, None, None, None, is_new_code=True)

    @classmethod
    def of(cls, written: Written, touch: Touch | None) -> Cause:
        """What a commit was to a reader for whom it made a difference, and which one if that is known."""
        change, read = touch or (None, None)
        if change is not None and max(len(change.before or b""), len(change.after or b"")) > IMAGE_SIZE_MAX:
            change = Change(change.key, change.before and b"", change.after and b"")
        return cls(written.ts, written.origin, change, read)

    def to_json(self, catalog: Catalog) -> dict[str, Any]:
        """Who wrote what."""
        function, request_id = self.origin or (None, None)
        shown: dict[str, Any] = {"commit": self.ts, "mutation": function, "requestId": request_id}
        if self.change is not None:
            number = keys.table_of(self.change.key)
            table = catalog.numbered(number)
            shown |= {
                "document": ids.encode_id(number, keys.internal_of(self.change.key)),
                "table": table and table.name,
                **_difference(self.change),
            }
        if self.is_new_code:
            shown["change"] = "code"
        if self.read is not None:
            shown["read"] = ranges.shown(self.read, catalog)
        return shown


class Why(NamedTuple):
    """Why a function runs.

    Attributes:
        cause: what ended its answer, or made it lose the race in which it ran before; None if it had neither.
        subscribers: how many wait for results of the query, now and later.
        again: whether it is a mutation that has lost a race.
        scheduled: what has it run, if nobody calls it now.
        request_id: of the request that asks for it, where that has one.
        caller: the action that calls it, if one does.
    """

    cause: Cause | None = None
    subscribers: int = 0
    again: bool = False
    scheduled: str = ""
    request_id: str = ""
    caller: Run | None = None

    def in_words(self, kind: RunKind, catalog: Catalog) -> str:
        """Why, in a few words; none for what somebody has called and nothing is to be said of."""
        cause = self.cause
        if cause is None:
            if self.again:
                return "again, for another was faster"
            if kind != "query":
                return self.scheduled
            return "subscribed" if self.subscribers else "called"
        if cause.is_new_code:
            return "the code has changed"
        who = "another node" if cause.origin is None else cause.origin[0]
        table = None if cause.change is None else catalog.numbered(keys.table_of(cause.change.key))
        wrote = "wrote something of it" if table is None else f"wrote to {table.name}"
        return f"again, for {who} {wrote} first" if self.again else f"{who} {wrote}"


CALLED: Final = Why()
"""Somebody has called it."""


class Ran(NamedTuple):
    """A run, as far as one may want to know of it later.

    Attributes:
        kind: what it was called as.
        path: the function.
        args: the beginning of its arguments' canonical JSON.
        ts: the timestamp it ran at.
        at: when it ended, in milliseconds since the epoch.
        seconds: how long it took, from when it was asked for to its answer.
        used: how much of that was its own, and what it has read.
        ranges: how many ranges it read.
        reads: the first of them, of which everything matters.
        guarded: and those of which it does not.
    """

    kind: RunKind
    path: str
    args: bytes
    ts: Timestamp
    at: float
    seconds: float
    used: Used
    ranges: int
    reads: tuple[Interval, ...]
    guarded: tuple[GuardedRead, ...]

    @classmethod
    def of(cls, kind: RunKind, path: str, args: bytes, ts: Timestamp, outcome: Outcome, seconds: float) -> Ran:
        """What is known of a run that has just ended, so many seconds after it was asked for."""
        return cls._make(_noted(kind, path, args, ts, outcome, seconds))

    def to_json(self, catalog: Catalog) -> dict[str, Any]:
        reads = [*((interval, ANYTHING) for interval in self.reads), *self.guarded][:RANGES_SHOWN_MAX]
        return {
            "at": self.at,
            "function": self.path,
            "functionType": self.kind,
            "args": _beginning(self.args),
            "ts": self.ts,
            "milliseconds": round(self.seconds * 1000, 3),
            "ownMilliseconds": round(self.used.seconds * 1000, 3),
            "documents": self.used.documents,
            "ranges": self.ranges,
            "reads": [ranges.shown(read, catalog) for read in reads],
        }


class Rerun(NamedTuple):
    """A query that ran again.

    Attributes:
        run: what ran.
        cause: why.
        subscribers: how many wait for its results.
        changed: whether the answer is another than before.
    """

    run: Ran
    cause: Cause
    subscribers: int
    changed: bool

    def to_json(self, catalog: Catalog) -> dict[str, Any]:
        return {
            "kind": "rerun",
            **self.run.to_json(catalog),
            "subscribers": self.subscribers,
            "changed": self.changed,
            "because": self.cause.to_json(catalog),
        }


class Loss(NamedTuple):
    """A mutation that had to run again, since something it had read was written meanwhile.

    Attributes:
        run: what ran in vain.
        request_id: of its caller.
        cause: why; None if that is not known any more.
        losses: how often it has lost by now.
    """

    run: Ran
    request_id: str
    cause: Cause | None
    losses: int

    def to_json(self, catalog: Catalog) -> dict[str, Any]:
        return {
            "kind": "conflict",
            **self.run.to_json(catalog),
            "requestId": self.request_id,
            "losses": self.losses,
            "because": self.cause and self.cause.to_json(catalog),
        }


class Slow(NamedTuple):
    """A function that took long: `SLOW_SECONDS`, or for an action `SLOW_ACTION_SECONDS`."""

    run: Ran

    def to_json(self, catalog: Catalog) -> dict[str, Any]:
        return {"kind": "slow", **self.run.to_json(catalog)}


Occurrence: TypeAlias = Rerun | Loss | Slow


class Causes:
    """What happened on a node of late, and why."""

    def __init__(self) -> None:
        self._reruns: deque[tuple[Any, ...]] = deque(maxlen=KEPT_MAX)
        self._losses: deque[Loss] = deque(maxlen=KEPT_MAX)
        self._slow: deque[Slow] = deque(maxlen=KEPT_MAX)

    @property
    def kept(self) -> int:
        """How much of that is remembered."""
        return len(self._reruns) + len(self._losses) + len(self._slow)

    def add_rerun(
        self,
        path: str,
        args: bytes,
        ts: Timestamp,
        outcome: Outcome,
        seconds: float,
        cause: Cause,
        subscribers: int,
        changed: bool,
    ) -> None:
        """Notes a query that has just run again, as a `Rerun` yet to be made, for these are many."""
        self._reruns.append((_noted("query", path, args, ts, outcome, seconds), cause, subscribers, changed))

    def add_loss(self, loss: Loss) -> None:
        self._losses.append(loss)

    def add_if_slow(self, run: Run, outcome: Outcome, seconds: float) -> None:
        """Notes a run that has just ended, if it took long."""
        if seconds >= (SLOW_ACTION_SECONDS if run.kind in ("action", "http") else SLOW_SECONDS) and not run.long:
            self._slow.append(Slow(Ran.of(run.kind, run.path, run.args, run.ts, outcome, seconds)))

    def __iter__(self) -> Iterator[Occurrence]:
        """What is remembered, the newest first."""
        reruns = (Rerun(Ran._make(noted), *rest) for noted, *rest in reversed(self._reruns))
        return heapq.merge(reruns, reversed(self._losses), reversed(self._slow), key=lambda each: -each.run.at)

    def to_json(self, catalog: Catalog, *, function: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest of them, the newest first, of one function or of all."""
        chosen = (each for each in self if function is None or each.run.path == function)
        return [each.to_json(catalog) for each in islice(chosen, limit)]


def _noted(kind: RunKind, path: str, args: bytes, ts: Timestamp, outcome: Outcome, seconds: float) -> tuple[Any, ...]:
    """A `Ran` yet to be made."""
    reads, guarded = outcome.reads, outcome.guarded
    return (
        kind,
        path,
        args[: _ARGUMENTS_SHOWN + 1],
        ts,
        time.time() * 1000,
        seconds,
        outcome.used,
        len(reads) + len(guarded),
        reads[:RANGES_SHOWN_MAX],
        guarded[:RANGES_SHOWN_MAX],
    )


def _beginning(args: bytes) -> str:
    text = args.decode(errors="replace")
    return text if len(text) <= _ARGUMENTS_SHOWN else f"{text[:_ARGUMENTS_SHOWN]}…"


def _difference(change: Change) -> dict[str, Any]:
    """What happened to a document, and to which of its fields."""
    if change.before is None:
        return {"change": "inserted"}
    if change.after is None:
        return {"change": "deleted"}
    if not change.before or not change.after:
        return {"change": "changed", "fields": None}
    before, after = values.loads(change.before), values.loads(change.after)
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    names = before.keys() | after.keys()
    return {"change": "changed", "fields": sorted(name for name in names if not _same(before, after, name))}


def _same(before: dict[str, Any], after: dict[str, Any], name: str) -> bool:
    if (name in before) != (name in after):
        return False
    return values.canonical(before[name]) == values.canonical(after[name])
