"""The mutations and actions of a session, from the call until the caller may know how they ended."""

from __future__ import annotations

from collections import deque
from typing import Final

from yugen_client.errors import TooManyRequests
from yugen_client.messages import Action, ActionResponse, Mutation, MutationResponse, RequestId, Timestamp
from yugen_client.outcome import Outcome
from yugen_client.values import Json

IN_FLIGHT_MAX: Final = 500
"""Requests of a connection without a response; others wait here. Servers cut off who has 1,000 mutations without one,
and that again whenever they came back with all of them.
"""

REQUESTS_MAX: Final = 10_000
"""Requests that are not resolved. Who makes more of them than the server answers is to hear of it."""


class Requests:
    """Requests in the order they were made, which is the order in which they are sent, and sent again.

    `_unsent` are those the present connection has not sent, and `_in_flight` those it has, without a response.
    `_committed` are mutations with an answer, from their response until the session's results have caught up with their
    commit.
    """

    def __init__(self) -> None:
        self._requests: dict[RequestId, Mutation | Action] = {}
        self._counts: dict[type[Mutation | Action], int] = {Mutation: 0, Action: 0}
        self._unsent: deque[Mutation | Action] = deque()
        self._in_flight: set[RequestId] = set()
        self._committed: dict[RequestId, tuple[Outcome, Timestamp]] = {}
        self._awaited: set[RequestId] = set()
        self._next_id: RequestId = 0

    @property
    def settled(self) -> bool:
        """Whether every request that the connection opened with is resolved."""
        return not self._awaited

    def count(self, kind: type[Mutation | Action]) -> int:
        """How many of a kind are unresolved."""
        return self._counts[kind]

    def reserve(self) -> RequestId:
        """The id of a request that may be added later.

        Raises:
            TooManyRequests: `REQUESTS_MAX` are unresolved.
        """
        if len(self._requests) >= REQUESTS_MAX:
            raise TooManyRequests(
                f"{REQUESTS_MAX:,} mutations and actions of this client wait for their answers; await some first"
            )
        request_id = self._next_id
        self._next_id += 1
        return request_id

    def add(
        self, kind: type[Mutation | Action], path: str, args: Json, request_id: RequestId | None = None
    ) -> RequestId:
        if request_id is None:
            request_id = self.reserve()
        request = kind(request_id=request_id, udf_path=path, args=(args,))
        self._requests[request_id] = request
        self._counts[kind] += 1
        self._unsent.append(request)
        return request_id

    def opened(self) -> None:
        """A connection begins; it is settled once all that is unresolved now is resolved."""
        self._awaited = set(self._requests)

    @property
    def may_send(self) -> bool:
        """Whether there is something that the present connection may send now."""
        return bool(self._unsent) and len(self._in_flight) < IN_FLIGHT_MAX

    def take_unsent(self, *, all_of_it: bool = False) -> list[Mutation | Action]:
        """What the present connection may send now; it counts as sent from here on.

        Args:
            all_of_it: also what is more than a server may take, for it cannot be sent later.
        """
        unsent = []
        while self._unsent and (all_of_it or len(self._in_flight) < IN_FLIGHT_MAX):
            request = self._unsent.popleft()
            self._in_flight.add(request.request_id)
            unsent.append(request)
        return unsent

    def respond(self, response: MutationResponse | ActionResponse, reached: Timestamp) -> dict[RequestId, Outcome]:
        """Takes in a response, and gives what it resolves. `reached` is the time of the session's results.

        A successful mutation resolves only when the results show it, so that its caller reads its own write; all else
        resolves at once.
        """
        request_id = response.request_id
        self._in_flight.discard(request_id)
        kind = Mutation if isinstance(response, MutationResponse) else Action
        if not isinstance(self._requests.get(request_id), kind) or request_id in self._committed:
            return {}  # answered before, on this connection or an earlier one
        if isinstance(response, MutationResponse) and response.success and response.ts is not None:
            self._committed[request_id] = (response.outcome, response.ts)
            return self.reach(reached)
        return self._resolve({request_id: response.outcome})

    def reach(self, ts: Timestamp) -> dict[RequestId, Outcome]:
        """The session's results are now those of `ts`: resolves the mutations that they show."""
        return self._resolve(
            {request_id: outcome for request_id, (outcome, committed) in self._committed.items() if committed <= ts}
        )

    def disconnected(self) -> list[RequestId]:
        """The connection is gone: drops and names the actions that were sent over it, whose fate nobody can tell.

        Mutations stay, also those with an answer: sending one again makes the next connection catch up with it.
        """
        unsent = {request.request_id for request in self._unsent}
        lost = [
            request_id
            for request_id, request in self._requests.items()
            if isinstance(request, Action) and request_id not in unsent
        ]
        for request_id in lost:
            self._drop(request_id)
        self._unsent = deque(self._requests.values())
        self._in_flight.clear()
        self._awaited.clear()
        return lost

    def _resolve(self, outcomes: dict[RequestId, Outcome]) -> dict[RequestId, Outcome]:
        for request_id in outcomes:
            self._drop(request_id)
        return outcomes

    def _drop(self, request_id: RequestId) -> None:
        self._counts[type(self._requests.pop(request_id))] -= 1
        self._committed.pop(request_id, None)
        self._awaited.discard(request_id)
