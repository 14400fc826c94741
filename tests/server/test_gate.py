"""Who may ask: hosts, origins and cookies, as requests and sockets of a real server meet them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from playwright.async_api import Error as PlaywrightError

from tests.apps import write_app
from tests.chromium import chromium, empty_window
from tests.server.peers import NOTES, SECONDS_MAX
from yugen.server.edge import LOCAL_HOSTS, BadHost, Hosts
from yugen.server.listen import Server
from yugen.server.yugen import Yugen

COUNT = {"path": "notes:count", "args": {"book": "a"}}
APP = "https://app.example.com"
EVIL = "https://evil.example"

HTTP = """
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response

    from yugen import ActionCtx, HttpRouter

    http = HttpRouter()


    @http.route("/seen")
    async def seen(ctx: ActionCtx, request: Request) -> Response:
        return PlainTextResponse(f"{request.url} {request.client.host if request.client else None}")
"""

UPLOAD = """

    @mutation
    async def upload(ctx: MutationCtx) -> str:
        return await ctx.storage.generate_upload_url()


    @query
    async def where(ctx: QueryCtx, id: str) -> str | None:
        return await ctx.storage.get_url(id)
"""

Serve = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Serves the notes; gives the address and port."""
    app = write_app(tmp_path, notes=NOTES + UPLOAD, http=HTTP)

    @asynccontextmanager
    async def serving(*, proxies: str | None = None, **settings: Any) -> AsyncIterator[str]:
        ready = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0))
        host, port = listener.getsockname()
        yugen = Yugen(app, database=tmp_path / "data", **{"url": f"http://{host}:{port}"} | settings)
        async with yugen:
            server = Server(yugen, ready.set, proxies=proxies)
            task = asyncio.create_task(server.serve(sockets=[listener]))
            await ready.wait()
            try:
                yield f"{host}:{port}"
            finally:
                server.should_exit = True
                async with asyncio.timeout(SECONDS_MAX):
                    await task

    return serving


async def shakes_hands(at: str, *, origin: str | None = None, **headers: str) -> int:
    """The status of the answer to the handshake of a socket."""
    sent = headers if origin is None else {"Origin": origin, **headers}
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    lines = [f"{name}: {value}" for name, value in ({"Host": at} | upgrade | sent).items()]
    host, _, port = at.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("\r\n".join(["GET /api/sync HTTP/1.1", *lines, "", ""]).encode())
    async with asyncio.timeout(SECONDS_MAX):
        answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return int(answer.split()[1])


