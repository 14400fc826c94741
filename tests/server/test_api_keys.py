"""Keys at a real server: over HTTP and WebSockets, by the official clients and our own, and their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from convex import ConvexClient
from convex.http_client import ConvexHttpClient

from reliability.serving import ROOT, SECONDS_MAX, Process, Server, serving
from yugen.auth.api_keys import new_key
from yugen_client import AsyncClient, AuthenticationFailed

APP = ROOT / "tests/auth/factors"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(APP, tmp_path / "data") as made:
        yield made


@pytest.fixture
async def ada(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has signed in."""
    async with httpx.AsyncClient(base_url=server.url, headers={"Origin": server.url}) as browser:
        response = await browser.post("/auth/sign-in/name", json={"name": "ada"})
        assert response.status_code == 200, response.text
        yield browser


async def make(browser: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    asked = {"name": "Backups", "scopes": ["tasks:read", "tasks:write"], **fields}
    response = await browser.post("/auth/api-keys", json=asked)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


async def call(server: Server, kind: str, path: str, key: str | None, **args: Any) -> httpx.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
        return await client.post(f"/api/{kind}", json={"path": path, "args": args})


async def as_herself(browser: httpx.AsyncClient, kind: str, path: str, **args: Any) -> Any:
    token = (await browser.post("/auth/token")).json()["token"]
    response = await browser.post(
        f"/api/{kind}", json={"path": path, "args": args}, headers={"Authorization": f"Bearer {token}"}
    )
    return response.json()["value"]


async def test_a_key_is_good_over_http_until_it_is_revoked(server: Server, ada: httpx.AsyncClient) -> None:
    made = await make(ada)
    assert (await call(server, "mutation", "tasks:add", made["key"], title="one")).json()["status"] == "success"
    assert (await call(server, "query", "tasks:list", made["key"])).json()["value"] == ["one"]
    reader = await make(ada, scopes=["tasks:read"])
    refused = (await call(server, "mutation", "tasks:add", reader["key"], title="two")).json()
    assert refused["errorData"]["code"] == "ScopeMissing"
    await as_herself(ada, "mutation", "auth/api_keys:revoke", key=made["id"])
    late = await call(server, "query", "tasks:list", made["key"])
    assert (late.status_code, late.json()["message"]) == (
        401,
        "The key is not one of this deployment, or not any more; make another.",
    )
    for wrong in (new_key(), "yk_", "yk_" + "x" * 100_000, made["key"][:-1], made["key"].lower()):
        assert (await call(server, "query", "tasks:list", wrong)).status_code in (401, 431), wrong[:60]
    assert not server.errors()
    assert not any(made["key"] in line or reader["key"] in line for line in server.lines)


async def test_that_a_key_was_used_is_written_down_without_waiting(server: Server, ada: httpx.AsyncClient) -> None:
    made = await make(ada)
    token = (await ada.post("/auth/token")).json()["token"]
    before = time.time() * 1000
    async with asyncio.timeout(SECONDS_MAX), AsyncClient(server.url, auth=token) as client:
        results = client.subscribe("auth/api_keys:list")
        assert (await anext(results))[0]["lastUsed"] is None
        for _ in range(5):
            await call(server, "query", "tasks:list", made["key"])
        (shown,) = await anext(results)
        assert shown["lastUsed"] >= before - 1000


async def _end(results: AsyncIterator[Any]) -> None:
    """Waits until a client hears that its key is good no more; all it may show before is what nobody sees."""

    async def nothing() -> None:
        while await anext(results) is None:
            pass

    with pytest.raises(AuthenticationFailed):
        await nothing()


async def test_a_key_ends_by_itself(server: Server, ada: httpx.AsyncClient) -> None:
    made = await make(ada, expiresIn=1500)
    async with asyncio.timeout(SECONDS_MAX), AsyncClient(server.url, auth=made["key"]) as client:
        results = client.subscribe("tasks:list")
        assert await anext(results) == []
        await _end(results)
    late = await call(server, "query", "tasks:list", made["key"])
    assert (late.status_code, late.json()["message"]) == (401, "The key has expired; make another.")


async def test_official_python_clients(server: Server, ada: httpx.AsyncClient) -> None:
    key = (await make(ada))["key"]

    def over_http() -> object:
        client = ConvexHttpClient(server.url)
        client.set_auth(key)
        client.mutation("tasks:add", {"title": "by http"})
        return client.query("tasks:list")

    def over_a_socket() -> object:
        client = ConvexClient(server.url)
        client.set_auth(key)
        client.mutation("tasks:add", {"title": "by socket"})
        return client.query("tasks:list")

    assert await asyncio.to_thread(over_http) == ["by http"]
    assert await asyncio.to_thread(over_a_socket) == ["by http", "by socket"]


@pytest.mark.parametrize("kind", ["official", "own"])
async def test_javascript_clients(server: Server, ada: httpx.AsyncClient, kind: str) -> None:
    made = await make(ada)
    script = ROOT / "tests/conformance/keys.mjs"
    async with Process("node", script, kind, server.url, "keys", made["key"]) as node:
        await node.printed(r'\{"waiting":true\}')
        await as_herself(ada, "mutation", "auth/api_keys:revoke", key=made["id"])
        await node.printed(r'\{"ended":true\}')
        assert await node.ended() == 0, node.lines
    for told in (
        '{"http":[]}',
        '{"socket":[]}',
        '{"refused":"NotSignedIn"}',
        '{"socket":["by socket"]}',
    ):
        assert told in node.lines


async def test_a_revoked_key_ends_what_its_sockets_show_at_once(server: Server, ada: httpx.AsyncClient) -> None:
    made, other = await make(ada), await make(ada)
    async with (
        asyncio.timeout(SECONDS_MAX),
        AsyncClient(server.url, auth=made["key"]) as client,
        AsyncClient(server.url, auth=other["key"]) as stays,
    ):
        results, kept = client.subscribe("tasks:list"), stays.subscribe("tasks:list")
        assert (await anext(results), await anext(kept)) == ([], [])
        await as_herself(ada, "mutation", "auth/api_keys:revoke", key=made["id"])
        await _end(results)
        await stays.mutation("tasks:add", {"title": "still"})
        assert await anext(kept) == ["still"]
