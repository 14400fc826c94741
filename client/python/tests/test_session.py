from __future__ import annotations

import pytest
from scripted import Versions

from yugen_client import chunks, requests
from yugen_client.absent import ABSENT
from yugen_client.errors import ProtocolError, TooManyRequests
from yugen_client.messages import (
    Action,
    ActionResponse,
    AddQuery,
    Authenticate,
    AuthError,
    ClientMessage,
    Connect,
    FatalError,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    Ping,
    QueryFailed,
    QueryRemoved,
    QueryUpdated,
    RemoveQuery,
    ServerMessage,
    TransitionChunk,
    encode_server,
)
from yugen_client.optimistic import Draft
from yugen_client.outcome import Failure, Success
from yugen_client.requests import IN_FLIGHT_MAX
from yugen_client.session import ActionLost, QueryChanged, Refused, RequestResolved, Session, TokenRefused


def opened(session: Session) -> list[ClientMessage]:
    """The messages of a new connection after its Connect."""
    connect, *messages = session.open(now_ms=0)
    assert isinstance(connect, Connect)
    return messages


def add(query_id: int, path: str = "messages:list", journal: object = ABSENT) -> AddQuery:
    return AddQuery(query_id=query_id, udf_path=path, args=({},), journal=journal)


def query_set(base: int, *modifications: AddQuery | RemoveQuery) -> ModifyQuerySet:
    return ModifyQuerySet(base_version=base, new_version=base + 1, modifications=modifications)


def committed(request_id: int, ts: int, result: object = None) -> MutationResponse:
    return MutationResponse(request_id=request_id, success=True, result=result, ts=ts)


def receive_all(session: Session, messages: list[ServerMessage]) -> None:
    for message in messages:
        session.receive(message)


# Opening


def test_the_first_connection() -> None:
    session = Session("the session")
    assert session.open(now_ms=1234) == [
        Connect(
            session_id="the session",
            connection_count=0,
            last_close_reason="InitialConnect",
            client_ts=1234,
        ),
        query_set(0),
    ]
    assert session.messages_to_send() == []


def test_nothing_is_sent_without_a_connection() -> None:
    session = Session("s")
    session.subscribe("messages:list", {})
    session.mutation("messages:send", {})
    assert session.messages_to_send() == []
    assert opened(session) == [
        query_set(0, add(0)),
        Mutation(request_id=0, udf_path="messages:send", args=({},)),
    ]


def test_the_token_goes_before_all_else() -> None:
    session = Session("s")
    session.authenticate("ey")
    session.subscribe("messages:list", {})
    assert opened(session) == [Authenticate(base_version=0, value="ey"), query_set(0, add(0))]


def test_a_reconnect_says_where_the_session_stood() -> None:
    session, server = Session("s"), Versions()
    opened(session)
    session.receive(server.transition(query_set=1, ts=7))
    session.receive(committed(99, ts=5))
    session.closed("InternalServerError")
    assert session.open(now_ms=0)[0] == Connect(
        session_id="s",
        connection_count=1,
        last_close_reason="InternalServerError",
        max_observed_timestamp=7,
        client_ts=0,
    )


# Queries


def test_equal_subscriptions_share_one_query() -> None:
    session = Session("s")
    opened(session)
    first = session.subscribe("messages:list", {"a": 1.0, "b": True})
    assert session.subscribe("messages.js:list", {"b": True, "a": 1.0}) == first
    assert session.subscribe("messages:list", {"a": True, "b": 1.0}) != first
    assert len(session.messages_to_send()) == 1


def test_the_last_subscriber_removes_the_query() -> None:
    session = Session("s")
    opened(session)
    query_id = session.subscribe("messages:list", {})
    session.subscribe("messages:list", {})
    assert session.messages_to_send() == [query_set(1, add(0))]
    session.unsubscribe(query_id)
    assert session.messages_to_send() == []
    session.unsubscribe(query_id)
    assert session.messages_to_send() == [query_set(2, RemoveQuery(query_id=0))]


