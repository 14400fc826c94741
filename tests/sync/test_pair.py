"""The client's session and the server's as a pair: whatever is lost on the way between them, and however slow each is.

Two clients share a database that remembers all its past. Their connections carry messages as late as Hypothesis
likes and break at any point, with all that is under way; the server's end goes on for as long as it does not notice.
What each end may rely on is read off the wire by `View`, which shares no code with either session.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from yugen.runtime.outcome import Answer, Failure, MutationAnswer
from yugen.sync import session as server_session
from yugen.sync.client import ClientInfo
from yugen.sync.messages import NoToken, UserToken
from yugen.sync.session import (
    PING_SECONDS,
    CheckTimestamp,
    CheckToken,
    RunAction,
    RunMutation,
    ServerSession,
    SessionLimits,
    Update,
    Work,
)
from yugen_client import outcome
from yugen_client.absent import ABSENT
from yugen_client.messages import decode_server, encode_client
from yugen_client.outcome import Outcome, Success
from yugen_client.session import Event, QueryChanged, RequestResolved, Session, TokenRefused

Call: TypeAlias = tuple[str, dict[str, Any]]
"""A path and arguments."""

CLIENTS: Final = 2
CELLS: Final = 4
ROWS: Final = 8
PAGE_ROWS: Final = 2

TOKENS: Final[dict[str | None, str | None]] = {None: None, "ada": "ada", "ada's other": "ada", "bob, expiring": "bob"}
"""Whom each good token is for. Others are refused."""

CHUNK_BYTES: Final = 150
FRAME_BYTES_MAX: Final = 100
"""So small that Transitions come in parts, to either kind of client."""

LIMITS: Final = SessionLimits(request_bytes=250)
"""So few that now and then nothing more is read."""


@pytest.fixture(scope="module", autouse=True)
def small_frames() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_session, "CHUNK_BYTES", CHUNK_BYTES)
        patch.setattr(server_session, "FRAME_BYTES_MAX", FRAME_BYTES_MAX)
        yield


class Database:
    """A few cells and rows with all their past, and the functions over them.

    Attributes:
        ts: the newest timestamp.
        answers: of each mutation that has taken place, by session and request.
        actions: how often each action has run.
    """

    def __init__(self) -> None:
        self.ts = 1
        self.answers: dict[tuple[str, int], MutationAnswer] = {}
        self.actions: Counter[tuple[str, int]] = Counter()
        self._cells: dict[int, list[tuple[int, int]]] = {}
        self._toggled: dict[int, list[int]] = {}  # rows come and go: when they did

    def commit(self, path: str, args: dict[str, Any]) -> None:
        self.ts += 1
        if path == "cells:set":
            self._cells.setdefault(args["cell"], []).append((self.ts, args["content"]))
        else:
            self._toggled.setdefault(args["row"], []).append(self.ts)

    def mutate(self, session: str, request_id: int, path: str, args: dict[str, Any]) -> MutationAnswer:
        """Runs a mutation for the first time, or answers as then. What took place, its answer counts."""
        if path == "cells:refuse":
            return MutationAnswer(Answer(failure=Failure("refused", b'{"code":"FULL"}')), None)
        if (session, request_id) not in self.answers:
            self.commit(path, args)
            value = str(float(len(self.answers))).encode()
            self.answers[session, request_id] = MutationAnswer(Answer(value), self.ts)
        return self.answers[session, request_id]

    def read(self, path: str, args: dict[str, Any], ts: int, caller: str | None, journal: str | None = None) -> Answer:
        """What a query gives: a cell with who asks, but for the first, or a page that keeps the end it had first.

        The content 2 fails, so that both kinds of result occur.
        """
        if path == "cells:get":
            cell = args["cell"]
            content = self._content(cell, ts)
            if content == 2:
                return Answer(failure=Failure(f"cell {cell}", b"null" if cell else None))
            return Answer(json.dumps([cell, content, caller if cell else None]).encode())
        if self._content(0, ts) == 2:
            return Answer(failure=Failure("no page"), journal=journal)
        rows = [row for row in range(args["after"] + 1, ROWS) if self._is_there(row, ts)]
        end = journal or (str(rows[PAGE_ROWS - 1]) if len(rows) >= PAGE_ROWS else str(ROWS))
        return Answer(json.dumps([row for row in rows if row <= int(end)]).encode(), journal=end)

    def _content(self, cell: int, ts: int) -> int:
        return max((version for version in self._cells.get(cell, []) if version[0] <= ts), default=(0, 0))[1]

    def _is_there(self, row: int, ts: int) -> bool:
        return sum(1 for toggled in self._toggled.get(row, []) if toggled <= ts) % 2 == 1


@dataclass
class View:
    """What one connection was told from both ends, and the rules between the two (protocol.md 0, 2.5 and 2.6).

    Attributes:
        chunked: whether the client takes Transitions in parts.
        version: query set, identity and timestamp of the last Transition.
        whole: whether that was the last one of its update, and not a part for a client that takes no chunks.
        query_sets: of each version the query set had, its queries.
        callers: of each version of the identity, who it is; the token of the last may still be refused.
        requests: the mutations and actions that were sent, and by whom.
        answered: those of them with a response.
        commits: of the mutations run for this connection, their timestamps.
        repeated: those of them that had run before, for an earlier connection.
        unsettled: timestamps of responses without a Transition yet, 0 for a failure.
    """

    chunked: bool
    version: tuple[int, int, int] = (0, 0, 0)
    whole: bool = True
    query_sets: list[dict[int, Call]] = field(default_factory=lambda: [{}])
    callers: list[str | None] = field(default_factory=lambda: [None])
    requests: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    commits: dict[int, int] = field(default_factory=dict)
    repeated: set[int] = field(default_factory=set)
    unsettled: list[int] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    @property
    def queries(self) -> dict[int, Call]:
        """Those that have a result."""
        return self.query_sets[self.version[0]]

    def sent(self, message: dict[str, Any]) -> None:
        """The client said this."""
        match message["type"]:
            case "Connect":
                assert not self.requests
            case "Authenticate":
                assert message["baseVersion"] == len(self.callers) - 1
                self.callers.append(TOKENS.get(message.get("value")))
            case "ModifyQuerySet":
                assert message["baseVersion"] == len(self.query_sets) - 1
                assert message["newVersion"] == len(self.query_sets)
                queries = dict(self.query_sets[-1])
                for modification in message["modifications"]:
                    query_id = modification["queryId"]
                    if modification["type"] == "Remove":
                        del queries[query_id]
                    else:
                        assert query_id not in queries
                        queries[query_id] = modification["udfPath"], modification["args"][0]
                self.query_sets.append(queries)
            case "Mutation" | "Action" as kind:
                assert message["requestId"] not in self.requests
                self.requests[message["requestId"]] = kind, self.callers[-1]
            case kind:
                pytest.fail(kind)

    def heard(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The client hears this; gives the Transition in it once it is whole."""
        kind = message["type"]
        assert not self.parts or kind == "TransitionChunk"
        assert self.whole or kind == "Transition"
        match kind:
            case "TransitionChunk":
                assert self.chunked
                assert message["partNumber"] == len(self.parts)
                assert len(message["chunk"].encode()) <= CHUNK_BYTES
                self.parts.append(message["chunk"])
                if len(self.parts) == message["totalParts"]:
                    whole, self.parts = json.loads("".join(self.parts)), []
                    self._moved(whole)
                    return dict(whole)
            case "Transition":
                self._moved(message)
                return message
            case "MutationResponse" | "ActionResponse":
                request_id = message["requestId"]
                assert request_id not in self.answered
                assert f"{self.requests[request_id][0]}Response" == kind
                self.answered.add(request_id)
                if kind == "MutationResponse":
                    ts = number(message["ts"]) if message["success"] else 0
                    assert ts == self.commits.get(request_id, 0)
                    self.unsettled.append(ts)
            case "AuthError":
                # A client takes notice when this is the version before its last token, or a later one.
                tokens = len(self.callers) - 1
                assert self.version[1] <= message["baseVersion"] <= tokens - message["authUpdateAttempted"]
            case "Ping":
                pass
            case kind:
                pytest.fail(f"{kind} for a correct client: {message}")
        return None

    def _moved(self, transition: dict[str, Any]) -> None:
        start, end = [
            (version["querySet"], version["identity"], number(version["ts"]))
            for version in (transition["startVersion"], transition["endVersion"])
        ]
        assert start == self.version
        assert all(after >= before for before, after in zip(start, end, strict=True))
        self.version = end
        modifications = transition["modifications"]
        self.whole = start != end or not modifications
        if not self.whole:
            return
        for request_id, ts in self.commits.items():
            shown = ts <= end[2] and request_id not in self.repeated
            assert not shown or request_id in self.answered, "a write is shown before its mutation is answered"
        if not modifications and start[:2] == end[:2]:
            assert min(self.unsettled) <= end[2], "a Transition that says nothing and settles nothing"
        self.unsettled = [ts for ts in self.unsettled if ts > end[2]]


