from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yugen.runtime.outcome import Answer, Failure, MutationAnswer
from yugen.sync.messages import (
    PING,
    Action,
    AddQuery,
    AdminKey,
    Authenticate,
    Clocks,
    Connect,
    Event,
    ModifyQuerySet,
    Mutation,
    NoToken,
    ProtocolError,
    RemoveQuery,
    UserToken,
    Version,
    action_response,
    auth_error,
    fatal_error,
    mutation_response,
    parse,
    query_removed,
    query_result,
    query_result_pieces,
    transition,
    transition_chunks,
    transition_pieces,
    transition_whole,
)

SESSION = "3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11"
TS = 1787000000000000001
TS_TEXT = "AYCfNQizzBg="

CONNECT = {"type": "Connect", "sessionId": SESSION, "connectionCount": 0, "lastCloseReason": "InitialConnect"}
MODIFY = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": []}
ADD = {"type": "Add", "queryId": 0, "udfPath": "messages:list", "args": [{"channel": "a"}]}
MUTATION = {"type": "Mutation", "requestId": 4, "udfPath": "messages:send", "args": [{"body": "hi"}]}
ACTION = {"type": "Action", "requestId": 5, "udfPath": "mail:deliver", "args": [{}]}
USER = {"type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": "eyJ"}
ADMIN = {"type": "Authenticate", "baseVersion": 2, "tokenType": "Admin", "value": "name|key"}


ADDING = {**MODIFY, "modifications": [ADD]}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts), max_leaves=5)


def sentence(message: object) -> str:
    with pytest.raises(ProtocolError) as refused:
        parse(json.dumps(message))
    return refused.value.sentence


