"""HTTP actions as clients meet them: which one answers, what is said where none does, and bodies that come and go."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tests.apps import write_app
from tests.issuer import issuing
from tests.server.peers import SECONDS_MAX
from yugen import ActionCtx, http_action
from yugen.functions.routing import Route
from yugen.runtime.exchange import Head
from yugen.runtime.responding import PART_SIZE_MAX, Exchange, respond
from yugen.server import listen, site
from yugen.server.listen import Server
from yugen.server.yugen import Yugen
from yugen.testing import TestApp

APP = """
    import asyncio
    import os
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse

    from yugen import (
        ActionCtx, HttpRouter, MutationCtx, QueryCtx, TokenRejected, YugenError, internal_mutation, internal_query,
    )

    http = HttpRouter()


    @internal_mutation
    async def keep(ctx: MutationCtx, body: str) -> None:
        await ctx.db.insert("kept", {"body": body})


    @internal_query
    async def kept(ctx: QueryCtx) -> list[str]:
        return [each["body"] for each in await ctx.db.query("kept").collect()]


    @http.route("/kept", methods=["GET", "POST"])
    async def about_kept(ctx: ActionCtx, request: Request) -> Response:
        if request.method == "POST":
            await ctx.run_mutation(keep, body=(await request.body()).decode())
        return JSONResponse(await ctx.run_query(kept), headers={"x-method": request.method})


    @http.route("/about", methods=["GET", "OPTIONS"])
    async def about(ctx: ActionCtx, request: Request) -> Response:
        return JSONResponse({
            "url": str(request.url), "method": request.method, "root": request.scope["root_path"],
            "query": dict(request.query_params), "client": request.client.host, "pid": os.getpid(),
        })


    @http.route("/shout", methods=["POST"])
    async def shout(ctx: ActionCtx, request: Request) -> Response:
        async def shouted() -> AsyncIterator[bytes]:
            async for part in request.stream():
                yield part.upper()

        return StreamingResponse(shouted(), media_type="text/plain")


    @http.route("/count", methods=["POST"])
    async def count(ctx: ActionCtx, request: Request) -> Response:
        size = 0
        async for part in request.stream():
            size += len(part)
        return JSONResponse(size)


    @http.route("/large")
    async def large(ctx: ActionCtx, request: Request) -> Response:
        size = int(request.query_params["size"])

        async def parts() -> AsyncIterator[bytes]:
            sent = 0
            try:
                while sent < size:
                    yield bytes(1 << 16)
                    sent += 1 << 16
            finally:
                await ctx.run_mutation(keep, body=f"sent {sent < size}")

        return StreamingResponse(parts())


    @http.route("/file")
    async def file(ctx: ActionCtx, request: Request) -> Response:
        return FileResponse(Path(__file__), media_type="text/x-python")


    @http.route("/upload", methods=["POST"])
    async def upload(ctx: ActionCtx, request: Request) -> Response:
        stored = await ctx.storage.store(request.stream(), content_type=request.headers["content-type"])
        return PlainTextResponse(stored, 201)


    @http.route(path_prefix="/stored/")
    async def stored(ctx: ActionCtx, request: Request) -> Response:
        found = await ctx.storage.get(request.path_params["path"])
        if found is None:
            return Response(status_code=404)
        return StreamingResponse(found, media_type=found.content_type)


    @http.route("/unread", methods=["POST"])
    async def unread(ctx: ActionCtx, request: Request) -> Response:
        return PlainTextResponse("enough")


    @http.route("/events")
    async def events(ctx: ActionCtx, request: Request) -> Response:
        async def forever() -> AsyncIterator[str]:
            try:
                yield "data: begun\\n\\n"
                await asyncio.Event().wait()
            finally:
                await ctx.run_mutation(keep, body="the client has left")

        return StreamingResponse(forever(), media_type="text/event-stream")


    @http.route("/waits")
    async def waits(ctx: ActionCtx, request: Request) -> Response:
        await ctx.run_mutation(keep, body="begun")
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        await ctx.run_mutation(keep, body="left, and went on")
        return Response()


    @http.route(path_prefix="/files/")
    async def files(ctx: ActionCtx, request: Request) -> Response:
        return JSONResponse({"by": "files", **request.path_params})


    @http.route(path_prefix="/files/deep/", methods=["GET", "DELETE"])
    async def deep(ctx: ActionCtx, request: Request) -> Response:
        return JSONResponse({"by": "deep", **request.path_params})


    @http.route("/files/exact")
    async def exact(ctx: ActionCtx, request: Request) -> Response:
        return JSONResponse({"by": "exact", **request.path_params})


    @http.route("/fails")
    async def fails(ctx: ActionCtx, request: Request) -> Response:
        raise ValueError("the tea is cold")


    @http.route("/fails/late")
    async def fails_late(ctx: ActionCtx, request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            raise ValueError("the tea is cold")

        return StreamingResponse(parts())


    @http.route("/refuses")
    async def refuses(ctx: ActionCtx, request: Request) -> Response:
        raise YugenError({"code": "full"})


    @http.route("/forgets")
    async def forgets(ctx: ActionCtx, request: Request) -> Response:
        return {"not": "a response"}


    @http.route("/dies")
    async def dies(ctx: ActionCtx, request: Request) -> Response:
        os._exit(1)


    @http.route("/me")
    async def me(ctx: ActionCtx, request: Request) -> Response:
        try:
            who = await ctx.auth.get_user_identity()
        except TokenRejected as error:
            return PlainTextResponse(str(error), 401)
        return PlainTextResponse(who.subject if who else "nobody")


    @http.route("/careless")
    async def careless(ctx: ActionCtx, request: Request) -> Response:
        return PlainTextResponse(str(await ctx.auth.get_user_identity()))
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path, http=APP)


