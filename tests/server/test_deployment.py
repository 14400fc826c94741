"""What the convex command line asks of a deployment, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette

from tests.engine import encoded, value_of
from tests.server.peers import Bench, bench, until_blocked
from yugen.functions.registry import AppError
from yugen.runtime.outcome import Answer
from yugen.runtime.run import Run
from yugen.server import deployment
from yugen.server.backend import Backend
from yugen.server.deployment import DeploymentApi
from yugen.server.http import Endpoints
from yugen.server.runs import Runs

RUN = Run("query", "notes:count", b"{}", True, 1, 0.0, b"", "0123456789abcdef")
ANSWER = Answer(b"1.0", log_lines=("[LOG] 'half \ud800'",))


@dataclass
class Api:
    notes: Bench
    app: Starlette
    client: httpx.AsyncClient
    runs: Runs

    async def post(self, place: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.client.post(f"/api/{place}", json=body, headers={**self.admin, **headers})

    async def stream(self, cursor: object = 0, **headers: str) -> httpx.Response:
        return await self.client.get(
            "/api/stream_function_logs", params={"cursor": str(cursor)}, headers={**self.admin, **headers}
        )

    @property
    def admin(self) -> dict[str, str]:
        return {"Authorization": f"Convex {self.notes.admin_key.file.read_text().strip()}"}

    async def variables(self) -> dict[str, str]:
        path = "_system/cli/queryEnvironmentVariables"
        listed = value_of(await self.notes.runtime.query(path, encoded(), public=False))
        return {variable["name"]: variable["value"] for variable in listed}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with bench(tmp_path) as notes:

        async def backend() -> Backend:
            return notes.backend

        runs = Runs()
        app = Starlette(routes=DeploymentApi(Endpoints(backend, requests_max=100), runs).routes())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://yugen") as client:
            yield Api(notes, app, client, runs)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "update_environment_variables"),
        ("POST", "rotate_encryption_key"),
        ("GET", "stream_function_logs"),
        ("GET", "why"),
        ("POST", "reload"),
    ],
)
async def test_only_administrators_get_in(api: Api, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Convex yugen|wrong"}):
        refused = await api.client.request(method, f"/api/{path}", json={}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "BadDeployKey")
    wrong = await api.client.request("PUT", f"/api/{path}", headers=api.admin)
    assert wrong.status_code == 405


async def test_environment_variables_are_set_and_removed(api: Api) -> None:
    changes: list[dict[str, str | None]] = [{"name": "B", "value": "2"}, {"name": "A", "value": "é\n"}]
    assert (await api.post("update_environment_variables", {"changes": changes})).status_code == 200
    assert await api.variables() == {"A": "é\n", "B": "2"}
    changes = [{"name": "A", "value": None}, {"name": "NONE", "value": None}]
    assert (await api.post("update_environment_variables", {"changes": changes})).status_code == 200
    assert await api.variables() == {"B": "2"}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"changes": [{"name": "1A", "value": "x"}]}, "InvalidEnvironmentVariable", "'1A' cannot name"),
        ({"changes": [{"name": "A", "value": 7}]}, "BadJsonBody", "Say what changes"),
        ({"changes": [{"value": "7"}]}, "BadJsonBody", "Say what changes"),
        ({}, "BadJsonBody", "Say what changes"),
        ({"changes": [{"name": "CONVEX_CLOUD_URL", "value": "x"}]}, "InvalidEnvironmentVariable", "by Yugen itself"),
    ],
)
async def test_a_variable_that_cannot_be_set_says_why(api: Api, body: Any, code: str, words: str) -> None:
    refused = await api.post("update_environment_variables", body)
    assert (refused.status_code, refused.json()["code"]) == (400, code)
    assert words in refused.json()["message"]
    assert await api.variables() == {}


async def test_code_is_taken_up_where_that_may_be_asked_for(api: Api) -> None:
    refused = await api.post("reload")
    assert (refused.status_code, refused.json()["code"]) == (400, "NotInDevelopment")
    faults: list[Exception] = [AppError("notes.py:3: no")]

    async def backend() -> Backend:
        return api.notes.backend

    async def reload() -> None:
        if faults:
            raise faults.pop()

    app = Starlette(routes=DeploymentApi(Endpoints(backend, requests_max=100), api.runs, reload).routes())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://yugen") as client:
        refused = await client.post("/api/reload", headers=api.admin)
        assert refused.json() == {"code": "AppError", "message": "The app's code was not taken up: notes.py:3: no"}
        assert (await client.post("/api/reload", headers=api.admin)).json() == {}


async def test_runs_are_told_at_once_and_then_as_they_end(api: Api) -> None:
    first = (await api.stream()).json()
    assert first == {"entries": [], "newCursor": api.runs.newest}
    waiting = asyncio.create_task(api.stream(first["newCursor"], **{"Convex-Client": "npm-cli-1.48.0"}))
    await until_blocked()
    assert not waiting.done()
    api.runs.add(RUN, ANSWER, 0.1)
    second = (await waiting).json()
    assert [entry["identifier"] for entry in second["entries"]] == ["notes:count"]
    assert second["entries"][0]["logLines"][0]["level"] == "LOG"
    assert second["newCursor"] == api.runs.newest
    again = (await api.stream(first["newCursor"])).json()
    assert again["entries"][0]["logLines"] == ["[LOG] 'half \ud800'"]


async def test_whoever_waits_too_long_hears_that_nothing_has_run(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "POLL_SECONDS_MAX", 0.01)
    assert (await api.stream(api.runs.newest)).json() == {"entries": [], "newCursor": api.runs.newest}


async def test_a_cursor_of_a_clock_that_was_set_back_begins_now(api: Api) -> None:
    waiting = asyncio.create_task(api.stream(api.runs.newest + 1e9))
    await until_blocked()
    api.runs.add(RUN, ANSWER, 0.1)
    assert len((await waiting).json()["entries"]) == 1


@pytest.mark.parametrize("cursor", ["x", "nan", ""])
async def test_a_cursor_is_a_number(api: Api, cursor: str) -> None:
    refused = await api.stream(cursor)
    assert (refused.status_code, refused.json()["code"]) == (400, "BadCursor")


async def test_only_so_many_wait(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "POLLS_MAX", 2)
    waiting = [asyncio.create_task(api.stream(api.runs.newest)) for _ in range(2)]
    await until_blocked()
    assert (await api.stream()).status_code == 503
    api.runs.add(RUN, ANSWER, 0.1)
    assert {(await each).status_code for each in waiting} == {200}
    assert (await api.stream()).status_code == 200


async def test_who_leaves_waits_no_more(api: Api) -> None:
    left, sent = asyncio.Event(), []

    async def receive() -> dict[str, Any]:
        left.set()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/stream_function_logs",
        "query_string": f"cursor={api.runs.newest}".encode(),
        "headers": [(b"authorization", api.admin["Authorization"].encode())],
    }
    await api.app(scope, receive, send)
    assert left.is_set()
    assert sent[0]["status"] == 200


async def test_a_server_that_leaves_keeps_nobody_waiting(api: Api) -> None:
    waiting = asyncio.create_task(api.stream(api.runs.newest))
    await until_blocked()
    api.runs.close()
    refused = await waiting
    assert (refused.status_code, refused.json()["code"]) == (503, "NotServing")


async def test_why_things_ran_again_is_told(api: Api) -> None:
    runtime = api.notes.runtime
    key = runtime.query_key("notes:count", encoded(book="a"))
    unsubscribe = runtime.queries.subscribe(key, None, lambda: None)
    for _ in range(3):
        await runtime.queries.at(key, None, runtime.ts)
        await runtime.mutate("notes:add", encoded(book="a", text="x"))
    asked = [await api.client.get(f"/api/why{query}", headers=api.admin) for query in ("", "?limit=1", "?function=a:b")]
    reruns, newest, none = [answer.json()["occurrences"] for answer in asked]
    assert [each["because"]["mutation"] for each in reruns] == ["notes:add"] * 2
    assert (newest, none) == (reruns[:1], [])
    for limit in ("0", "1001", "x", "²", "9" * 5000):
        answer = await api.client.get("/api/why", params={"limit": limit}, headers=api.admin)
        assert (answer.status_code, answer.json()["code"]) == (400, "BadLimit")
    unsubscribe()


@pytest.mark.parametrize("ts", ["1", "x", "-1", "9" * 5000], ids=["old", "word", "below", "huge"])
async def test_an_export_that_is_not_there_says_so(api: Api, ts: str) -> None:
    answer = await api.client.get(f"/api/export/zip/{ts}", headers=api.admin)
    assert (answer.status_code, answer.json()["code"]) == (400, "ExportNotFound")
    assert (await api.client.get(f"/api/export/zip/{ts}")).status_code == 403
