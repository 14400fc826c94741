from __future__ import annotations

import json
from typing import Any

import pytest
from scripted import Versions

from yugen_client.absent import ABSENT
from yugen_client.errors import ProtocolError
from yugen_client.messages import (
    AddQuery,
    Authenticate,
    Connect,
    ModifyQuerySet,
    Mutation,
    MutationResponse,
    QueryFailed,
    QueryUpdated,
    RemoveQuery,
    Transition,
    decode_client,
    decode_server,
    encode_client,
    encode_server,
)
from yugen_client.outcome import Failure, Success

CLIENT = [
    (
        Connect(session_id="s", connection_count=0, last_close_reason="InitialConnect", client_ts=5),
        {
            "type": "Connect",
            "sessionId": "s",
            "connectionCount": 0,
            "lastCloseReason": "InitialConnect",
            "clientTs": 5,
        },
    ),
    (
        Connect(
            session_id="s",
            connection_count=1,
            last_close_reason=None,
            client_ts=5,
            max_observed_timestamp=1787000000000000001,
        ),
        {
            "type": "Connect",
            "sessionId": "s",
            "connectionCount": 1,
            "lastCloseReason": None,
            "clientTs": 5,
            "maxObservedTimestamp": "AYCfNQizzBg=",
        },
    ),
    (
        Authenticate(base_version=0, value="ey"),
        {"type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": "ey"},
    ),
    (
        ModifyQuerySet(
            base_version=0,
            new_version=1,
            modifications=(
                AddQuery(query_id=0, udf_path="a:b", args=({"n": 1.0},)),
                AddQuery(query_id=1, udf_path="a:b", args=({},), journal=None),
                RemoveQuery(query_id=7),
            ),
        ),
        {
            "type": "ModifyQuerySet",
            "baseVersion": 0,
            "newVersion": 1,
            "modifications": [
                {"type": "Add", "queryId": 0, "udfPath": "a:b", "args": [{"n": 1.0}]},
                {"type": "Add", "queryId": 1, "udfPath": "a:b", "args": [{}], "journal": None},
                {"type": "Remove", "queryId": 7},
            ],
        },
    ),
    (
        Mutation(request_id=4, udf_path="a:b", args=({},)),
        {"type": "Mutation", "requestId": 4, "udfPath": "a:b", "args": [{}]},
    ),
]


@pytest.mark.parametrize(("message", "wire"), CLIENT, ids=lambda part: type(part).__name__)
def test_client_messages_on_the_wire(message: Any, wire: dict[str, Any]) -> None:
    assert json.loads(encode_client(message)) == wire
    assert decode_client(json.dumps(wire)) == message


def test_numbers_in_arguments_keep_their_fraction() -> None:
    assert '{"n":1.0}' in encode_client(Mutation(request_id=4, udf_path="a:b", args=({"n": 1.0},)))


def test_a_transition_from_the_wire_and_back() -> None:
    text = json.dumps(
        {
            "type": "Transition",
            "startVersion": {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="},
            "endVersion": {"querySet": 1, "identity": 0, "ts": "AYCfNQizzBg="},
            "modifications": [
                {"type": "QueryUpdated", "queryId": 0, "value": [{"n": 1.0}], "logLines": [], "journal": None},
                {"type": "QueryUpdated", "queryId": 2, "value": None, "logLines": ["[LOG] 'x'"]},
                {"type": "QueryFailed", "queryId": 1, "errorMessage": "no", "logLines": [], "errorData": None},
            ],
            "clientClockSkew": -12,
            "serverTs": 1787000000000000001,
        }
    )
    transition = decode_server(text)
    assert isinstance(transition, Transition)
    assert transition.end_version.ts == 1787000000000000001
    updated, other, failed = transition.modifications
    assert isinstance(updated, QueryUpdated)
    assert updated.journal is None
    assert isinstance(other, QueryUpdated)
    assert other.journal is ABSENT
    assert isinstance(failed, QueryFailed)
    assert failed.outcome == Failure("no", None)
    assert decode_server(encode_server(transition)) == transition


def test_data_that_is_null_is_data() -> None:
    failed = '{"type":"MutationResponse","requestId":1,"success":false,"result":"no"'
    with_null = decode_server(failed + ',"errorData":null}')
    without = decode_server(failed + ',"ts":null}')
    assert isinstance(with_null, MutationResponse)
    assert isinstance(without, MutationResponse)
    assert with_null.outcome == Failure("no", None)
    assert without.outcome == Failure("no", ABSENT)


def test_a_response_carries_its_timestamp() -> None:
    response = MutationResponse(request_id=1, success=True, result=2.0, ts=3)
    assert response.outcome == Success(2.0)
    assert decode_server(encode_server(response)) == response
    assert '"ts":"AwAAAAAAAAA="' in encode_server(response)


def test_an_unknown_kind_is_no_error() -> None:
    assert decode_server('{"type":"Telemetry","x":1}') is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{", "the message: Invalid JSON"),
        ("[]", "the message"),
        ("{}", "the message"),
        ('{"type":"TransitionChunk"}', "TransitionChunk.chunk: Field required"),
        ('{"type":"MutationResponse","requestId":1,"success":true,"result":1.0}', "has a commit timestamp"),
        ('{"type":"MutationResponse","requestId":1,"success":false,"result":1.0}', "is its message, a string"),
        ('{"type":"MutationResponse","requestId":1,"success":true,"result":1.0,"ts":"AA=="}', "has 8 bytes, not 1"),
        ('{"type":"MutationResponse","requestId":1,"success":true,"result":1.0,"ts":"?"}', "is not base64"),
        ('{"type":"MutationResponse","requestId":1,"success":true,"result":1.0,"ts":-1}', "is eight bytes in base64"),
        (
            encode_server(Versions().transition({0: 1.0})).replace('"journal":null', '"journal":[]'),
            "journal: Value error, a journal is text or null",
        ),
        ('{"type":"ActionResponse","requestId":"1","success":true,"result":1.0}', "requestId"),
        (
            encode_server(Versions().transition()).replace("[]", '[{"type":"QueryMoved","queryId":1}]'),
            "modifications",
        ),
    ],
)
def test_what_is_no_message_is_named(text: str, place: str) -> None:
    with pytest.raises(ProtocolError, match=place):
        decode_server(text)


def test_a_client_message_must_be_one() -> None:
    with pytest.raises(ProtocolError):
        decode_client('{"type":"Connect"}')
