from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from tests.engine import ask, change
from tests.server.peers import Bench, LoopTime, bench, until_blocked
from yugen import __version__
from yugen.runtime.runner import Overloaded
from yugen.server import http
from yugen.server.api import BATCH_MAX, HttpApi
from yugen.server.backend import Backend, NotServing
from yugen.server.http import Endpoints
from yugen.storage.interface import StorageError


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


@pytest.fixture
async def client(notes: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async def backend() -> Backend:
        return notes.backend

    transport = httpx.ASGITransport(app=Starlette(routes=HttpApi(Endpoints(backend, requests_max=100)).routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://yugen") as made:
        yield made


def admin(notes: Bench) -> dict[str, str]:
    return {"Authorization": f"Convex {notes.admin_key.file.read_text().strip()}"}


async def call(client: httpx.AsyncClient, place: str, **body: Any) -> Any:
    response = await client.post(f"/api/{place}", json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


@pytest.mark.parametrize("wrapped", [False, True])
async def test_query_mutation_and_action(client: httpx.AsyncClient, wrapped: bool) -> None:
    def given(**args: Any) -> Any:
        return [args] if wrapped else args

    assert await call(client, "mutation", path="notes:add", args=given(book="a", text="x")) == {
        "status": "success",
        "value": None,
    }
    assert (await call(client, "action", path="notes:post", args=given(book="a", text="y")))["value"] == 2
    assert (await call(client, "query", path="notes:texts", args=given(book="a")))["value"] == ["x", "y"]
    assert (await call(client, "query", path="notes.js:texts", args=given(book="a")))["value"] == ["x", "y"]


async def test_arguments_may_be_left_out(client: httpx.AsyncClient) -> None:
    assert (await call(client, "query", path="notes:odd"))["status"] == "success"


@pytest.mark.parametrize("form", ["convex_encoded_json", "convex_json"])
async def test_the_encoded_form(client: httpx.AsyncClient, form: str) -> None:
    response = await client.post("/api/query", json={"path": "notes:odd", "args": {}, "format": form})
    assert response.json()["value"] == {
        "big": {"$integer": "KgAAAAAAAAA="},
        "raw": {"$bytes": "AAE="},
        "not": {"$float": "AAAAAAAA+H8="},
        "whole": 3.0,
    }
    assert "3.0" in response.text


@pytest.mark.parametrize("form", ["json", "convex_clean_json", None])
async def test_the_clean_form(client: httpx.AsyncClient, form: str | None) -> None:
    answer = await call(client, "query", path="notes:odd", args={}, format=form)
    assert answer["value"] == {"big": "42", "raw": "AAE=", "not": "NaN", "whole": 3.0}


async def test_a_query_in_an_address(client: httpx.AsyncClient) -> None:
    await call(client, "mutation", path="notes:add", args={"book": "a", "text": "x"})
    params = {"path": "notes:count", "args": json.dumps({"book": "a"})}
    assert (await client.get("/api/query", params=params)).json() == {"status": "success", "value": 1.0}
    assert (await client.get("/api/query", params={"path": "notes:odd"})).json()["value"]["big"] == "42"
    assert (await client.get("/api/query")).json()["code"] == "BadQueryArgs"


async def test_run_takes_any_public_function_by_its_address(client: httpx.AsyncClient) -> None:
    assert (await call(client, "run/notes/add", args={"book": "a", "text": "x"}))["status"] == "success"
    assert (await call(client, "run/notes/post", args={"book": "a", "text": "x"}))["value"] == 2
    assert (await call(client, "run/notes/count", args={"book": "a"}))["value"] == 2
    assert "FunctionNotFound" in (await call(client, "run/notes/secret"))["errorMessage"]
    assert "FunctionNotFound" in (await call(client, "run/deep/er/notes/secret"))["errorMessage"]
    assert "FunctionNotFound" in (await call(client, "run/notes"))["errorMessage"]


async def test_function_is_for_administrators(notes: Bench, client: httpx.AsyncClient) -> None:
    body = {"path": "notes:secret", "args": {}}
    refused = await client.post("/api/function", json=body)
    assert refused.status_code == 403
    assert set(refused.json()) == {"code", "message"}
    opened = await client.post("/api/function", json=body, headers=admin(notes))
    assert opened.json()["value"] == "rosebud"
    mutation = {"path": "notes:add", "args": {"book": "a", "text": "x"}}
    assert (await client.post("/api/function", json=mutation, headers=admin(notes))).json()["status"] == "success"
    assert await ask(notes.runtime, "notes:count", book="a") == 1


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Convex yugen|wrong", 401),
        ("convex ", 401),
        ("Convex", 401),
        ("Convex \xe9\xff", 401),
        ("Bearer eyJ", 401),
        ("Basic eyJ", 400),
        ("", 400),
    ],
)
async def test_a_bad_authorization_fails_the_request(client: httpx.AsyncClient, header: str, status: int) -> None:
    body = {"path": "notes:count", "args": {"book": "a"}}
    response = await client.post("/api/query", json=body, headers={b"Authorization": header.encode("latin-1")})
    assert response.status_code == status
    assert set(response.json()) == {"code", "message"}


async def test_a_failed_function_is_an_answer(client: httpx.AsyncClient) -> None:
    refused = await call(client, "mutation", path="notes:refuse", args={"book": "a"})
    assert refused["status"] == "error"
    assert refused["errorData"] == {"code": "full", "book": "a"}
    crashed = await call(client, "mutation", path="notes:crash", args={})
    assert "the tea is cold" in crashed["errorMessage"]
    assert "errorData" not in crashed
    assert crashed["logLines"] == ["[LOG] 'about to'"]
    assert "WrongKind" in (await call(client, "query", path="notes:add", args={}))["errorMessage"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "BadJsonBody"),
        (b"{", "BadJsonBody"),
        (b"[]", "BadJsonBody"),
        (b"null", "BadJsonBody"),
        (b"{}", "BadJsonBody"),
        (b'{"path": 7}', "BadJsonBody"),
        (b'{"path": "notes:count", "args": [{}, {}]}', "BadArgs"),
        (b'{"path": "notes:count", "args": []}', "BadArgs"),
        (b'{"path": "notes:count", "args": 1}', "BadArgs"),
        (b'{"path": "notes:count", "args": {"book": {"$integer": "x"}}}', "BadArgs"),
        (b'{"path": "notes:count", "args": {"book": NaN}}', "BadJsonBody"),
        (b'{"path": "notes:count", "args": {"book": "\\ud800"}}', "BadJsonBody"),
        (b"[" * 100_000, "BadJsonBody"),
        (b'{"path": "notes:count", "args": {"book": ' + b"[" * 100 + b"]" * 100 + b"}}", "BadArgs"),
        (b'{"path": "notes:count", "args": {}, "format": "xml"}', "BadFormat"),
        (b'{"path": "notes:count", "args": {}, "format": []}', "BadFormat"),
        (b'{"path": "../notes:count", "args": {}}', "BadConvexFunctionIdentifier"),
        (b'{"path": "' + b"x" * 1_000_000 + b'", "args": {}}', "BadConvexFunctionIdentifier"),
    ],
)
async def test_a_bad_request_says_what_is_wrong(client: httpx.AsyncClient, body: bytes, code: str) -> None:
    response = await client.post("/api/query", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["code"] == code
    assert 0 < len(response.json()["message"]) < 1000


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/Problem+JSON", 200),
        ("text/plain", 400),
        ("application/x-www-form-urlencoded", 400),
        ("", 400),
    ],
)
async def test_the_content_type_must_be_json(client: httpx.AsyncClient, media_type: str, status: int) -> None:
    body = b'{"path": "notes:count", "args": {"book": "a"}}'
    response = await client.post("/api/query", content=body, headers={"Content-Type": media_type})
    assert response.status_code == status