async def asks(at: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(f"http://{at}/api/query", json=COUNT, headers=headers)


async def test_by_default_any_page_may_ask(serve: Serve) -> None:
    async with serve() as at:
        for origin in (EVIL, "null", APP):
            assert (await asks(at, Origin=origin)).headers["access-control-allow-origin"] == origin
            assert await shakes_hands(at, origin=origin) == 101


async def test_origins_that_are_named_shut_others_out(serve: Serve) -> None:
    async with serve(origins=[APP, "https://*.example.org"], url="https://api.example.com") as at:
        for origin in (APP, "HTTPS://App.Example.com:443", "https://a.example.org", "https://api.example.com"):
            response = await asks(at, Origin=origin)
            assert response.json() == {"status": "success", "value": 0.0}
            assert response.headers["access-control-allow-origin"] == origin
            assert response.headers["access-control-allow-credentials"] == "true"
            assert await shakes_hands(at, origin=origin) == 101
        # The server's own, by the name that it was asked under, and what is no page.
        assert (await asks(at, Origin=f"http://{at}")).status_code == 200
        assert (await asks(at)).status_code == 200
        assert await shakes_hands(at) == 101

        hostile = [
            EVIL,
            "null",
            "",
            f"{APP}.evil.example",
            "https://evilapp.example.com",
            "https://app.example.com@evil.example",
            "https://example.org",
            f"{APP}:8443",
            "http://app.example.com",
            f"https://{at}",
            f"http://{at}.evil.example",
        ]
        for origin in hostile:
            response = await asks(at, Origin=origin)
            assert (response.status_code, response.json()["code"]) == (403, "OriginNotTrusted"), origin
            assert "access-control-allow-origin" not in response.headers
            assert "Origin" in response.headers["vary"]
            assert await shakes_hands(at, origin=origin) == 403, origin


async def test_preflights_of_others_are_refused(serve: Serve) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with serve(origins=[APP]) as at, httpx.AsyncClient(base_url=f"http://{at}") as client:
        granted = await client.options("/api/query", headers=asked | {"Origin": APP})
        assert (granted.status_code, granted.headers["access-control-allow-origin"]) == (200, APP)
        assert "Origin" in granted.headers["vary"]
        refused = await client.options("/api/query", headers=asked | {"Origin": EVIL})
        assert refused.status_code == 403
        assert not [name for name in refused.headers if name.startswith("access-control")]


async def test_two_origins_are_none(serve: Serve) -> None:
    async with serve(origins=[APP]) as at, httpx.AsyncClient() as client:
        headers = [("Origin", APP), ("Origin", EVIL)]
        assert (await client.post(f"http://{at}/api/query", json=COUNT, headers=headers)).status_code == 403


async def test_http_actions_say_for_themselves_which_pages_may_ask(serve: Serve) -> None:
    # A provider that signs people in sends them back with a form from its own origin.
    async with serve(origins=[APP]) as at, httpx.AsyncClient() as client:
        answer = await client.get(f"http://{at}/http/seen", headers={"Origin": EVIL})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


async def test_the_api_and_its_sockets_never_look_at_cookies(serve: Serve) -> None:
    # So a page that makes a browser send them has nothing of it (faults.md 31).
    cookies = ["session=1", "__Host-session=x", "convex=ABC", "authorization=Bearer x", "=", "a" * 4000]
    async with serve() as at, httpx.AsyncClient() as client:

        async def mine(**headers: str) -> tuple[int, str, list[str]]:
            body = {"path": "notes:mine", "args": {}}
            response = await client.post(f"http://{at}/api/query", json=body, headers=headers)
            return response.status_code, response.text, sorted(set(response.headers) - {"date"})

        nobody = await mine(Origin=EVIL)
        assert '"nobody"' in nobody[1]
        assert "set-cookie" not in nobody[2]
        for cookie in cookies:
            assert await mine(Origin=EVIL, Cookie=cookie) == nobody
            assert await shakes_hands(at, origin=EVIL, Cookie=cookie) == 101
        key = await client.get(f"http://{at}/api/export/zip/1", headers={"Cookie": "authorization=Convex x"})
        assert key.status_code in (400, 401, 403, 404)


async def test_only_allowed_hosts_are_answered_for(serve: Serve) -> None:
    allowed = ["api.example.com", "API.example.com:8080", "a.example.org", "10.1.2.3:80", "[::1]:3210"]
    others = [
        "example.org",
        "evil.example",
        "api.example.com.evil.example",
        "evilapi.example.com",
        "api.example.com.",
        "11.1.2.3",
        "10.1",
        "[::2]",
    ]
    async with (
        serve(allowed_hosts=["api.example.com", "*.example.org", "10.0.0.0/8", "::1"]) as at,
        httpx.AsyncClient() as client,
    ):
        for host in allowed:
            assert (await asks(at, Host=host)).status_code == 200, host
            assert (await client.get(f"http://{at}/http/seen", headers={"Host": host})).status_code == 200
            assert await shakes_hands(at, Host=host) == 101
        for host in others:
            response = await asks(at, Host=host)
            assert (response.status_code, response.json()["code"]) == (400, "HostNotAllowed"), host
            assert "--allowed-host" in response.json()["message"]
            assert (await client.get(f"http://{at}/http/seen", headers={"Host": host})).status_code == 400
            assert await shakes_hands(at, Host=host) == 403


@pytest.mark.parametrize(
    "host", ["", "https://a.example", "a.example:80", "a/b", "*", "*.", "*.*.a", "10.0.0.1/8", "a b"]
)
def test_what_is_allowed_is_a_host(host: str) -> None:
    if host == "*":
        assert Hosts(["a.example", host]).allow("anything at all")
        return
    with pytest.raises(BadHost, match="is not a host; write a name"):
        Hosts([host])


@pytest.mark.parametrize("host", ["localhost:3210", "app.localhost", "127.0.0.1:3210", "192.168.1.7", "[fe80::1]:80"])
def test_who_develops_is_asked_under_no_name_of_others(host: str) -> None:
    hosts = Hosts(LOCAL_HOSTS)
    assert hosts.allow(host)
    for evil in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "evillocalhost", "127.1"):
        assert not hosts.allow(evil)


async def test_browsers_are_told_to_come_over_https_when_they_have(serve: Serve) -> None:
    async with serve(hsts_seconds=3600) as at, httpx.AsyncClient(base_url=f"http://{at}") as client:
        for path in ("/version", "/", "/nothing", "/http/seen", "/docs"):
            assert "strict-transport-security" not in (await client.get(path)).headers
            secured = await client.get(path, headers={"X-Forwarded-Proto": "https"})
            assert secured.headers["strict-transport-security"] == "max-age=3600"
    async with serve() as at, httpx.AsyncClient(base_url=f"http://{at}") as client:
        assert (
            "strict-transport-security" not in (await client.get("/", headers={"X-Forwarded-Proto": "https"})).headers
        )


async def seen(at: str, **headers: str) -> list[str]:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://{at}/http/seen", headers=headers)).text.split(" ")


FORGED = {
    "X-Forwarded-For": "203.0.113.7, 198.51.100.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/evil",
    "X-Original-URL": "/evil",
    "X-Rewrite-URL": "/evil",
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=https",
}


