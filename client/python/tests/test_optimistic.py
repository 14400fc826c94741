from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scripted import Versions

from yugen_client.local_store import LocalStore
from yugen_client.messages import (
    AddQuery,
    ClientMessage,
    Connect,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    QueryFailed,
    QueryUpdated,
    ServerMessage,
    Transition,
)
from yugen_client.optimistic import Draft, OptimisticResults
from yugen_client.outcome import Success
from yugen_client.queries import QuerySet
from yugen_client.session import QueryChanged, RequestResolved, Session, UpdateDropped


def committed(request_id: int, ts: int, result: object = None) -> MutationResponse:
    return MutationResponse(request_id=request_id, success=True, result=result, ts=ts)


def appending(word: str, path: str = "words:list") -> Callable[[Draft], None]:
    def update(draft: Draft) -> None:
        outcome = draft.get(path, {})
        if isinstance(outcome, Success):
            draft.set(path, {}, Success([*outcome.value, word]))

    return update


class Pair:
    """A session that watches `words:list`, and its server."""

    def __init__(self) -> None:
        self.session, self.server = Session("s"), Versions()
        self.query = self.session.subscribe("words:list", {})
        self.session.open(now_ms=0)
        self.session.receive(self.server.transition({self.query: ["a"]}, query_set=1, ts=1))

    def shown(self) -> Any:
        outcome = self.session.shown(self.query)
        return outcome.value if isinstance(outcome, Success) else outcome


# One after the other


def test_an_update_shows_at_once_and_only_to_subscribers() -> None:
    pair = Pair()
    request_id, events = pair.session.optimistic_mutation("words:add", {}, appending("b"))
    assert events == [QueryChanged(pair.query)]
    assert pair.shown() == ["a", "b"]
    assert pair.session.outcome(pair.query) == Success(["a"])
    assert pair.session.messages_to_send() == [Mutation(request_id=request_id, udf_path="words:add", args=({},))]


def test_an_update_goes_in_the_step_in_which_its_result_comes() -> None:
    pair = Pair()
    request_id, _ = pair.session.optimistic_mutation("words:add", {}, appending("b, perhaps"))
    assert pair.session.receive(committed(request_id, ts=5)) == []
    assert pair.session.receive(pair.server.transition({pair.query: ["a", "x"]}, ts=4)) == [QueryChanged(pair.query)]
    assert pair.shown() == ["a", "x", "b, perhaps"]
    events = pair.session.receive(pair.server.transition({pair.query: ["a", "x", "b"]}, ts=5))
    assert events == [QueryChanged(pair.query), RequestResolved(request_id, Success(None))]
    assert pair.shown() == ["a", "x", "b"]


def test_a_failure_rolls_back_its_update_alone() -> None:
    pair = Pair()
    first, _ = pair.session.optimistic_mutation("words:add", {}, appending("b"))
    pair.session.optimistic_mutation("words:add", {}, appending("c"))
    assert pair.shown() == ["a", "b", "c"]
    refused = MutationResponse(request_id=first, success=False, result="no")
    changed, resolved = pair.session.receive(refused)
    assert changed == QueryChanged(pair.query)
    assert isinstance(resolved, RequestResolved)
    assert pair.shown() == ["a", "c"]


def test_updates_stay_over_a_reconnect() -> None:
    pair = Pair()
    request_id, _ = pair.session.optimistic_mutation("words:add", {}, appending("b"))
    pair.session.closed("x")
    assert pair.shown() == ["a", "b"]
    pair.session.optimistic_mutation("words:add", {}, appending("c"))  # made while there is no connection
    assert pair.shown() == ["a", "b", "c"]
    pair.session.open(now_ms=0)
    pair.session.receive(committed(request_id, ts=7))
    pair.session.receive(Versions().transition({pair.query: ["a", "b"]}, query_set=1, ts=7))
    assert pair.shown() == ["a", "b", "c"]


def test_a_result_that_looks_like_its_prediction_is_no_news() -> None:
    pair = Pair()
    request_id, _ = pair.session.optimistic_mutation("words:add", {}, appending("b"))
    before = pair.session.shown(pair.query)
    pair.session.receive(pair.server.transition(ts=2))
    assert pair.session.shown(pair.query) is before
    pair.session.receive(committed(request_id, ts=3))


def test_an_update_that_raises_at_once_sends_nothing() -> None:
    pair = Pair()

    def broken(draft: Draft) -> None:
        draft.set("words:list", {}, Success(["half done"]))
        raise KeyError("no such word")

    with pytest.raises(KeyError, match="no such word"):
        pair.session.optimistic_mutation("words:add", {}, broken)
    assert pair.shown() == ["a"]
    assert pair.session.messages_to_send() == []
    assert pair.session.state.in_flight_mutations == 0