def test_changes_between_two_sends_go_in_one_message() -> None:
    session = Session("s")
    opened(session)
    kept = session.subscribe("a:a", {})
    gone = session.subscribe("b:b", {})
    session.unsubscribe(gone)
    assert session.messages_to_send() == [query_set(1, add(kept, "a:a"))]
    session.unsubscribe(kept)
    again = session.subscribe("a:a", {})
    assert again != kept  # ids are never used twice
    assert session.messages_to_send() == [query_set(2, add(again, "a:a"), RemoveQuery(query_id=kept))]


def test_a_result_arrives() -> None:
    session, server = Session("s"), Versions()
    query_id = session.subscribe("messages:list", {})
    opened(session)
    assert session.outcome(query_id) is None
    assert session.receive(server.transition({query_id: [1.0]}, query_set=1, ts=1)) == [QueryChanged(query_id)]
    assert session.outcome(query_id) == Success([1.0])


def test_a_failure_is_a_result() -> None:
    session, server = Session("s"), Versions()
    query_id = session.subscribe("messages:list", {})
    opened(session)
    failed = QueryFailed(query_id=query_id, error_message="no", error_data={"code": "NOPE"})
    assert session.receive(server.transition({query_id: failed}, query_set=1)) == [QueryChanged(query_id)]
    assert session.outcome(query_id) == Failure("no", {"code": "NOPE"})


def test_results_of_a_query_that_nobody_wants_any_more_are_dropped() -> None:
    session, server = Session("s"), Versions()
    query_id = session.subscribe("messages:list", {})
    opened(session)
    session.unsubscribe(query_id)
    assert session.receive(server.transition({query_id: 1.0}, query_set=1)) == []
    assert session.messages_to_send() == [query_set(1, RemoveQuery(query_id=query_id))]
    removed = QueryRemoved(query_id=query_id)
    assert session.receive(server.transition({query_id: removed}, query_set=2)) == []


def test_a_reconnect_asks_for_the_wanted_queries_with_their_journals() -> None:
    session, server = Session("s"), Versions()
    page = session.subscribe("a:page", {})
    gone = session.subscribe("b:b", {})
    opened(session)
    updated = QueryUpdated(query_id=page, value=1.0, journal="end at 7")
    session.receive(server.transition({page: updated, gone: 2.0}, query_set=1))
    session.receive(server.transition({page: QueryUpdated(query_id=page, value=2.0)}))  # leaves the journal
    session.unsubscribe(gone)
    session.closed("x")
    late = session.subscribe("c:c", {})
    assert opened(session) == [query_set(0, add(page, "a:page", "end at 7"), add(late, "c:c"))]


def test_a_result_waits_for_the_new_connection_and_stays_the_same_object_if_equal() -> None:
    session, server = Session("s"), Versions()
    same, other = session.subscribe("a:a", {}), session.subscribe("b:b", {})
    opened(session)
    session.receive(server.transition({same: {"n": 1.0}, other: 1.0}, query_set=1))
    before = session.outcome(same), session.outcome(other)
    session.closed("x")
    assert session.outcome(same) is None

    opened(session)
    session.receive(Versions().transition({same: {"n": 1.0}, other: True}, query_set=1))
    assert session.outcome(same) is before[0]
    assert session.outcome(other) == Success(True)
    assert session.outcome(other) is not before[1]


# Mutations


def test_a_mutation_resolves_when_the_results_show_it() -> None:
    session, server = Session("s"), Versions()
    opened(session)
    session.receive(server.transition(query_set=1, ts=1))
    request_id = session.mutation("messages:send", {})
    assert session.messages_to_send() == [Mutation(request_id=0, udf_path="messages:send", args=({},))]
    assert session.receive(committed(request_id, ts=5, result="id")) == []
    assert session.receive(server.transition(ts=4)) == []
    assert session.receive(server.transition(ts=5)) == [RequestResolved(request_id, Success("id"))]
    assert session.state.in_flight_mutations == 0


def test_a_mutation_that_the_results_already_show_resolves_at_once() -> None:
    session, server = Session("s"), Versions()
    opened(session)
    request_id = session.mutation("messages:send", {})
    session.receive(server.transition(query_set=1, ts=9))
    assert session.receive(committed(request_id, ts=9)) == [RequestResolved(request_id, Success(None))]


