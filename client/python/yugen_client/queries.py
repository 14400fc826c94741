"""The subscribed queries of a session: which are wanted, which the server knows of, and what it said of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import assert_never

from yugen_client.absent import ABSENT
from yugen_client.messages import (
    AddQuery,
    Modification,
    ModifyQuerySet,
    QueryFailed,
    QueryId,
    QueryRemoved,
    QueryUpdated,
    RemoveQuery,
)
from yugen_client.outcome import Outcome, same_outcome
from yugen_client.values import Json, canonical_json


def query_key(path: str, args: Json) -> str:
    """Text that two queries share exactly when they are the same: a canonical path, and encoded arguments."""
    return canonical_json([path, args])


@dataclass(slots=True)
class _Query:
    """One wanted query.

    Attributes:
        subscribers: How many share it; the query goes when the last one leaves.
        journal: The server's note on where a page ends. It survives the connection and is given back on the next.
        outcome: The last result. It survives the connection too, for comparison only.
        confirmed: Whether `outcome` came over the present connection.
    """

    path: str
    args: Json
    key: str
    subscribers: int = 0
    journal: Json = ABSENT
    outcome: Outcome | None = None
    confirmed: bool = False


class QuerySet:
    """Wanted against told: `difference` gives the message that closes the gap, on a new connection as on an old one.

    Every wanted query is either in `_untold` or known to the server; `_unwanted` are those the server still knows.
    """

    def __init__(self) -> None:
        self._queries: dict[QueryId, _Query] = {}
        self._ids: dict[str, QueryId] = {}
        self._next_id: QueryId = 0
        self._untold: dict[QueryId, None] = {}
        self._unwanted: dict[QueryId, None] = {}
        self._version = 0
        self._awaited: set[QueryId] = set()

    @property
    def settled(self) -> bool:
        """Whether every query that the connection opened with has a result."""
        return not self._awaited

    def subscribe(self, path: str, args: Json) -> QueryId:
        """Counts one more subscriber; the same query with equal arguments is the same id."""
        key = query_key(path, args)
        query_id = self._ids.get(key)
        if query_id is None:
            query_id = self._next_id
            self._next_id += 1
            self._ids[key] = query_id
            self._queries[query_id] = _Query(path, args, key)
            self._untold[query_id] = None
        self._queries[query_id].subscribers += 1
        return query_id

    def unsubscribe(self, query_id: QueryId) -> bool:
        """Counts one subscriber less, and says whether there are others."""
        query = self._queries[query_id]
        query.subscribers -= 1
        if query.subscribers == 0:
            del self._queries[query_id], self._ids[query.key]
            self._awaited.discard(query_id)
            if query_id in self._untold:
                del self._untold[query_id]
            else:
                self._unwanted[query_id] = None
        return query.subscribers > 0

    def outcome(self, query_id: QueryId) -> Outcome | None:
        """The result on the present connection; None until there is one.

        A result that stays the same over a reconnect stays the same object, so a reader can tell by identity what it
        has seen.
        """
        query = self._queries[query_id]
        return query.outcome if query.confirmed else None

    def __iter__(self) -> Iterator[QueryId]:
        """The wanted queries."""
        return iter(self._queries)

    def key(self, query_id: QueryId) -> str:
        """The `query_key` of a wanted query."""
        return self._queries[query_id].key

    def find(self, key: str) -> QueryId | None:
        """The wanted query with this key, if there is one."""
        return self._ids.get(key)

    def latest(self, query_id: QueryId) -> Outcome | None:
        """The last result, also one of an earlier connection; None if there has been none."""
        return self._queries[query_id].outcome

    def named(self, path: str) -> Iterator[tuple[str, Json, Outcome | None]]:
        """Each wanted query of a function: its key, its arguments and its last result."""
        return ((query.key, query.args, query.outcome) for query in self._queries.values() if query.path == path)

    def difference(self) -> ModifyQuerySet | None:
        """What the server must be told to know of the wanted queries and no others; it counts as told from here on.

        The first message of a connection is never left out: the Transition that answers it shows that all is well.
        """
        opening = self._version == 0
        if not (opening or self._untold or self._unwanted):
            return None
        message = ModifyQuerySet(
            base_version=self._version,
            new_version=self._version + 1,
            modifications=(
                *(self._add_query(query_id) for query_id in self._untold),
                *(RemoveQuery(query_id=query_id) for query_id in self._unwanted),
            ),
        )
        if opening:
            self._awaited.update(self._untold)
        self._untold.clear()
        self._unwanted.clear()
        self._version += 1
        return message

    def apply(self, modifications: Iterable[Modification]) -> list[QueryId]:
        """Takes in what a Transition says, and names the queries whose result a reader may now take."""
        changed = []
        for modification in modifications:
            query = self._queries.get(modification.query_id)
            if query is None:
                continue  # nobody wants it any more; the server has not read that yet
            match modification:
                case QueryUpdated() | QueryFailed():
                    self._awaited.discard(modification.query_id)
                    if modification.journal is not ABSENT:
                        query.journal = modification.journal
                    outcome = modification.outcome
                    if query.outcome is None or query.confirmed or not same_outcome(query.outcome, outcome):
                        query.outcome = outcome
                    query.confirmed = True
                    changed.append(modification.query_id)
                case QueryRemoved():
                    self._awaited.discard(modification.query_id)
                case _:
                    assert_never(modification)
        return changed

    def disconnected(self) -> None:
        """The next connection knows nothing."""
        self._untold = dict.fromkeys(self._queries)
        self._unwanted.clear()
        self._awaited.clear()
        self._version = 0
        for query in self._queries.values():
            query.confirmed = False

    def _add_query(self, query_id: QueryId) -> AddQuery:
        query = self._queries[query_id]
        return AddQuery(query_id=query_id, udf_path=query.path, args=(query.args,), journal=query.journal)