def test_an_update_that_raises_over_newer_results_is_dropped_and_the_others_stay() -> None:
    pair = Pair()
    error = IndexError("the list is shorter now")

    def fragile(draft: Draft) -> None:
        outcome = draft.get("words:list", {})
        assert isinstance(outcome, Success)
        draft.set("words:list", {}, Success([*outcome.value, "fragile"]))
        if len(outcome.value) != 1:
            raise error

    request_id, _ = pair.session.optimistic_mutation("words:add", {}, fragile)
    pair.session.optimistic_mutation("words:add", {}, appending("b"))
    events = pair.session.receive(pair.server.transition({pair.query: []}, ts=2))
    assert events == [UpdateDropped(request_id, error), QueryChanged(pair.query)]
    assert pair.shown() == ["b"]


def test_a_query_can_be_shown_before_it_is_loaded_and_as_not_loaded() -> None:
    pair = Pair()

    def update(draft: Draft) -> None:
        draft.set("words:count", {}, Success(1.0))
        draft.set("words:list", {}, None)

    request_id, _ = pair.session.optimistic_mutation("words:add", {}, update)
    count = pair.session.subscribe("words:count", {})
    assert pair.session.shown(count) == Success(1.0)
    assert pair.session.outcome(count) is None
    assert pair.shown() is None
    refused = MutationResponse(request_id=request_id, success=False, result="no")
    assert set(pair.session.receive(refused)[:2]) == {QueryChanged(pair.query), QueryChanged(count)}
    assert pair.session.shown(count) is None
    assert pair.shown() == ["a"]


def test_what_was_made_of_a_query_goes_with_its_last_subscriber() -> None:
    pair = Pair()

    def copy(draft: Draft) -> None:
        outcome = draft.get("words:list", {})
        draft.set("words:copy", {}, outcome)

    copied = pair.session.subscribe("words:copy", {})
    pair.session.optimistic_mutation("words:add", {}, copy)
    assert pair.session.shown(copied) == Success(["a"])
    pair.session.subscribe("words:list", {})
    assert pair.session.unsubscribe(pair.query) == []
    assert pair.session.unsubscribe(pair.query) == [QueryChanged(copied)]
    assert pair.session.shown(copied) is None


# Somebody else


def test_another_user_sees_nothing_of_the_updates_of_the_one_before() -> None:
    pair = Pair()
    request_id, _ = pair.session.optimistic_mutation("words:add", {}, appending("of ada"))
    pair.session.messages_to_send()
    assert pair.session.become("bob") == []
    own, _ = pair.session.optimistic_mutation("words:add", {}, appending("of bob"))
    pair.session.messages_to_send()
    assert pair.shown() is None
    pair.session.receive(pair.server.transition({pair.query: ["b"]}, identity=1, ts=2))
    assert pair.shown() == ["b", "of bob"]
    pair.session.receive(committed(request_id, ts=3))
    events = pair.session.receive(pair.server.transition({pair.query: ["b", "of ada"]}, ts=3))
    assert events == [QueryChanged(pair.query), RequestResolved(request_id, Success(None))]
    assert pair.shown() == ["b", "of ada", "of bob"]
    pair.session.receive(committed(own, ts=4))


def test_updates_made_while_it_is_open_who_comes_are_those_of_who_comes() -> None:
    pair = Pair()
    pair.session.optimistic_mutation("words:add", {}, appending("of ada"))
    pair.session.hold()
    pair.session.optimistic_mutation("words:add", {}, appending("of bob"))
    assert pair.session.become("bob") == []
    pair.session.messages_to_send()
    pair.session.receive(pair.server.transition(identity=1, ts=2))
    assert pair.shown() == ["a", "of bob"]


def test_updates_stay_when_it_is_the_same_user_after_all() -> None:
    pair = Pair()
    pair.session.optimistic_mutation("words:add", {}, appending("b"))
    pair.session.hold()
    assert pair.session.become(None) == [QueryChanged(pair.query)]
    assert pair.shown() == ["a", "b"]


def test_an_update_that_stood_on_one_of_the_user_before_is_dropped() -> None:
    pair = Pair()
    error = LookupError("not there")

    def fragile(draft: Draft) -> None:
        outcome = draft.get("words:list", {})
        if not isinstance(outcome, Success) or "of ada" not in outcome.value:
            raise error

    pair.session.optimistic_mutation("words:add", {}, appending("of ada"))
    pair.session.hold()
    request_id, _ = pair.session.optimistic_mutation("words:add", {}, fragile)
    assert pair.session.become("bob") == [UpdateDropped(request_id, error)]


