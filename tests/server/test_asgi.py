from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.server.peers import Bench, bench
from yugen.server import asgi
from yugen.server.asgi import make_asgi
from yugen.server.yugen import Yugen


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


@pytest.fixture
def yugen(notes: Bench, tmp_path: Path) -> Yugen:
    """A backend over an engine in memory."""
    made = Yugen(tmp_path / "app")
    made._backend = notes.backend
    return made


def browser(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://yugen")


@pytest.fixture
async def client(yugen: Yugen, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    public = tmp_path / "public"
    (public / "deep").mkdir(parents=True)
    (public / "a?b").mkdir()
    (public / "a?b" / "index.html").write_text("<p>odd</p>")
    (public / "index.html").write_text("<p>home</p>")
    (public / "page.css").write_text("p {}")
    (public / "deep" / "index.html").write_text("<p>deep</p>")
    (tmp_path / "secret.txt").write_text("secret")
    (public / "link.txt").symlink_to(tmp_path / "secret.txt")
    async with browser(make_asgi(yugen)) as made:
        yield made


COUNT = {"path": "notes:count", "args": {"book": "a"}}


@pytest.mark.parametrize("path", ["/api/query", "//api/query", "/api//query", "////api/query"])
async def test_slashes_count_once(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(f"http://yugen{path}", json=COUNT)
    assert response.json() == {"status": "success", "value": 0.0}


async def test_a_preflight_is_granted(client: httpx.AsyncClient) -> None:
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "convex-client, authorization, content-type",
    }
    response = await client.options("/api/mutation", headers=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://app.example"
    assert response.headers["access-control-allow-headers"] == asked["Access-Control-Request-Headers"]
    assert response.headers["access-control-allow-credentials"] == "true"
    assert response.headers["access-control-max-age"] == "86400"
    methods = set(response.headers["access-control-allow-methods"].split(", "))
    assert methods == {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


@pytest.mark.parametrize(("body", "status"), [(COUNT, 200), ({}, 400)])
async def test_answers_and_errors_may_be_read_by_any_page(client: httpx.AsyncClient, body: Any, status: int) -> None:
    response = await client.post("/api/query", json=body, headers={"Origin": "https://app.example"})
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == "https://app.example"


async def test_files_of_the_public_folder(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).text == "<p>home</p>"
    assert (await client.get("/deep/")).text == "<p>deep</p>"
    css = await client.get("/page.css")
    assert css.headers["content-type"].startswith("text/css")
    assert css.headers["cache-control"] == "no-cache"
    again = await client.get("/page.css", headers={"If-None-Match": css.headers["etag"]})
    assert again.status_code == 304
    assert again.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/nothing.html",
        "/link.txt",
        "/%2e%2e/secret.txt",
        "/" + "x" * 3000,
        "/%ff%fe",
    ],
)
async def test_nothing_else_is_a_file(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(httpx.URL("http://yugen", raw_path=path.encode()))
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in response.text


@pytest.mark.parametrize(
    "path",
    ["/..%2fsecret.txt", "/deep/..%2f..%2fsecret.txt", "/%2Fetc/passwd", "/..%5csecret.txt", "/%00", "/api%2Fquery"],
)
async def test_a_path_with_what_others_read_otherwise_is_refused(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(httpx.URL("http://yugen", raw_path=path.encode()), json=COUNT)
    assert response.status_code == 400
    assert response.json()["code"] == "BadPath"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/deep", "/deep/"),
        ("/deep?a=b&c", "/deep/?a=b&c"),
        ("//deep", "/deep/"),
        ("/%64eep", "/deep/"),
        ("/a%3fb", "/a%3Fb/"),
    ],
)
async def test_a_folder_is_found_without_its_slash_and_by_no_name_of_a_host(
    client: httpx.AsyncClient, path: str, place: str
) -> None:
    response = await client.get(httpx.URL("http://yugen", raw_path=path.encode()), headers={"Host": "evil.example"})
    assert response.status_code == 307
    assert response.headers["location"] == place


async def test_pages_are_taken_for_what_they_are(client: httpx.AsyncClient) -> None:
    for path in ("/", "/page.css", "/nothing"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
        assert "x-frame-options" not in headers  # whether it may be framed is for the app to say


async def test_files_are_only_read(client: httpx.AsyncClient) -> None:
    assert (await client.post("/page.css")).status_code == 405
    assert (await client.delete("/page.css")).status_code == 405


async def test_without_a_page_there_is_a_greeting(yugen: Yugen) -> None:
    async with browser(make_asgi(yugen)) as client:
        response = await client.get("/")
        assert response.status_code == 200
        assert "Yugen" in response.text
        assert (await client.get("/index.html")).status_code == 404


@pytest.mark.parametrize("file", asgi.CLIENT_FILES)
async def test_the_browser_client_is_asked_about_each_time(
    client: httpx.AsyncClient, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "STATIC", tmp_path / "nowhere")
    missing = await client.get(f"/{file}")
    assert missing.status_code == 404
    assert "make setup" in missing.text

    built = tmp_path / "static"
    built.mkdir()
    (built / file).write_text("export {}")
    monkeypatch.setattr(asgi, "STATIC", built)
    first = await client.get(f"/{file}")
    assert first.text == "export {}"
    assert "javascript" in first.headers["content-type"]
    assert first.headers["cache-control"] == "no-cache"
    assert (await client.get(f"/{file}", headers={"If-None-Match": first.headers["etag"]})).status_code == 304


async def test_below_another_app(yugen: Yugen, tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("<p>home</p>")
    async with browser(Starlette(routes=[Mount("/backend", make_asgi(yugen))])) as client:
        assert (await client.post("/backend/api/query", json=COUNT)).json()["value"] == 0
        assert (await client.post("/backend//api/query", json=COUNT)).json()["value"] == 0
        assert (await client.get("/backend/api/nothing")).json()["code"] == "NotFound"
        assert (await client.get("/backend/")).text == "<p>home</p>"


async def test_calls_are_answered_the_same_with_and_without_routing(client: httpx.AsyncClient, yugen: Yugen) -> None:
    paths, methods = ("/api/query", "/api/mutation", "/api/action"), ("GET", "POST", "PUT", "HEAD", "OPTIONS")
    # Below another path only the router knows them.
    async with browser(Starlette(routes=[Mount("/below", make_asgi(yugen))])) as below:
        for path, origin, method in itertools.product(paths, (None, "https://app.example", "null"), methods):
            headers = {"Convex-Request-Id": "the-same"} | ({} if origin is None else {"Origin": origin})
            body = COUNT if method == "POST" else None
            direct = await client.request(method, path, json=body, headers=headers)
            routed = await below.request(method, f"/below{path}", json=body, headers=headers)
            assert direct.status_code == routed.status_code, (path, origin, method)
            assert sorted(direct.headers.multi_items()) == sorted(routed.headers.multi_items()), (path, origin, method)
            assert direct.headers["x-request-id"] == "the-same"
            assert direct.content == routed.content, (path, origin, method)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/backend/api/sync", "websocket.accept"),
        ("/backend//api/1.48.0/sync", "websocket.accept"),
        ("/backend/api/a/b/sync", "websocket.close"),
        ("/backend/api/query", "websocket.close"),
    ],
)
async def test_sockets_below_another_app(yugen: Yugen, path: str, answer: str) -> None:
    sent: list[Any] = []
    incoming: list[Any] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    app = Starlette(routes=[Mount("/backend", make_asgi(yugen))])
    await app({"type": "websocket", "path": path, "root_path": "", "headers": []}, receive, send)
    assert sent[0] == answer