async def test_what_proxies_say_is_believed_of_those_that_are_trusted(serve: Serve) -> None:
    async with serve(proxies="10.0.0.1") as at:
        assert (await seen(at, **FORGED))[:2] == [f"http://{at}/http/seen", "127.0.0.1"]
    async with serve(proxies="127.0.0.0/8,198.51.100.0/24") as at:
        # The rightmost address that is not a proxy's: what stands before it, anybody may have written.
        assert (await seen(at, **FORGED))[:2] == [f"https://{at}/http/seen", "203.0.113.7"]
        forged = FORGED | {"X-Forwarded-For": "1.1.1.1, 203.0.113.7, 198.51.100.1", "X-Forwarded-Proto": "javascript"}
        assert (await seen(at, **forged))[:2] == [f"http://{at}/http/seen", "203.0.113.7"]


async def test_no_header_changes_the_addresses_that_are_made(serve: Serve, tmp_path: Path) -> None:
    async with serve(url="https://api.example.com", proxies="*") as at, httpx.AsyncClient() as client:
        forged = {name: value for name, value in FORGED.items() if name != "X-Forwarded-Proto"}
        for headers in (FORGED, forged, {"Host": "evil.example"}, forged | {"Host": "evil.example"}):
            key = (tmp_path / "data" / "admin_key").read_text().strip()
            asked = headers | {"Authorization": f"Convex {key}"}
            for body, answer in (
                ({"path": "_system/cli/convexUrl:cloudUrl", "args": {}}, "https://api.example.com"),
                ({"path": "notes:upload", "args": {}}, "https://api.example.com/api/storage/upload"),
            ):
                response = await client.post(f"http://{at}/api/function", json=body, headers=asked)
                assert response.json()["value"].partition("?")[0] == answer


@pytest.mark.browser
async def test_a_page_of_another_origin_in_chromium(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("<p>a page</p>")
    probe = """async (at) => {
        const asked = { method: "POST", headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ path: "notes:count", args: { book: "a" } }) };
        const answer = await fetch(`http://${at}/api/query`, asked).then((r) => r.json(), (e) => e.name);
        const socket = await new Promise((done) => {
            const made = new WebSocket(`ws://${at}/api/sync`);
            made.onopen = () => done("open");
            made.onerror = () => done("refused");
        });
        return [answer.value ?? answer, socket];
    }"""
    async with serve(origins=[APP]) as at, chromium() as browser:
        page = (await empty_window(browser)).page
        await page.goto(f"http://{at}/")
        assert await page.evaluate(probe, at) == [0, "open"]
        await page.goto(f"http://localhost:{at.partition(':')[2]}/")
        assert await page.evaluate(probe, at) == ["TypeError", "refused"]
        await page.goto("data:text/html,a page of no origin")
        assert await page.evaluate(probe, at) == ["TypeError", "refused"]


ACTIVE = [
    "text/html",
    "TEXT/HTML;charset=utf-8",
    "text/plain; a=b, text/html",
    "text/plain;,text/html",
    "image/png, text/html",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/xml",
    "multipart/x-mixed-replace; boundary=b",
    "*/*",
    "text/plain",
    "image/png",
    "application/octet-stream",
]
SCRIPT = """<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"><script>
    document.cookie = "ran=1"; fetch("/ran").catch(() => 0);
</script></svg>"""


@pytest.mark.browser
async def test_what_somebody_has_stored_runs_nothing_where_the_cookies_are(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("<p>a page</p>")
    async with serve() as at, httpx.AsyncClient(base_url=f"http://{at}") as client, chromium() as browser:
        urls = []
        for kind in ACTIVE:
            body = SCRIPT if "svg" in kind or "xml" in kind else f"<!doctype html><html><body>{SCRIPT}"
            if "multipart" in kind:
                body = f"--b\r\nContent-Type: text/html\r\n\r\n{body}\r\n--b--\r\n"
            upload = (await client.post("/api/mutation", json={"path": "notes:upload", "args": {}})).json()["value"]
            stored = (await client.post(upload, content=body, headers={"Content-Type": kind})).json()["storageId"]
            where = {"path": "notes:where", "args": {"id": stored}}
            urls.append((await client.post("/api/query", json=where)).json()["value"])

        page = (await empty_window(browser)).page
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for url in urls:
            await page.goto(f"http://{at}/")
            # As a page of its own, and within one of ours.
            with suppress(PlaywrightError):  # it is a download, and no page
                await page.goto(url)
            await page.goto(f"http://{at}/")
            await page.evaluate(
                """(url) => new Promise((done) => {
                    for (const kind of ["iframe", "object", "embed"]) {
                        const made = document.createElement(kind);
                        made.src = made.data = url;
                        document.body.append(made);
                    }
                    const image = new Image();
                    image.onload = image.onerror = () => setTimeout(() => done(image.naturalWidth), 150);
                    image.src = url;
                })""",
                url,
            )
        assert [cookie["name"] for cookie in await page.context.cookies()] == []
        assert not [each for each in asked if each.endswith("/ran")]
        # An image that is drawn is still one.
        drawn = (
            "(url) => new Promise((done) => { const i = new Image(); i.onload = () => done(i.width); i.src = url; })"
        )
        assert await page.evaluate(drawn, urls[ACTIVE.index("image/svg+xml")]) == 7