# The store that updates are given


def test_the_store_gives_and_takes_values() -> None:
    pair = Pair()
    with_args = pair.session.subscribe("words:list", {"of": "ada"})
    failing = pair.session.subscribe("words:failing", {})
    pair.session.receive(
        pair.server.transition(
            {with_args: [], failing: QueryFailed(query_id=failing, error_message="no")}, query_set=2, ts=2
        )
    )
    seen: list[Any] = []

    def update(draft: Draft) -> None:
        store = LocalStore(draft, None)
        words = store.get_query("words.js:list")
        words.append("changed by nobody else")
        seen.extend([store.get_query("words:list"), store.get_query("words:none"), store.get_query("words:failing")])
        seen.append(store.get_all_queries("words:list"))
        store.set_query("words:list", {"of": "ada"}, (b"\1", 2, None))
        seen.append(store.get_query("words:list", {"of": "ada"}))
        store.clear_query("words:list")

    pair.session.optimistic_mutation("words:add", {}, update)
    assert seen == [["a"], None, None, [({}, ["a"]), ({"of": "ada"}, [])], [b"\1", 2.0, None]]
    assert pair.session.shown(with_args) == Success([{"$bytes": "AQ=="}, 2.0, None])
    assert pair.shown() is None


def test_a_store_is_of_no_use_later() -> None:
    kept: list[LocalStore] = []
    OptimisticResults(QuerySet()).add(0, lambda draft: kept.append(LocalStore(draft, None)))
    with pytest.raises(RuntimeError, match="one run of an optimistic update"):
        kept[0].set_query("words:list", {}, [])
    with pytest.raises(RuntimeError, match="one run of an optimistic update"):
        kept[0].get_query("words:list")


# In any order

CELLS: Final = 3


@dataclass(frozen=True)
class Write:
    """What a mutation does to a cell, which is a list of numbers: it appends its own, or turns it round."""

    cell: int
    number: int
    turns: bool
    fails: bool

    def apply(self, value: list[float]) -> list[float]:
        return value[::-1] if self.turns else [*value, float(self.number)]

    def lay_over(self, draft: Draft) -> None:
        outcome = draft.get("cells:get", {"cell": float(self.cell)})
        if isinstance(outcome, Success):
            draft.set("cells:get", {"cell": float(self.cell)}, Success(self.apply(outcome.value)))