@dataclass(eq=False)
class Line:
    """A connection: the server's session at one end, and what is under way in either direction.

    Attributes:
        cut: whether it is broken. Its server goes on until it notices.
        work: what the server is doing for it.
        update: the update that runs.
        checked: whether an update is known not to be due.
        subscribed: of each query its path, its arguments and its journal.
    """

    client: Client
    server: ServerSession
    view: View
    up: deque[str] = field(default_factory=deque)
    down: deque[bytes] = field(default_factory=deque)
    cut: bool = False
    work: list[Work] = field(default_factory=list)
    update: Update | None = None
    checked: bool = False
    subscribed: dict[int, tuple[str, dict[str, Any], str | None]] = field(default_factory=dict)


@dataclass(eq=False)
class Client:
    """A client's session, what its user asked of it, and what it was told over all its connections.

    Attributes:
        wanted: how often each query is subscribed to.
        queries: how it is asked.
        unsaid: whether the session may have something to send.
        waiting: requests without an answer.
        asked: all mutations there were, and whether they take effect.
        journals: where the pages of paginated queries end, since they were first told.
        observed: the newest timestamp of any Transition or response.
        reached: the timestamp behind which no Transition may go any more.
    """

    session: Session
    info: ClientInfo
    session_id: str
    line: Line | None = None
    wanted: Counter[int] = field(default_factory=Counter)
    queries: dict[int, Call] = field(default_factory=dict)
    unsaid: bool = False
    waiting: set[int] = field(default_factory=set)
    asked: dict[int, bool] = field(default_factory=dict)
    journals: dict[int, str] = field(default_factory=dict)
    observed: int = 0
    reached: int = 0


