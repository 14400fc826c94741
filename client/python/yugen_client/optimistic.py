"""Optimistic updates: what readers see while mutations are under way.

Over the server's results lie the updates of the mutations that are not done, in the order of their calls. Whenever the
results below change, the layers are computed anew from the bottom; so an update is a function of what it finds, and
taking one away leaves what the others make of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeAlias

from yugen_client.messages import RequestId
from yugen_client.outcome import Outcome, same_outcome
from yugen_client.queries import QuerySet, query_key
from yugen_client.values import Json


@dataclass(frozen=True, slots=True)
class Shown:
    """What updates have made of one query; an `outcome` of None shows it as not loaded."""

    path: str
    args: Json
    outcome: Outcome | None


class Draft:
    """What one update sees and changes, all in the encoded form; it is of no use once the update has returned."""

    def __init__(self, server: QuerySet, shown: dict[str, Shown]) -> None:
        self._server = server
        self._shown = shown
        self._finished = False

    def get(self, path: str, args: Json) -> Outcome | None:
        """A query's result as the updates below left it; None if there is none."""
        self._check()
        key = query_key(path, args)
        if key in self._shown:
            return self._shown[key].outcome
        query_id = self._server.find(key)
        return None if query_id is None else self._server.latest(query_id)

    def named(self, path: str) -> list[tuple[Json, Outcome | None]]:
        """The arguments and the result of each query of a function that is wanted, or was set by an update."""
        self._check()
        results = {key: (args, outcome) for key, args, outcome in self._server.named(path)}
        results |= {key: (each.args, each.outcome) for key, each in self._shown.items() if each.path == path}
        return list(results.values())

    def set(self, path: str, args: Json, outcome: Outcome | None) -> None:
        """Shows another result for a query; None shows it as not loaded."""
        self._check()
        self._shown[query_key(path, args)] = Shown(path, args, outcome)

    def finish(self) -> dict[str, Shown]:
        self._finished = True
        return self._shown

    def _check(self) -> None:
        if self._finished:
            raise RuntimeError("this store was for one run of an optimistic update; use the one that it is given")


Update: TypeAlias = Callable[[Draft], None]
"""Changes what readers see. It runs again whenever the results below it change."""


@dataclass(slots=True)
class Relaid:
    """What changed when the layers were computed anew.

    Attributes:
        keys: The queries that now show something else, by `query_key`.
        failures: Updates that raised; they are dropped.
    """

    keys: set[str]
    failures: dict[RequestId, Exception] = field(default_factory=dict)


class OptimisticResults:
    """The layers over the results of a `QuerySet`."""

    def __init__(self, server: QuerySet) -> None:
        self._server = server
        self._updates: dict[RequestId, Update] = {}
        self._shown: dict[str, Shown] = {}

    @property
    def request_ids(self) -> frozenset[RequestId]:
        """The requests whose updates lie over the results."""
        return frozenset(self._updates)

    def get(self, key: str) -> Shown | None:
        """What the updates have made of a query; None if they leave it alone."""
        return self._shown.get(key)

    def add(self, request_id: RequestId, update: Update) -> set[str]:
        """Lays an update over all others, and gives the queries that it changed. If it raises, nothing has changed."""
        before = self._shown
        self._shown = self._laid_over(update)
        self._updates[request_id] = update
        return self._changed_since(before)

    def relay(self, done: Collection[RequestId] = ()) -> Relaid:
        """Computes all layers anew over the server's results of now, without those of the requests that are done."""
        for request_id in done:
            self._updates.pop(request_id, None)
        if not self._updates and not self._shown:
            return Relaid(set())
        before, self._shown = self._shown, {}
        failures = {}
        for request_id, update in self._updates.items():
            try:
                self._shown = self._laid_over(update)
            except Exception as error:  # it has met results that its author did not think of
                failures[request_id] = error
        for request_id in failures:
            del self._updates[request_id]
        return Relaid(self._changed_since(before), failures)

    def _laid_over(self, update: Update) -> dict[str, Shown]:
        """The layers so far and one more."""
        draft = Draft(self._server, dict(self._shown))
        try:
            update(draft)
        finally:
            shown = draft.finish()
        return shown

    def _changed_since(self, before: dict[str, Shown]) -> set[str]:
        """What shows something else than before. What shows the same keeps its object, by which readers know it."""
        changed = before.keys() - self._shown.keys()
        for key, now in self._shown.items():
            then = before.get(key)
            if then is None or not _same(then.outcome, now.outcome):
                changed.add(key)
            else:
                self._shown[key] = then
        return changed


def _same(one: Outcome | None, other: Outcome | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or same_outcome(one, other)