class TestClientMessages:
    def test_connect(self) -> None:
        assert parse(json.dumps({**CONNECT, "maxObservedTimestamp": TS_TEXT, "clientTs": 1787000000123})) == Connect(
            SESSION, 0, "InitialConnect", TS, 1787000000123
        )

    def test_connect_without_what_a_client_may_leave_out(self) -> None:
        assert parse(json.dumps({**CONNECT, "lastCloseReason": None})) == Connect(SESSION, 0, None, None)

    @pytest.mark.parametrize("nothing", [0, 0.0, None, "soon", True, [1]])
    def test_a_client_need_not_tell_its_time(self, nothing: object) -> None:
        assert parse(json.dumps({**CONNECT, "clientTs": nothing})) == parse(json.dumps(CONNECT))

    def test_modify_query_set(self) -> None:
        modifications = [ADD, {**ADD, "queryId": 1, "journal": "opaque"}, {"type": "Remove", "queryId": 7}]
        assert parse(json.dumps({**MODIFY, "modifications": modifications})) == ModifyQuerySet(
            0,
            1,
            (
                AddQuery(0, "messages:list", {"channel": "a"}, None),
                AddQuery(1, "messages:list", {"channel": "a"}, "opaque"),
                RemoveQuery(7),
            ),
        )

    def test_requests(self) -> None:
        assert parse(json.dumps(MUTATION)) == Mutation(4, "messages:send", {"body": "hi"})
        assert parse(json.dumps(ACTION)) == Action(5, "mail:deliver", {})

    def test_tokens(self) -> None:
        assert parse(json.dumps(USER)) == Authenticate(0, UserToken("eyJ"))
        assert parse(json.dumps(ADMIN)) == Authenticate(2, AdminKey("name|key", None))
        nobody = {"type": "Authenticate", "baseVersion": 1, "tokenType": "None"}
        assert parse(json.dumps(nobody)) == Authenticate(1, NoToken())

    @pytest.mark.parametrize("user", [{"tokenIdentifier": "a|b"}, {"issuer": "a", "subject": "b", "team": 3}])
    @pytest.mark.parametrize("name", ["impersonating", "acting_as"])
    def test_trap_36_acting_as_goes_by_two_names(self, name: str, user: dict[str, Any]) -> None:
        assert parse(json.dumps({**ADMIN, name: user})) == Authenticate(2, AdminKey("name|key", user))

    def test_trap_36_args_as_object_and_any_key_order(self) -> None:
        reordered = dict(reversed({**MUTATION, "args": {"body": "hi"}}.items()))
        assert parse(json.dumps(reordered)) == parse(json.dumps(MUTATION))

    def test_args_stay_json(self) -> None:
        args = {"big": {"$integer": "KgAAAAAAAAA="}, "one": 1, "half": 0.5}
        message = parse(json.dumps({**MUTATION, "args": [args]}))
        assert isinstance(message, Mutation)
        assert message.args == args
        assert type(message.args["one"]) is int

    def test_events_are_dropped_whatever_they_hold(self) -> None:
        assert parse('{"type": "Event", "eventType": "ClientConnect", "event": [1, null]}') == Event()

    def test_unknown_fields_are_ignored(self) -> None:
        assert parse(json.dumps({**MUTATION, "priority": "high", "componentPath": ""})) == parse(json.dumps(MUTATION))

    def test_a_function_of_a_component_is_not_taken_for_one_of_the_app(self) -> None:
        messages = [
            parse(json.dumps({**MUTATION, "componentPath": "a/b"})),
            parse(json.dumps({**ACTION, "componentPath": "a/b"})),
        ]
        assert isinstance(messages[0], Mutation)
        assert messages[0].path == f"_component/a/b/{MUTATION['udfPath']}"
        assert isinstance(messages[1], Action)
        assert messages[1].path.startswith("_component/a/b/")
        modify = parse(json.dumps({**MODIFY, "modifications": [{**ADD, "componentPath": "a"}]}))
        assert isinstance(modify, ModifyQuerySet)
        assert isinstance(modify.modifications[0], AddQuery)
        assert modify.modifications[0].path == f"_component/a/{ADD['udfPath']}"

    def test_trap_7_unknown_types_are_for_the_session_to_pass_over(self) -> None:
        assert parse('{"type": "Subscribe"}') is None

    def test_trap_30_halves_of_characters_in_arguments_are_for_their_decoder(self) -> None:
        args = {"body": "\ud83d", "\ude00": ["\ude00"]}
        for message in (MUTATION, ACTION):
            call = parse(json.dumps({**message, "args": [args]}))
            assert isinstance(call, Mutation | Action)
            assert call.args == args
        modify = parse(json.dumps({**MODIFY, "modifications": [{**ADD, "args": [args]}]}))
        assert isinstance(modify, ModifyQuerySet)
        assert isinstance(modify.modifications[0], AddQuery)
        assert modify.modifications[0].args == args

    @pytest.mark.parametrize(
        "message",
        [
            {**CONNECT, "lastCloseReason": "\ud800"},
            {**MUTATION, "udfPath": "\ud800"},
            {**ACTION, "componentPath": "\ud800"},
            {**MODIFY, "modifications": [{**ADD, "journal": "\ud800"}]},
            {**USER, "value": "\ud800"},
        ],
    )
    def test_halves_of_characters_anywhere_else_are_no_text(self, message: dict[str, Any]) -> None:
        with pytest.raises(ProtocolError, match=r"not valid JSON|must be a string"):
            parse(json.dumps(message))

    @pytest.mark.parametrize(
        "text",
        [
            *("", "{", "nope", "NaN", '{"type": "\\ud800"}', "[" * 100_000, '{"a": 1e999}'),
            json.dumps({**MUTATION, "args": [{"body": float("nan")}]}),
        ],
    )
    def test_text_that_is_not_json(self, text: str) -> None:
        with pytest.raises(ProtocolError, match=r"^InvalidJson: The message is not valid JSON: .+"):
            parse(text)

    @pytest.mark.parametrize(
        ("message", "field"),
        [
            ([], "A message must be an object; it is an array."),
            ({}, "message.type must be a string; it is missing."),
            ({"type": 1}, "message.type must be a string; it is 1."),
            ({**CONNECT, "sessionId": None}, "Connect.sessionId must be a UUID"),
            ({**CONNECT, "sessionId": "x"}, "Connect.sessionId must be a UUID"),
            ({**CONNECT, "sessionId": SESSION + "\n"}, "Connect.sessionId must be a UUID"),
            ({**CONNECT, "connectionCount": True}, "Connect.connectionCount must be an integer from 0 to 4294967295"),
            ({**CONNECT, "connectionCount": 1.0}, "it is 1.0."),
            ({**CONNECT, "connectionCount": "0"}, "it is '0'."),
            ({**CONNECT, "lastCloseReason": {}}, "Connect.lastCloseReason must be a string or null; it is an object."),
            ({**CONNECT, "maxObservedTimestamp": 5}, "Connect.maxObservedTimestamp must be the base64 of 8 bytes"),
            ({**CONNECT, "maxObservedTimestamp": "AQ=="}, "Connect.maxObservedTimestamp must be the base64 of 8 bytes"),
            ({**CONNECT, "maxObservedTimestamp": TS_TEXT[:-1]}, "Connect.maxObservedTimestamp must be"),
            ({**CONNECT, "maxObservedTimestamp": "ä" * 12}, "Connect.maxObservedTimestamp must be"),
            ({**MODIFY, "baseVersion": -1}, "ModifyQuerySet.baseVersion must be"),
            ({**MODIFY, "newVersion": 1 << 32}, "ModifyQuerySet.newVersion must be"),
            ({**MODIFY, "newVersion": 0}, "ModifyQuerySet.newVersion must be greater than baseVersion 0; it is 0."),
            ({**MODIFY, "modifications": {}}, "ModifyQuerySet.modifications must be an array of objects"),
            ({**MODIFY, "modifications": [ADD, 1]}, "ModifyQuerySet.modifications must be an array of objects"),
            ({**MODIFY, "modifications": [ADD, {}]}, "ModifyQuerySet.modifications[1].type must be a string"),
            ({**MODIFY, "modifications": [{"type": "Replace"}]}, 'modifications[0].type must be "Add" or "Remove"'),
            ({**MODIFY, "modifications": [{"type": "Remove"}]}, "modifications[0].queryId must be an integer"),
            ({**MODIFY, "modifications": [{**ADD, "journal": 1}]}, "modifications[0].journal must be a string or null"),
            ({**MODIFY, "modifications": [{**ADD, "args": []}]}, "args must be an array that holds one object"),
            (
                {**MUTATION, "requestId": None},
                "Mutation.requestId must be an integer from 0 to 4294967295; it is null.",
            ),
            ({**MUTATION, "requestId": False}, "Mutation.requestId must be"),
            ({**MUTATION, "udfPath": ["a"]}, "Mutation.udfPath must be a string; it is an array."),
            ({**MUTATION, "args": [{}, {}]}, "Mutation.args must be an array that holds one object"),
            ({**MUTATION, "args": [1]}, "Mutation.args must be an array that holds one object"),
            ({**MUTATION, "args": "{}"}, "Mutation.args must be an array that holds one object"),
            ({**MUTATION, "componentPath": 7}, "Mutation.componentPath must be a string or null"),
            ({**ACTION, "requestId": 1 << 64}, "Action.requestId must be"),
            (
                {**USER, "tokenType": "Robot"},
                'Authenticate.tokenType must be "User", "Admin" or "None"; it is \'Robot\'.',
            ),
            ({**USER, "value": None}, "Authenticate.value must be a string"),
            ({**ADMIN, "impersonating": "u1"}, "Authenticate.impersonating must be an object or null"),
            (
                {**ADMIN, "acting_as": {"issuer": "a"}},
                "Authenticate.acting_as.subject must be a string; it is missing.",
            ),
        ],
    )
    def test_malformed_messages_name_the_field(self, message: object, field: str) -> None:
        assert field in sentence(message)

    def test_errors_do_not_repeat_long_texts(self) -> None:
        assert len(sentence({**USER, "tokenType": "x" * 1_000_000})) < 200

    @given(st.sampled_from([CONNECT, MODIFY, ADDING, MUTATION, ACTION, USER, ADMIN]), st.data())
    def test_any_value_in_any_field_is_taken_or_refused(self, message: dict[str, Any], data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([*message, "maxObservedTimestamp", "acting_as", "componentPath"]))
        refusal = None
        try:
            parse(json.dumps({**message, name: data.draw(JSON)}))
        except ProtocolError as error:
            refusal = error
        assert refusal is None or name in refusal.sentence