class Layering(RuleBasedStateMachine):
    """A session and a server with messages under way between them, and a model of what is to be shown.

    The model knows nothing of layers: from the results that have arrived, and the mutations whose end has not, it
    computes what each query shows. As Yugen does, the server answers what a client sends again before it sends results.
    """

    def __init__(self) -> None:
        super().__init__()
        self.session = Session("s")
        # The server
        self.cells: dict[int, list[float]] = {cell: [] for cell in range(CELLS)}
        self.ts = 1
        self.answers: dict[int, MutationResponse] = {}
        self.writes: dict[int, Write] = {}
        # The connection
        self.connected = False
        self.up: deque[ClientMessage] = deque()
        self.down: deque[ServerMessage] = deque()
        self.versions = Versions()
        self.wanted: dict[int, int] = {}
        self.query_set = 0
        self.opening = 0
        # The model
        self.subscribed: dict[int, int] = {}
        self.results: dict[int, list[float]] = {}
        self.reached = 0
        self.pending: dict[int, Write] = {}
        self.done_at: dict[int, int] = {}
        self.announced: set[int] = set()
        # Something to begin with, without which little happens.
        for cell in range(CELLS - 1):
            self.subscribe(cell)
        self.all_that_is_under_way_arrives()

    def flush(self) -> None:
        self.up.extend(self.session.messages_to_send())

    def take(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, QueryChanged):
                self.announced.add(event.query_id)
            assert not isinstance(event, UpdateDropped)

    def shown(self, cell: int) -> list[float] | None:
        outcome = self.session.shown(self.subscribed[cell])
        return outcome.value if isinstance(outcome, Success) else None

    def expected(self, cell: int) -> list[float] | None:
        value = self.results.get(cell)
        for write in self.pending.values():
            if write.cell == cell and value is not None:
                value = write.apply(value)
        return value

    # The user

    @rule(cell=st.integers(0, CELLS - 1))
    def subscribe(self, cell: int) -> None:
        if cell not in self.subscribed:
            self.subscribed[cell] = self.session.subscribe("cells:get", {"cell": float(cell)})
            self.flush()

    @precondition(lambda self: self.subscribed)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        cell = data.draw(st.sampled_from(sorted(self.subscribed)))
        self.take(self.session.unsubscribe(self.subscribed.pop(cell)))
        self.results.pop(cell, None)
        self.flush()

    @rule(cell=st.integers(0, CELLS - 1), turns=st.booleans(), fails=st.booleans())
    def mutate(self, cell: int, turns: bool, fails: bool) -> None:
        write = Write(cell, len(self.writes) + 1, turns, fails)
        request_id, events = self.session.optimistic_mutation("cells:write", {}, write.lay_over)
        self.writes[request_id] = self.pending[request_id] = write
        self.take(list(events))
        self.flush()

    # The server

    @rule(cell=st.integers(0, CELLS - 1))
    def somebody_else_writes(self, cell: int) -> None:
        self.ts += 1
        self.cells[cell] = [*self.cells[cell], float(-self.ts)]

    @precondition(lambda self: self.up)
    @rule()
    def server_reads(self) -> None:
        message = self.up.popleft()
        self.opening = max(0, self.opening - 1)
        match message:
            case ModifyQuerySet(modifications=modifications, new_version=version):
                for change in modifications:
                    if isinstance(change, AddQuery):
                        self.wanted[change.query_id] = int(change.args[0]["cell"])
                    else:
                        del self.wanted[change.query_id]
                self.query_set = version
            case Mutation(request_id=request_id):
                if request_id not in self.answers:
                    write = self.writes[request_id]
                    if write.fails:
                        answer = MutationResponse(request_id=request_id, success=False, result="no")
                    else:
                        self.ts += 1
                        self.cells[write.cell] = write.apply(self.cells[write.cell])
                        answer = committed(request_id, self.ts)
                    self.answers[request_id] = answer
                self.down.append(self.answers[request_id])
            case Connect():
                pass
            case _:
                raise AssertionError(message)

    @precondition(lambda self: self.connected and not self.opening)
    @rule()
    def server_sends_results(self) -> None:
        results = {query_id: self.cells[cell] for query_id, cell in self.wanted.items()}
        self.down.append(self.versions.transition(results, query_set=self.query_set, ts=self.ts))

    # The connection

    @precondition(lambda self: self.down)
    @rule()
    def client_reads(self) -> None:
        message = self.down.popleft()
        before = {cell: self.shown(cell) for cell in self.subscribed}
        self.announced.clear()
        events = self.session.receive(message)
        self.take(events)
        if isinstance(message, MutationResponse):
            if not message.success:
                self.pending.pop(message.request_id, None)
            elif message.request_id in self.pending:
                assert message.ts is not None
                self.done_at[message.request_id] = message.ts
        if isinstance(message, Transition):
            self.reached = message.end_version.ts
            cells = {query_id: cell for cell, query_id in self.subscribed.items()}
            for change in message.modifications:
                if isinstance(change, QueryUpdated) and change.query_id in cells:
                    self.results[cells[change.query_id]] = change.value
        for request_id, ts in list(self.done_at.items()):
            if ts <= self.reached:
                self.pending.pop(request_id, None)
                del self.done_at[request_id]
        resolved = {event.request_id for event in events if isinstance(event, RequestResolved)}
        assert not resolved & self.pending.keys()
        for cell, query_id in self.subscribed.items():
            assert query_id in self.announced or self.shown(cell) == before[cell]
        self.flush()

    @precondition(lambda self: self.connected)
    @rule()
    def disconnect(self) -> None:
        self.session.closed("x")
        self.connected = False
        self.reached = 0
        self.up.clear()
        self.down.clear()

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        self.connected = True
        self.versions = Versions()
        self.wanted = {}
        self.query_set = 0
        self.up.extend(self.session.open(now_ms=0))
        self.opening = len(self.up)

    @rule()
    def all_that_is_under_way_arrives(self) -> None:
        if not self.connected:
            self.connect()
        while self.up:
            self.server_reads()
        self.server_sends_results()
        while self.down:
            self.client_reads()

    # What holds

    @invariant()
    def shows_the_results_with_what_is_pending(self) -> None:
        for cell in self.subscribed:
            assert self.shown(cell) == self.expected(cell)

    @invariant()
    def each_write_shows_once(self) -> None:
        for cell in self.subscribed:
            value = self.shown(cell)
            if value is not None:
                assert len(value) == len(set(value))

    @invariant()
    def in_flight_is_what_is_pending(self) -> None:
        assert self.session.state.in_flight_mutations == len(self.pending)


TestLayering = Layering.TestCase
TestLayering.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
