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

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
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
from yugen_client.optimistic import OptimisticResults, Update
from yugen_client.outcome import Outcome
from yugen_client.paths import canonical_path
from yugen_client.queries import QuerySet
from yugen_client.requests import Requests
from yugen_client.tokens import AdminAuth, Token
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


@dataclass(frozen=True, slots=True)
class UpdateDropped:
    """An optimistic update raised when it was laid over newer results; its mutation goes on without it."""

    request_id: RequestId
    error: Exception


Event: TypeAlias = QueryChanged | RequestResolved | ActionLost | TokenRefused | Refused | UpdateDropped


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
        authenticated: The server has accepted the client's present token.
        oldest_in_flight: When the oldest of the calls in flight was made; None if there are none.
    """

    connected: bool
    synced: bool
    connection_count: int
    retries: int
    in_flight_mutations: int
    in_flight_actions: int
    authenticated: bool = False
    oldest_in_flight: datetime | None = None

    @property
    def has_ever_connected(self) -> bool:
        return self.connection_count > 0

    @property
    def has_in_flight_requests(self) -> bool:
        return self.in_flight_mutations + self.in_flight_actions > 0


class Session:
    """One client's session, over any number of connections that follow each other.

    `_token` is who the client wants to be, `_told_token` who it told the present connection it is, and
    `_told_identity` how often it said so. While the client is `_swapping` from one user to another, results still are
    those of the one before, and nobody gets to read them. While it is `_held`, it is not even known who comes next;
    what was asked before is in `_ahead`, and all else waits. `_earlier_updates` are the optimistic updates of the one
    before, which the next one does not get to see.
    """

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._queries = QuerySet()
        self._optimistic = OptimisticResults(self._queries)
        self._requests = Requests()
        self._chunks = ChunkBuffer()
        self._token: Token = None
        self._told_token: Token = None
        self._told_identity = 0
        self._held = False
        self._swapping = False
        self._ahead: list[ClientMessage] = []
        self._earlier_updates: frozenset[RequestId] = frozenset()
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
            authenticated=self._token is not None and not self._swapping and self._is_told,
        )

    @property
    def is_held(self) -> bool:
        """Whether it is still open who the client is about to be."""
        return self._held

    @property
    def _is_told(self) -> bool:
        """Whether the server has taken in who the client is."""
        return self._told_token == self._token and self._version.identity >= self._told_identity

    def subscribe(self, path: str, args: Json) -> QueryId:
        """Wants a query with encoded arguments. Equal queries share an id; each `subscribe` needs an `unsubscribe`."""
        return self._queries.subscribe(canonical_path(path), args)

    def unsubscribe(self, query_id: QueryId) -> list[QueryChanged | UpdateDropped]:
        """Wants a query once less. What optimistic updates made of it goes with the last one who wanted it."""
        if self._queries.unsubscribe(query_id):
            return []
        return self._relaid((), ())

    def outcome(self, query_id: QueryId) -> Outcome | None:
        """What the server says of a query on the present connection, to the present user; see `QuerySet.outcome`."""
        return None if self._swapping else self._queries.outcome(query_id)

    def shown(self, query_id: QueryId) -> Outcome | None:
        """What a subscriber sees of a query: the last result with optimistic updates over it; None until there is one.

        All that is shown at one moment belongs together: the server's results of one timestamp, and updates over them.
        """
        if self._swapping:
            return None
        laid_over = self._optimistic.get(self._queries.key(query_id))
        return self._queries.latest(query_id) if laid_over is None else laid_over.outcome

    def mutation(self, path: str, args: Json) -> RequestId:
        """Wants a mutation run, once, however many connections that takes."""
        return self._requests.add(Mutation, canonical_path(path), args)

    def optimistic_mutation(self, path: str, args: Json, update: Update) -> tuple[RequestId, list[QueryChanged]]:
        """The same with an optimistic update, and what that changed. If the update raises, nothing is sent."""
        path = canonical_path(path)
        request_id = self._requests.reserve()
        changed = self._optimistic.add(request_id, update)
        self._requests.add(Mutation, path, args, request_id)
        return request_id, self._shown_by(changed)

    def action(self, path: str, args: Json) -> RequestId:
        """Wants an action run, at most once."""
        return self._requests.add(Action, canonical_path(path), args)

    def hold(self) -> None:
        """The client is about to be somebody else: what is asked from now on waits for `become`."""
        if not self._held:
            self._ahead = self._messages_to_send(all_of_it=True)
        self._held = self._swapping = True
        self._earlier_updates = self._optimistic.request_ids
        self._tokens_refused = 0

    def become(self, token: Token) -> list[QueryChanged | UpdateDropped]:
        """What is asked from now on is asked by whom this token is for, or by nobody; ends a hold.

        If that is somebody else, optimistic updates of before the hold are gone.
        """
        if not self._held:
            self.hold()
        is_same = token == self._token
        self._held = False
        self._token = token
        events = [] if is_same else self._relaid(self._earlier_updates, ())
        self._earlier_updates = frozenset()
        if not (self._connected and self._is_told):
            return events
        self._swapping = False  # it is who it was, whose results may have changed meanwhile
        return [*events, *map(QueryChanged, self._loaded())]

    def authenticate(self, token: Token) -> None:
        """Has another token of the same user presented from now on."""
        assert not self._held
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
        self._requests.opened()
        return [connect, *self.messages_to_send()]

    def messages_to_send(self) -> list[ClientMessage]:
        """What the connection must be told next, in order; none without a connection."""
        return self._messages_to_send()

    @property
    def may_send(self) -> bool:
        """Whether a response has made room for requests that waited for it."""
        return self._connected and not self._held and self._requests.may_send

    def _messages_to_send(self, *, all_of_it: bool = False) -> list[ClientMessage]:
        if not self._connected:
            return []
        messages, self._ahead = self._ahead, []
        if self._held:
            return messages
        if self._token != self._told_token:
            messages.append(_authenticate(self._told_identity, self._token))
            self._told_token = self._token
            self._told_identity += 1
        query_set = self._queries.difference()
        if query_set is not None:
            messages.append(query_set)
        return messages + self._requests.take_unsent(all_of_it=all_of_it)

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
                return self._token_refused(message)
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
        self._told_token = None
        self._told_identity = 0
        self._ahead.clear()
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
        if self._swapping and not self._held and self._is_told and self._version.query_set > 0:
            self._swapping = False
            changed = self._loaded()  # those that were left out are the same for both users
        return self._resolved(self._requests.reach(self._version.ts), changed)

    def _token_refused(self, message: AuthError) -> list[Event]:
        """Takes in a refusal, unless it is of a token that was replaced meanwhile."""
        is_replaced = message.base_version is not None and message.base_version + 1 < self._told_identity
        is_confirming = self._version.identity < self._told_identity
        if is_replaced or (is_confirming and not message.auth_update_attempted):
            return []
        self._tokens_refused += 1
        return [TokenRefused(message.error, self._tokens_refused)]

    def _resolved(self, outcomes: dict[RequestId, Outcome], changed: Collection[QueryId] = ()) -> list[Event]:
        """Ends a step that changed results and resolved requests, whose optimistic updates go in the same step."""
        shown = self._relaid(outcomes, changed)
        self._synced = self._synced or (
            self._version.query_set > 0
            and not self._held
            and self._is_told
            and self._queries.settled
            and self._requests.settled
        )
        if self._synced:
            self._retries = 0
        return [*shown, *(RequestResolved(request_id, outcome) for request_id, outcome in outcomes.items())]

    def _relaid(self, done: Collection[RequestId], changed: Collection[QueryId]) -> list[QueryChanged | UpdateDropped]:
        """Lays optimistic updates anew over results of which some have changed, without those that are done."""
        relaid = self._optimistic.relay(done)
        dropped = [UpdateDropped(request_id, error) for request_id, error in relaid.failures.items()]
        if self._swapping:
            return [*dropped]  # nobody gets to see what changed
        return [*dropped, *dict.fromkeys((*map(QueryChanged, changed), *self._shown_by(relaid.keys)))]

    def _loaded(self) -> list[QueryId]:
        """The queries that show something."""
        return [query_id for query_id in self._queries if self.shown(query_id) is not None]

    def _shown_by(self, keys: Collection[str]) -> list[QueryChanged]:
        """Those of the queries that somebody wants."""
        query_ids = (self._queries.find(key) for key in keys)
        return [QueryChanged(query_id) for query_id in sorted(each for each in query_ids if each is not None)]

    def _observe(self, ts: Timestamp) -> None:
        self._newest_ts = ts if self._newest_ts is None else max(self._newest_ts, ts)


def _authenticate(base_version: int, token: Token) -> Authenticate:
    match token:
        case None:
            return Authenticate(base_version=base_version, token_type="None")
        case str():
            return Authenticate(base_version=base_version, value=token)
        case AdminAuth(key, acting_as):
            identity = None if acting_as is None else dict(acting_as)
            return Authenticate(base_version=base_version, token_type="Admin", value=key, impersonating=identity)
        case _:
            assert_never(token)