def test_results_come_before_the_mutation_that_made_them() -> None:
    session, server = Session("s"), Versions()
    query_id = session.subscribe("messages:list", {})
    opened(session)
    request_id = session.mutation("messages:send", {})
    session.receive(committed(request_id, ts=5))
    events = session.receive(server.transition({query_id: 1.0}, query_set=1, ts=6))
    assert events == [QueryChanged(query_id), RequestResolved(request_id, Success(None))]


def test_a_failed_mutation_resolves_at_once() -> None:
    session = Session("s")
    opened(session)
    request_id = session.mutation("messages:send", {})
    response = MutationResponse(request_id=request_id, success=False, result="full", error_data=None)
    assert session.receive(response) == [RequestResolved(request_id, Failure("full", None))]


def test_mutations_are_sent_again_in_order_until_resolved() -> None:
    session, server = Session("s"), Versions()
    opened(session)
    done, answered, unanswered = (session.mutation("a:a", {"n": float(n)}) for n in range(3))
    assert len(session.messages_to_send()) == 3
    session.receive(committed(done, ts=1))
    session.receive(server.transition(query_set=1, ts=1))
    session.receive(committed(answered, ts=5, result="first answer"))
    assert session.closed("x") == []
    queued = session.mutation("a:a", {"n": 3.0})

    messages = opened(session)
    assert messages == [
        query_set(0),
        *(
            Mutation(request_id=request_id, udf_path="a:a", args=({"n": float(request_id)},))
            for request_id in (answered, unanswered, queued)
        ),
    ]
    server = Versions()
    assert session.receive(committed(answered, ts=5, result="second answer")) == []
    assert session.receive(server.transition(query_set=1, ts=5)) == [RequestResolved(answered, Success("first answer"))]


def test_no_more_are_sent_than_servers_take_at_once() -> None:
    session = Session("s")
    opened(session)
    for number in range(IN_FLIGHT_MAX + 2):
        (session.action if number % 2 else session.mutation)("a:a", {})
    sent = session.messages_to_send()
    assert [message.request_id for message in sent if isinstance(message, Mutation | Action)] == [*range(IN_FLIGHT_MAX)]
    assert (session.may_send, session.messages_to_send()) == (False, [])
    for _ in range(2):  # the second one makes no more room
        session.receive(MutationResponse(request_id=0, success=True, result=None, ts=5))
    [message] = session.messages_to_send()
    assert message == Mutation(request_id=IN_FLIGHT_MAX, udf_path="a:a", args=({},))
    lost = session.closed("x")
    assert len(lost) == IN_FLIGHT_MAX / 2
    _, *again = opened(session)
    assert len(again) == IN_FLIGHT_MAX + 2 - len(lost)


def test_all_that_was_asked_before_is_sent_before_somebody_else_takes_over() -> None:
    session = Session("s")
    opened(session)
    for _ in range(IN_FLIGHT_MAX + 2):
        session.mutation("a:a", {})
    session.become("bob")
    *before, authenticate = session.messages_to_send()
    assert len(before) == IN_FLIGHT_MAX + 2
    assert isinstance(authenticate, Authenticate)


def test_too_many_are_refused_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "REQUESTS_MAX", 3)
    session = Session("s")
    opened(session)
    for _ in range(3):
        session.mutation("a:a", {})

    def update(draft: Draft) -> None:
        pytest.fail("of a mutation that is not made")

    with pytest.raises(TooManyRequests, match="3 mutations and actions of this client wait"):
        session.optimistic_mutation("a:a", {}, update)
    with pytest.raises(TooManyRequests):
        session.action("a:a", {})
    session.receive(MutationResponse(request_id=1, success=False, result="no"))
    assert session.mutation("a:a", {}) == 3
    assert session.state.in_flight_mutations == 3


def test_answers_that_nobody_waits_for_are_ignored() -> None:
    session, server = Session("s"), Versions()
    opened(session)
    mutation, action = session.mutation("a:a", {}), session.action("a:b", {})
    session.receive(server.transition(query_set=1, ts=9))
    assert session.receive(committed(7, ts=1)) == []
    assert session.receive(committed(action, ts=1)) == []
    assert session.receive(ActionResponse(request_id=mutation, success=True, result=None)) == []
    assert session.receive(committed(mutation, ts=1)) == [RequestResolved(mutation, Success(None))]
    assert session.receive(committed(mutation, ts=1)) == []


# Actions


