"""The server's half of one sync connection, as a state machine: messages in; messages, work and a deadline out.

Nothing here awaits, sleeps or reads a clock. Whoever owns the session owns the socket and does the work:

1.  `receive` each frame, then do what `take_work` returns and report with `mutation_finished`, `action_finished`,
    `token_accepted` or `token_rejected`. Call `invalidate` when a subscribed result may have changed.
2.  After any of these, `begin_update` at the newest timestamp. It decides whether the client is due a Transition and
    what must be run for it; run that, at that timestamp, and hand the answers to `finish_update`, which makes exactly
    one Transition. To hold a slow client's Transitions back is not to call `begin_update`: what happens meanwhile adds
    up, and the next one carries it all.
3.  After any call, send `messages_to_send`, and after them close the socket if `close_requested`. Call
    `handle_deadline` when the `deadline` has passed.

Two versions tell where things stand: what was *received*, the query set and identity as the client last put them, and
what was *sent*, the version the last Transition moved the client to. An update takes what was received when it began;
what arrives while it runs is for the next one. So a Transition to some query set version holds a result for every query
of that version, even for one the client has dropped since (protocol, 0.4 and 2.5).

A client that comes back sends its queries and, right behind them, the mutations it has no answer to. Some may have
taken place before, so that already the first results show them: the first update waits until those are answered that
are there when it is due.

The owner promises two things which a session cannot check. When `begin_update(ts)` is called, `mutation_finished` has
been called for each mutation of this session that committed at or before `ts`: its response must precede the first
Transition that shows its writes (protocol, 2.6). And `invalidate` has been called for each query whose result a commit
at or before `ts` may have changed: what is not run again counts as valid at `ts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, assert_never

from yugen.runtime.outcome import Answer, Failure, MutationAnswer
from yugen.storage.interface import Timestamp
from yugen.sync.client import ClientInfo
from yugen.sync.messages import (
    PING,
    Action,
    AddQuery,
    Authenticate,
    ClientMessage,
    Clocks,
    Connect,
    Event,
    Message,
    ModifyQuerySet,
    Mutation,
    ProtocolError,
    QueryId,
    RemoveQuery,
    RequestId,
    Token,
    Version,
    action_response,
    auth_error,
    fatal_error,
    mutation_response,
    parse,
    query_removed,
    query_result_pieces,
    transition_chunks,
    transition_pieces,
    transition_whole,
)
from yugen.sync.texts import Texts

Caller: TypeAlias = Any
"""Whom functions run for: whatever the owner says they are. Callers are compared."""

PING_SECONDS: Final = 15.0
"""Silence after which a Ping is due: the JavaScript client gives up after 60 s without a message, Rust after 30 s."""

EXPIRY_GRACE_SECONDS: Final = 5.0
"""How long a token is good after its end, as where it is checked; clients send a new one 10 s before that."""

CHUNK_BYTES: Final = 5_000_000
"""Of a Transition that is sent in parts, the text in one of them; as in Convex."""

FRAME_BYTES_MAX: Final = 15_000_000
"""Of a message to a client that takes no parts: the Rust client refuses a frame of more than 16 MiB (trap 24)."""

_REASON_SIZE_MAX: Final = 123
"""Bytes that a WebSocket close frame has room for."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one connection may hold at once. Beyond a limit it is closed with 1013 and the error named here.

    Attributes:
        waiting_mutations: mutations without a response, the running one included; `TooManyConcurrentMutations`.
        running_actions: actions without a response; `TooManyConcurrentActions`.
        subscriptions: queries in the query set; `TooManySubscriptions`.
        held_messages: messages that wait for a token to be checked; `TooManyConcurrentRequests`.
        subscription_bytes: messages that asked for the queries in the query set; `QuerySetTooLarge`.
        answer_bytes: answers to the queries in the query set, with what they have read, of which the owner sees to it
            that those beyond it fail. Of answers to actions that wait to be sent, more than that;
            `TooManyConcurrentRequests:answers`.
        request_bytes: mutations and actions without a response, and held messages. Beyond it nothing more is read until
            some are done with.
    """

    waiting_mutations: int = 1000
    running_actions: int = 1000
    subscriptions: int = 4096
    held_messages: int = 4096
    subscription_bytes: int = 32 * 1024 * 1024
    answer_bytes: int = 128 * 1024 * 1024
    request_bytes: int = 64 * 1024 * 1024


class RunMutation(NamedTuple):
    """Run this mutation for its caller, then call `mutation_finished`. `received_ns` is when it was received."""

    request_id: RequestId
    path: str
    args: dict[str, Any]
    caller: Caller
    received_ns: int | None = None


@dataclass(frozen=True, slots=True)
class RunAction:
    """Run this action for its caller, then call `action_finished`."""

    request_id: RequestId
    path: str
    args: dict[str, Any]
    caller: Caller


@dataclass(frozen=True, slots=True)
class CheckToken:
    """Find out who this is, then call `token_accepted` or `token_rejected`."""

    token: Token


@dataclass(frozen=True, slots=True)
class CheckTimestamp:
    """The client has seen the database at `ts`. It must not be served from an earlier moment that will catch up."""

    ts: Timestamp


Work: TypeAlias = RunMutation | RunAction | CheckToken | CheckTimestamp


class Update(NamedTuple):
    """What a Transition needs: the answers to all queries of `run`, each at `ts`, for `caller`.

    Subscriptions end by `removed` and begin, or begin anew for another caller, by `run`, in this order: an id may be in
    both. `removed` may hold ids that were in no update's `run`.
    """

    ts: Timestamp
    query_set: int
    identity: int
    caller: Caller
    removed: tuple[QueryId, ...]
    run: tuple[AddQuery, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """How to close the socket."""

    code: int
    reason: str


_UNKNOWN: Final = ClientInfo()
_LIMITS: Final = SessionLimits()


class ServerSession:
    """One connection, from its first message to its close; a reconnecting client gets a new session.

    Args:
        now: seconds of any clock that never goes back; the same for all `now` here.
        caller: who calls without a token.
        client: what is on the other end.
        limits: what the connection may hold at once.

    Attributes:
        connect: the client's Connect message, once it is here.
        unknown_messages: how many messages of types from the future were passed over.
    """

    # There are thousands of sessions, nearly all of them idle: what they are made of is small.
    __slots__ = (
        "_actions",
        "_answers",
        "_caller",
        "_checking_token",
        "_chunked_transitions",
        "_close",
        "_identity",
        "_inbox",
        "_inbox_bytes",
        "_limits",
        "_mutation_running",
        "_mutations",
        "_outbox",
        "_ping_at",
        "_queries",
        "_query_bytes",
        "_query_set",
        "_removed",
        "_request_bytes",
        "_resent",
        "_response_ts",
        "_sent",
        "_skew_ms",
        "_stale",
        "_subscription_bytes",
        "_takes_chunks",
        "_token_expires",
        "_ts_min",
        "_unsent_bytes",
        "_update",
        "_wall_ns",
        "_work",
        "connect",
        "unknown_messages",
    )

    def __init__(
        self,
        *,
        now: float,
        caller: Caller = None,
        client: ClientInfo | None = None,
        limits: SessionLimits | None = None,
    ) -> None:
        self.connect: Connect | None = None
        self.unknown_messages = 0
        self._takes_chunks = (client or _UNKNOWN).takes_chunks
        self._limits = limits or _LIMITS
        # How far the client's clock is ahead of the server's, once both are known; and the server's, when it was read.
        self._skew_ms: int | None = None
        self._wall_ns: int | None = None

        # Frames wait in the inbox only while a token is being checked: what follows it is for the new caller.
        self._inbox: list[str] = []
        self._inbox_bytes = 0
        self._checking_token = False
        self._token_expires: float | None = None

        # The received version: the query set and the identity as the client last put them, and whose identity it is.
        self._query_set = 0
        self._identity = 0
        self._caller = caller
        self._queries: dict[QueryId, AddQuery] = {}
        self._query_bytes: dict[QueryId, int] = {}
        self._subscription_bytes = 0

        # What the next update is for. Dictionaries without values are sets that keep their order.
        self._stale: dict[QueryId, None] = {}
        self._removed: dict[QueryId, None] = {}
        # Set by a response, which clients take no notice of before a Transition up to here; cleared by that.
        self._response_ts: Timestamp | None = None

        # The sent version, and the last answer sent to each query of it.
        self._sent = Version(0, 0, 0)
        self._answers: dict[QueryId, Answer] = {}
        self._chunked_transitions = 0

        # The update that runs now, and the newest timestamp of any update or response: time never goes back behind it.
        self._update: Update | None = None
        self._ts_min: Timestamp = 0

        # Requests without a response. The first mutation has been handed out if one runs; the actions all have been.
        self._mutations: list[tuple[RunMutation, int]] = []
        self._mutation_running = False
        # How many of them the first update of a client that has come back waits for; None until that is due.
        self._resent: int | None = 0
        self._actions: dict[RequestId, int] = {}
        self._request_bytes = 0

        self._work: list[Work] = []
        self._outbox: list[Message] = []
        self._unsent_bytes = 0  # of it, what actions have given
        self._ping_at = now + PING_SECONDS
        self._close: Close | None = None

    # Messages in ---------------------------------------------------------------------------------------------------

    def receive(self, frame: str | bytes, *, wall_ns: int | None = None) -> None:
        """Takes one frame from the client: text, or bytes if it was binary, which the protocol does not have.

        Args:
            frame: the frame.
            wall_ns: nanoseconds since the epoch.
        """
        self._wall_ns = wall_ns
        if self._close is not None:
            return
        if isinstance(frame, bytes):
            self.close(1003, "BinaryMessage")
        elif not self._checking_token:
            self._read(frame)
        elif len(self._inbox) >= self._limits.held_messages:
            self.close(1013, "TooManyConcurrentRequests")
        else:
            self._inbox.append(frame)
            self._inbox_bytes += len(frame)

    def _read_inbox(self) -> None:
        while self._inbox and not self._checking_token:
            text = self._inbox.pop(0)
            self._inbox_bytes -= len(text)
            self._read(text)

    def _read(self, text: str) -> None:
        try:
            message = parse(text)
            if message is None:
                self.unknown_messages += 1
            else:
                self._apply(message, len(text))
        except ProtocolError as error:
            self._outbox.append(fatal_error(str(error)))
            self.close(1008, error.code)

    def _apply(self, message: ClientMessage, size: int) -> None:
        """Applies one message wholly, or raises ProtocolError and applies nothing of it."""
        match message:
            case Mutation(request_id, path, args):
                if len(self._mutations) >= self._limits.waiting_mutations:
                    self.close(1013, "TooManyConcurrentMutations")
                else:
                    # A request id that is in use is not refused here. Its turn comes after the first one's, when the
                    # record of that shows whether it is the same request, to get the same answer, or another.
                    mutation = RunMutation(request_id, path, args, self._caller, self._wall_ns)
                    self._mutations.append((mutation, size))
                    self._request_bytes += size
            case Connect():
                self._connect(message)
            case ModifyQuerySet():
                self._modify_query_set(message, size)
            case Action(request_id, path, args):
                self._start_action(RunAction(request_id, path, args, self._caller), size)
            case Authenticate(base_version, token):
                _check_base("Authenticate", base_version, self._identity)
                self._checking_token = True
                self._work.append(CheckToken(token))
            case Event():
                pass
            case _:
                assert_never(message)

    def _connect(self, message: Connect) -> None:
        if self.connect is not None:
            raise ProtocolError("DuplicateConnect", "Connect comes once, first on a connection.")
        self.connect = message
        if self.returning:
            self._resent = None
        if message.client_ms is not None and self._wall_ns is not None:
            self._skew_ms = round(message.client_ms - self._wall_ns / 1_000_000)
        if message.max_observed_timestamp is not None:
            self._work.append(CheckTimestamp(message.max_observed_timestamp))

    def _modify_query_set(self, message: ModifyQuerySet, size: int) -> None:
        _check_base("ModifyQuerySet", message.base_version, self._query_set)
        # First what the query set comes to, then the change of it: what goes beyond a limit has changed nothing.
        share = size // max(1, len(message.modifications))
        changed: dict[QueryId, bool] = {}
        for modification in message.modifications:
            query_id, adds = modification.query_id, isinstance(modification, AddQuery)
            if adds == changed.get(query_id, query_id in self._queries):
                if adds:
                    raise ProtocolError("DuplicateQueryId", f"Add of queryId {query_id}, which is in use.")
                raise ProtocolError("UnknownQueryId", f"Remove of queryId {query_id}, which is not in use.")
            changed[query_id] = adds
        subscriptions, subscription_bytes = len(self._queries), self._subscription_bytes
        for query_id, there in changed.items():
            subscriptions += there - (query_id in self._queries)
            subscription_bytes += there * share - self._query_bytes.get(query_id, 0)
        if subscriptions > self._limits.subscriptions:
            self.close(1013, "TooManySubscriptions")
            return
        if subscription_bytes > self._limits.subscription_bytes:
            self.close(1013, "QuerySetTooLarge")
            return
        self._query_set, self._subscription_bytes = message.new_version, subscription_bytes
        for modification in message.modifications:
            query_id = modification.query_id
            match modification:
                case AddQuery():
                    self._queries[query_id] = modification
                    self._query_bytes[query_id] = share
                    self._stale[query_id] = None
                case RemoveQuery():
                    del self._queries[query_id]
                    del self._query_bytes[query_id]
                    self._stale.pop(query_id, None)
                    self._removed[query_id] = None
                case _:
                    assert_never(modification)

    def _start_action(self, action: RunAction, size: int) -> None:
        if action.request_id in self._actions:
            # Nothing keeps an action from running twice, nor could the client tell the two answers apart.
            raise ProtocolError("DuplicateRequestId", f"Action with requestId {action.request_id}, which is running.")
        if len(self._actions) >= self._limits.running_actions:
            self.close(1013, "TooManyConcurrentActions")
            return
        self._actions[action.request_id] = size
        self._request_bytes += size
        self._work.append(action)

    # Work out, and what came of it -----------------------------------------------------------------------------------

    def take_work(self) -> list[Work]:
        """What to start now. Of the mutations it holds one at a time, in the order they came."""
        if self._mutations and not self._mutation_running:
            self._mutation_running = True
            self._work.append(self._mutations[0][0])
        work, self._work = self._work, []
        return work

    @property
    def returning(self) -> bool:
        """Whether the client has had connections before this one."""
        return self.connect is not None and self.connect.connection_count > 0

    @property
    def mutations_waiting(self) -> int:
        """How many have not been handed out."""
        return len(self._mutations) - self._mutation_running

    @property
    def is_full(self) -> bool:
        """Whether so much waits for its response that nothing more should be received for now.

        What is dropped waits for the Transition that says so.
        """
        return (
            self._request_bytes + self._inbox_bytes > self._limits.request_bytes
            or len(self._removed) > self._limits.subscriptions
        )

    def mutation_finished(self, request_id: RequestId, mutation: MutationAnswer) -> None:
        """The mutation handed out last has its answer; `take_work` has the next one."""
        if self._close is not None:
            return
        assert self._mutation_running
        assert self._mutations[0][0].request_id == request_id
        self._request_bytes -= self._mutations.pop(0)[1]
        self._mutation_running = False
        if not self._takes_chunks and mutation.answer.size > FRAME_BYTES_MAX:
            mutation = MutationAnswer(Answer(failure=_too_large(mutation.answer, _UNTOLD)), None)
        self._outbox.append(mutation_response(request_id, mutation))
        # A failure has no timestamp, and any Transition will do; some clients wait for one all the same.
        ts = mutation.ts or 0
        self._response_ts = max(ts, self._response_ts or 0)
        self._ts_min = max(ts, self._ts_min)
        if self._resent:
            self._resent -= 1

    def action_finished(self, request_id: RequestId, answer: Answer) -> None:
        """An action handed out has its answer."""
        if self._close is not None:
            return
        self._request_bytes -= self._actions.pop(request_id)
        if not self._takes_chunks and answer.size > FRAME_BYTES_MAX:
            answer = Answer(failure=_too_large(answer, _UNTOLD))
        response = action_response(request_id, answer)
        self._outbox.append(response)
        self._unsent_bytes += len(response)
        if self._unsent_bytes > self._limits.answer_bytes:
            # Whoever does not read has no transitions made and no mutations run, but its actions run already.
            self._outbox.clear()
            self.close(1013, "TooManyConcurrentRequests:answers")

    def token_accepted(self, caller: Caller, *, expires: float | None = None) -> None:
        """The token being checked is good: from here on this is the caller, for whom every query runs again.

        Nothing runs again for a caller who equals the one before, as with a new token that says the same.

        Args:
            caller: who it is.
            expires: when it ends, on the clock of `now`; None for a token that does not.
        """
        if self._close is not None:
            return
        assert self._checking_token
        self._checking_token = False
        self._token_expires = expires
        self._identity += 1
        if caller != self._caller:
            self._caller = caller
            self._stale = dict.fromkeys(self._queries)
        self._read_inbox()

    def token_rejected(self, error: str) -> None:
        """The token being checked is bad. The connection ends; what came after the token is not looked at.

        When it cannot be told whether the token is good, `close` with 1011, so that the client tries again.
        """
        if self._close is not None:
            return
        assert self._checking_token
        self._outbox.append(auth_error(error, base_version=self._identity, attempted=True))
        self.close(1000, "")

    # Transitions -----------------------------------------------------------------------------------------------------

    def invalidate(self, query_id: QueryId) -> None:
        """The result of a subscribed query may have changed. Word of one removed meanwhile may come late."""
        if query_id in self._queries:
            self._stale[query_id] = None

    @property
    def is_update_due(self) -> bool:
        """Whether there may be something to tell the client by a Transition."""
        sent = self._sent
        return (
            bool(self._stale)
            or self._response_ts is not None
            or self._query_set != sent.query_set
            or self._identity != sent.identity
        )

    def begin_update(self, ts: Timestamp) -> Update | None:
        """Decides what the client is due, as of `ts`; None if that is nothing, or an update is running already.

        Args:
            ts: not older than any update begun or mutation answered before.
        """
        assert ts >= self._ts_min
        if self._update is not None or self._close is not None:
            return None
        if not self.is_update_due:
            return None
        if self._resent is None:
            self._resent = len(self._mutations)
        if self._resent:
            return None
        self._ts_min = ts
        run = tuple([self._queries[query_id] for query_id in self._stale])
        self._update = Update(ts, self._query_set, self._identity, self._caller, tuple(self._removed), run)
        self._removed, self._stale = {}, {}
        return self._update

    def finish_update(
        self,
        update: Update,
        results: Mapping[QueryId, Answer],
        *,
        wall_ns: int | None = None,
        texts: Texts | None = None,
    ) -> None:
        """Makes the update's Transition of the answers to all of its queries.

        Answers equal to the last ones sent are left out. A Transition is not made when it would say nothing: the Rust
        client reports each of them.

        Args:
            update: what `begin_update` gave last.
            results: the answers by query.
            wall_ns: nanoseconds since the epoch.
            texts: has encoded for others what they have in common with this session, or will.
        """
        if self._close is not None:
            return
        assert update is self._update
        self._update = None
        texts = texts or Texts()
        for query_id in update.removed:
            self._answers.pop(query_id, None)
        changed: list[tuple[QueryId, Answer]] = []
        size = 0
        for query in update.run:
            query_id = query.query_id
            answer, before = results[query_id], self._answers.get(query_id)
            if not self._takes_chunks and answer.size > FRAME_BYTES_MAX:
                advice = f"this client takes {FRAME_BYTES_MAX} bytes; return less"
                answer = Answer(failure=_too_large(answer, advice), journal=answer.journal)
            self._answers[query_id] = answer
            if answer != before:
                changed.append((query_id, answer))
                size += len(answer.value or b"")

        end, sent = Version(update.query_set, update.identity, update.ts), self._sent
        moved = end.query_set != sent.query_set or end.identity != sent.identity
        settles = self._response_ts is not None and self._response_ts <= end.ts
        if update.removed or changed or moved or settles:
            assert end.query_set >= sent.query_set
            assert end.identity >= sent.identity
            assert end.ts >= sent.ts
            clocks = Clocks(self._skew_ms, wall_ns) if self._skew_ms is not None and wall_ns is not None else None
            if size <= CHUNK_BYTES:
                self._outbox += self._framed(end, update.removed, changed, clocks, texts)
            else:
                self._outbox += self._framed_late(end, update.removed, changed, clocks)
            self._sent = end
        if settles:
            self._response_ts = None

    def _framed(
        self,
        end: Version,
        removed: Sequence[QueryId],
        changed: Sequence[tuple[QueryId, Answer]],
        clocks: Clocks | None,
        texts: Texts,
    ) -> Sequence[Message]:
        """A Transition from what was sent, in messages that the client can take."""
        modifications = [texts.query_result(query_id, answer) for query_id, answer in changed]
        if removed:
            modifications = [*map(query_removed, removed), *modifications]
        whole = texts.transition(self._sent, end, tuple(modifications), clocks)
        return [whole] if len(whole) <= CHUNK_BYTES else self._framed_late(end, removed, changed, clocks)

    def _framed_late(
        self,
        end: Version,
        removed: Sequence[QueryId],
        changed: Sequence[tuple[QueryId, Answer]],
        clocks: Clocks | None,
    ) -> Sequence[Message]:
        """The same where there is so much to say that each message is made when it is sent."""
        sent = self._sent
        large: list[Sequence[bytes]] = [(query_removed(query_id),) for query_id in removed]
        large += [query_result_pieces(query_id, answer) for query_id, answer in changed]
        if self._takes_chunks:
            self._chunked_transitions += 1
            pieces = transition_pieces(sent, end, large, clocks)
            return transition_chunks(pieces, self._chunked_transitions, size=CHUNK_BYTES)
        frames: list[Message] = []
        some: list[Sequence[bytes]] = []
        bytes_left = FRAME_BYTES_MAX
        for modification in large:
            size = sum(map(len, modification))
            if some and size > bytes_left:
                # The versions move with the last of several Transitions, so that the client sees one step.
                frames.append(transition_whole(transition_pieces(sent, sent, some, clocks)))
                some, bytes_left = [], FRAME_BYTES_MAX
            some.append(modification)
            bytes_left -= size
        return [*frames, transition_whole(transition_pieces(sent, end, some, clocks))]

    # Messages, close and deadline out --------------------------------------------------------------------------------

    def messages_to_send(self, *, now: float) -> list[Message]:
        """The text frames to send now, in order; each is returned once, and `bytes` of it are what to send."""
        if self._outbox:
            self._ping_at = now + PING_SECONDS
        messages, self._outbox = self._outbox, []
        self._unsent_bytes = 0
        return messages

    @property
    def has_closed(self) -> bool:
        """Whether it has ended, but for what it still has to say."""
        return self._close is not None

    def close(self, code: int, reason: str) -> None:
        """Ends the session: nothing more is read, run or answered. What it had to say before may still be sent.

        Args:
            code: of the WebSocket close frame.
            reason: a word in camel case; clients choose their backoff by some of them (protocol, 2.7).
        """
        assert len(reason.encode()) <= _REASON_SIZE_MAX
        if self._close is not None:
            return
        self._close = Close(code, reason)
        self._inbox.clear()
        self._work.clear()
        self._mutations.clear()

    def close_requested(self) -> Close | None:
        """How to close the socket, after all messages are sent; None while the session goes on."""
        return self._close

    def deadline(self) -> float | None:
        """When to call `handle_deadline`; None once the session has ended. Sending and receiving move it."""
        if self._close is not None:
            return None
        expiry = self._expiry()
        return self._ping_at if expiry is None else min(self._ping_at, expiry)

    def _expiry(self) -> float | None:
        """When the caller stops being who they are; not while it is being found out who they are next."""
        if self._token_expires is None or self._checking_token:
            return None
        return self._token_expires + EXPIRY_GRACE_SECONDS

    def expire_token(self, error: str) -> None:
        """Ends the session if its caller has signed in with a token, and says why: the client is to get another."""
        if self._close is None and self._token_expires is not None:
            self._outbox.append(auth_error(error, base_version=self._identity, attempted=False))
            self.close(1000, "")

    def handle_deadline(self, *, now: float) -> None:
        """Sends a Ping if that is due and nothing else waits to be sent; ends the session if the token has expired."""
        expiry = self._expiry()
        if expiry is not None and now >= expiry:
            self.expire_token("The token has expired; sign in again.")
        if self._close is not None or now < self._ping_at:
            return
        self._ping_at = now + PING_SECONDS
        if not self._outbox:
            self._outbox.append(PING)


_UNTOLD: Final = f"this client takes {FRAME_BYTES_MAX} bytes; the function has done its work, but let it return less"


def _too_large(answer: Answer, advice: str) -> Failure:
    return Failure(f"Server Error\nUncaught ResultTooLarge: this result takes {answer.size} bytes, and {advice}.")


def _check_base(message: str, base_version: int, received: int) -> None:
    if base_version != received:
        raise ProtocolError(
            "BaseVersionMismatch",
            f"{message}.baseVersion must be {received}, the version received last; it is {base_version}.",
        )