@dataclass
class Running:
    """A server that runs."""

    yugen: Yugen
    server: Server
    api: str
    site: str
    client: httpx.AsyncClient

    async def kept(self) -> Any:
        return (await self.client.get(f"{self.site}/kept")).json()

    async def until_kept(self, what: str) -> None:
        """Waits until an action has written this."""
        async with asyncio.timeout(SECONDS_MAX):
            async for kept in self.yugen.subscribe("http:kept"):
                if what in kept:
                    return


@asynccontextmanager
async def running(app: Path, **options: Any) -> AsyncIterator[Running]:
    yugen = Yugen(app, database=app.parent / "data", **options)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in listeners]
    ready = asyncio.Event()
    server = Server(yugen, ready.set, site_port=ports[1])
    async with yugen, httpx.AsyncClient(timeout=SECONDS_MAX) as client:
        serving = asyncio.create_task(server.serve(sockets=listeners))
        await ready.wait()
        api, site = (f"http://127.0.0.1:{port}" for port in ports)
        yield Running(yugen, server, api, site, client)
        server.should_exit = True
        async with asyncio.timeout(SECONDS_MAX):
            await serving


async def test_an_action_reads_the_request_and_calls_functions(app: Path) -> None:
    async with TestApp(app) as t:
        response = await t.fetch("/kept", method="POST", content="a note")
        assert (response.status_code, response.json()) == (200, ["a note"])
        assert response.headers["content-type"] == "application/json"
        assert (await t.fetch("/about?a=1&b=2")).json()["query"] == {"a": "1", "b": "2"}
        assert (await t.fetch("/shout", method="POST", content="quietly")).text == "QUIETLY"
        assert (await t.fetch("/file")).text.startswith("import asyncio\n")


async def test_the_exact_path_answers_and_then_the_longest_prefix(app: Path) -> None:
    async with TestApp(app) as t:
        for path, answer in (
            ("/files/exact", {"by": "exact"}),
            ("/files/a/b.txt", {"by": "files", "path": "a/b.txt"}),
            ("/files/deep/a", {"by": "deep", "path": "a"}),
            ("/files/deep", {"by": "files", "path": "deep"}),
            ("/files/", {"by": "files", "path": ""}),
            ("/files/caf%C3%A9%20%3F", {"by": "files", "path": "café ?"}),
            ("//files///deep//a", {"by": "deep", "path": "a"}),
        ):
            assert (await t.fetch(f"http://test{path}")).json() == answer, path


async def test_head_runs_get_without_a_body(app: Path) -> None:
    async with TestApp(app) as t:
        response = await t.fetch("/kept", method="HEAD")
        assert (response.status_code, response.content) == (200, b"")
        assert (response.headers["content-length"], response.headers["x-method"]) == ("2", "HEAD")


