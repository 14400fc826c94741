"""A client: the connection and session of the Python client, and notes of all that it is told."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from reliability.records import Event, Operation, View, shown, subscription
from reliability.simulation.network import Network
from yugen_client.backoff import backoff_seconds
from yugen_client.connection import Connection, Delivery
from yugen_client.messages import MutationResponse, ServerMessage, Transition
from yugen_client.outcome import Success
from yugen_client.session import ActionLost, RequestResolved, Session


class Watched(Session):
    """A session that tells of messages after it has taken them in."""

    def __init__(self, session_id: str, heard: Callable[[ServerMessage], None]) -> None:
        super().__init__(session_id)
        self._heard = heard

    def receive(self, message: ServerMessage) -> list[Any]:
        if isinstance(message, MutationResponse):
            self._heard(message)
        events = super().receive(message)
        if isinstance(message, Transition):
            self._heard(message)
        return events


@dataclass
class _Page:
    """A page that is watched.

    Attributes:
        query_id: its subscription.
        shelf: what it is a page of.
        low: the last row of the page before, by what rows are ordered by; None if it is the first.
        high: its own last row, when it was there first; None while it goes up to the end of the shelf.
        cursor: what the server calls its end; None until it is there.
        size: how many rows it was to have first.
    """

    query_id: int
    shelf: str
    low: list[Any] | None
    size: int
    high: list[Any] | None = None
    cursor: str | None = None
    is_last: bool = False


class Client:
    """One client.

    Args:
        name: of the client.
        network: leads to the server.
        dice: of its own.
        note: takes what it does and sees.
        acknowledged: the newest timestamp of an answer that any client has.

    Attributes:
        shown: what it shows, by subscription.
        ts: of what it shows.
        waiting: how many mutations and actions it has no answer to.
        wrong: what it was told that cannot be, of pages and of what it has just asked for.
        pages: how often a page was seen again after it had its end.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        dice: random.Random,
        note: Callable[[Event], None],
        acknowledged: Callable[[], int],
    ) -> None:
        self.name = name
        self._acknowledged = acknowledged
        self._asked: dict[str, int] = {}
        self._note = note
        self.session = Watched(str(uuid.UUID(int=dice.getrandbits(128))), self._heard)
        self._connection = Connection(
            self.session,
            f"http://{name}",
            auth=None,
            backoff=partial(backoff_seconds, rng=dice),
            deliver=self._deliver,
            state_changed=lambda: None,
        )
        self._network = network
        self._called: dict[int, tuple[str, dict[str, Any], int]] = {}
        self._answers: dict[int, tuple[int, Any]] = {}
        self._subscriptions: dict[str, int] = {}
        self._pages: list[_Page] = []
        self.pages = 0
        self.wrong: list[str] = []
        self._count = -1
        self._version: Any = None
        self.shown: dict[str, Any] = {}
        self.ts = 0
        self.views = 0
        self.task: asyncio.Task[Any] | None = None

    @property
    def waiting(self) -> int:
        return len(self._called)

    @property
    def waiting_since(self) -> int | None:
        """When the first of those was called, in nanoseconds; None if there are none."""
        return min((called for _, _, called in self._called.values()), default=None)

    def start(self) -> None:
        """Connects, and stays so."""
        self.task = asyncio.get_running_loop().create_task(self._connection.run())

    def mutate(self, function: str, args: dict[str, Any]) -> None:
        """Asks for a mutation."""
        self._called[self.session.mutation(function, args)] = function, args, time.monotonic_ns()
        self._connection.wake()

    def watch(self, function: str, args: dict[str, Any]) -> None:
        """Subscribes to a query, if it has not."""
        name = subscription(function, args)
        if name not in self._subscriptions:
            self._subscriptions[name] = self.session.subscribe(function, args)
            self._asked[name] = self._acknowledged()
            self._connection.wake()

    def act(self, function: str, args: dict[str, Any]) -> None:
        """Asks for an action."""
        self._called[self.session.action(function, args)] = function, args, time.monotonic_ns()
        self._connection.wake()

    def watch_page(self, shelf: str, size: int) -> None:
        """Subscribes to the page of a shelf after those that it has."""
        before = [page for page in self._pages if page.shelf == shelf]
        if before and (before[-1].cursor is None or before[-1].is_last):
            return
        cursor, low = (before[-1].cursor, before[-1].high) if before else (None, None)
        args = {"shelf": shelf, "paginationOpts": {"numItems": size, "cursor": cursor, "id": len(before)}}
        self._pages.append(_Page(self.session.subscribe("g:page", args), shelf, low, size))
        self._connection.wake()

    def unwatch_pages(self) -> None:
        """Ends its subscriptions to pages, so that it may begin with others."""
        for page in self._pages:
            self.session.unsubscribe(page.query_id)
        self._pages.clear()
        self._connection.wake()

    def unwatch(self, number: int) -> None:
        """Ends one of its subscriptions, if there are any."""
        if self._subscriptions:
            name = list(self._subscriptions)[number % len(self._subscriptions)]
            self.session.unsubscribe(self._subscriptions.pop(name))
            self._asked.pop(name, None)
            self._connection.wake()

    def _heard(self, message: ServerMessage) -> None:
        if isinstance(message, MutationResponse):
            if message.ts is not None and message.request_id in self._called:
                known = self._answers.setdefault(message.request_id, (message.ts, message.result))
                assert known == (message.ts, message.result), f"{self.name}: one request was answered in two ways"
            return
        assert isinstance(message, Transition)
        self.shown, self.ts = shown(self.session, self._subscriptions), message.end_version.ts
        for name in [name for name in self._asked if name in self.shown]:
            acknowledged = self._asked.pop(name)
            if self.ts < acknowledged:
                self.wrong.append(f"{name} is of {self.ts}, and was asked for when {acknowledged} was acknowledged")
        self._turn_pages()
        self.views += 1
        connections = self.session.state.connection_count - 1
        self._note(View(self.name, time.monotonic_ns(), self.ts, self.shown, connections))

    def _turn_pages(self) -> None:
        """Has pages be shown as the ranges between the ends that they have to keep."""
        for page in self._pages:
            outcome = self.session.outcome(page.query_id)
            if outcome is None:
                continue
            if not isinstance(outcome, Success):
                self.wrong.append(f"a page failed: {outcome}")
                continue
            value: Any = outcome.value
            rows = [[row["name"], row["shelf"], row["rank"]] for row in value["page"]]
            if page.cursor is None:
                page.cursor, page.is_last = value["continueCursor"], value["isDone"]
                page.high = None if page.is_last else [value["page"][-1][each] for each in ("rank", "name", "made")]
                if len(rows) != page.size and not (page.is_last and len(rows) < page.size):
                    self.wrong.append(f"a page of {page.size} had {len(rows)} rows when it was there first")
            elif value["continueCursor"] != page.cursor or value["isDone"] != page.is_last:
                self.wrong.append(f"the end of a page of {page.shelf} has moved")
            else:
                self.pages += 1
            args = {"shelf": page.shelf, "low": page.low, "high": page.high}
            self.shown[subscription("g:between", args)] = rows

    def _deliver(self, event: Delivery) -> None:
        if isinstance(event, ActionLost):
            function, args, called = self._called.pop(event.request_id)
            self._note(Operation(self.name, function, args, called, None, "lost"))
        if isinstance(event, RequestResolved):
            function, args, called = self._called.pop(event.request_id)
            now, (ts, _) = time.monotonic_ns(), self._answers.pop(event.request_id, (None, None))
            if isinstance(event.outcome, Success):
                self._note(Operation(self.name, function, args, called, now, "ok", event.outcome.value, ts))
            else:
                self._note(Operation(self.name, function, args, called, now, "failed", event.outcome.message, None))