def fields(message: bytes) -> Any:
    return json.loads(message, parse_constant=pytest.fail)


class TestServerMessages:
    def test_transition(self) -> None:
        modifications = [
            query_result(0, Answer(value=b'[{"n": 1.0}]', log_lines=("[LOG] 'a'",))),
            query_result(1, Answer(failure=Failure("[Request ID: 1f] Server Error", b'{"code": "NOPE"}'))),
            query_removed(7),
        ]
        assert fields(transition(Version(0, 0, 0), Version(1, 2, TS), modifications)) == {
            "type": "Transition",
            "startVersion": {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="},
            "endVersion": {"querySet": 1, "identity": 2, "ts": TS_TEXT},
            "modifications": [
                {
                    "type": "QueryUpdated",
                    "queryId": 0,
                    "value": [{"n": 1.0}],
                    "logLines": ["[LOG] 'a'"],
                    "journal": None,
                },
                {
                    "type": "QueryFailed",
                    "queryId": 1,
                    "errorMessage": "[Request ID: 1f] Server Error",
                    "logLines": [],
                    "journal": None,
                    "errorData": {"code": "NOPE"},
                },
                {"type": "QueryRemoved", "queryId": 7},
            ],
        }

    @pytest.mark.parametrize("clocks", [None, Clocks(-12, 5)])
    @pytest.mark.parametrize("count", range(4))
    def test_a_transition_in_pieces_is_the_same(self, count: int, clocks: Clocks | None) -> None:
        start, end = Version(0, 0, 0), Version(1, 2, TS)
        answers = [Answer(value=b'"a"'), Answer(failure=Failure("no", b"1")), Answer(value=b"2", journal="j")][:count]
        pieces = transition_pieces(start, end, map(query_result_pieces, range(count), answers), clocks)
        for answer in answers:
            assert answer.value is None or any(piece is answer.value for piece in pieces)
        whole = transition_whole(pieces)
        assert bytes(whole) == transition(start, end, map(query_result, range(count), answers), clocks)
        assert len(whole) == len(bytes(whole))

    @given(st.lists(st.text()), st.integers(4, 20))
    def test_chunks_are_the_pieces_cut_where_a_character_ends(self, pieces: list[str], size: int) -> None:
        chunks = transition_chunks([piece.encode() for piece in pieces], 7, size=size)
        said = [fields(bytes(chunk)) for chunk in chunks]
        assert "".join(each.pop("chunk") for each in said) == "".join(pieces)
        assert said == [
            {"type": "TransitionChunk", "partNumber": number, "totalParts": len(chunks), "transitionId": "7"}
            for number in range(len(chunks))
        ]
        assert sum(map(len, chunks)) == len("".join(pieces).encode())
        assert all(size - 3 <= len(chunk) <= size for chunk in chunks[:-1])  # a character is at most four bytes
        assert len(chunks[-1]) <= size

    def test_trap_10_no_nulls_for_clock_skew_and_server_ts(self) -> None:
        message = fields(transition(Version(0, 0, 0), Version(0, 0, 0), []))
        assert not {"clientClockSkew", "serverTs"} & message.keys()

    def test_trap_26_values_go_out_as_they_were_encoded(self) -> None:
        value = b'{"one": 1.0, "big": 1e300, "negative zero": {"$float": "AAAAAAAAAIA="}}'
        assert value in query_result(0, Answer(value=value))
        assert value in mutation_response(0, MutationAnswer(Answer(value=value), 1))
        assert value in action_response(0, Answer(value=value))

    def test_mutation_response(self) -> None:
        assert fields(mutation_response(4, MutationAnswer(Answer(value=b"null"), TS))) == {
            "type": "MutationResponse",
            "requestId": 4,
            "success": True,
            "result": None,
            "ts": TS_TEXT,
            "logLines": [],
        }
        failed = MutationAnswer(Answer(failure=Failure("no", b'"FULL"'), log_lines=("[LOG] 'x'",)), None)
        assert fields(mutation_response(4, failed)) == {
            "type": "MutationResponse",
            "requestId": 4,
            "success": False,
            "result": "no",
            "ts": None,
            "logLines": ["[LOG] 'x'"],
            "errorData": "FULL",
        }

    def test_trap_14_a_success_has_a_timestamp(self) -> None:
        with pytest.raises(AssertionError):
            mutation_response(4, MutationAnswer(Answer(value=b"null"), None))

    def test_action_response_is_the_same_without_ts(self) -> None:
        answer = Answer(failure=Failure("no"))
        mutation = fields(mutation_response(5, MutationAnswer(answer, None)))
        del mutation["ts"]
        assert fields(action_response(5, answer)) == {**mutation, "type": "ActionResponse"}

    @pytest.mark.parametrize(("data", "expected"), [(None, {}), (b"null", {"errorData": None})])
    def test_error_data_that_is_null_is_data(self, data: bytes | None, expected: dict[str, Any]) -> None:
        answer = Answer(failure=Failure("no", data))
        for message in (query_result(0, answer), action_response(0, answer)):
            assert {name: value for name, value in fields(message).items() if name == "errorData"} == expected

    def test_trap_4_log_lines_are_always_there(self) -> None:
        for answer in (Answer(value=b"1.0"), Answer(failure=Failure("no"))):
            for message in (query_result(0, answer), action_response(0, answer)):
                assert fields(message)["logLines"] == []

    def test_errors(self) -> None:
        assert fields(auth_error("expired", base_version=3, attempted=True)) == {
            "type": "AuthError",
            "error": "expired",
            "baseVersion": 3,
            "authUpdateAttempted": True,
        }
        assert fields(fatal_error("BaseVersionMismatch: …")) == {
            "type": "FatalError",
            "error": "BaseVersionMismatch: …",
        }
        assert fields(PING) == {"type": "Ping"}

    @given(st.text(st.characters(codec=None)) | st.just("half \ud800 a pair"))
    def test_trap_27_texts_are_utf_8_whatever_a_function_printed(self, text: str) -> None:
        answer = Answer(failure=Failure(text), log_lines=(text,))
        sent = fields(query_result(0, answer).decode("utf-8").encode())
        sent["errorMessage"].encode("utf-8")
        assert sent["logLines"] == [sent["errorMessage"]]
        if not any("\ud800" <= character <= "\udfff" for character in text):
            assert sent["errorMessage"] == text

    @given(st.integers(0, (1 << 63) - 1))
    def test_timestamps_go_there_and_back(self, ts: int) -> None:
        sent = fields(mutation_response(0, MutationAnswer(Answer(value=b"null"), ts)))["ts"]
        connect = parse(json.dumps({**CONNECT, "maxObservedTimestamp": sent}))
        assert isinstance(connect, Connect)
        assert connect.max_observed_timestamp == ts
