"""What clients did and saw, as it is recorded of a run and read by the checkers; as lines of JSON in a file.

Nothing in it comes from inside the server: only what was sent to it, and what it said.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from yugen_client.outcome import Success
from yugen_client.session import Session

Outcome: TypeAlias = Literal["ok", "failed", "lost"]
"""Of an operation: it was carried out; it was answered by an error and has changed nothing; nobody was told."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A mutation, or a query that was asked once.

    Attributes:
        client: who asked; the operations of one client are in its order.
        function: what was asked.
        args: its arguments. Those of a mutation have a `token` that no other operation has.
        called: nanoseconds, on a clock that all clients share, when it was first sent.
        answered: when its answer was there; None if there was none.
        outcome: what the answer was.
        value: the result, where it is "ok"; the error's text where it "failed".
        ts: the commit timestamp that the answer names, if it names one.
    """

    client: str
    function: str
    args: dict[str, Any]
    called: int
    answered: int | None
    outcome: Outcome
    value: Any = None
    ts: int | None = None


@dataclass(frozen=True, slots=True)
class View:
    """All that a client showed at one moment, after a Transition.

    Attributes:
        client: who showed it; the views of one client are in its order.
        at: nanoseconds, on the clock of the operations, when it was there.
        ts: the timestamp that the results are of, as the server has named it.
        results: by subscription (see `subscription`), the result of each.
        connection: how many connections the client had before this one.
    """

    client: str
    at: int
    ts: int
    results: dict[str, Any] = field(default_factory=dict)
    connection: int = 0


def subscription(function: str, args: Mapping[str, Any]) -> str:
    """The name of a subscription in a history: a function, a blank, and the arguments as JSON."""
    return f"{function} {json.dumps(args, sort_keys=True, separators=(',', ':'))}"


def shown(session: Session, subscriptions: Mapping[str, int]) -> dict[str, Any]:
    """The results that a client has for its subscriptions, of those that have any; for a `View`.

    Args:
        session: of the client.
        subscriptions: the query ids of its subscriptions.
    """
    results: dict[str, Any] = {}
    for name, query_id in subscriptions.items():
        match session.outcome(query_id):
            case None:
                pass
            case Success(value):
                results[name] = value
            case failure:
                results[name] = {"failed": str(failure)}
    return results


Event: TypeAlias = Operation | View


_KINDS: Final[dict[str, type[Event]]] = {"Operation": Operation, "View": View}


def line(event: Event) -> str:
    """An event as a line of a file."""
    fields = {each.name: getattr(event, each.name) for each in dataclasses.fields(event)}
    return json.dumps({"event": type(event).__name__, **fields}) + "\n"


def write(events: Iterable[Event], path: Path) -> None:
    """Writes a history, an event a line."""
    with path.open("w") as file:
        file.writelines(map(line, events))


def read(path: Path) -> Iterator[Event]:
    """Reads a history that `write` has written, an event at a time."""
    with path.open() as file:
        for text in file:
            fields = json.loads(text)
            yield _KINDS[fields.pop("event")](**fields)
