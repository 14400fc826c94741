"""What each client has by itself, over all its connections and nodes: it never goes back, and sees its own writes.

Terry et al., "Session Guarantees for Weakly Consistent Replicated Data" (1994): monotonic reads, read your writes.
"""

from __future__ import annotations

from collections.abc import Iterable

from reliability.checkers.violation import Violation
from reliability.records import Event, Operation, View


class Sessions:
    """Follows clients, a part of their history at a time.

    Attributes:
        violations: views that are older than what their client knew.
        views: how many views were held against what came before.
        reconnects: how many views were the first of a connection that was not the client's first.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, str]] = {}  # by client: a timestamp, and why it is known
        self._connections: dict[str, int] = {}
        self.violations: list[Violation] = []
        self.views = self.reconnects = 0

    def take(self, events: Iterable[Event]) -> None:
        """Goes on with the next part."""
        for event in sorted(events, key=_moment):
            if event.ts is None or (isinstance(event, Operation) and event.outcome != "ok"):
                continue
            ts, why = self._known.get(event.client, (0, ""))
            if isinstance(event, View):
                self.views += 1
                self.reconnects += event.connection > self._connections.get(event.client, 0)
                self._connections[event.client] = event.connection
                if event.ts < ts:
                    rule = "goes back" if why == "showed" else "misses its own write"
                    detail = f"{event.client} showed {event.ts} after {ts}, on its connection {event.connection}"
                    self.violations.append(Violation(rule, detail))
            if event.ts > ts:
                self._known[event.client] = (event.ts, "showed" if isinstance(event, View) else "was answered")


def _moment(event: Event) -> tuple[int, bool]:
    """When it was seen; an answer and a view of the same moment count as the view first, which has to show it."""
    if isinstance(event, View):
        return (event.at, False)
    return (event.called if event.answered is None else event.answered, True)