async def test_where_no_action_answers_it_says_so(app: Path) -> None:
    async with TestApp(app) as t:
        for path in ("/", "/nothing", "/files", "/kept/", "/.files/a"):
            response = await t.fetch(path)
            assert (response.status_code, response.text) == (404, "No HTTP action answers this path.\n"), path
            assert response.headers["content-type"].startswith("text/plain")
        for method, path, allowed in (
            ("GET", "/shout", "POST"),
            ("PUT", "/kept", "GET, HEAD, POST"),
            ("PATCH", "/files/deep/a", "GET, HEAD, DELETE"),
            ("TRACE", "/kept", "GET, HEAD, POST"),
            ("OPTIONS", "/kept", "GET, HEAD, POST"),
        ):
            response = await t.fetch(path, method=method)
            assert (response.status_code, response.headers["allow"]) == (405, allowed), (method, path)
            assert response.text == f"Use {allowed.replace(', ', ' or ')}, not {method}.\n"


@pytest.mark.parametrize(
    "path", ["/files/a%2Fb", "/files/a%2f..%2fb", "/files/%2e%2e/a", "/files/a%5cb", "/files/a%00"]
)
async def test_a_path_that_others_could_read_otherwise_is_refused(app: Path, path: str) -> None:
    async with TestApp(app) as t:
        response = await t.fetch(path)
        assert (response.status_code, response.json()["code"]) == (400, "BadPath")


async def test_no_origin_may_ask_unless_the_app_says_so(app: Path) -> None:
    async with running(app) as at:
        for url in (f"{at.site}/about", f"{at.api}/http/about"):
            response = await at.client.options(url, headers={"Origin": "https://evil"})
            assert response.json()["method"] == "OPTIONS"
            assert not [name for name in response.headers if name.startswith("access-control")]


async def test_a_failure_is_told_in_development_only(app: Path) -> None:
    prefix = r"\[Request ID: [0-9a-f]{16}\] Server Error"
    async with running(app, development=True) as at:
        response = await at.client.get(f"{at.site}/fails")
        assert response.status_code == 500
        told = response.json()
        assert re.fullmatch(f"{prefix}: Uncaught ValueError: the tea is cold", told["code"])
        assert "in fails\n" in told["trace"]
        assert set(told) == {"code", "trace"}
        assert (await at.client.get(f"{at.site}/refuses")).json()["data"] == {"code": "full"}
        assert "forgets gave 'dict'; an HTTP action returns one of" in (await at.client.get(f"{at.site}/forgets")).text
    async with running(app) as at:
        told = (await at.client.get(f"{at.site}/fails")).json()
        assert re.fullmatch(prefix, told.pop("code"))
        assert told == {}
        told = (await at.client.get(f"{at.site}/refuses")).json()
        assert re.fullmatch(prefix, told.pop("code"))
        assert told == {"data": {"code": "full"}}
        told = (await at.client.get(f"{at.site}/dies")).json()
        assert re.fullmatch(prefix, told.pop("code"))
        assert told == {}


async def test_a_response_that_has_begun_breaks_off(app: Path) -> None:
    async with running(app) as at:
        with pytest.raises(httpx.RemoteProtocolError):
            await at.client.get(f"{at.site}/fails/late")
        assert (await at.client.get(f"{at.site}/about")).status_code == 200


