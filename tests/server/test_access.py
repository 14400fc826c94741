"""Request ids and the lines of requests, as clients, proxies and those who read logs see them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2 as httpx
import pytest
import pytest_asyncio

from reliability.serving import ROOT, Server, serving
from tests.apps import write_app
from yugen.runtime.formats import Json, Readable
from yugen.server import access
from yugen.server.access import Access, path_shown
from yugen.server.proxies import BehindProxies, Proxies
from yugen.server.yugen import Yugen
from yugen_client import AsyncClient, FunctionError

SECRET = "canary-5d41402abc4b2a76"
APP = """
    from yugen import ActionCtx, MutationCtx, QueryCtx, action, mutation, query


    @query
    async def nothing(ctx: QueryCtx) -> None:
        pass


    @mutation
    async def says(ctx: MutationCtx, text: str) -> None:
        print(text)


    @mutation
    async def breaks(ctx: MutationCtx, text: str) -> None:
        raise LookupError(text)


    @action
    async def calls(ctx: ActionCtx, text: str) -> None:
        await ctx.run_query(nothing)
        await ctx.run_mutation(breaks, text=text)
"""
HTTP = """
    from starlette.requests import Request
    from starlette.responses import Response
    from yugen import ActionCtx, HttpRouter

    http = HttpRouter()


    @http.route(path_prefix="/hook/", methods=["POST"])
    async def hook(ctx: ActionCtx, request: Request) -> Response:
        return Response("well", headers={"X-Request-Id": "its-own"})