def test_an_action_resolves_with_its_response() -> None:
    session = Session("s")
    opened(session)
    request_id = session.action("mail:send", {})
    assert session.messages_to_send() == [Action(request_id=0, udf_path="mail:send", args=({},))]
    response = ActionResponse(request_id=request_id, success=True, result=1.0)
    assert session.receive(response) == [RequestResolved(request_id, Success(1.0))]


def test_actions_that_were_sent_are_lost_with_the_connection_and_others_wait() -> None:
    session = Session("s")
    opened(session)
    sent = session.action("mail:send", {})
    session.messages_to_send()
    waiting = session.action("mail:send", {})
    assert session.closed("x") == [ActionLost(sent)]
    assert session.state.in_flight_actions == 1
    assert opened(session) == [query_set(0), Action(request_id=waiting, udf_path="mail:send", args=({},))]


# Versions and chunks


def test_a_transition_from_elsewhere_is_refused_and_changes_nothing() -> None:
    session, server = Session("s"), Versions()
    query_id = session.subscribe("messages:list", {})
    opened(session)
    session.receive(server.transition({query_id: 1.0}, query_set=1, ts=1))
    server.transition({query_id: 2.0}, ts=2)  # lost on the way
    with pytest.raises(ProtocolError, match="a transition starts at"):
        session.receive(server.transition({query_id: 3.0}, ts=3))
    assert session.outcome(query_id) == Success(1.0)


def test_versions_do_not_outlive_the_connection() -> None:
    session, server = Session("s"), Versions()
    opened(session)
    session.receive(server.transition(query_set=1, ts=1))
    session.closed("x")
    opened(session)
    with pytest.raises(ProtocolError):
        session.receive(server.transition(ts=2))


def chunks_of(text: str, size: int, transition_id: str = "t") -> list[TransitionChunk]:
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    return [
        TransitionChunk(chunk=part, part_number=number, total_parts=len(parts), transition_id=transition_id)
        for number, part in enumerate(parts)
    ]


def test_a_transition_in_parts() -> None:
    session, server = Session("s"), Versions()
    query_id = session.subscribe("messages:list", {})
    opened(session)
    first, second, *rest = chunks_of(encode_server(server.transition({query_id: "é" * 50}, query_set=1)), 40)
    assert session.receive(first) == []
    assert session.receive(Ping()) == []
    assert session.receive(second) == []
    assert [session.receive(part) for part in rest][-1] == [QueryChanged(query_id)]
    assert session.outcome(query_id) == Success("é" * 50)
    [whole] = chunks_of(encode_server(server.transition({query_id: 2.0}, ts=2)), 10_000)
    assert session.receive(whole) == [QueryChanged(query_id)]


def test_parts_out_of_order_are_refused() -> None:
    first, second, third = chunks_of("x" * 30, 10)
    stranger = chunks_of("x" * 30, 10, "another")[1]
    cases: list[list[ServerMessage]] = [
        [second],
        [first, third],
        [first, first],
        [first, stranger],
        [first, committed(1, ts=1)],
    ]
    for wrong in cases:
        session = Session("s")
        opened(session)
        with pytest.raises(ProtocolError, match="part"):
            receive_all(session, wrong)


def test_the_parts_of_a_transition_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHARACTERS_MAX", 25)
    session = Session("s")
    opened(session)
    first, second, third = chunks_of("x" * 30, 10)
    session.receive(first)
    session.receive(second)
    with pytest.raises(ProtocolError, match="longer than 25"):
        session.receive(third)
    session.closed("x")
    opened(session)
    assert session.receive(first) == []


def test_a_transition_has_so_many_parts_at_most_also_of_nothing() -> None:
    session = Session("s")
    opened(session)
    too_many = TransitionChunk(chunk="", part_number=0, total_parts=chunks.PARTS_MAX + 1, transition_id="t")
    with pytest.raises(ProtocolError, match="has 65537 parts"):
        session.receive(too_many)


def test_what_is_refused_of_parts_is_named_in_short() -> None:
    session = Session("s")
    opened(session)
    first, second = chunks_of("x" * 20, 10, "t" * 100_000)
    with pytest.raises(ProtocolError) as refused:
        session.receive(second)
    assert len(str(refused.value)) < 200
    session.closed("x")
    opened(session)
    session.receive(first)
    with pytest.raises(ProtocolError) as refused:
        session.receive(committed(1, ts=1))
    assert len(str(refused.value)) < 200


