"""Why things ran: which write made a query run again, and which made a mutation lose.

What is noted costs a few microseconds: references to what is there anyway. Sentences are made of it when somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from yugen import ids, keys, values
from yugen.catalog import Catalog
from yugen.runtime.writes import Written
from yugen.storage.interface import Change, Origin, Timestamp

KEPT_MAX: Final = 1000
"""Occurrences that are remembered, the newest."""

IMAGE_SIZE_MAX: Final = 16 * 1024
"""Bytes of a document up to which its content before and after is kept, to tell what has changed in it."""

_ARGUMENTS_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Cause:
    """A write that made a difference to what somebody had read.

    Attributes:
        ts: the commit.
        origin: the function that made it; None for another node, or Yugen itself.
        change: the first change in it that mattered, without its images if they are large; None if that is unknown.
    """

    ts: Timestamp
    origin: Origin | None
    change: Change | None

    @classmethod
    def of(cls, written: Written, change: Change | None) -> Cause:
        if change is not None and max(len(change.before or b""), len(change.after or b"")) > IMAGE_SIZE_MAX:
            change = Change(change.key, change.before and b"", change.after and b"")
        return cls(written.ts, written.origin, change)

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
        return shown


@dataclass(frozen=True, slots=True)
class Rerun:
    """A query that ran again.

    Attributes:
        path: the function.
        args: its arguments' canonical JSON, its beginning.
        ts: the timestamp it ran at.
        cause: why.
        milliseconds: how long it took, from when it was asked for to its answer.
        ranges: how many ranges it read.
        subscribers: how many wait for its results.
        changed: whether the answer is another than before.
    """

    path: str
    args: str
    ts: Timestamp
    cause: Cause
    milliseconds: float
    ranges: int
    subscribers: int
    changed: bool

    def to_json(self, catalog: Catalog) -> dict[str, Any]:
        return {
            "kind": "rerun",
            "function": self.path,
            "args": self.args,
            "ts": self.ts,
            "milliseconds": round(self.milliseconds, 3),
            "ranges": self.ranges,
            "subscribers": self.subscribers,
            "changed": self.changed,
            "because": self.cause.to_json(catalog),
        }


@dataclass(frozen=True, slots=True)
class Loss:
    """A mutation that had to run again, since something it had read was written meanwhile.

    Attributes:
        path: the function.
        request_id: of its caller.
        ts: the timestamp it had read at.
        cause: why; None if that is not known any more.
        losses: how often it has lost by now.
    """

    path: str
    request_id: str
    ts: Timestamp
    cause: Cause | None
    losses: int

    def to_json(self, catalog: Catalog) -> dict[str, Any]:
        return {
            "kind": "conflict",
            "function": self.path,
            "requestId": self.request_id,
            "ts": self.ts,
            "losses": self.losses,
            "because": self.cause and self.cause.to_json(catalog),
        }


class Causes:
    """The newest reruns and losses of a node."""

    def __init__(self) -> None:
        self._kept: deque[Rerun | Loss] = deque(maxlen=KEPT_MAX)

    def add(self, occurrence: Rerun | Loss) -> None:
        self._kept.append(occurrence)

    def __iter__(self) -> Iterator[Rerun | Loss]:
        """What is remembered, the newest first."""
        return reversed(self._kept)

    def to_json(self, catalog: Catalog, *, function: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest of them, the newest first, of one function or of all."""
        chosen = [each for each in self if function is None or each.path == function]
        return [each.to_json(catalog) for each in chosen[:limit]]


def arguments_shown(args: bytes) -> str:
    """Arguments as they are shown: as JSON, and not all of it when it is long."""
    text = args[: _ARGUMENTS_SHOWN + 1].decode(errors="replace")
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