"""
FORGED = '\r\n{"level": "error", "message": "forged"}\x1b[2J\u2028'
"""What would be a line of its own, clear a terminal, and be a line break to some."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("access")
    app = write_app(folder, f=APP, http=HTTP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YUGEN_ACCESS_LOG", "1")
        patch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
        async with serving(app, folder / "data", development=False) as server:
            yield server


async def events(server: Server, *ids: str) -> list[dict[str, Any]]:
    """What was logged up to and with the lines of these requests, of which each is an object of JSON."""
    for each in ids:
        await server.printed(rf'"logger": "yugen.access".*"request_id": "{each}"')
    return [json.loads(line) for line in server.lines if line.startswith("{")]


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_request_leaves_one_line(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.post(f"/api/query?token={SECRET}", json={"path": "f:nothing", "args": {}})
        [event] = [
            each for each in await events(server, answer.headers["x-request-id"]) if each["logger"] == "yugen.access"
        ]
    assert re.fullmatch("[0-9a-f]{16}", event["request_id"])
    assert {name: event[name] for name in ("level", "method", "route", "status", "address")} == {
        "level": "info",
        "method": "POST",
        "route": "/api/query",
        "status": 200,
        "address": "127.0.0.1",
    }
    assert 0 < event["milliseconds"] < 10_000
    assert event["message"] == f"POST /api/query 200 in {event['milliseconds']:.1f} ms"


async def test_one_id_is_in_the_answer_the_error_and_all_lines(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        body = {"path": "f:calls", "args": {"text": FORGED}}
        answer = await http.post("/api/action", json=body, headers={"X-Request-Id": "from-the-proxy"})
        assert answer.headers.get_list("x-request-id") == ["from-the-proxy"]
        assert "[Request ID: from-the-proxy]" in answer.json()["errorMessage"]
        found = [each for each in await events(server, "from-the-proxy") if each.get("request_id") == "from-the-proxy"]
    runs = [(each["function"], each["message"].split()[2]) for each in found if each["logger"] == "yugen.run"]
    assert sorted(runs) == [("f:breaks", "failed"), ("f:calls", "failed"), ("f:nothing", "ran")]


@pytest.mark.parametrize("given", ["", "a" * 65, 'x", "level": "error', "a b", "\x1b[2J", "é"])
async def test_an_id_that_is_none_is_not_kept(server: Server, given: str) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        headers = [(b"X-Request-Id", given.encode("latin-1")), (b"Convex-Request-Id", given.encode("latin-1"))]
        answer = await http.get("/version", headers=headers)
    assert answer.status_code in (200, 400)  # of a header that is none there is no request
    if answer.status_code == 200:
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


async def test_routes_have_no_secrets(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        await http.get(f"/api/storage/{SECRET}")
        await http.get(f"/api/storage/private?token={SECRET}")
        last = await http.post(f"/http/hook/{SECRET}")
        assert (last.text, len(last.headers.get_list("x-request-id"))) == ("well", 1)
        assert last.headers["x-request-id"] != "its-own"
        found = await events(server, last.headers["x-request-id"])
    routes = {each["route"] for each in found if each["logger"] == "yugen.access"}
    assert routes >= {"/api/storage/{id}", "/api/storage/private", "/http/hook/*"}
    assert SECRET not in "\n".join(server.lines)


async def test_nobody_forges_a_line(server: Server) -> None:
    await server.site_url()  # which is said last of all that is no object
    before = len(server.lines)
    async with AsyncClient(server.url) as client:
        await client.mutation("f:says", {"text": FORGED + "x" * 1_000_000})
        with pytest.raises(FunctionError):
            await client.mutation("f:breaks", {"text": FORGED})
    async with httpx.AsyncClient(base_url=server.url) as http:
        await http.get("/%0D%0A%7B%22message%22:%22forged%22%7D%1B%5B2J%E2%80%A8" + "y" * 10_000)
        await http.get("/version", headers={"User-Agent": "\x1b[2J", "X-Forwarded-For": '6.6.6.6", "level": "error'})
        last = await http.post("/api/query", json={"path": f"f:{FORGED}", "args": {}})
        await events(server, last.headers["x-request-id"])
    text = "\n".join(server.lines[before:])
    said = [json.loads(line) for line in server.lines[before:]]  # each is one object, and there is nothing else
    assert len(said) >= 5
    assert not any(each["message"] == "forged" for each in said)
    assert "forged" in text
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert max(map(len, server.lines[before:])) < 50_000


async def test_health_checks_leave_none(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.get("/health")).status_code == (await http.get("/ready")).status_code == 200
        last = await http.get("/version")
        found = await events(server, last.headers["x-request-id"])
    assert not {"/health", "/ready"} & {each.get("route") for each in found}


async def test_the_fields_of_lines_are_those_of_the_guide(server: Server) -> None:
    """Those that the others have left."""
    async with httpx.AsyncClient(base_url=server.url) as http:
        said = await http.post("/api/mutation", json={"path": "f:says", "args": {"text": "a"}})
        failed = await http.post("/api/mutation", json={"path": "f:breaks", "args": {"text": "b"}})
        ids = [each.headers["x-request-id"] for each in (said, failed)]
        found = {name for each in await events(server, *ids) for name in each}
    page = (ROOT / "docs/operations.md").read_text()
    section = re.search(r"\n## Logs\n(.*?)\n## ", page, re.S)
    assert section is not None
    assert found == {
        name for row in re.findall(r"^\| (`.+?) \|", section[1], re.M) for name in re.findall(r"`(\w+)`", row)
    }


@pytest.mark.parametrize(("proxies", "kept"), [("127.0.0.1", True), ("10.0.0.1", False), ("", False)])
async def test_only_a_trusted_proxy_gives_ids(
    proxies: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("YUGEN_ACCESS_LOG", "0")
    yugen = Yugen(write_app(tmp_path, f=APP), database=tmp_path / "data")
    app: Any = BehindProxies(Proxies(proxies), yugen.asgi())
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        answer = await http.get("/instance_name", headers={"X-Request-Id": "from-anybody"})
        assert (answer.headers["x-request-id"] == "from-anybody") is kept
        # What a client of Convex's kind calls its request is its own business.
        answer = await http.get("/instance_name", headers={"Convex-Request-Id": "from-a-client"})
        assert answer.headers["x-request-id"] == "from-a-client"
    assert not caplog.records  # nobody has asked for lines


async def test_without_being_asked_only_faults_of_the_server_leave_a_line(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raises":
            raise LookupError
        await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": []})
        await send({"type": "http.response.body", "body": b""})

    yugen: Any = SimpleNamespace(traces=None, answers={})
    transport = httpx.ASGITransport(Access(yugen, app, logs_all=False), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        for path in ("/200", "/404", "/429", "/500", "/503", "/raises"):
            await http.get(path)
    assert [(each.levelname, each.getMessage().split(" in ")[0]) for each in caplog.records] == [
        ("WARNING", "GET /500 500"),
        ("WARNING", "GET /503 503"),
        ("WARNING", "GET /raises 500"),
    ]
    assert yugen.answers == {2: 1, 4: 2, 5: 3}


async def test_a_line_and_its_fields_say_the_same_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    times = iter([0.0, 0.0046476])  # 4.6 ms; of 4.65 one digit after the point is 4.7
    monkeypatch.setattr(access, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    yugen: Any = SimpleNamespace(traces=None, answers={})
    transport = httpx.ASGITransport(Access(yugen, app, logs_all=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        await http.get("/")
    [record] = caplog.records
    milliseconds = cast(Any, record).fields["milliseconds"]
    assert record.getMessage() == f"GET / 500 in {milliseconds:.1f} ms"


@pytest.mark.parametrize("form", [Json(), Readable(coloured=True)])
async def test_text_of_others_is_one_line_that_moves_no_cursor(form: Json | Readable) -> None:
    record = logging.LogRecord("yugen.access", logging.INFO, "", 0, "GET %s 404", (FORGED,), None)
    record.fields = {"route": FORGED, "address": FORGED}
    first, *rest = form.format(record).split("\n")
    assert all(line.startswith("    ") for line in rest)  # as what belongs to the first one
    assert "\x1b[2J" not in "".join((first, *rest))
    assert "\u2028" not in "".join((first, *rest))
    assert "\r" not in "".join((first, *rest))


async def test_what_is_not_a_file_is_shown_as_it_is() -> None:
    shown = {path: path_shown({"path": path, "root_path": ""}) for path in ("/", "/api/storage/upload", "/a/b")}
    assert all(path == text for path, text in shown.items())
    assert path_shown({"path": "/backend/api/storage/x/y", "root_path": "/backend"}) == "/api/storage/{id}"