async def test_the_handler_sees_the_url_of_the_client(app: Path) -> None:
    async with running(app) as at:
        proxied = {"Host": "shop.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
        found = (await at.client.get(f"{at.site}/about?a=1", headers=proxied)).json()
        assert (found["url"], found["root"], found["client"]) == ("https://shop.example/about?a=1", "", "198.51.100.7")
        found = (await at.client.get(f"{at.api}/http/about")).json()
        assert (found["url"], found["root"]) == (f"{at.api}/http/about", "/http")


async def test_the_port_of_the_site_has_nothing_else(app: Path) -> None:
    async with running(app) as at:
        for path in ("/version", "/api/query", "/http/about", "/docs"):
            assert (await at.client.get(f"{at.site}{path}")).status_code == 404, path
        assert (await at.client.get(f"{at.api}/version")).status_code == 200
        for path in ("/http", "/http/", "/http/api/query"):
            response = await at.client.get(f"{at.api}{path}")
            assert response.text == "No HTTP action answers this path.\n", path
        assert (await at.client.get(f"{at.api}/httpx")).text == "Not Found"
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        upgrade["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
        assert (await at.client.get(f"{at.site}/api/sync", headers=upgrade)).status_code == 403


async def test_bodies_stream_both_ways_at_once(app: Path) -> None:
    async with running(app) as at:
        host, port = at.site.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /shout HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        async with asyncio.timeout(SECONDS_MAX):
            for word in (b"one", b"two", b"three"):
                writer.write(b"%x\r\n%b\r\n" % (len(word), word))
                # What was sent comes back before more is sent.
                await reader.readuntil(b"\r\n%b\r\n" % word.upper())
            writer.write(b"0\r\n\r\n")
            await reader.readuntil(b"0\r\n\r\n")
        writer.close()


async def test_large_bodies_pass_in_little_memory(app: Path) -> None:
    size = 128 << 20
    async with running(app, limits={"http_request_bytes": size, "http_response_bytes": size}) as at:
        await at.client.get(f"{at.site}/about")
        before = await asyncio.to_thread(memory, at)

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(size >> 16):
                yield bytes(1 << 16)

        assert (await at.client.post(f"{at.site}/count", content=parts())).json() == size
        async with at.client.stream("GET", f"{at.site}/large?size={size}") as response:
            got = 0
            async for part in response.aiter_raw():
                got += len(part)
        assert got == size
        assert await asyncio.to_thread(memory, at) - before < 64 << 20


def memory(at: Running) -> int:
    """The most memory that the process of actions has had, and this process by now, in bytes."""
    pid = json.loads(httpx.get(f"{at.site}/about").text)["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    most = re.search(r"VmHWM:\s+(\d+) kB", status)
    ours = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert most
    assert ours
    return (int(most[1]) + int(ours[1])) * 1024


async def test_a_client_that_reads_nothing_holds_the_action_up(app: Path) -> None:
    async with running(app) as at:
        async with at.client.stream("GET", f"{at.site}/large?size={20 << 20}") as response:
            assert response.status_code == 200
            await at.client.post(f"{at.site}/kept", content="meanwhile")
            assert await at.kept() == ["meanwhile"]
        # It has left without having read: the action was told in the middle.
        await at.until_kept("sent True")


async def test_files_are_stored_and_sent_as_they_stream(app: Path) -> None:
    body = bytes(range(256)) * 5000
    async with running(app) as at:
        kept = await at.client.post(f"{at.site}/upload", content=body, headers={"Content-Type": "image/x"})
        assert kept.status_code == 201
        found = await at.client.get(f"{at.site}/stored/{kept.text}")
        assert (found.content, found.headers["content-type"]) == (body, "image/x")


async def test_a_body_that_is_too_large_is_refused(app: Path) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(1000)

    async with running(app, limits={"http_request_bytes": 50_000}) as at:
        for content in (bytes(50_001), parts()):
            response = await at.client.post(f"{at.site}/count", content=content)
            assert (response.status_code, response.headers["connection"]) == (413, "close")
            assert "at most 50,000 bytes" in response.json()["message"]
        assert (await at.client.post(f"{at.site}/count", content=bytes(50_000))).json() == 50_000


async def test_a_response_that_is_too_large_is_a_failure(app: Path) -> None:
    async with running(app, limits={"http_response_bytes": 100}, development=True) as at:
        response = await at.client.get(f"{at.site}/file")
        assert response.status_code == 500
        assert "more than 100 bytes" in response.json()["code"]


async def test_a_body_that_does_not_go_on_is_given_up(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "PART_SECONDS_MAX", 0.05)
    async with running(app) as at:
        host, port = at.site.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        async with asyncio.timeout(SECONDS_MAX):
            assert b" 408 " in await reader.readline()
            await reader.read()
        writer.close()


async def test_a_client_that_stops_reading_is_cut_off(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "STALLED_SECONDS_MAX", 0.05)
    async with running(app, limits={"http_response_bytes": 1 << 30}) as at:
        host, port = at.site.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(b"GET /large?size=1000000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readline()
        await at.until_kept("sent True")
        writer.transport.abort()


async def test_a_stream_ends_when_its_client_leaves(app: Path) -> None:
    async with running(app) as at:
        async with at.client.stream("GET", f"{at.site}/events") as response:
            async for text in response.aiter_text():
                assert text == "data: begun\n\n"
                break
        await at.until_kept("the client has left")


async def test_an_action_goes_on_when_its_client_leaves_and_can_know(app: Path) -> None:
    async with running(app) as at:
        asking = asyncio.create_task(at.client.get(f"{at.site}/waits"))
        await at.until_kept("begun")
        asking.cancel()
        await asyncio.wait([asking])
        await at.until_kept("left, and went on")


async def test_a_body_that_nobody_reads_is_no_hindrance(app: Path) -> None:
    async with running(app) as at:
        for _ in range(3):
            assert (await at.client.post(f"{at.site}/unread", content=bytes(1 << 20))).text == "enough"


async def test_too_many_at_once_are_refused(app: Path) -> None:
    async with running(app, limits={"actions_max": 1, "actions_waiting_max": 1}) as at:
        async with at.client.stream("GET", f"{at.site}/events") as response:
            assert response.status_code == 200
            asked = [asyncio.create_task(at.client.get(f"{at.site}/about")) for _ in range(2)]
            (refused,), (waiting,) = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            told = refused.result().json()
            assert (refused.result().status_code, told["code"]) == (503, "TooManyConcurrentRequests")
            assert "1 actions run and 1 wait for their turn" in told["message"]
        assert (await waiting).status_code == 200


async def test_who_calls_is_told_by_the_bearer_token(tmp_path: Path) -> None:
    async with issuing() as issuer, running(write_app(tmp_path, http=APP, auth=issuer.auth_py())) as at:

        async def told(path: str, authorization: str | None) -> tuple[int, str]:
            headers = {} if authorization is None else {"Authorization": authorization}
            response = await at.client.get(f"{at.site}{path}", headers=headers)
            return response.status_code, response.text

        assert await told("/me", None) == (200, "nobody")
        assert await told("/me", f"Bearer {issuer.token(sub='ada')}") == (200, "ada")
        assert await told("/me", "Basic YTpi") == (200, "nobody")
        status, text = await told("/me", "Bearer nonsense")
        assert (status, "token" in text) == (401, True)
        # The action runs whatever the token is, as long as it does not ask.
        assert (await told("/about", "Bearer nonsense"))[0] == 200
        assert (await told("/careless", "Bearer nonsense"))[0] == 500


async def test_in_a_test_somebody_is_signed_in(app: Path) -> None:
    async with TestApp(app) as t:
        assert (await t.fetch("/me")).text == "nobody"
        assert (await t.as_user(subject="ada").fetch("/me")).text == "ada"


async def test_with_a_lifespan_of_its_own_it_starts_with_the_first_request(app: Path) -> None:
    yugen = Yugen(app, database=app.parent / "data")
    asgi = yugen.site_asgi()
    sent: list[Any] = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await asgi({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://a") as client:
        assert (await client.get("/kept")).json() == []
    await yugen.close()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://a") as client:
        response = await client.get("/kept")
        assert (response.status_code, response.json()["code"]) == (503, "NotServing")


async def test_tools_see_the_routes(app: Path) -> None:
    async with TestApp(app) as t:
        spec = await t.query("_system/cli/modules:apiSpec")
        routes = [(each["method"], each["path"]) for each in spec if each["functionType"] == "HttpAction"]
        assert routes[:3] == [("GET", "/about"), ("OPTIONS", "/about"), ("GET", "/careless")]
        assert ("DELETE", "/files/deep/*") in routes


PARTS = st.lists(st.binary(max_size=6) | st.integers(1, 3).map(lambda size: bytes(size * 100_000)), max_size=6)


@given(PARTS, PARTS, st.booleans())
@settings(max_examples=50, deadline=None)
def test_bodies_arrive_as_they_were_sent(came: list[bytes], goes: list[bytes], reads_all: bool) -> None:
    asyncio.run(exchanged(came, goes, reads_all=reads_all))


async def exchanged(came: list[bytes], goes: list[bytes], *, reads_all: bool) -> None:
    """Both sides of a request in memory, with bodies in any parts."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in came]
    messages.append({"type": "http.request"})
    sent: list[Any] = []
    read: list[bytes] = []

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()  # the client stays
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    @http_action
    async def action(ctx: ActionCtx, request: Request) -> Response:
        if reads_all:
            read.extend([part async for part in request.stream()])

        async def out() -> AsyncIterator[bytes]:
            for part in goes:
                yield part

        return StreamingResponse(out(), 201)

    conversation = site._Conversation(receive, send, 1 << 30)
    body, complete = await conversation.first()
    route = Route("POST", "/a", False)
    head = Head(route, "POST", "/a", b"/a", "", b"", (), "http", "1.1", None, None, body, complete, None)
    exchange = Exchange(head, conversation.ask, response_bytes=1 << 30)
    ctx: Any = None
    response = conversation.remainder(await respond(action, ctx, exchange))
    await conversation.finish(response, {"type": "http", "method": "POST", "headers": []})
    start, *bodies = sent
    assert (start["type"], start["status"]) == ("http.response.start", 201)
    assert b"".join(each["body"] for each in bodies) == b"".join(goes)
    assert [each.get("more_body", False) for each in bodies] == [True] * (len(bodies) - 1) + [False]
    assert max(len(each["body"]) for each in bodies) <= PART_SIZE_MAX
    if reads_all:
        assert b"".join(read) == b"".join(came)
