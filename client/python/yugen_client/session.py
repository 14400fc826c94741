"""The client's half of the sync protocol as a state machine: no socket, no clock, no event loop.

The session holds what its user wants (queries, requests, a token) and what the present connection has been told of
it. `messages_to_send` is always the difference of the two. So a reconnect needs no replay: it forgets what was told,
and the difference is everything.

    open         a connection is there: the messages to begin with
    receive      a message came: what it changed, as events
    closed       the connection is gone, or could not be made: what that changed, as events

Whoever owns the socket calls `messages_to_send` after anything else, and drops the connection on a ProtocolError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, assert_never

from yugen_client.chunks import ChunkBuffer
from yugen_client.errors import ProtocolError
from yugen_client.messages import (
    Action,
    ActionResponse,
    Authenticate,
    AuthError,
    ClientMessage,
    Connect,
    FatalError,
    Mutation,
    MutationResponse,
    Ping,
    QueryId,
    RequestId,
    ServerMessage,
    StateVersion,
    Timestamp,
    Transition,
    TransitionChunk,
)
from yugen_client.outcome import Outcome
from yugen_client.paths import canonical_path
from yugen_client.queries import QuerySet
from yugen_client.requests import Requests
from yugen_client.values import Json


@dataclass(frozen=True, slots=True)
class QueryChanged:
    """A query has a result that its readers may not have seen."""

    query_id: QueryId


@dataclass(frozen=True, slots=True)
class RequestResolved:
    """A mutation or an action ended."""

    request_id: RequestId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ActionLost:
    """The connection dropped while an action was running."""

    request_id: RequestId


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """The connection must be dropped and the next one needs another token.

    `times` counts refusals in a row, without a token accepted between them.
    """

    error: str
    times: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The server ended the session for good."""

    error: str


Event: TypeAlias = QueryChanged | RequestResolved | ActionLost | TokenRefused | Refused


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """How a client stands with its server.

    Attributes:
        connected: There is a connection.
        synced: All that the connection opened with (queries, mutations, token) has been answered.
        connection_count: Connections made so far.
        retries: Attempts that failed since the client was last synced.
        in_flight_mutations: Mutations whose callers wait.
        in_flight_actions: Actions whose callers wait.
    """

    connected: bool
    synced: bool
    connection_count: int
    retries: int
    in_flight_mutations: int
    in_flight_actions: int

    @property
    def has_in_flight_requests(self) -> bool:
        return self.in_flight_mutations + self.in_flight_actions > 0


class Session:
    """One client's session, over any number of connections that follow each other."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._queries = QuerySet()
        self._requests = Requests()
        self._chunks = ChunkBuffer()
        self._token: str | None = None
        self._tokens_refused = 0
        self._connected = False
        self._synced = False
        self._connection_count = 0
        self._retries = 0
        self._close_reason = "InitialConnect"
        self._version = StateVersion()
        self._newest_ts: Timestamp | None = None

    @property
    def state(self) -> ConnectionState:
        return ConnectionState(
            connected=self._connected,
            synced=self._synced,
            connection_count=self._connection_count,
            retries=self._retries,
            in_flight_mutations=self._requests.count(Mutation),
            in_flight_actions=self._requests.count(Action),
        )

    def subscribe(self, path: str, args: Json) -> QueryId:
        """Wants a query with encoded arguments. Equal queries share an id; each `subscribe` needs an `unsubscribe`."""
        return self._queries.subscribe(canonical_path(path), args)

    def unsubscribe(self, query_id: QueryId) -> None:
        self._queries.unsubscribe(query_id)

    def outcome(self, query_id: QueryId) -> Outcome | None:
        """A query's result on the present connection; see `QuerySet.outcome`."""
        return self._queries.outcome(query_id)

    def mutation(self, path: str, args: Json) -> RequestId:
        """Wants a mutation run, once, however many connections that takes."""
        return self._requests.add(Mutation, canonical_path(path), args)

    def action(self, path: str, args: Json) -> RequestId:
        """Wants an action run, at most once."""
        return self._requests.add(Action, canonical_path(path), args)

    def authenticate(self, token: str | None) -> None:
        """Sets the token that connections opened from now on present."""
        assert not self._connected
        self._token = token

    def open(self, *, now_ms: int) -> list[ClientMessage]:
        """Begins a connection. `now_ms` is the Unix time, which servers put into their logs."""
        assert not self._connected
        connect = Connect(
            session_id=self._session_id,
            connection_count=self._connection_count,
            last_close_reason=self._close_reason,
            max_observed_timestamp=self._newest_ts,
            client_ts=now_ms,
        )
        self._connected = True
        self._connection_count += 1
        messages: list[ClientMessage] = [connect]
        if self._token is not None:
            messages.append(Authenticate(base_version=0, value=self._token))
        self._requests.opened()
        return messages + self.messages_to_send()

    def messages_to_send(self) -> list[ClientMessage]:
        """What the connection must be told next, in order; none without a connection."""
        if not self._connected:
            return []
        query_set = self._queries.difference()
        requests = self._requests.take_unsent()
        return [*requests] if query_set is None else [query_set, *requests]

    def receive(self, message: ServerMessage) -> list[Event]:
        """Takes in a message.

        Raises:
            ProtocolError: The message does not fit. Nothing of it was taken in; the connection is of no more use.
        """
        assert self._connected
        match message:
            case Ping():
                return []
            case TransitionChunk():
                whole = self._chunks.add(message)
                return [] if whole is None else self._transition(whole)
            case _:
                self._chunks.interrupt()
        match message:
            case Transition():
                return self._transition(message)
            case MutationResponse() | ActionResponse():
                if isinstance(message, MutationResponse) and message.ts is not None:
                    self._observe(message.ts)
                return self._resolved(self._requests.respond(message, self._version.ts))
            case AuthError():
                self._tokens_refused += 1
                return [TokenRefused(message.error, self._tokens_refused)]
            case FatalError():
                return [Refused(message.error)]
            case _:
                assert_never(message)

    def closed(self, reason: str) -> list[ActionLost]:
        """Ends a connection, or an attempt at one. `reason` is told to the server next time, for its logs."""
        self._connected = False
        self._synced = False
        self._retries += 1
        self._close_reason = reason
        self._version = StateVersion()
        self._chunks.clear()
        self._queries.disconnected()
        return [ActionLost(request_id) for request_id in self._requests.disconnected()]

    def _transition(self, transition: Transition) -> list[Event]:
        if transition.start_version != self._version:
            raise ProtocolError(f"a transition starts at {transition.start_version}, the session is at {self._version}")
        if transition.end_version.identity > self._version.identity:
            self._tokens_refused = 0
        self._version = transition.end_version
        self._observe(self._version.ts)
        changed = self._queries.apply(transition.modifications)
        return [*map(QueryChanged, changed), *self._resolved(self._requests.reach(self._version.ts))]

    def _resolved(self, outcomes: dict[RequestId, Outcome]) -> list[Event]:
        """Ends the step that resolved `outcomes`: the connection may have caught up with what it opened with."""
        self._synced = self._synced or (
            self._version.query_set > 0
            and (self._token is None or self._version.identity > 0)
            and self._queries.settled
            and self._requests.settled
        )
        if self._synced:
            self._retries = 0
        return [RequestResolved(request_id, outcome) for request_id, outcome in outcomes.items()]

    def _observe(self, ts: Timestamp) -> None:
        self._newest_ts = ts if self._newest_ts is None else max(self._newest_ts, ts)
