from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from tests.engine import ask, change, interleaving
from tests.runtime.test_nodes import APP, nodes
from tests.server.peers import SECONDS_MAX, Bench, Client, LoopTime, bench, ts, until_blocked
from yugen.runtime.pressure import Pressure
from yugen.runtime.runner import Overloaded
from yugen.server import connection, rounds
from yugen.server.caller import AdminKey, Callers
from yugen.server.connection import Connection
from yugen.server.subscriptions import QUERIES_AT_ONCE_MAX
from yugen.server.writer import SEND_SECONDS_MAX
from yugen.storage.interface import Commit, StorageError
from yugen.sync.session import PING_SECONDS, ServerSession, SessionLimits

COUNT = (0, "notes:count", {"book": "a"})


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


# Queries and mutations


async def test_a_client_subscribes_mutates_and_sees_it(notes: Bench) -> None:
    client = notes.client((0, "notes:texts", {"book": "a"}))
    assert await client.values() == {0: []}
    client.mutate("notes:add", book="a", text="hi")
    response = await client.response()
    assert response["success"]
    assert response["result"] is None
    assert await client.values() == {0: ["hi"]}


@pytest.mark.parametrize("seed", range(3))
async def test_each_response_comes_before_what_the_mutation_did(tmp_path: Path, seed: int) -> None:
    async with bench(tmp_path, interleaving(seed)) as notes:
        client = notes.client(COUNT)
        await client.values()
        answered: list[int] = []
        for _ in range(1000):
            client.mutate("notes:add", book="a", text="x")
        shown = 0
        while shown < 1000:
            message = await client.hear("MutationResponse", "Transition")
            if message["type"] == "MutationResponse":
                answered.append(ts(message["ts"]))
                continue
            for modification in message["modifications"]:
                shown = modification["value"]
            at = ts(message["endVersion"]["ts"])
            assert shown == sum(1 for answer in answered if answer <= at)
        assert answered == sorted(answered)


