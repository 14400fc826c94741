from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from yugen.runtime.outcome import Answer, Failure, MutationAnswer
from yugen.sync.client import ClientInfo
from yugen.sync.messages import Connect, NoToken, UserToken
from yugen.sync.session import (
    CHUNK_BYTES,
    EXPIRY_GRACE_SECONDS,
    PING_SECONDS,
    CheckTimestamp,
    CheckToken,
    Close,
    RunAction,
    RunMutation,
    ServerSession,
    SessionLimits,
    Update,
    Work,
)

SESSION = "3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11"
FAILED = MutationAnswer(Answer(failure=Failure("no", b'"FULL"')), None)


def value(text: str, *log_lines: str) -> Answer:
    return Answer(value=text.encode(), log_lines=log_lines)


def committed(ts: int) -> MutationAnswer:
    return MutationAnswer(value("null"), ts)


def add(query_id: int, path: str = "cells:get", **args: object) -> dict[str, Any]:
    return {"type": "Add", "queryId": query_id, "udfPath": path, "args": [args]}


def remove(query_id: int) -> dict[str, Any]:
    return {"type": "Remove", "queryId": query_id}


def modify(base_version: int, *modifications: dict[str, Any], new_version: int | None = None) -> dict[str, Any]:
    return {
        "type": "ModifyQuerySet",
        "baseVersion": base_version,
        "newVersion": base_version + 1 if new_version is None else new_version,
        "modifications": modifications,
    }


def mutation(request_id: int, **args: object) -> dict[str, Any]:
    return {"type": "Mutation", "requestId": request_id, "udfPath": "cells:set", "args": [args]}


def action(request_id: int) -> dict[str, Any]:
    return {"type": "Action", "requestId": request_id, "udfPath": "mail:deliver", "args": [{}]}


def authenticate(base_version: int, token: str = "eyJ") -> dict[str, Any]:
    return {"type": "Authenticate", "baseVersion": base_version, "tokenType": "User", "value": token}


CONNECT = {"type": "Connect", "sessionId": SESSION, "connectionCount": 0, "lastCloseReason": "InitialConnect"}
NOBODY = {"type": "Authenticate", "baseVersion": 0, "tokenType": "None"}


def number(ts: str) -> int:
    return int.from_bytes(b64decode(ts), "little")