def number(ts: str) -> int:
    return int.from_bytes(b64decode(ts), "little")


def told(answer: Answer) -> Outcome:
    """An answer as a client takes it."""
    if answer.failure is None:
        return Success(json.loads(answer.value or b""))
    data = ABSENT if answer.failure.data is None else json.loads(answer.failure.data)
    return outcome.Failure(answer.failure.message, data)


CLIENT = st.integers(0, CLIENTS - 1)
PICKS = st.lists(st.integers(0, 5), max_size=12)
WRITES: st.SearchStrategy[Call] = st.tuples(
    st.just("cells:set"),
    st.fixed_dictionaries({"cell": st.integers(0, CELLS - 1), "content": st.integers(0, 2)}),
) | st.tuples(st.just("rows:toggle"), st.fixed_dictionaries({"row": st.integers(0, ROWS - 1)}))
MUTATIONS: st.SearchStrategy[Call] = WRITES | st.tuples(st.just("cells:refuse"), st.just({}))
QUERIES: st.SearchStrategy[Call] = st.tuples(
    st.just("cells:get"), st.fixed_dictionaries({"cell": st.integers(0, CELLS - 1)})
) | st.tuples(st.just("rows:page"), st.fixed_dictionaries({"after": st.integers(-1, 3)}))


class Pair(RuleBasedStateMachine):
    """Clients that do as they like, a network that does its worst, and an owner that works in any order it may."""

    def __init__(self) -> None:
        super().__init__()
        self.database = Database()
        self.clients = [self.new_client(number) for number in range(CLIENTS)]
        self.lines: list[Line] = []

    @staticmethod
    def new_client(number: int) -> Client:
        session_id = f"3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c1{number}"
        info = ClientInfo() if number == 0 else ClientInfo("yugen-python", (0, 1))
        return Client(Session(session_id), info, session_id)

    # The client

    @rule(client=CLIENT, queries=st.lists(QUERIES, min_size=1, max_size=4), then=PICKS)
    def subscribe(self, client: int, queries: list[Call], then: list[int]) -> None:
        subscriber = self.clients[client]
        for query in queries:
            query_id = subscriber.session.subscribe(*query)
            assert subscriber.queries.setdefault(query_id, query) == query
            subscriber.wanted[query_id] += 1
        subscriber.unsaid = True
        self.advance(client, then)

    @rule(client=CLIENT, which=st.integers(0, 5), then=PICKS)
    def unsubscribe(self, client: int, which: int, then: list[int]) -> None:
        subscriber = self.clients[client]
        wanted = sorted(subscriber.wanted)
        if wanted:
            query_id = wanted[which % len(wanted)]
            subscriber.session.unsubscribe(query_id)
            subscriber.unsaid = True
            subscriber.wanted[query_id] -= 1
            if not subscriber.wanted[query_id]:
                del subscriber.wanted[query_id], subscriber.queries[query_id]
        self.advance(client, then)

    @rule(client=CLIENT, calls=st.lists(MUTATIONS, min_size=1, max_size=3), then=PICKS)
    def mutate(self, client: int, calls: list[Call], then: list[int]) -> None:
        caller = self.clients[client]
        for path, args in calls:
            request_id = caller.session.mutation(path, args)
            caller.waiting.add(request_id)
            caller.asked[request_id] = path != "cells:refuse"
        caller.unsaid = True
        self.advance(client, then)

    @rule(client=CLIENT, then=PICKS)
    def act(self, client: int, then: list[int]) -> None:
        caller = self.clients[client]
        caller.waiting.add(caller.session.action("mail:deliver", {}))
        caller.unsaid = True
        self.advance(client, then)

    @rule(client=CLIENT, token=st.sampled_from([*TOKENS, "bad"]), then=PICKS)
    def present(self, client: int, token: str | None, then: list[int]) -> None:
        """Somebody else comes, or goes; perhaps it takes a moment until a token is there."""
        owner = self.clients[client]
        if len(then) % 2:
            owner.session.hold()
            owner.unsaid = True
            self.advance(client, then[:1] if owner.line else [])
        for event in owner.session.become(token):
            self.take(owner, event)
        owner.unsaid = True
        self.advance(client, then)

    def open(self, client: Client) -> None:
        client.line = Line(
            client, ServerSession(now=0.0, client=client.info, limits=LIMITS), View(chunked=client.info.takes_chunks)
        )
        client.reached = client.observed
        client.unsaid = False
        self.lines.append(client.line)
        self.send(client.line, map(encode_client, client.session.open(now_ms=1)))

    def say(self, line: Line) -> None:
        """Sends what has come together since the last time."""
        line.client.unsaid = False
        self.send(line, map(encode_client, line.client.session.messages_to_send()))

    @staticmethod
    def send(line: Line, texts: Iterable[str]) -> None:
        for text in texts:
            line.view.sent(json.loads(text))
            line.up.append(text)

    def hear(self, line: Line) -> None:
        client, text = line.client, line.down.popleft()
        message = json.loads(text)
        transition = line.view.heard(message)
        if message["type"] == "MutationResponse" and message["success"]:
            client.observed = max(client.observed, number(message["ts"]))
        if transition is not None:
            for modification in transition["modifications"]:
                self.note_journal(client, modification)
        if transition is not None and line.view.whole:
            assert line.view.version[2] >= client.reached
            client.reached = line.view.version[2]
            client.observed = max(client.observed, client.reached)
        parsed = decode_server(text)
        assert parsed is not None
        for event in client.session.receive(parsed):
            self.take(client, event)
        self.check(client)

    @staticmethod
    def note_journal(client: Client, modification: dict[str, Any]) -> None:
        journal, query_id = modification.get("journal"), modification["queryId"]
        if journal is not None and query_id in client.queries:
            assert client.journals.setdefault(query_id, journal) == journal, "the end of a page has moved"

    def take(self, client: Client, event: Event) -> None:
        match event:
            case QueryChanged(query_id):
                assert client.session.shown(query_id) is not None
            case RequestResolved(request_id, result):
                client.waiting.remove(request_id)
                if client.asked.get(request_id):
                    answer = self.database.answers[client.session_id, request_id]
                    assert answer.ts is not None
                    assert answer.ts <= client.reached
                    assert result == told(answer.answer)
                elif request_id in client.asked:
                    assert result == outcome.Failure("refused", {"code": "FULL"})
            case TokenRefused():
                self.drop(client)
                client.session.become("ada")
            case _:
                pytest.fail(f"{event} for a correct client")

    def drop(self, client: Client) -> None:
        """The client's end of the connection is gone, and all that is under way with it."""
        line, client.line = client.line, None
        assert line is not None
        line.cut = True
        line.up.clear()
        line.down.clear()
        for lost in client.session.closed("cut"):
            assert lost.request_id not in client.asked
            client.waiting.remove(lost.request_id)

    # The network

    @rule(client=CLIENT)
    def cut(self, client: int) -> None:
        if self.clients[client].line is not None:
            self.drop(self.clients[client])

    @precondition(lambda self: any(line.cut for line in self.lines))
    @rule(which=st.integers(0, 5))
    def notice(self, which: int) -> None:
        """The server's end of a broken connection ends; what runs for it goes on."""
        broken = [line for line in self.lines if line.cut]
        broken[which % len(broken)].server.close(1001, "ClientGone")

    @rule(client=CLIENT, picks=PICKS)
    def advance(self, client: int, picks: list[int]) -> None:
        """Of all that may happen next to a client and its connection, one thing after the other."""
        for pick in picks:
            line = self.clients[client].line
            if line is None:
                self.open(self.clients[client])
            elif steps := self.steps(line):
                steps[pick % len(steps)]()

    @precondition(lambda self: any(line.cut for line in self.lines))
    @rule(which=st.integers(0, 5), picks=PICKS)
    def linger(self, which: int, picks: list[int]) -> None:
        """The same for a broken connection."""
        broken = [line for line in self.lines if line.cut]
        for pick in picks:
            if steps := self.steps(broken[which % len(broken)]):
                steps[pick % len(steps)]()

    def steps(self, line: Line) -> list[Callable[[], None]]:
        steps: list[Callable[[], None]] = []
        if line.down:
            steps.append(partial(self.hear, line))
        elif line.server.close_requested() and not line.cut:
            steps.append(partial(self.drop, line.client))
        if line.client.unsaid and not line.cut:
            steps.append(partial(self.say, line))
        if line.up and not line.server.is_full:
            steps.append(partial(self.receive, line))
        if line.update:
            steps.append(partial(self.finish, line, line.update))
        elif not line.checked:
            steps.append(partial(self.begin, line))
        return steps + [partial(self.do, line, work) for work in line.work]

    # The owner

    def receive(self, line: Line) -> None:
        line.server.receive(line.up.popleft())
        self.turn(line)

    def turn(self, line: Line) -> None:
        """What comes after every call of a server's session."""
        line.work += line.server.take_work()
        line.checked = False
        messages = line.server.messages_to_send(now=0.0)
        if not line.cut:
            line.down += map(bytes, messages)

    def do(self, line: Line, work: Work) -> None:
        line.work.remove(work)
        assert line.server.connect is not None
        session = line.server.connect.session_id
        match work:
            case RunMutation(request_id, path, args, caller):
                assert line.view.requests[request_id] == ("Mutation", caller)
                newest = self.database.ts
                answer = self.database.mutate(session, request_id, path, args)
                if answer.ts is not None:
                    line.view.commits[request_id] = answer.ts
                line.server.mutation_finished(request_id, answer)
                if self.database.ts > newest:
                    self.invalidate(path, args)
                else:
                    line.view.repeated.add(request_id)
            case RunAction(request_id, caller=caller):
                assert line.view.requests[request_id] == ("Action", caller)
                self.database.actions[session, request_id] += 1
                line.server.action_finished(request_id, Answer(b"1.0"))
            case CheckToken(NoToken()):
                line.server.token_accepted(None)
            case CheckToken(UserToken(token)):
                if token in TOKENS:
                    line.server.token_accepted(TOKENS[token], expires=1.0 if "expiring" in token else None)
                else:
                    line.server.token_rejected("No.")
            case CheckTimestamp(ts):
                assert ts <= self.database.ts
            case _:
                pytest.fail(str(work))
        self.turn(line)

    def begin(self, line: Line) -> None:
        line.update = update = line.server.begin_update(self.database.ts)
        line.checked = update is None
        if update is not None:
            for query_id in update.removed:
                line.subscribed.pop(query_id, None)
            for query in update.run:
                _, _, journal = line.subscribed.get(query.query_id, (None, None, query.journal))
                line.subscribed[query.query_id] = query.path, query.args, journal

    def finish(self, line: Line, update: Update) -> None:
        answers = {}
        for query_id in [query.query_id for query in update.run]:
            path, args, journal = line.subscribed[query_id]
            answers[query_id] = self.database.read(path, args, update.ts, update.caller, journal)
            line.subscribed[query_id] = path, args, answers[query_id].journal
        line.update = None
        line.server.finish_update(update, answers)
        self.turn(line)

    @rule(call=WRITES)
    def others_write(self, call: Call) -> None:
        self.database.commit(*call)
        self.invalidate(*call)

    def invalidate(self, path: str, args: dict[str, Any]) -> None:
        for line in self.lines:
            for query_id, (query, asked, _) in line.subscribed.items():
                page = query == "rows:page" and (path == "rows:toggle" or args["cell"] == 0)
                if page or (path == "cells:set" and asked.get("cell") == args["cell"]):
                    line.server.invalidate(query_id)
                    line.checked = False

    @precondition(lambda self: self.lines)
    @rule(which=st.integers(0, 5), for_good=st.booleans())
    def fall_silent(self, which: int, for_good: bool) -> None:
        """Long enough for a Ping, and for tokens to expire; or it stops, and what it has not committed is lost."""
        line = self.lines[-1 - which % len(self.lines)]
        if not for_good:
            line.server.handle_deadline(now=2 * PING_SECONDS)
            self.turn(line)
            return
        for line in self.lines:
            line.server.close(1001, "ServerShuttingDown")
            line.work.clear()

    # What must hold

    @invariant()
    def all_is_right(self) -> None:
        for client in self.clients:
            self.check(client)
            answers = [self.database.answers.get((client.session_id, request_id)) for request_id in client.asked]
            commits = [answer.ts for answer in answers if answer and answer.ts]
            assert commits == sorted(commits), "mutations of one client took place out of order"
        assert set(self.database.actions.values()) <= {1}

    def check(self, client: Client) -> None:
        """Each result is the one of its query at the moment and for the caller that the client was told."""
        view = client.line.view if client.line else View(chunked=True)
        if not view.whole:
            return
        _, identity, ts = view.version
        for query_id, (path, args) in client.queries.items():
            held = client.session.outcome(query_id)
            if query_id not in view.queries:
                assert held is None
                continue
            if held is None and (client.unsaid or identity < len(view.callers) - 1):
                continue  # it is about to be somebody else, and hides what it has
            right = self.database.read(path, args, ts, view.callers[identity], client.journals.get(query_id))
            assert held == told(right), f"{path} {args} at {ts} for {view.callers[identity]}"

    def settle(self) -> None:
        """Once all is done, every client has its answers, and sees what is."""
        for _ in range(20):
            for client in self.clients:
                if client.line is None:
                    self.open(client)
            for line in self.lines:
                while steps := self.steps(line):
                    steps[0]()
            self.lines = [line for line in self.lines if not line.cut]
            if all(client.line and not self.steps(client.line) for client in self.clients):
                break
        for client in self.clients:
            assert client.line is not None, "it does not come to rest"
            assert client.session.state.synced
            assert client.session.state.retries == 0
            assert not client.waiting
            assert {request_id for session, request_id in self.database.answers if session == client.session_id} == {
                request_id for request_id, takes_effect in client.asked.items() if takes_effect
            }
            view = client.line.view
            assert view.version[:2] == (len(view.query_sets) - 1, len(view.callers) - 1)
            assert not view.unsettled
            assert set(client.queries) == set(view.queries)
            for query_id, (path, args) in client.queries.items():
                right = self.database.read(
                    path, args, self.database.ts, view.callers[-1], client.journals.get(query_id)
                )
                assert client.session.outcome(query_id) == told(right)

    def teardown(self) -> None:
        self.settle()


TestPair = Pair.TestCase
TestPair.settings = settings(max_examples=120, stateful_step_count=50)