async def test_trap_34_messages_go_out_one_by_one(notes: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    client = notes.client(COUNT)
    send = client.send
    under_way: list[bytes] = []

    async def slow_send(text: bytes) -> None:
        assert not under_way
        under_way.append(text)
        for _ in range(3):
            await asyncio.sleep(0)
        under_way.clear()
        await send(text)

    monkeypatch.setattr(client, "send", slow_send)
    await client.values()
    answered = shown = 0
    for _ in range(30):
        client.mutate("notes:add", book="a", text="x")
        client.act("notes:odd")
        client.mutate("notes:crash")
    while shown < 30 or answered < 90:
        message = await client.hear("MutationResponse", "ActionResponse", "Transition")
        answered += message["type"] != "Transition"
        for modification in message.get("modifications", ()):
            shown = modification["value"]
    assert shown == await ask(notes.runtime, "notes:count", book="a")


async def test_trap_14_each_success_has_a_timestamp(notes: Bench) -> None:
    session = {"sessionId": "3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11"}
    times = []
    for _ in range(2):  # for the first time, and again
        client = notes.client(connect=False)
        client.connect(**session)
        client.mutate("notes:add", book="a", text="x")
        client.mutate("notes:rest")
        responses: dict[int, int] = {}
        while len(responses) < 2:
            message = await client.hear("MutationResponse", "Transition")
            if message["type"] == "MutationResponse":
                responses[message["requestId"]] = ts(message["ts"])
        times.append(responses)
        client.leave()
    assert times[0] == times[1]
    assert times[0][0] < times[0][1]
    assert await ask(notes.runtime, "notes:count", book="a") == 1


async def test_trap_28_arguments_that_python_takes_for_equal_are_not(notes: Bench) -> None:
    one = {"$integer": "AQAAAAAAAAA="}
    given = [True, 1.0, one, "1", [True], [1.0], {"a": True}, {"a": one}]
    client = notes.client(*((number, "notes:echo", {"value": value}) for number, value in enumerate([*given, 1, [1]])))
    values = await client.values()
    assert [json.dumps(values[number]) for number in range(len(given))] == [json.dumps(value) for value in given]
    assert (values[8], values[9]) == (1.0, [1.0])
    # A number is one number, however a client writes it.
    assert notes.probe.runs["notes:echo"] == len(given)


async def test_one_write_is_one_execution_however_many_subscribe(notes: Bench) -> None:
    clients = [notes.client(COUNT) for _ in range(100)]
    for client in clients:
        assert await client.values() == {0: 0}
    assert notes.probe.runs["notes:count"] == 1
    await change(notes.runtime, "notes:add", book="b", text="irrelevant")
    await change(notes.runtime, "notes:add", book="a", text="relevant")
    for client in clients:
        assert await client.values() == {0: 1}
        assert client.unheard == 0
    assert notes.probe.runs["notes:count"] == 2


async def test_what_all_subscribers_are_sent_is_one_text(notes: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[bytes] = []
    sending = Client.send

    async def send(client: Client, text: bytes) -> None:
        texts.append(text)
        await sending(client, text)

    monkeypatch.setattr(Client, "send", send)
    clients = [notes.client(COUNT) for _ in range(100)]
    for expected in range(2):  # after which all of them are at one timestamp
        for client in clients:
            assert await client.values() == {0: expected}
        await change(notes.runtime, "notes:add", book="a", text="x")
    for client in clients:
        assert await client.values() == {0: 2}
    assert len(texts) == 300
    # One for each slice of a round, in which there is time for many.
    assert len({id(text) for text in texts[200:]}) < 20


async def test_whoever_asks_does_not_wait_until_a_commit_is_shown_to_all(
    notes: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = [notes.client(COUNT) for _ in range(100)]
    for client in crowd:
        await client.values()
    asks = notes.client()
    await until_blocked()
    monkeypatch.setattr(rounds, "ROUND_SECONDS", -1.0)  # one is served in each
    await change(notes.runtime, "notes:add", book="a", text="x")
    asks.mutate("notes:rest")
    await asks.response()
    assert any(not client.unheard for client in crowd)
    for client in crowd:
        assert await client.values() == {0: 1}


async def test_two_queries_change_in_one_transition(notes: Bench) -> None:
    client = notes.client(COUNT, (1, "notes:texts", {"book": "a"}))
    assert await client.values() == {0: 0, 1: []}
    await change(notes.runtime, "notes:add", book="a", text="x")
    assert await client.values() == {0: 1, 1: ["x"]}


async def test_what_comes_at_once_is_answered_in_one_transition(notes: Bench) -> None:
    client = notes.client()
    for number in range(5):
        client.subscribe((number, "notes:count", {"book": f"{number}"}), base=number)
    assert await client.values() == dict.fromkeys(range(5), 0)


async def test_a_removed_query_is_heard_of_no_more(notes: Bench) -> None:
    client = notes.client(COUNT, (1, "notes:count", {"book": "b"}))
    await client.values()
    client.unsubscribe(0, base=1)
    assert await client.values() == {0: None}
    assert notes.runtime.queries.statistics()["subscribed"] == 1
    await change(notes.runtime, "notes:add", book="a", text="x")
    await change(notes.runtime, "notes:add", book="b", text="x")
    assert await client.values() == {1: 1}
    client.subscribe(COUNT, base=2)
    assert await client.values() == {0: 1}


async def test_an_action_is_answered(notes: Bench) -> None:
    client = notes.client()
    client.act("notes:post", book="a", text="x")
    response = await client.response("Action")
    assert response["success"]
    assert response["result"] == 1


@pytest.mark.parametrize("call", ["Mutation", "Action"])
async def test_the_request_id_of_an_error_is_what_the_client_can_tell_beforehand(notes: Bench, call: str) -> None:
    session = "3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11"
    client = notes.client(connect=False)
    client.connect(sessionId=session)
    number = client.mutate("notes:crash") if call == "Mutation" else client.act("notes:crash")
    expected = hashlib.sha256(f"{session}|{number}".encode()).hexdigest()[:16]
    assert (await client.response(call))["result"].startswith(f"[Request ID: {expected}] Server Error")


async def test_mutations_that_are_refused_fail_by_name_make_way_and_are_not_run(
    notes: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = notes.client(COUNT)
    await client.values()

    async def response() -> dict[str, Any]:
        while (heard := await client.hear("MutationResponse", "Transition"))["type"] == "Transition":
            pass
        return heard

    with monkeypatch.context() as overload:
        overload.setattr(Pressure, "refuses", lambda pressure, received_ns, under_way: received_ns is not None)
        for _ in range(5):
            client.mutate("notes:add", book="a", text="x")
        for request_id in range(5):
            answer = await response()
            assert (answer["requestId"], answer["success"]) == (request_id, False)
            assert "Overloaded: the server has more to do than it can" in answer["result"]
    client.mutate("notes:add", book="a", text="x")
    assert (await response())["success"]
    assert await ask(notes.runtime, "notes:count", book="a") == 1


async def test_trap_17_a_mutation_sent_again_is_answered_as_before(notes: Bench) -> None:
    session = {"type": "Connect", "sessionId": "3f2b6f0e-6a53-4a53-9a0a-0d0c0a4b9c11", "connectionCount": 0}
    call = {"type": "Mutation", "requestId": 0, "udfPath": "notes:add", "args": [{"book": "a", "text": "x"}]}
    responses = []
    for _ in range(2):
        client = notes.client(connect=False)
        client.say({**session, "lastCloseReason": None})
        client.say(call)
        responses.append(await client.response())
        client.leave()
    assert responses[0] == responses[1]
    assert await ask(notes.runtime, "notes:count", book="a") == 1


async def test_what_a_returning_client_sends_again_is_answered_before_its_first_results(
    notes: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RESEND_SECONDS", 1)
    monkeypatch.setattr(connection, "RESEND_SECONDS_MAX", 100)
    await change(notes.runtime, "notes:add", book="a", text="x")
    assert await ask(notes.runtime, "notes:count", book="a") == 1

    # The answer to the query is known already, and yet it does not overtake what comes behind.
    time = LoopTime()
    client = notes.client(connect=False)
    client.connect(connectionCount=1)
    client.subscribe(COUNT)
    await until_blocked()
    client.mutate("notes:add", book="a", text="y")
    await client.response()
    await until_blocked()
    assert client.unheard == 0
    # It has said something meanwhile, and may have more to say.
    time.forward(1.1)
    await until_blocked()
    client.mutate("notes:add", book="a", text="z")
    await client.response()
    # What comes late is no sign of silence either: this process has not listened.
    time.forward(1.9)
    await until_blocked()
    assert client.unheard == 0
    time.forward(1.1)
    await until_blocked()
    time.forward(1.1)
    assert await client.values() == {0: 3}


async def test_a_returning_client_that_is_never_silent_gets_its_results_too(
    notes: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RESEND_SECONDS", 1)
    monkeypatch.setattr(connection, "RESEND_SECONDS_MAX", 2.5)
    time = LoopTime()
    client = notes.client(connect=False)
    client.connect(connectionCount=1)
    client.subscribe(COUNT)
    for _ in range(3):
        client.mutate("notes:add", book="a", text="x")
        await client.response()
        time.forward(1.1)
        await until_blocked()
    assert await client.values() == {0: 3}


async def test_few_queries_of_a_connection_run_at_once(notes: Bench) -> None:
    notes.probe.gate.clear()
    client = notes.client(*((number, "notes:count", {"book": str(number)}) for number in range(200)))
    await until_blocked()
    assert notes.probe.waiting == QUERIES_AT_ONCE_MAX
    notes.probe.gate.set()
    assert await client.values() == dict.fromkeys(range(200), 0)


# Callers' mistakes


@pytest.mark.parametrize(
    ("path", "args", "error"),
    [
        ("notes:add", {"book": "a"}, "text"),
        ("notes:add", {"book": "a", "text": 1}, "text"),
        ("notes:add", {"book": "a", "text": {"$integer": "x"}}, "an argument of notes:add"),
        ("notes:add", {"book": "a", "text": {"$" + "x" * 100_000: 1, "y": 2}}, "an argument of notes:add"),
        ("notes:nothing", {}, "FunctionNotFound"),
        ("os:system", {}, "FunctionNotFound"),
        ("../notes:add", {}, "FunctionNotFound"),
        ("x" * 1_000_000, {}, "FunctionNotFound"),
        ("x" * 1_000_000, {"y": {"$integer": "x"}}, "an argument of"),
        ("notes:count", {"book": "a"}, "WrongKind"),
        ("notes:secret", {}, "FunctionNotFound"),
        ("_component/billing/notes:count", {}, "You do not have permission to perform this operation: an app has no"),
        ("notes:crash", {}, "the tea is cold"),
    ],
)
async def test_trap_18_a_call_that_fails_is_answered_and_nothing_else_happens(
    notes: Bench, path: str, args: dict[str, Any], error: str
) -> None:
    client, neighbour = notes.client(COUNT), notes.client(COUNT)
    assert await client.values() == await neighbour.values() == {0: 0}
    client.mutate(path, **args)
    response = await client.response()
    assert not response["success"]
    assert error in response["result"]
    assert len(response["result"]) < 2000
    await client.hear("Transition")
    client.act(path, **args)
    assert not (await client.response("Action"))["success"]
    neighbour.mutate("notes:add", book="a", text="x")
    await neighbour.response()
    assert await neighbour.values() == await client.values() == {0: 1}


async def test_a_failed_query_is_a_result(notes: Bench) -> None:
    client = notes.client(
        (0, "notes:nothing", {}), (1, "notes:count", {"book": {"$float": "AAAAAAAA8D8="}}), (2, *COUNT[1:])
    )
    values = await client.values()
    assert "FunctionNotFound" in values[0]
    assert "an argument of notes:count" in values[1]
    assert values[2] == 0


async def test_the_data_of_an_error_reaches_the_client(notes: Bench) -> None:
    client = notes.client()
    client.mutate("notes:refuse", book="a")
    assert (await client.response())["errorData"] == {"code": "full", "book": "a"}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", 1008),
        ("[]", 1008),
        ('{"type": "Mutation"}', 1008),
        ('{"type": "Mutation", "requestId": true, "udfPath": "notes:add", "args": [{}]}', 1008),
        ("[" * 100_000, 1008),
        ('{"type": "Mutation", "requestId": 0, "udfPath": "a", "args": [' + "[" * 900 + "]" * 900 + "]}", 1008),
        ('{"type": "Mutation", "requestId": 0, "udfPath": "a", "args": [{"x": NaN}]}', 1008),
        ('{"type": "Mutation", "requestId": 0, "udfPath": "\\ud800", "args": [{}]}', 1008),
        ('{"type": "ModifyQuerySet", "baseVersion": 7, "newVersion": 8, "modifications": []}', 1008),
        (b"\x00", 1003),
    ],
)
async def test_what_no_client_sends_ends_only_its_connection(
    notes: Bench, caplog: pytest.LogCaptureFixture, frame: str | bytes, code: int
) -> None:
    client, neighbour = notes.client(), notes.client(COUNT)
    client.say_raw(frame)
    if code == 1008:
        assert len((await client.hear("FatalError"))["error"]) < 1000
    assert (await client.is_closed())[0] == code
    await notes.gone()
    assert await neighbour.values() == {0: 0}
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_deep_arguments_are_an_error_of_the_call(notes: Bench) -> None:
    client = notes.client()
    deep: Any = 0
    for _ in range(100):
        deep = [deep]
    client.mutate("notes:add", book="a", text=deep)
    assert "nested" in (await client.response())["result"]


async def test_trap_30_what_a_correct_client_may_send_is_never_fatal(notes: Bench) -> None:
    client = notes.client(connect=False)
    add = {"type": "Add", "queryId": 0, "udfPath": "notes:echo", "args": [{"value": "half of a \ud83d"}]}
    query_set = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add], "priority": 1}
    client.say(query_set)
    assert "half of a surrogate pair" in (await client.values())[0]
    removed_and_added = [{"type": "Remove", "queryId": 0}, {**add, "queryId": 1, "args": {"value": 1}, "journal": None}]
    client.say({**query_set, "baseVersion": 1, "newVersion": 2, "modifications": removed_and_added})
    assert await client.values() == {0: None, 1: 1.0}
    client.connect(clientTs=1.5, maxObservedTimestamp=None, connectionCount=7)
    client.say({"type": "Event", "eventType": "NetworkRecoveryReconnect", "event": {"timeSavedMs": 1}})
    client.say({**query_set, "baseVersion": 2, "newVersion": 3, "modifications": []})
    assert await client.values() == {}
    for path in ("notes:none", "..:os", "notes", "", "a" * 5000):
        client.mutate(path)
        client.act(path)
    client.mutate("notes:add", book="\udc00", text="x")
    client.act("notes:post", book="a", text="x" * (17 << 20))
    client.say({"type": "Action", "requestId": 90, "udfPath": "notes:odd", "args": {"\ud800": 1}})
    client.say({"type": "Mutation", "requestId": 91, "udfPath": "notes:add", "args": [{"$": 1, "é": {"$set": []}}]})
    failed = 0
    while failed < 14:
        message = await client.hear("MutationResponse", "ActionResponse", "Transition")
        failed += not message.get("success", True)
    assert not client.closed.done()


async def test_messages_of_the_future_are_passed_over(notes: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = notes.client()
    client.say({"type": "Hologram"})
    client.mutate("notes:add", book="a", text="x")
    await client.response()
    client.leave()
    await notes.gone()
    assert "1 messages of unknown types" in caplog.text


# Slow clients


async def test_a_slow_client_gets_the_newest_and_nothing_between(notes: Bench) -> None:
    client = notes.client(COUNT)
    assert await client.values() == {0: 0}
    client.reads.clear()
    await change(notes.runtime, "notes:add", book="a", text="0")
    await until_blocked()
    sending = client.sending
    for number in range(1, 50):
        await change(notes.runtime, "notes:add", book="a", text=str(number))
        await until_blocked()
    assert client.sending == sending == 2
    assert notes.probe.runs["notes:count"] == 2
    client.reads.set()
    assert await client.values() == {0: 1}
    assert await client.values() == {0: 50}
    assert client.unheard == 0


async def test_who_does_not_read_is_not_listened_to(notes: Bench) -> None:
    client = notes.client()
    client.reads.clear()
    client.mutate("notes:add", book="a", text="x")
    await until_blocked()
    assert client.sending == 1
    for _ in range(899):
        client.mutate("notes:add", book="a", text="x")
    await until_blocked()
    assert client.unread == 899 - connection.FRAMES_AT_ONCE
    assert await ask(notes.runtime, "notes:count", book="a") == 1
    client.reads.set()
    for _ in range(900):
        while await client.next_kind() == "Transition":
            await client.hear("Transition")
        assert (await client.response())["success"]
    assert await ask(notes.runtime, "notes:count", book="a") == 900


async def test_where_mutations_are_refused_nothing_is_read_while_some_wait(
    notes: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(notes.runtime), "refusing", True)
    notes.probe.gate.clear()
    client = notes.client()
    for _ in range(3):
        client.mutate("notes:add", book="a", text="x")
    await until_blocked()
    assert client.unread == 0
    for _ in range(3):
        client.mutate("notes:add", book="a", text="x")
    await until_blocked()
    assert client.unread == 3
    notes.probe.gate.set()
    for number in range(6):
        while await client.next_kind() == "Transition":
            await client.hear("Transition")
        assert (await client.response())["requestId"] == number


async def test_who_never_reads_is_cut_off(notes: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    time = LoopTime()
    client = notes.client(COUNT)
    await client.values()
    client.reads.clear()
    await change(notes.runtime, "notes:add", book="a", text="x")
    await until_blocked()
    time.forward(SEND_SECONDS_MAX + 1)
    await notes.gone()
    assert notes.runtime.queries.statistics()["subscribed"] == 0
    assert "has read nothing" in caplog.text


# Time


async def test_silence_is_broken_by_a_ping(notes: Bench) -> None:
    time = LoopTime()
    client = notes.client()
    await until_blocked()
    for _ in range(3):
        time.forward(PING_SECONDS + 0.1)
        await client.hear("Ping")
    assert client.unheard == 0


async def test_a_ping_waits_for_silence(notes: Bench) -> None:
    time = LoopTime()
    client = notes.client()
    await until_blocked()
    time.forward(PING_SECONDS - 1)
    client.mutate("notes:add", book="a", text="x")
    await client.response()
    await client.hear("Transition")
    time.forward(PING_SECONDS - 1)
    await until_blocked()
    assert client.unheard == 0
    time.forward(1.1)
    await client.hear("Ping")


# Faults of ours


async def test_an_action_too_many_is_refused_and_those_that_run_are_not_lost(notes: Bench) -> None:
    client = notes.client()
    notes.probe.error = Overloaded("5 actions run and 2 wait for their turn; try again in a moment.")
    client.act("notes:post", book="a", text="x")
    answer = await client.hear("ActionResponse")
    assert not answer["success"]
    assert "Uncaught Overloaded: 5 actions run and 2 wait for their turn" in answer["result"]
    notes.probe.error = None
    client.act("notes:post", book="a", text="y")
    assert (await client.hear("ActionResponse"))["success"]


@pytest.mark.parametrize(
    ("error", "close", "level", "call"),
    [
        (Overloaded("10000 functions wait"), (1013, "TooManyConcurrentRequests"), logging.WARNING, "query"),
        (Overloaded("10000 functions wait"), (1013, "TooManyConcurrentRequests"), logging.WARNING, "mutation"),
        *(
            (error, (1011, "InternalServerError"), logging.ERROR, call)
            for error in (StorageError("disk on fire"), ZeroDivisionError("a bug"))
            for call in ("query", "mutation", "action")
        ),
    ],
)
async def test_trap_18_a_fault_ends_the_connection_so_that_the_client_tries_again(
    notes: Bench,
    caplog: pytest.LogCaptureFixture,
    call: str,
    error: Exception,
    close: tuple[int, str],
    level: int,
) -> None:
    neighbour = notes.client((0, "notes:count", {"book": "b"}))
    assert await neighbour.values() == {0: 0}
    notes.probe.error = error
    match call:
        case "query":
            client = notes.client(COUNT, (1, "notes:count", {"book": "c"}))
        case "mutation":
            client = notes.client()
            client.mutate("notes:add", book="a", text="x")
        case _:
            client = notes.client()
            client.act("notes:post", book="a", text="x")
    assert await client.is_closed() == close
    await notes.gone(1)
    assert client.unheard == 0
    notes.probe.error = None
    neighbour.mutate("notes:add", book="b", text="x")
    await neighbour.response()
    assert await neighbour.values() == {0: 1}
    [record] = [record for record in caplog.records if record.levelno > logging.INFO]
    assert record.levelno == level
    assert bool(record.exc_info) == isinstance(error, ZeroDivisionError)
    assert str(error) in caplog.text


@pytest.mark.parametrize("what", ["receive", "begin_update"])
async def test_a_session_that_breaks_its_own_rules_ends_with_a_close(
    notes: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    def broken(session: ServerSession, *_: object, **__: object) -> None:
        raise AssertionError("impossible")

    client = notes.client()
    await until_blocked()
    monkeypatch.setattr(ServerSession, what, broken)
    for _ in range(2):
        client.say({"type": "Event"})
    assert await client.is_closed() == (1011, "InternalServerError")
    assert caplog.text.count("Traceback") == 1


async def test_a_session_that_cannot_even_say_goodbye_ends_without(
    notes: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(session: ServerSession, **_: object) -> None:
        raise AssertionError("impossible")

    client = notes.client()
    await until_blocked()
    monkeypatch.setattr(ServerSession, "messages_to_send", broken)
    client.say({"type": "Event"})
    await notes.gone()
    assert caplog.text.count("Traceback") == 2


async def test_a_runtime_that_closes_takes_its_connections_along(notes: Bench) -> None:
    notes.probe.gate.clear()
    client = notes.client(COUNT)
    await notes.probe.entered.wait()
    await notes.runtime.queries.close()
    assert await client.is_closed() == (1001, "ServerShuttingDown")


# The end of a connection


@pytest.mark.parametrize("call", ["query", "mutation", "action"])
async def test_shutting_down_waits_for_nothing(notes: Bench, call: str) -> None:
    notes.probe.gate.clear()
    client = notes.client(COUNT) if call == "query" else notes.client()
    if call == "mutation":
        client.mutate("notes:add", book="a", text="x")
    if call == "action":
        client.act("notes:post", book="a", text="x")
    async with asyncio.timeout(SECONDS_MAX):
        await notes.probe.entered.wait()
    notes.connections[0].shut_down(1001, "ServerShuttingDown")
    assert await client.is_closed() == (1001, "ServerShuttingDown")
    await notes.gone()
    assert client.unheard == 0
    notes.probe.gate.set()
    assert await ask(notes.runtime, "notes:count", book="a") == 0


async def test_what_was_said_before_a_shutdown_is_delivered(notes: Bench) -> None:
    client = notes.client(COUNT)
    await client.values()
    client.reads.clear()
    await change(notes.runtime, "notes:add", book="a", text="x")
    await until_blocked()
    notes.connections[0].shut_down(1001, "ServerShuttingDown")
    client.reads.set()
    assert await client.values() == {0: 1}
    assert await client.is_closed() == (1001, "ServerShuttingDown")


@pytest.mark.parametrize("call", ["mutation", "action"])
async def test_a_client_that_leaves_does_not_take_back_its_calls(notes: Bench, call: str) -> None:
    notes.probe.gate.clear()
    client = notes.client(COUNT)
    if call == "mutation":
        client.mutate("notes:add", book="a", text="x")
    else:
        client.act("notes:post", book="a", text="x")
    async with asyncio.timeout(SECONDS_MAX):
        await notes.probe.entered.wait()
    client.leave()
    await until_blocked()
    assert not notes.connections[0].gone.done()
    assert notes.runtime.queries.statistics()["subscribed"] == 0
    notes.probe.gate.set()
    await notes.gone()
    assert await ask(notes.runtime, "notes:count", book="a") == 1


async def test_a_client_that_leaves_at_once_has_said_what_it_said(
    notes: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "ROUND_SECONDS", -1.0)
    served = asyncio.Event()

    class Busy:
        def serve_in(self, round: rounds.Round) -> None:
            served.set()

    client = notes.client(COUNT)
    for _ in range(20):
        notes.rounds.add(Busy())
    client.mutate("notes:add", book="a", text="x")
    client.leave()
    await notes.gone()
    assert served.is_set()
    assert await ask(notes.runtime, "notes:count", book="a") == 1


async def test_a_client_that_leaves_keeps_no_timestamp_from_being_forgotten(notes: Bench) -> None:
    notes.probe.gate.clear()
    client = notes.client(COUNT, (1, "notes:count", {"book": "b"}))
    await until_blocked()
    ts = notes.runtime.ts
    client.leave()
    await notes.gone()
    notes.probe.gate.set()
    await until_blocked()
    for _ in range(2):
        await change(notes.runtime, "notes:add", book="c", text="x")
    with pytest.raises(LookupError):
        notes.runtime.queries.hold(ts)


async def test_a_client_that_comes_back_is_heard_on_its_new_connection_only(notes: Bench) -> None:
    notes.probe.gate.clear()
    names = {"sessionId": str(uuid.uuid4())}
    lost = notes.client(connect=False)
    lost.connect(**names, connectionCount=3)
    lost.subscribe(COUNT)
    for text in ("x", "y"):
        lost.mutate("notes:add", book="a", text=text)
    async with asyncio.timeout(SECONDS_MAX):
        await notes.probe.entered.wait()
    await until_blocked()
    client = notes.client(connect=False)
    client.connect(**names, connectionCount=4)
    await until_blocked()
    # What runs goes on, the rest is not begun; and a connection that was overtaken on its way is no newer for that.
    assert notes.runtime.queries.statistics()["subscribed"] == 0
    stale = notes.client(connect=False)
    stale.connect(**names, connectionCount=2)
    await notes.gone(2)
    notes.probe.gate.set()
    await notes.gone(0)
    assert notes.probe.runs["notes:add"] == 1
    for text in ("x", "y"):
        client.mutate("notes:add", book="a", text=text)
    assert [(await client.response())["success"] for _ in range(2)] == [True, True]
    assert await ask(notes.runtime, "notes:count", book="a") == 2
    assert len(notes.sessions) == 1
    client.leave()
    await notes.gone(1)
    assert len(notes.sessions) == 0


async def test_a_client_that_leaves_while_it_is_written_to_is_gone(notes: Bench) -> None:
    client = notes.client(COUNT)
    client.reads.clear()
    await until_blocked()
    assert client.sending == 1
    # The server reads nothing more from it, and learns from the socket that writing is in vain.
    notes.connections[0].abort()
    await notes.gone()
    assert notes.runtime.queries.statistics()["subscribed"] == 0


async def test_serving_can_be_cancelled(notes: Bench) -> None:
    notes.probe.gate.clear()
    client = notes.client(COUNT)
    client.mutate("notes:add", book="a", text="x")
    await notes.probe.entered.wait()
    notes.serving[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await notes.serving[0]
    assert notes.connections[0].gone.done()


# Callers


async def test_the_admin_key_opens_internal_functions(notes: Bench) -> None:
    client = notes.client((0, "notes:secret", {}))
    assert "FunctionNotFound" in (await client.values())[0]
    client.authenticate(tokenType="Admin", value=notes.admin_key.file.read_text().strip())
    assert await client.values() == {0: "rosebud"}
    client.act("notes:nothing")
    assert "Could not find function `notes:nothing`" in (await client.response("Action"))["result"]
    client.authenticate(base=1, tokenType="None")
    assert "FunctionNotFound" in (await client.values())[0]


@pytest.mark.parametrize(
    "token",
    [
        {"tokenType": "Admin", "value": "yugen|wrong"},
        {"tokenType": "Admin", "value": ""},
        {"tokenType": "Admin", "value": "ключ"},
        {"tokenType": "User", "value": "eyJ"},
    ],
)
async def test_a_bad_token_is_refused(notes: Bench, token: dict[str, Any]) -> None:
    client = notes.client()
    client.authenticate(**token)
    client.mutate("notes:add", book="a", text="as somebody else")
    refusal = await client.hear("AuthError")
    assert refusal["authUpdateAttempted"] is True
    assert refusal["baseVersion"] == 0
    assert await client.is_closed() == (1000, "")
    await notes.gone()
    assert await ask(notes.runtime, "notes:count", book="a") == 0


async def test_an_administrator_who_acts_as_somebody_still_is_one(notes: Bench) -> None:
    client = notes.client((0, "notes:secret", {}))
    await client.values()
    key = notes.admin_key.file.read_text().strip()
    client.authenticate(tokenType="Admin", value=f"prod:{key}", impersonating={"tokenIdentifier": "x|y"})
    assert await client.values() == {0: "rosebud"}


# Pages


def page(size: int, cursor: str | None = None) -> tuple[int, str, dict[str, Any]]:
    return 0 if cursor is None else 1, "notes:pages", {"book": "a", "opts": {"numItems": size, "cursor": cursor}}


async def test_trap_42_a_page_keeps_its_end_while_it_is_subscribed_to(notes: Bench) -> None:
    for text in "bd":
        await change(notes.runtime, "notes:add", book="a", text=text)
    client, other = notes.client(page(1)), notes.client(page(1))
    first = (await client.hear("Transition"))["modifications"][0]
    assert first["journal"] == first["value"]["continueCursor"]
    client.subscribe(page(1, first["journal"]), base=1)
    second = (await client.hear("Transition"))["modifications"][0]
    await other.hear("Transition")
    assert notes.probe.runs["notes:pages"] == 2
    await change(notes.runtime, "notes:add", book="a", text="e")
    # The second page ended at its only document, before the one that came.
    assert client.unheard == 0
    client.subscribe((2, *page(5, second["journal"])[1:]), base=2)
    third = (await client.hear("Transition"))["modifications"][0]
    assert [note["text"] for note in third["value"]["page"]] == ["e"]
    assert third["value"]["isDone"]
    await change(notes.runtime, "notes:add", book="a", text="f")
    again = (await client.hear("Transition"))["modifications"]
    assert [(each["queryId"], each["journal"]) for each in again] == [(2, third["journal"])]
    assert [note["text"] for note in again[0]["value"]["page"]] == ["e", "f"]


async def test_what_goes_from_a_page_makes_it_shorter_and_moves_no_end(notes: Bench) -> None:
    for text in "bdf":
        await change(notes.runtime, "notes:add", book="a", text=text)
    client = notes.client(page(2))
    first = (await client.hear("Transition"))["modifications"][0]
    assert [note["text"] for note in first["value"]["page"]] == ["b", "d"]
    await change(notes.runtime, "notes:drop", book="a", text="b")
    shorter = (await client.hear("Transition"))["modifications"][0]
    assert [note["text"] for note in shorter["value"]["page"]] == ["d"]
    assert shorter["value"]["continueCursor"] == first["value"]["continueCursor"]
    assert shorter["journal"] == first["journal"]


async def test_a_journal_that_comes_back_after_a_reconnect_is_honoured(notes: Bench) -> None:
    for text in "bd":
        await change(notes.runtime, "notes:add", book="a", text=text)
    before = notes.client(page(1))
    journal = (await before.hear("Transition"))["modifications"][0]["journal"]
    before.leave()
    await notes.gone()
    after = notes.client()
    after.subscribe(page(5), journals={0: journal})
    result = (await after.hear("Transition"))["modifications"][0]
    assert [note["text"] for note in result["value"]["page"]] == ["b"]
    assert result["journal"] == journal


async def test_trap_41_a_journal_of_another_deployment_is_a_bad_cursor(notes: Bench) -> None:
    client = notes.client()
    client.subscribe(page(1), journals={0: "made elsewhere"})
    failed = (await client.hear("Transition"))["modifications"][0]
    assert failed["errorData"] == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
    client.subscribe((1, *page(1)[1:]), base=1)
    assert (await client.hear("Transition"))["modifications"][0]["type"] == "QueryUpdated"


# What the client has seen


def seen(notes: Bench, ahead_ns: int) -> dict[str, str]:
    ts = notes.runtime.ts + ahead_ns
    return {"maxObservedTimestamp": base64.b64encode(ts.to_bytes(8, "little")).decode()}


async def test_trap_31_who_has_seen_more_than_this_node_is_to_come_again(notes: Bench) -> None:
    client = notes.client(connect=False)
    client.connect(**seen(notes, 1))
    assert await client.is_closed() == (1011, "InternalServerError")


@pytest.mark.parametrize("ahead_ns", [0, -(10**9), 3600 * 10**9, 2**62])
async def test_who_cannot_have_seen_more_is_served(notes: Bench, ahead_ns: int) -> None:
    client = notes.client(connect=False)
    client.connect(**seen(notes, ahead_ns))
    client.subscribe(COUNT)
    assert await client.values() == {0: 0}


async def test_trap_31_what_is_lost_is_not_waited_for(notes: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = notes.runtime.ts + 60 * 10**9
    monkeypatch.setattr("yugen.server.connection.time.time_ns", lambda: now)
    client = notes.client(connect=False)
    client.connect(**seen(notes, 1))
    client.subscribe(COUNT)
    assert await client.values() == {0: 0}


# Too much at once


async def test_nothing_more_is_read_while_too_much_waits_for_its_response(notes: Bench) -> None:
    client = notes.client(limits=SessionLimits(request_bytes=1000))
    notes.probe.gate.clear()
    for _ in range(5):
        client.mutate("notes:add", book="a", text="x" * 600)
    await until_blocked()
    assert client.unread == 3
    notes.probe.gate.set()
    for _ in range(5):
        assert (await client.response())["success"]
        await client.hear("Transition")
    assert await ask(notes.runtime, "notes:count", book="a") == 5


async def test_subscriptions_that_take_too_much_end_the_connection(notes: Bench) -> None:
    client = notes.client(limits=SessionLimits(subscription_bytes=1000))
    client.subscribe((0, "notes:count", {"book": "x" * 1000}))
    assert await client.is_closed() == (1013, "QuerySetTooLarge")


# Other nodes


async def test_results_are_not_older_than_what_was_acknowledged_when_they_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when they are asked for while this node takes in what others had acknowledged before."""
    async with nodes(write_app(tmp_path, f=APP)) as (one, other):
        may_go_on, has_read = asyncio.Event(), asyncio.Event()
        news = other.store.news

        async def slow_news() -> Sequence[Commit]:
            commits = await news()
            has_read.set()
            await may_go_on.wait()
            return commits

        asyncio.get_running_loop().remove_reader(other.store._board.bell(1))  # it hears only what it looks for
        monkeypatch.setattr(other.store, "news", slow_news)
        await change(one.runtime, "f:append", client="a")
        client = Client()
        connection = Connection(client, other.runtime, Callers(AdminKey(tmp_path / "admin_key")))
        serving = asyncio.create_task(connection.serve())
        client.connect()
        client.subscribe((0, "f:numbers", {"client": "a"}))
        async with asyncio.timeout(SECONDS_MAX):
            await has_read.wait()
        await change(one.runtime, "f:append", client="a")
        client.subscribe((1, "f:numbers", {"client": "a"}), base=1)
        await until_blocked()
        assert client.unread == 0
        may_go_on.set()
        shown: dict[int, Any] = {}
        while 1 not in shown:
            shown |= await client.values()
        assert shown[1] == [0, 1]
        connection.abort()
        await asyncio.gather(serving, return_exceptions=True)