def test_parts_must_make_a_transition() -> None:
    session = Session("s")
    opened(session)
    with pytest.raises(ProtocolError, match="another message"):
        session.receive(chunks_of('{"type":"Ping"}', 100)[0])


def test_parts_do_not_outlive_the_connection() -> None:
    session, server = Session("s"), Versions()
    opened(session)
    session.receive(chunks_of("x" * 30, 10)[0])
    session.closed("x")
    opened(session)
    assert session.receive(server.transition(query_set=1)) == []


# Auth, ends, state


def test_refusals_are_counted_until_a_token_is_accepted() -> None:
    session = Session("s")
    session.authenticate("bad")
    for times in (1, 2):
        opened(session)
        assert session.receive(AuthError(error="expired", base_version=0)) == [TokenRefused("expired", times)]
        session.closed("AuthError")
    session.authenticate("good")
    opened(session)
    session.receive(Versions().transition(query_set=1, identity=1))
    assert session.receive(AuthError(error="expired", auth_update_attempted=False)) == [TokenRefused("expired", 1)]


def test_refusals_are_counted_anew_for_another_user() -> None:
    session = Session("s")
    session.authenticate("bad")
    opened(session)
    assert session.receive(AuthError(error="expired", base_version=0)) == [TokenRefused("expired", 1)]
    session.closed("AuthError")
    session.hold()
    session.become("bad too")
    opened(session)
    assert session.receive(AuthError(error="expired", base_version=0)) == [TokenRefused("expired", 1)]


def test_what_was_asked_before_is_sent_as_the_user_before_over_the_present_connection_only() -> None:
    session, server = Session("s"), Versions()
    session.authenticate("ada")
    opened(session)
    session.receive(server.transition(query_set=1, identity=1, ts=1))
    request_id = session.mutation("a:a", {})
    sent = Mutation(request_id=request_id, udf_path="a:a", args=({},))
    session.become("bob")
    assert session.messages_to_send() == [sent, Authenticate(base_version=1, value="bob")]
    session.closed("x")
    assert opened(session) == [Authenticate(base_version=0, value="bob"), query_set(0), sent]


def test_a_fatal_error_ends_the_session() -> None:
    session = Session("s")
    opened(session)
    assert session.receive(FatalError(error="go away")) == [Refused("go away")]


def test_retries_count_until_all_that_was_open_is_answered() -> None:
    session = Session("s")
    session.authenticate("ey")
    query_id = session.subscribe("messages:list", {})
    request_id = session.mutation("a:a", {})
    session.closed("refused")
    session.closed("refused")
    assert session.state.retries == 2
    opened(session)
    server = Versions()

    for message in (
        server.transition(query_set=1, ts=1),
        server.transition({query_id: 1.0}),
        server.transition(identity=1),
        committed(request_id, ts=2),
    ):
        session.receive(message)
        assert (session.state.synced, session.state.retries) == (False, 2)
    session.receive(server.transition(ts=2))
    assert (session.state.synced, session.state.retries) == (True, 0)

    session.subscribe("b:b", {})  # new work does not undo it
    session.messages_to_send()
    assert (session.state.synced, session.state.retries) == (True, 0)
    session.closed("x")
    assert (session.state.synced, session.state.retries) == (False, 1)


def test_leaving_a_query_that_was_never_answered_still_lets_the_session_settle() -> None:
    session = Session("s")
    query_id = session.subscribe("messages:list", {})
    opened(session)
    session.unsubscribe(query_id)
    session.messages_to_send()
    session.receive(Versions().transition(query_set=2))
    assert session.state.synced


def test_the_state_counts_what_is_in_flight() -> None:
    session = Session("s")
    assert not session.state.has_in_flight_requests
    session.mutation("a:a", {})
    session.action("a:b", {})
    state = session.state
    assert (state.connected, state.connection_count) == (False, 0)
    assert (state.in_flight_mutations, state.in_flight_actions) == (1, 1)
    assert state.has_in_flight_requests
    opened(session)
    assert (session.state.connected, session.state.connection_count) == (True, 1)