async def test_a_request_has_a_size(client: httpx.AsyncClient) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b" " * 1024 * 1024

    response = await client.post("/api/query", content=endless(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert response.json()["code"] == "RequestTooLarge"
    assert taken < 20


async def test_a_request_that_does_not_end_is_given_up(client: httpx.AsyncClient) -> None:
    time = LoopTime()
    rest = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"path":'
        await rest.wait()

    headers = {"Content-Type": "application/json"}
    asking = asyncio.create_task(client.post("/api/query", content=slow(), headers=headers))
    await until_blocked()
    time.forward(http.BODY_SECONDS_MAX + 1)
    response = await asking
    assert response.status_code == 408
    assert response.json()["code"] == "RequestTimeout"


@pytest.mark.parametrize(
    ("method", "place", "status"),
    [
        ("GET", "mutation", 405),
        ("PUT", "query", 405),
        ("DELETE", "query", 405),
        ("TRACE", "query", 405),
        ("PROPFIND", "query", 405),
        ("GET", "run/notes/count", 405),
        ("GET", "nothing", 404),
        ("POST", "nothing", 404),
        ("POST", "query/more", 404),
        ("GET", "sync", 404),
    ],
)
async def test_other_requests_are_refused_in_json(
    client: httpx.AsyncClient, method: str, place: str, status: int
) -> None:
    response = await client.request(method, f"/api/{place}")
    assert response.status_code == status
    assert set(response.json()) == {"code", "message"}


@pytest.mark.parametrize(
    ("error", "status", "code", "logged"),
    [
        (Overloaded("10000 functions wait"), 503, "TooManyConcurrentRequests", 0),
        (StorageError("disk on fire"), 503, "StorageUnavailable", 1),
        (ZeroDivisionError("a bug"), 500, "InternalServerError", 1),
    ],
)
@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
async def test_a_fault_of_ours_tells_nothing_of_its_cause(
    notes: Bench,
    client: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    code: str,
    logged: int,
    kind: str,
) -> None:
    notes.probe.error = error
    path = {"query": "notes:count", "mutation": "notes:add", "action": "notes:post"}[kind]
    response = await client.post(f"/api/{kind}", json={"path": path, "args": {"book": "a", "text": "x"}})
    assert response.status_code == status
    assert response.json()["code"] == code
    assert logged == 0 or str(error) not in response.text
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == logged
    notes.probe.error = None
    assert (await call(client, "query", path="notes:texts", args={"book": "a"}))["value"] == []


async def test_a_runtime_that_closes_answers_who_waits(notes: Bench, client: httpx.AsyncClient) -> None:
    notes.probe.gate.clear()
    asking = asyncio.create_task(client.post("/api/query", json={"path": "notes:count", "args": {"book": "a"}}))
    await notes.probe.entered.wait()
    await notes.runtime.queries.close()
    assert (await asking).status_code == 503
    assert (await asking).json()["code"] == "NotServing"


async def test_a_request_that_is_cancelled_ends(notes: Bench, client: httpx.AsyncClient) -> None:
    notes.probe.gate.clear()
    asking = asyncio.create_task(client.post("/api/query", json={"path": "notes:count", "args": {"book": "a"}}))
    await notes.probe.entered.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_version_says_that_it_is_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/version")).text == __version__


async def test_without_a_backend_everything_says_so() -> None:
    async def backend() -> Backend:
        raise NotServing("closed for today")

    transport = httpx.ASGITransport(app=Starlette(routes=HttpApi(Endpoints(backend, requests_max=100)).routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://yugen") as client:
        response = await client.post("/api/query", json={"path": "a:b", "args": {}})
        assert response.status_code == 503
        assert response.json() == {"code": "NotServing", "message": "closed for today"}
        assert (await client.get("/version")).status_code == 503


# Moments


async def moment(client: httpx.AsyncClient) -> str:
    ts: str = (await client.post("/api/query_ts")).json()["ts"]
    return ts


async def test_queries_at_a_timestamp_see_that_moment(notes: Bench, client: httpx.AsyncClient) -> None:
    before = await moment(client)
    await change(notes.runtime, "notes:add", book="a", text="x")
    now = await moment(client)
    query = {"path": "notes:texts", "args": [{"book": "a"}], "format": "convex_encoded_json"}
    assert (await call(client, "query_at_ts", ts=before, **query))["value"] == []
    assert (await call(client, "query_at_ts", ts=now, **query))["value"] == ["x"]


async def test_only_administrators_reach_back_further_than_a_moment(notes: Bench, client: httpx.AsyncClient) -> None:
    old = await moment(client)
    past = notes.runtime._past
    clock = past._clock
    for seconds in (0, 31, 62):
        past._clock = lambda ahead=seconds: clock() + ahead * 1_000_000_000  # type: ignore[misc]
        await change(notes.runtime, "notes:add", book="a", text="x")
    body = {"ts": old, "path": "notes:texts", "args": {"book": "a"}}
    refused = await client.post("/api/query_at_ts", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "TimestampOutOfReach")
    assert (await client.post("/api/query_at_ts", json=body, headers=admin(notes))).json()["value"] == []


@pytest.mark.parametrize("bad", [None, 5, "", "AAAA", "not base 64", "/////////38="])
async def test_a_bad_timestamp_is_refused(client: httpx.AsyncClient, bad: Any) -> None:
    response = await client.post("/api/query_at_ts", json={"ts": bad, "path": "notes:texts", "args": {"book": "a"}})
    assert response.status_code == 400
    assert response.json()["code"] in ("BadTimestamp", "TimestampOutOfReach")


async def test_a_batch_is_answered_at_one_timestamp(notes: Bench, client: httpx.AsyncClient) -> None:
    query = {"path": "notes:count", "args": {"book": "a"}}
    queries = [query, {"path": "notes:none"}, {"path": "notes:odd", "format": "convex_encoded_json"}]
    results = (await call(client, "query_batch", queries=queries))["results"]
    assert [result["status"] for result in results] == ["success", "error", "success"]
    assert results[0]["value"] == 0
    notes.probe.gate.clear()
    notes.probe.entered.clear()
    asking = asyncio.create_task(call(client, "query_batch", queries=[query | {"args": {"book": b}} for b in "bc"]))
    await notes.probe.entered.wait()
    writing = asyncio.create_task(change(notes.runtime, "notes:add", book="c", text="x"))
    await until_blocked()
    notes.probe.gate.set()
    await writing
    assert [result["value"] for result in (await asking)["results"]] == [0, 0]


@pytest.mark.parametrize("queries", [None, {}, [1], [{}] * (BATCH_MAX + 1), [{"path": 5}]])
async def test_a_bad_batch_is_refused(client: httpx.AsyncClient, queries: Any) -> None:
    response = await client.post("/api/query_batch", json={"queries": queries})
    assert response.status_code == 400
    assert response.json()["message"]


# What goes around a call


async def test_the_request_id_of_a_client_stands_before_the_error(client: httpx.AsyncClient) -> None:
    for given, shown in [("trace-7", "trace-7"), ("no [brackets]", r"[0-9a-f]{16}"), ("x" * 65, r"[0-9a-f]{16}")]:
        response = await client.post(
            "/api/mutation", json={"path": "notes:crash"}, headers={"Convex-Request-Id": given}
        )
        assert re.match(rf"\[Request ID: {shown}\] Server Error", response.json()["errorMessage"])


async def test_too_many_requests_at_once_are_sent_away(notes: Bench, client: httpx.AsyncClient) -> None:
    notes.probe.gate.clear()
    asking = [
        asyncio.create_task(call(client, "mutation", path="notes:add", args={"book": "a", "text": "x"}))
        for _ in range(100)
    ]
    await until_blocked()
    refused = await client.post("/api/query", json={"path": "notes:odd"})
    assert (refused.status_code, refused.json()["code"]) == (503, "TooManyConcurrentRequests")
    notes.probe.gate.set()
    assert {answer["status"] for answer in await asyncio.gather(*asking)} == {"success"}
    assert (await call(client, "query", path="notes:count", args={"book": "a"}))["value"] == 100


async def test_probes_and_telemetry_are_answered(client: httpx.AsyncClient) -> None:
    assert (await client.get("/instance_name")).text == "yugen"
    assert (await client.get("/instance_version")).text == __version__
    assert (await client.post("/api/debug_event", json={"anything": 1})).status_code == 200


async def test_an_echo_is_what_was_sent_and_no_page(client: httpx.AsyncClient) -> None:
    body = b"<script>" + bytes(4 * 1024 * 1024)
    echo = await client.post("/echo", content=body, headers={"Content-Type": "text/html"})
    assert echo.content == body
    assert echo.headers["content-type"] == "application/octet-stream"
    assert echo.headers["x-content-type-options"] == "nosniff"
    assert (await client.post("/echo", content=bytes(http.BODY_SIZE_MAX + 1))).status_code == 413


async def test_an_administrator_hears_what_there_is_instead(notes: Bench, client: httpx.AsyncClient) -> None:
    for path in ("v1/get_canonical_urls", "deploy2/start_push", "anything/else"):
        for headers in (admin(notes), {"Authorization": "convex yugen|wrong"}):
            refused = await client.get(f"/api/{path}", headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "NotSupported")
            assert "Yugen" in refused.json()["message"]
        assert (await client.get(f"/api/{path}")).status_code == 404


async def test_a_wrong_key_is_forbidden_where_only_administrators_go(client: httpx.AsyncClient) -> None:
    body = {"path": "notes:secret", "args": {}}
    for header in ("Convex yugen|wrong", "Bearer eyJ"):
        refused = await client.post("/api/function", json=body, headers={"Authorization": header})
        assert refused.status_code == 403
        assert set(refused.json()) == {"code", "message"}


async def test_a_component_is_refused_and_not_taken_for_the_app(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/query", json={"path": "notes:odd", "args": {}, "componentPath": "a/b"})
    assert (response.status_code, response.json()["code"]) == (400, "ComponentNotFound")


async def test_a_query_that_comes_again_does_not_run_again(client: httpx.AsyncClient, notes: Bench) -> None:
    body = {"path": "notes:texts", "args": {"book": "a"}}
    first = await client.post("/api/query", json=body)
    runs = notes.probe.runs["notes:texts"]
    for _ in range(3):
        again = await client.post("/api/query", json=body)
        assert again.content == first.content
        assert again.headers == first.headers
    assert notes.probe.runs["notes:texts"] == runs
    await call(client, "mutation", path="notes:add", args={"book": "a", "text": "x"})
    assert await call(client, "query", **body) == {"status": "success", "value": ["x"]}
    encoded = await call(client, "query", **body, format="convex_encoded_json")
    assert encoded == {"status": "success", "value": ["x"]}


async def test_what_is_at_hand_for_one_is_not_for_all(client: httpx.AsyncClient, notes: Bench) -> None:
    mine = {"path": "notes:mine", "args": {}}
    assert (await call(client, "query", **mine))["value"]["name"] == "nobody"
    user = base64.b64encode(b'{"issuer": "https://id.example", "subject": "ann"}').decode()
    key = admin(notes)["Authorization"]
    response = await client.post("/api/query", json=mine, headers={"Authorization": f"{key}:{user}"})
    assert response.json()["value"]["name"] == "ann"
    assert (await call(client, "query", **mine))["value"]["name"] == "nobody"


async def test_a_body_may_come_in_parts(client: httpx.AsyncClient) -> None:
    text = json.dumps({"path": "notes:count", "args": {"book": "a"}}).encode()

    async def body() -> AsyncIterator[bytes]:
        for place in range(0, len(text), 7):
            await asyncio.sleep(0)
            yield text[place : place + 7]

    response = await client.post("/api/query", content=body(), headers={"Content-Type": "application/json"})
    assert response.json() == {"status": "success", "value": 0.0}


async def test_who_leaves_before_the_body_is_complete_stops_nothing() -> None:
    messages: asyncio.Queue[Any] = asyncio.Queue()
    request = Request({"type": "http", "headers": []}, messages.get)
    reading = asyncio.ensure_future(http.read_body(request))
    await asyncio.sleep(0)
    messages.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
    await asyncio.sleep(0)
    messages.put_nowait({"type": "http.disconnect"})
    with pytest.raises(http.HttpError, match="ended before"):
        await reading
    reading = asyncio.ensure_future(http.read_body(request))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    messages.put_nowait({"type": "http.request", "body": b"{}"})
    assert await http.read_body(request) == b"{}"