class Driver:
    """A session with short names for what a test does to it; time stands still unless a test moves it."""

    def __init__(self, limits: SessionLimits | None = None, client: ClientInfo | None = None) -> None:
        self.session = ServerSession(now=0.0, limits=limits, client=client)

    def send(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.session.receive(json.dumps(message))

    def received(self) -> list[dict[str, Any]]:
        return [json.loads(bytes(message)) for message in self.session.messages_to_send(now=0.0)]

    def types(self) -> list[str]:
        return [message["type"] for message in self.received()]

    def update(self, ts: int, results: Mapping[int, Answer] | None = None) -> list[dict[str, Any]]:
        """Runs an update that must be due, and gives what the client receives."""
        update = self.session.begin_update(ts)
        assert update is not None
        self.session.finish_update(update, results or {})
        return self.received()

    def subscribed(self, **results: str) -> Driver:
        """Adds the queries q0, q1, ... with these results at timestamp 10."""
        ids = [int(name[1:]) for name in results]
        self.send(CONNECT, modify(0, *map(add, ids)))
        self.update(10, {query_id: value(results[f"q{query_id}"]) for query_id in ids})
        return self

    def begin(self, ts: int) -> Update:
        update = self.session.begin_update(ts)
        assert update is not None
        return update

    def run_mutation(self, request_id: int, answer: MutationAnswer) -> None:
        self.send(mutation(request_id))
        self.session.take_work()
        self.session.mutation_finished(request_id, answer)


@pytest.fixture
def driver() -> Driver:
    return Driver()


def versions(transition: dict[str, Any]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    def version(name: str) -> tuple[int, int, int]:
        fields = transition[name]
        return fields["querySet"], fields["identity"], number(fields["ts"])

    return version("startVersion"), version("endVersion")


def changes(transition: dict[str, Any]) -> dict[int, Any]:
    """What a Transition says of each query: its value, its error, or nothing if it is gone."""
    return {
        modification["queryId"]: modification.get("value", modification.get("errorMessage"))
        for modification in transition["modifications"]
    }


class TestSubscriptions:
    def test_first_transition(self, driver: Driver) -> None:
        driver.send(CONNECT, modify(0, add(0, channel="a"), {**add(1, "users:page"), "journal": "opaque"}))
        update = driver.begin(10)
        assert [(query.query_id, query.path, query.args, query.journal) for query in update.run] == [
            (0, "cells:get", {"channel": "a"}, None),
            (1, "users:page", {}, "opaque"),
        ]
        driver.session.finish_update(update, {0: value("1.0"), 1: Answer(failure=Failure("no"))})
        (transition,) = driver.received()
        assert versions(transition) == ((0, 0, 0), (1, 0, 10))
        assert changes(transition) == {0: 1.0, 1: "no"}
        assert driver.session.connect == Connect(SESSION, 0, "InitialConnect", None)

    def test_no_connect_is_no_error(self, driver: Driver) -> None:
        driver.send(modify(0, add(0)))
        assert len(driver.begin(1).run) == 1
        assert driver.session.connect is None

    def test_nothing_is_due_at_first(self, driver: Driver) -> None:
        driver.send(CONNECT)
        assert driver.session.begin_update(10) is None
        assert driver.received() == []

    def test_an_empty_query_set_is_confirmed(self, driver: Driver) -> None:
        driver.send(CONNECT, modify(0))
        (transition,) = driver.update(10)
        assert versions(transition) == ((0, 0, 0), (1, 0, 10))
        assert driver.session.begin_update(11) is None

    def test_invalidated_queries_run_again_and_the_others_do_not(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0", q1="1.0")
        driver.session.invalidate(1)
        update = driver.begin(11)
        assert [query.query_id for query in update.run] == [1]
        driver.session.finish_update(update, {1: value("2.0")})
        (transition,) = driver.received()
        assert versions(transition) == ((1, 0, 10), (1, 0, 11))
        assert changes(transition) == {1: 2.0}

    def test_an_equal_result_is_not_sent(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.session.invalidate(0)
        assert driver.update(11, {0: value("0.0")}) == []
        driver.session.invalidate(0)
        (transition,) = driver.update(12, {0: value("1.0")})
        assert versions(transition) == ((1, 0, 10), (1, 0, 12))

    def test_other_log_lines_make_another_result(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.session.invalidate(0)
        (transition,) = driver.update(11, {0: value("0.0", "[LOG] 'again'")})
        assert transition["modifications"][0]["logLines"] == ["[LOG] 'again'"]

    def test_one_update_at_a_time(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0", q1="1.0")
        driver.session.invalidate(0)
        update = driver.begin(11)
        driver.session.invalidate(0)
        driver.session.invalidate(1)
        assert driver.session.begin_update(12) is None
        driver.session.finish_update(update, {0: value("2.0")})
        assert [query.query_id for query in driver.begin(12).run] == [0, 1]

    def test_removal_is_confirmed(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0", q1="1.0")
        driver.send(modify(1, remove(0)))
        update = driver.begin(11)
        assert (update.removed, update.run) == ((0,), ())
        driver.session.finish_update(update, {})
        (transition,) = driver.received()
        assert versions(transition) == ((1, 0, 10), (2, 0, 11))
        assert transition["modifications"] == [{"type": "QueryRemoved", "queryId": 0}]

    def test_an_invalidation_after_the_removal_is_late_and_harmless(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.session.invalidate(0)
        driver.send(modify(1, remove(0)))
        driver.session.invalidate(0)
        assert driver.begin(11).run == ()

    def test_what_arrives_during_an_update_is_for_the_next_one(self, driver: Driver) -> None:
        driver.send(modify(0, add(0)))
        update = driver.begin(10)
        driver.send(modify(1, remove(0), add(1)))
        driver.session.finish_update(update, {0: value("0.0")})
        first, second = *driver.received(), *driver.update(11, {1: value("1.0")})
        assert versions(first) == ((0, 0, 0), (1, 0, 10))
        assert changes(first) == {0: 0.0}
        assert versions(second) == ((1, 0, 10), (2, 0, 11))
        assert changes(second) == {0: None, 1: 1.0}

    def test_an_id_used_again_is_another_query(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.send(modify(1, remove(0), add(0, "cells:other")))
        update = driver.begin(11)
        assert update.removed == (0,)
        assert [query.path for query in update.run] == ["cells:other"]
        driver.session.finish_update(update, {0: value("0.0")})
        (transition,) = driver.received()
        assert [modification["type"] for modification in transition["modifications"]] == [
            "QueryRemoved",
            "QueryUpdated",
        ]

    def test_a_query_added_and_removed_at_once_is_never_run(self, driver: Driver) -> None:
        driver.send(modify(0, add(0), remove(0)))
        assert driver.begin(10).run == ()

    def test_skipped_states_add_up_for_a_slow_client(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0", q1="1.0")
        for ts in range(11, 20):
            driver.session.invalidate(ts % 2)
        (transition,) = driver.update(20, {0: value("8.0"), 1: value("9.0")})
        assert changes(transition) == {0: 8.0, 1: 9.0}


class TestTrapsOfVersions:
    def test_trap_1_each_start_version_is_the_end_version_before(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        end = (1, 0, 10)
        for ts in range(11, 20):
            driver.session.invalidate(0)
            # Every other time the same result, which sends nothing and so must not move the version.
            for transition in driver.update(ts, {0: value(f"{ts // 2}.0")}):
                start, following = versions(transition)
                assert start == end
                end = following
        assert end == (1, 0, 18)

    def test_trap_2_a_session_starts_from_zero(self) -> None:
        for _ in range(2):
            driver = Driver()
            driver.send(CONNECT, modify(0, add(0)))
            (transition,) = driver.update(10, {0: value("0.0")})
            assert versions(transition)[0] == (0, 0, 0)
            assert changes(transition) == {0: 0.0}

    def test_trap_5_every_query_of_the_version_has_its_result(self, driver: Driver) -> None:
        driver.send(modify(0, add(0)), modify(1, add(1)), modify(2, add(2), remove(1)))
        (transition,) = driver.update(10, {0: value("0.0"), 2: value("2.0")})
        assert versions(transition)[1] == (3, 0, 10)
        assert changes(transition) == {0: 0.0, 2: 2.0, 1: None}

    def test_trap_5_a_missing_result_is_the_owners_fault(self, driver: Driver) -> None:
        driver.send(modify(0, add(0)))
        update = driver.begin(10)
        with pytest.raises(KeyError):
            driver.session.finish_update(update, {})

    def test_trap_6_one_transition_for_one_update(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0", q1="1.0", q2="2.0")
        for query_id in range(3):
            driver.session.invalidate(query_id)
        (transition,) = driver.update(11, {query_id: value("7.0") for query_id in range(3)})
        assert changes(transition) == {0: 7.0, 1: 7.0, 2: 7.0}

    def test_trap_7_unknown_message_types_are_passed_over(self, driver: Driver) -> None:
        driver.send({"type": "Novelty"}, {"type": "Event", "event": None}, modify(0))
        assert driver.session.unknown_messages == 1
        assert driver.begin(10).query_set == 1

    def test_trap_28_results_that_python_takes_for_equal_are_not(self, driver: Driver) -> None:
        results = ["1.0", "true", '{"$integer":"AQAAAAAAAAA="}', '"1"', "[1.0]", "[true]"]
        driver.subscribed(q0=results[0])
        for ts, result in enumerate(results[1:], 11):
            driver.session.invalidate(0)
            (transition,) = driver.update(ts, {0: value(result)})
            assert json.dumps(changes(transition)[0], separators=(",", ":")) == result

    def test_time_does_not_go_back_even_behind_an_update_that_sent_nothing(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.session.invalidate(0)
        assert driver.update(20, {0: value("0.0")}) == []
        driver.session.invalidate(0)
        with pytest.raises(AssertionError):
            driver.session.begin_update(19)

    def test_an_update_can_finish_only_once(self, driver: Driver) -> None:
        driver.send(modify(0))
        update = driver.begin(10)
        driver.session.finish_update(update, {})
        with pytest.raises(AssertionError):
            driver.session.finish_update(update, {})


class TestTrapsOfMutations:
    def test_response_then_transition(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.run_mutation(0, committed(11))
        driver.session.invalidate(0)
        response, transition = *driver.received(), *driver.update(12, {0: value("1.0")})
        assert (response["type"], number(response["ts"])) == ("MutationResponse", 11)
        assert versions(transition) == ((1, 0, 10), (1, 0, 12))
        assert changes(transition) == {0: 1.0}
        assert driver.session.begin_update(13) is None

    def test_trap_11_a_transition_after_a_mutation_that_changed_nothing(self, driver: Driver) -> None:
        driver.run_mutation(0, committed(11))
        response, transition = *driver.received(), *driver.update(11)
        assert response["type"] == "MutationResponse"
        assert versions(transition) == ((0, 0, 0), (0, 0, 11))

    def test_trap_12_a_transition_follows_though_the_client_is_past_the_timestamp(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.run_mutation(0, committed(9))
        response, transition = *driver.received(), *driver.update(10)
        assert response["type"] == "MutationResponse"
        assert versions(transition) == ((1, 0, 10), (1, 0, 10))
        assert transition["modifications"] == []
        assert driver.session.begin_update(10) is None

    def test_trap_13_a_transition_after_a_failed_mutation(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.run_mutation(0, FAILED)
        response, transition = *driver.received(), *driver.update(10)
        assert response["ts"] is None
        assert versions(transition) == ((1, 0, 10), (1, 0, 10))

    def test_trap_15_a_finished_request_is_answered_once(self, driver: Driver) -> None:
        driver.run_mutation(0, committed(11))
        with pytest.raises(AssertionError):
            driver.session.mutation_finished(0, committed(11))
        driver.send(action(1))
        driver.session.action_finished(1, value("null"))
        with pytest.raises(KeyError):
            driver.session.action_finished(1, value("null"))
        assert driver.types() == ["MutationResponse", "ActionResponse"]

    def test_trap_15_a_mutation_sent_twice_waits_for_the_first(self, driver: Driver) -> None:
        driver.send(mutation(0), mutation(0))
        for _ in range(2):
            (work,) = driver.session.take_work()
            assert work == RunMutation(0, "cells:set", {}, None)
            assert driver.session.take_work() == []
            driver.session.mutation_finished(0, committed(11))
        assert driver.types() == ["MutationResponse", "MutationResponse"]

    def test_trap_15_an_action_that_runs_is_not_started_again(self, driver: Driver) -> None:
        driver.send(action(5), action(5))
        assert driver.session.take_work() == []
        (fatal,) = driver.received()
        assert fatal["error"] == "DuplicateRequestId: Action with requestId 5, which is running."

    def test_trap_16_the_transition_is_not_older_than_the_response(self, driver: Driver) -> None:
        driver.run_mutation(0, committed(11))
        with pytest.raises(AssertionError):
            driver.session.begin_update(10)

    def test_trap_16_a_transition_begun_before_the_commit_does_not_settle_it(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.session.invalidate(0)
        update = driver.begin(11)
        driver.run_mutation(0, committed(12))
        driver.session.finish_update(update, {0: value("1.0")})
        assert driver.types() == ["MutationResponse", "Transition"]
        (transition,) = driver.update(12)
        assert versions(transition) == ((1, 0, 11), (1, 0, 12))

    def test_trap_16_nor_does_it_when_a_failure_comes_after_the_commit(self, driver: Driver) -> None:
        driver.send(modify(0))
        update = driver.begin(11)
        driver.run_mutation(0, committed(12))
        driver.run_mutation(1, FAILED)
        driver.session.finish_update(update, {})
        assert driver.types() == ["MutationResponse", "MutationResponse", "Transition"]
        assert [versions(transition)[1] for transition in driver.update(12)] == [(1, 0, 12)]

    def test_a_transition_that_settles_nothing_and_says_nothing_is_not_sent(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.session.invalidate(0)
        update = driver.begin(11)
        driver.run_mutation(0, committed(12))
        driver.session.finish_update(update, {0: value("0.0")})
        assert driver.types() == ["MutationResponse"]
        (transition,) = driver.update(12)
        assert versions(transition) == ((1, 0, 10), (1, 0, 12))

    def test_one_transition_settles_several_responses(self, driver: Driver) -> None:
        for request_id, answer in enumerate([committed(11), FAILED, committed(12)]):
            driver.run_mutation(request_id, answer)
        assert driver.types() == ["MutationResponse"] * 3
        assert [versions(transition)[1] for transition in driver.update(12)] == [(0, 0, 12)]
        assert driver.session.begin_update(12) is None

    def test_first_results_of_a_returning_client_wait_for_what_it_has_sent_before(self, driver: Driver) -> None:
        driver.send({**CONNECT, "connectionCount": 1}, modify(0, add(0)), mutation(3), mutation(4))
        assert driver.session.begin_update(20) is None
        driver.send(mutation(5))
        # The first took place before the connection broke, and any result shows it; the second is new.
        for request_id, ts in ((3, 15), (4, 21)):
            assert driver.session.begin_update(20) is None
            driver.session.take_work()
            driver.session.mutation_finished(request_id, committed(ts))
        first, second, transition = *driver.received(), *driver.update(21, {0: value("1.0")})
        assert [first["requestId"], second["requestId"]] == [3, 4]
        assert versions(transition) == ((0, 0, 0), (1, 0, 21))

    def test_trap_19_mutations_run_one_at_a_time_in_order(self, driver: Driver) -> None:
        driver.send(*(mutation(request_id, n=request_id) for request_id in range(3)))
        for request_id in range(3):
            assert driver.session.take_work() == [RunMutation(request_id, "cells:set", {"n": request_id}, None)]
            assert driver.session.take_work() == []
            driver.session.mutation_finished(request_id, committed(11 + request_id))
        assert driver.session.take_work() == []

    def test_actions_run_at_once_and_owe_no_transition(self, driver: Driver) -> None:
        driver.send(mutation(0), action(1), action(2))
        assert driver.session.take_work() == [
            RunAction(1, "mail:deliver", {}, None),
            RunAction(2, "mail:deliver", {}, None),
            RunMutation(0, "cells:set", {}, None),
        ]
        driver.session.action_finished(2, value("2.0"))
        driver.session.action_finished(1, Answer(failure=Failure("no")))
        assert [(message["requestId"], message["result"]) for message in driver.received()] == [(2, 2.0), (1, "no")]
        assert driver.session.begin_update(11) is None


class TestTrapsOfAuth:
    def test_trap_20_a_transition_after_authenticate_without_queries(self, driver: Driver) -> None:
        driver.send(CONNECT, authenticate(0))
        assert driver.session.take_work() == [CheckToken(UserToken("eyJ"))]
        driver.session.token_accepted("ada")
        (transition,) = driver.update(10)
        assert versions(transition) == ((0, 0, 0), (0, 1, 10))

    def test_trap_20_also_when_no_result_changes(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.send(NOBODY)
        assert driver.session.take_work() == [CheckToken(NoToken())]
        driver.session.token_accepted("ada")
        (transition,) = driver.update(10, {0: value("0.0")})
        assert versions(transition) == ((1, 0, 10), (1, 1, 10))
        assert transition["modifications"] == []

    def test_every_query_runs_again_for_another_caller(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0", q1="1.0")
        driver.send(authenticate(0))
        driver.session.token_accepted("ada")
        update = driver.begin(11)
        assert update.identity == 1
        assert [query.query_id for query in update.run] == [0, 1]

    def test_an_update_begun_for_one_caller_is_finished_for_that_one(self, driver: Driver) -> None:
        driver.send(modify(0, add(0)))
        update = driver.begin(10)
        driver.send(authenticate(0))
        driver.session.token_accepted("ada")
        driver.session.finish_update(update, {0: value('"nobody"')})
        first, second = *driver.received(), *driver.update(11, {0: value('"somebody"')})
        assert (versions(first)[1], changes(first)) == ((1, 0, 10), {0: "nobody"})
        assert (versions(second)[1], changes(second)) == ((1, 1, 11), {0: "somebody"})

    def test_requests_run_as_the_caller_who_sent_them(self, driver: Driver) -> None:
        driver.send(mutation(0), mutation(1), authenticate(0))
        driver.session.token_accepted("ada")
        driver.send(mutation(2), action(3))
        identities = {}
        for request_id in range(3):
            for work in driver.session.take_work():
                if isinstance(work, RunMutation | RunAction):
                    identities[work.request_id] = work.caller
            driver.session.mutation_finished(request_id, FAILED)
        assert identities == {0: None, 1: None, 2: "ada", 3: "ada"}

    def test_trap_21_auth_error_names_the_identity_before_the_token(self, driver: Driver) -> None:
        driver.send(authenticate(0))
        driver.session.token_accepted("ada")
        driver.update(10)
        # Signing out and in again in one go: a client passes over what is said of a token that is not its last.
        driver.send(authenticate(1), authenticate(2, "expired"))
        driver.session.token_accepted(None)
        driver.session.token_rejected("The token has expired.")
        assert driver.received() == [
            {"type": "AuthError", "error": "The token has expired.", "baseVersion": 2, "authUpdateAttempted": True}
        ]

    def test_trap_22_nothing_is_processed_after_auth_error(self, driver: Driver) -> None:
        driver.send(mutation(7), authenticate(0), modify(0, add(0)), mutation(0), action(1))
        driver.session.token_rejected("No.")
        driver.send(modify(0, add(0)), action(2))
        assert driver.types() == ["AuthError"]
        assert driver.session.close_requested() == Close(1000, "")
        assert driver.session.take_work() == []
        assert driver.session.begin_update(10) is None

    def test_trap_23_what_follows_authenticate_waits_for_it(self, driver: Driver) -> None:
        driver.send(CONNECT, authenticate(0), modify(0, add(0)), mutation(0), authenticate(1, "second"), action(1))
        assert driver.session.take_work() == [CheckToken(UserToken("eyJ"))]
        assert driver.session.begin_update(9) is None
        driver.session.token_accepted("ada")
        assert driver.session.take_work() == [
            CheckToken(UserToken("second")),
            RunMutation(0, "cells:set", {}, "ada"),
        ]
        assert driver.begin(10).caller == "ada"
        driver.session.token_accepted("bob")
        assert driver.session.take_work() == [RunAction(1, "mail:deliver", {}, "bob")]

    def test_trap_23_a_bad_message_waits_too(self, driver: Driver) -> None:
        driver.send(authenticate(0))
        driver.session.receive("nonsense")
        assert driver.received() == []
        driver.session.token_accepted("ada")
        assert driver.types() == ["FatalError"]

    def test_only_a_token_being_checked_has_a_verdict(self, driver: Driver) -> None:
        with pytest.raises(AssertionError):
            driver.session.token_accepted("ada")
        with pytest.raises(AssertionError):
            driver.session.token_rejected("No.")

    def test_nothing_runs_again_for_a_new_token_that_says_the_same(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.send(authenticate(0))
        driver.session.token_accepted("ada")
        driver.update(11, {0: value("1.0")})
        driver.send(authenticate(1, "another"))
        driver.session.token_accepted("ada")
        assert driver.begin(12).run == ()

    def test_trap_22_an_expired_token_ends_the_connection(self, driver: Driver) -> None:
        driver.send(authenticate(0))
        driver.session.token_accepted("ada", expires=3.0)
        driver.update(10)
        assert driver.session.deadline() == 3.0 + EXPIRY_GRACE_SECONDS
        driver.session.handle_deadline(now=7.9)
        assert driver.received() == []
        driver.send(mutation(0))
        driver.session.handle_deadline(now=8.0)
        (error,) = driver.received()
        assert error == {
            "type": "AuthError",
            "error": "The token has expired; sign in again.",
            "baseVersion": 1,
            "authUpdateAttempted": False,
        }
        assert driver.session.close_requested() == Close(1000, "")
        assert driver.session.take_work() == []
        assert driver.session.begin_update(11) is None

    def test_a_token_can_be_ended_before_its_time(self, driver: Driver) -> None:
        driver.session.expire_token("nobody has one yet")
        driver.send(authenticate(0))
        driver.session.token_accepted("ada", expires=3.0)
        driver.update(10)
        assert driver.received() == []
        driver.session.expire_token("sign in again")
        (error,) = driver.received()
        assert (error["error"], error["authUpdateAttempted"]) == ("sign in again", False)
        assert driver.session.close_requested() == Close(1000, "")

    def test_a_token_being_checked_keeps_the_old_one_from_expiring(self, driver: Driver) -> None:
        driver.send(authenticate(0))
        driver.session.token_accepted("ada", expires=1.0)
        driver.send(authenticate(1))
        driver.session.handle_deadline(now=10.0)
        assert driver.session.deadline() == PING_SECONDS
        driver.session.token_accepted("ada", expires=2.0)
        assert driver.session.deadline() == 2.0 + EXPIRY_GRACE_SECONDS
        driver.send({"type": "Authenticate", "baseVersion": 2, "tokenType": "None"})
        driver.session.token_accepted(None)
        assert driver.session.deadline() == PING_SECONDS


NPM, RUST = ClientInfo("npm", (1, 48)), ClientInfo("rust", (0, 10))


class TestLargeMessages:
    def big(self, driver: Driver, *sizes: int) -> list[dict[str, Any]]:
        driver.send(modify(0, *(add(query_id) for query_id in range(len(sizes)))))
        answers = {
            query_id: value(json.dumps("é" * (size // 2), ensure_ascii=False)) for query_id, size in enumerate(sizes)
        }
        return driver.update(10, answers)

    def test_trap_8_chunks_of_one_transition_lie_side_by_side(self) -> None:
        driver = Driver(client=NPM)
        driver.send(mutation(0))
        driver.session.take_work()
        driver.session.mutation_finished(0, committed(9))
        response, *chunks = self.big(driver, 7_000_000, 7_000_000, 10)
        assert response["type"] == "MutationResponse"
        assert {chunk["type"] for chunk in chunks} == {"TransitionChunk"}
        assert [(chunk["partNumber"], chunk["totalParts"]) for chunk in chunks] == [(n, len(chunks)) for n in range(3)]
        assert {chunk["transitionId"] for chunk in chunks} == {"1"}
        assert all(len(chunk["chunk"].encode()) <= CHUNK_BYTES for chunk in chunks)
        whole = json.loads("".join(chunk["chunk"] for chunk in chunks))
        assert versions(whole) == ((0, 0, 0), (1, 0, 10))
        assert changes(whole)[2] == "é" * 5

    @pytest.mark.parametrize("client", [RUST, ClientInfo(), ClientInfo("npm", (1, 27))])
    def test_trap_9_no_chunks_for_clients_that_do_not_know_them(self, client: ClientInfo) -> None:
        (transition,) = self.big(Driver(client=client), 3_000_000, 3_000_000)
        assert transition["type"] == "Transition"

    def test_trap_24_a_large_transition_comes_in_several_that_move_the_version_once(self) -> None:
        driver = Driver(client=RUST)
        first, second, third = self.big(driver, 9_000_000, 9_000_000, 5_000_000, 3_000_000)
        assert [versions(each) for each in (first, second, third)] == [
            ((0, 0, 0), (0, 0, 0)),
            ((0, 0, 0), (0, 0, 0)),
            ((0, 0, 0), (1, 0, 10)),
        ]
        assert [sorted(changes(each)) for each in (first, second, third)] == [[0], [1, 2], [3]]

    def test_trap_24_what_cannot_be_sent_at_all_is_an_error_that_says_so(self) -> None:
        driver = Driver(client=RUST)
        (transition,) = self.big(driver, 16_000_000, 10)
        assert changes(transition)[1] == "é" * 5
        assert "ResultTooLarge: this result takes 16000002 bytes" in changes(transition)[0]
        driver.send(mutation(0), action(1))
        driver.session.take_work()
        driver.session.mutation_finished(0, MutationAnswer(value('"' + "0" * 16_000_000 + '"'), 11))
        driver.session.action_finished(1, value('"' + "0" * 16_000_000 + '"'))
        for response in driver.received():
            assert not response["success"]
            assert "the function has done its work" in response["result"]

    def test_what_actions_give_and_nobody_reads_has_an_end(self) -> None:
        driver = Driver(limits=SessionLimits(answer_bytes=300))
        driver.send(*map(action, range(9)))
        for number in range(3):
            driver.session.action_finished(number, value('"' + "0" * 100 + '"'))
            assert driver.types() == ["ActionResponse"]
        driver.session.action_finished(3, value('"' + "0" * 100 + '"'))
        assert driver.session.close_requested() is None
        driver.session.action_finished(4, value('"' + "0" * 100 + '"'))
        assert driver.session.close_requested() == Close(1013, "TooManyConcurrentRequests:answers")
        assert driver.received() == []

    def test_who_drops_queries_without_end_is_not_read_before_it_is_told(self) -> None:
        driver = Driver(limits=SessionLimits(subscriptions=3))
        driver.subscribed(q0="1")
        driver.send(modify(1, add(9)))
        update = driver.begin(11)
        for base in range(2, 6):
            assert not driver.session.is_full
            driver.send(modify(base, add(10 + base), remove(10 + base)))
        assert driver.session.is_full
        driver.session.finish_update(update, {9: value("1")})
        driver.begin(12)
        assert not driver.session.is_full


class TestTime:
    CONNECT = CONNECT | {"clientTs": 1_000_500}

    def transition(self, driver: Driver, message: dict[str, Any], wall_ns: int | None) -> dict[str, Any]:
        driver.session.receive(json.dumps(message), wall_ns=wall_ns)
        driver.send(modify(0))
        driver.session.finish_update(driver.begin(10), {}, wall_ns=wall_ns)
        (transition,) = driver.received()
        return transition

    def test_a_transition_tells_the_clocks_of_both_ends(self, driver: Driver) -> None:
        transition = self.transition(driver, self.CONNECT, 1_000_000_000_000)
        assert transition["clientClockSkew"] == 500
        assert transition["serverTs"] == 1_000_000_000_000

    @pytest.mark.parametrize("client_ts", [0, None])
    def test_trap_10_neither_is_there_when_one_is_unknown(self, driver: Driver, client_ts: Any) -> None:
        transition = self.transition(driver, self.CONNECT | {"clientTs": client_ts}, 1_000_000_000_000)
        assert transition.keys().isdisjoint({"clientClockSkew", "serverTs"})

    def test_trap_31_what_the_client_has_seen_is_to_be_checked(self, driver: Driver) -> None:
        driver.send(CONNECT | {"maxObservedTimestamp": "CgAAAAAAAAA="})
        assert driver.session.take_work() == [CheckTimestamp(10)]


class TestMisuse:
    @pytest.mark.parametrize(
        ("message", "code", "names"),
        [
            ({"type": "Mutation", "requestId": True}, "InvalidMessage", "Mutation.requestId"),
            (
                modify(0),
                "BaseVersionMismatch",
                "ModifyQuerySet.baseVersion must be 1, the version received last; it is 0",
            ),
            (modify(2), "BaseVersionMismatch", "it is 2"),
            (modify(1, new_version=1), "InvalidMessage", "ModifyQuerySet.newVersion"),
            (modify(1, add(7), add(0)), "DuplicateQueryId", "queryId 0"),
            (modify(1, add(7), add(7)), "DuplicateQueryId", "queryId 7"),
            (modify(1, remove(0), remove(9)), "UnknownQueryId", "queryId 9"),
            (modify(1, remove(0), remove(0)), "UnknownQueryId", "queryId 0"),
            (authenticate(1), "BaseVersionMismatch", "Authenticate.baseVersion must be 0"),
            (CONNECT, "DuplicateConnect", "Connect"),
        ],
    )
    def test_what_no_correct_client_sends_is_fatal(self, message: dict[str, Any], code: str, names: str) -> None:
        driver = Driver().subscribed(q0="0.0")
        driver.send(message, modify(1, add(8)), mutation(0), action(1))
        (fatal,) = driver.received()
        assert fatal["type"] == "FatalError"
        assert fatal["error"].startswith(f"{code}: ")
        assert names in fatal["error"]
        assert driver.session.close_requested() == Close(1008, code)
        assert driver.session.take_work() == []
        assert driver.session.begin_update(11) is None
        assert driver.session.deadline() is None

    @pytest.mark.parametrize(
        "trouble",
        [
            lambda driver: driver.send(*(action(n) for n in range(3))),
            lambda driver: driver.send(*(mutation(n) for n in range(3))),
            lambda driver: driver.send(modify(1, *(add(n) for n in range(1, 4)))),
            lambda driver: driver.send(modify(1, add(1, text="x" * 1000))),
            lambda driver: driver.send(authenticate(0), *({"type": "Event"} for _ in range(3))),
            lambda driver: (driver.send(authenticate(0)), driver.session.token_rejected("No.")),
            lambda driver: (
                driver.send(authenticate(0)),
                driver.session.token_accepted("ada", expires=1.0),
                driver.session.handle_deadline(now=100.0),
            ),
            lambda driver: driver.session.receive(b"\x00"),
            lambda driver: driver.session.close(1011, "InternalServerError"),
        ],
    )
    def test_trap_30_what_another_connection_may_cure_is_not_fatal(self, trouble: Callable[[Driver], object]) -> None:
        limits = SessionLimits(
            waiting_mutations=2, running_actions=2, subscriptions=3, held_messages=2, subscription_bytes=900
        )
        driver = Driver(limits).subscribed(q0="0.0")
        trouble(driver)
        assert "FatalError" not in driver.types()
        assert driver.session.close_requested() is not None

    def test_newer_versions_may_skip_numbers(self, driver: Driver) -> None:
        driver.send(modify(0, add(0), new_version=5), modify(5, add(1)))
        assert driver.begin(10).query_set == 6

    def test_binary_frames_close(self, driver: Driver) -> None:
        driver.session.receive(b"{}")
        assert driver.session.close_requested() == Close(1003, "BinaryMessage")
        assert driver.received() == []

    def test_what_was_under_way_when_the_session_ended_is_forgotten(self, driver: Driver) -> None:
        driver.subscribed(q0="0.0")
        driver.send(mutation(0), action(1), modify(1, add(1)), authenticate(0))
        driver.session.take_work()
        update = driver.begin(11)
        driver.session.close(1001, "ServerShutdown")
        driver.session.close(1011, "InternalServerError")
        driver.session.mutation_finished(0, committed(12))
        driver.session.action_finished(1, value("null"))
        driver.session.token_accepted("ada")
        driver.session.token_rejected("No.")
        driver.session.finish_update(update, {})
        driver.session.invalidate(0)
        driver.session.receive("nonsense")
        assert driver.received() == []
        assert driver.session.close_requested() == Close(1001, "ServerShutdown")

    def test_what_was_said_before_the_end_is_still_sent(self, driver: Driver) -> None:
        driver.run_mutation(0, committed(11))
        driver.session.receive("nonsense")
        assert driver.types() == ["MutationResponse", "FatalError"]

    def test_trap_32_close_reasons_fit_their_frame(self, driver: Driver) -> None:
        with pytest.raises(AssertionError):
            driver.session.close(1011, "é" * 62)


class TestLimits:
    LIMITS = SessionLimits(waiting_mutations=2, running_actions=2, subscriptions=2, held_messages=2)

    @pytest.mark.parametrize(
        ("messages", "reason"),
        [
            ([mutation(0), mutation(1), mutation(2)], "TooManyConcurrentMutations"),
            ([action(0), action(1), action(2)], "TooManyConcurrentActions"),
            ([modify(0, add(0), add(1)), modify(1, add(2))], "TooManySubscriptions"),
            ([authenticate(0), mutation(0), mutation(1), mutation(2)], "TooManyConcurrentRequests"),
        ],
    )
    def test_one_too_many(self, messages: list[dict[str, Any]], reason: str) -> None:
        driver = Driver(self.LIMITS)
        driver.send(*messages[:-1])
        assert driver.session.close_requested() is None
        driver.send(messages[-1])
        assert driver.session.close_requested() == Close(1013, reason)
        assert driver.received() == []
        assert driver.session.take_work() == []

    def test_what_is_finished_makes_room(self) -> None:
        driver = Driver(self.LIMITS)
        driver.send(modify(0, add(0), add(1)))
        for n in range(5):
            driver.run_mutation(n, FAILED)
            driver.send(action(n))
            driver.session.action_finished(n, value("null"))
            driver.send(modify(n + 1, remove(n), add(n + 2)))
            driver.send(authenticate(n), {"type": "Event"}, {"type": "Event"})
            driver.session.token_accepted("ada")
        assert driver.session.close_requested() is None

    def test_the_thousand_and_first_mutation(self, driver: Driver) -> None:
        driver.send(*(mutation(n) for n in range(1000)))
        assert driver.session.close_requested() is None
        driver.send(mutation(1000))
        assert driver.session.close_requested() == Close(1013, "TooManyConcurrentMutations")

    def test_five_thousand_subscriptions_in_one_message(self, driver: Driver) -> None:
        driver.send(modify(0, *(add(n) for n in range(5000))))
        assert driver.session.close_requested() == Close(1013, "TooManySubscriptions")


class TestPing:
    def test_trap_29_a_ping_after_silence(self) -> None:
        session = ServerSession(now=100.0)
        assert session.deadline() == 100.0 + PING_SECONDS
        session.handle_deadline(now=100.0 + PING_SECONDS)
        assert session.messages_to_send(now=116.0) == [b'{"type":"Ping"}']
        assert session.deadline() == 116.0 + PING_SECONDS

    def test_any_message_puts_it_off(self) -> None:
        session = ServerSession(now=100.0)
        session.receive(json.dumps(modify(0)))
        update = session.begin_update(1)
        assert update
        session.finish_update(update, {})
        assert len(session.messages_to_send(now=110.0)) == 1
        session.handle_deadline(now=115.0)
        assert session.messages_to_send(now=115.0) == []
        assert session.deadline() == 110.0 + PING_SECONDS

    def test_pings_do_not_pile_up_for_a_client_that_does_not_read(self) -> None:
        session = ServerSession(now=0.0)
        for n in range(1, 10):
            session.handle_deadline(now=n * PING_SECONDS)
        assert len(session.messages_to_send(now=1000.0)) == 1


class Cells:
    """A database of a few cells with all their past, and the query that reads one of them."""

    def __init__(self) -> None:
        self.ts = 1
        self._history: dict[int, list[tuple[int, int]]] = {}

    def write(self, cell: int, content: int) -> int:
        self.ts += 1
        self._history.setdefault(cell, []).append((self.ts, content))
        return self.ts

    def read(self, cell: int, ts: int, caller: str | None) -> Answer:
        """Fails on a 2, so that both kinds of result occur; the content of odd cells looks different to each caller."""
        content = max((version for version in self._history.get(cell, []) if version[0] <= ts), default=(0, 0))[1]
        if content == 2:
            return Answer(failure=Failure(f"cell {cell}"))
        return value(json.dumps([cell, content, caller if cell % 2 else 0]))


@dataclass
class Client:
    """What a client must be able to rely on, whatever it does and however slow the server is."""

    cells: Cells
    commits: dict[int, int] = field(default_factory=dict)
    """Of each mutation that has taken place, its timestamp."""

    query_sets: list[dict[int, int]] = field(default_factory=lambda: [{}])
    """Of each version the query set had, the cell that each query reads."""
    unanswered_mutations: list[int] = field(default_factory=list)
    unanswered_actions: set[int] = field(default_factory=set)
    answered_mutations: set[int] = field(default_factory=set)
    unsettled: list[int] = field(default_factory=list)
    """Timestamps of responses without a Transition yet, 0 for a failure."""

    callers: list[str | None] = field(default_factory=lambda: [None])
    """Of each version of the identity, who it is."""

    version: tuple[int, int, int] = (0, 0, 0)
    results: dict[int, Any] = field(default_factory=dict)

    def receive(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "MutationResponse":
                request_id = message["requestId"]
                assert request_id == self.unanswered_mutations.pop(0)
                self.answered_mutations.add(request_id)
                ts = number(message["ts"]) if message["success"] else 0
                assert ts == self.commits.get(request_id, 0)
                self.unsettled.append(ts)
            case "ActionResponse":
                self.unanswered_actions.remove(message["requestId"])
            case "Transition":
                self.take(message)
            case kind:
                pytest.fail(f"{kind} for a correct client: {message}")

    def take(self, transition: dict[str, Any]) -> None:
        start, end = versions(transition)
        assert start == self.version
        assert all(after >= before for before, after in zip(start, end, strict=True))
        query_set, identity, ts = end

        for modification in transition["modifications"]:
            query_id = modification["queryId"]
            if modification["type"] == "QueryRemoved":
                self.results.pop(query_id, None)
            else:
                result = modification.get("value", modification.get("errorMessage"))
                assert self.results.get(query_id) != result
                self.results[query_id] = result
        assert self.results == {
            query_id: outcome(self.cells.read(cell, ts, self.callers[identity]))
            for query_id, cell in self.query_sets[query_set].items()
        }

        shown = {request_id for request_id, committed in self.commits.items() if committed <= ts}
        assert shown <= self.answered_mutations
        if not transition["modifications"] and start[:2] == end[:2]:
            assert min(self.unsettled) <= ts
        self.unsettled = [committed for committed in self.unsettled if committed > ts]
        self.version = end


def outcome(answer: Answer) -> Any:
    if answer.failure is not None:
        return answer.failure.message
    assert answer.value is not None
    return json.loads(answer.value)


CELLS = st.integers(0, 3)
CONTENTS = st.integers(0, 2)


class Conversation(RuleBasedStateMachine):
    """One session between a client that does as it likes and an owner that does its work in any order it may."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.session = self.driver.session
        self.cells = Cells()
        self.client = Client(self.cells)
        self.accepted = 0
        self.requests = 0

        self.work: list[Work] = []
        self.subscriptions: dict[int, int] = {}
        self.update: Update | None = None

    def out(self, kind: type[object]) -> Any:
        """The oldest work of this kind that is not done, or None."""
        self.work += self.session.take_work()
        return next((work for work in self.work if isinstance(work, kind)), None)

    # The client

    @rule(cells=st.lists(CELLS, max_size=3), dropped=st.randoms(use_true_random=False), drops=st.integers(0, 2))
    def change_query_set(self, cells: list[int], dropped: Any, drops: int) -> None:
        before = self.client.query_sets[-1]
        removed = dropped.sample(sorted(before), min(drops, len(before)))
        after = {query_id: cell for query_id, cell in before.items() if query_id not in removed}
        modifications = [remove(query_id) for query_id in removed]
        for cell in cells:
            query_id = next(query_id for query_id in range(100) if query_id not in after)
            after[query_id] = cell
            modifications.append(add(query_id, cell=cell))
        self.driver.send(modify(len(self.client.query_sets) - 1, *modifications))
        self.client.query_sets.append(after)

    @rule(cell=CELLS, content=CONTENTS | st.none())
    def send_mutation(self, cell: int, content: int | None) -> None:
        """Without content it fails."""
        self.client.unanswered_mutations.append(self.requests)
        self.driver.send(mutation(self.requests, cell=cell, content=content))
        self.requests += 1

    @precondition(lambda self: self.client.commits)
    @rule(choice=st.randoms(use_true_random=False))
    def send_mutation_again(self, choice: Any) -> None:
        request_id = choice.choice(sorted(self.client.commits))
        self.client.unanswered_mutations.append(request_id)
        self.driver.send(mutation(request_id))

    @rule()
    def send_action(self) -> None:
        self.client.unanswered_actions.add(self.requests)
        self.driver.send(action(self.requests))
        self.requests += 1

    @rule(caller=st.sampled_from([None, "ada", "bob"]))
    def send_token(self, caller: str | None) -> None:
        """Also a new token for the same caller, for whom nothing changes."""
        self.driver.send(authenticate(len(self.client.callers) - 1))
        self.client.callers.append(caller)

    @rule()
    def deliver(self) -> None:
        for message in self.driver.received():
            self.client.receive(message)

    # The owner

    @precondition(lambda self: self.out(CheckToken))
    @rule()
    def accept_token(self) -> None:
        self.work.remove(self.out(CheckToken))
        self.accepted += 1
        self.session.token_accepted(self.client.callers[self.accepted])

    @precondition(lambda self: self.out(RunMutation))
    @rule()
    def run_mutation(self) -> None:
        work = self.out(RunMutation)
        self.work.remove(work)
        ts = self.client.commits.get(work.request_id)
        if ts is None and work.args["content"] is not None:
            ts = self.cells.write(work.args["cell"], work.args["content"])
            self.client.commits[work.request_id] = ts
            self.invalidate(work.args["cell"])
        self.session.mutation_finished(work.request_id, FAILED if ts is None else committed(ts))

    @precondition(lambda self: self.out(RunAction))
    @rule()
    def run_action(self) -> None:
        work = self.out(RunAction)
        self.work.remove(work)
        self.session.action_finished(work.request_id, value("null"))

    @rule(cell=CELLS, content=CONTENTS)
    def others_write(self, cell: int, content: int) -> None:
        self.cells.write(cell, content)
        self.invalidate(cell)

    @rule(cell=CELLS)
    def invalidate(self, cell: int) -> None:
        for query_id, read in self.subscriptions.items():
            if read == cell:
                self.session.invalidate(query_id)

    @precondition(lambda self: self.update is None)
    @rule()
    def begin_update(self) -> None:
        self.update = self.session.begin_update(self.cells.ts)
        if self.update:
            for query_id in self.update.removed:
                self.subscriptions.pop(query_id, None)
            self.subscriptions |= {query.query_id: query.args["cell"] for query in self.update.run}

    @precondition(lambda self: self.update)
    @rule()
    def finish_update(self) -> None:
        assert self.update
        update, self.update = self.update, None
        answers = {
            query.query_id: self.cells.read(query.args["cell"], update.ts, update.caller) for query in update.run
        }
        self.session.finish_update(update, answers)

    @rule()
    def settle(self) -> None:
        """Once all is done, the client has its answers and sees what is."""
        while self.out(CheckToken):
            self.accept_token()
        while self.out(RunMutation):
            self.run_mutation()
        while self.out(RunAction):
            self.run_action()
        if self.update:
            self.finish_update()
        self.begin_update()
        if self.update:
            self.finish_update()
        assert self.session.begin_update(self.cells.ts) is None
        self.deliver()

        assert self.client.version[:2] == (len(self.client.query_sets) - 1, self.accepted)
        assert self.client.results == {
            query_id: outcome(self.cells.read(cell, self.cells.ts, self.client.callers[-1]))
            for query_id, cell in self.client.query_sets[-1].items()
        }
        assert not self.client.unanswered_mutations
        assert not self.client.unanswered_actions
        assert not self.client.unsettled

    def teardown(self) -> None:
        self.settle()


TestConversation = Conversation.TestCase
