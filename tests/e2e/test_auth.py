"""Signing in to a real server: the diary of `docs/auth.md`, with an identity provider beside it."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from convex import ConvexClient, http_client
from playwright.async_api import Route, WebSocket, expect

from reliability.serving import ROOT, Process, Server, serving
from tests.apps import write_app
from tests.chromium import chromium, empty_window
from tests.issuer import Issuer, issuing, sign, signing_key

DIARY = ROOT / "examples/diary"


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as made:
        yield made


@pytest.fixture
async def diary(issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setenv("DIARY_ISSUER", issuer.url)
    async with serving(DIARY / "app", tmp_path / "data", development=False) as server:
        yield server


def token(issuer: Issuer, **claims: Any) -> str:
    return issuer.token(aud="diary", **claims)


async def post(
    server: Server, path: str, *, kind: str = "query", auth: str | None = None, **args: Any
) -> httpx.Response:
    headers = {} if auth is None else {"Authorization": auth}
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
        return await client.post(f"/api/{kind}", json={"path": path, "args": args})


async def test_a_query_knows_who_asks(issuer: Issuer, diary: Server) -> None:
    ada = f"Bearer {token(issuer, email='ada@id.example')}"
    assert (await post(diary, "diary:my_email", auth=ada)).json()["value"] == "ada@id.example"
    assert (await post(diary, "diary:my_email", auth=ada.replace("Bearer", "bEARER"))).json()["status"] == "success"
    assert (await post(diary, "diary:my_email")).json()["errorData"] == "Sign in first."

    await post(diary, "diary:write", kind="mutation", auth=ada, text="mine")
    bob = f"Bearer {token(issuer, sub='bob')}"
    assert [entry["text"] for entry in (await post(diary, "diary:mine", auth=ada)).json()["value"]] == ["mine"]
    assert (await post(diary, "diary:mine", auth=bob)).json()["value"] == []
    assert issuer.web.requests == ["/.well-known/openid-configuration", "/jwks"]


async def test_bad_tokens_fail_requests_and_are_not_repeated_anywhere(issuer: Issuer, diary: Server) -> None:
    for bad in (
        token(issuer, exp=1),
        issuer.token(aud="another app"),
        sign(issuer.claims(aud="diary"), signing_key("RS256", 9)),
        token(issuer).rpartition(".")[0] + ".",
        "canary",
    ):
        response = await post(diary, "diary:mine", auth=f"Bearer {bad}")
        assert response.status_code == 401
        assert response.json()["code"] in ("NoAuthProvider", "InvalidAuthHeader")
        assert not any(part in text for part in bad.split(".") if part for text in (response.text, *diary.lines))


async def test_an_unreachable_provider_logs_nobody_out(issuer: Issuer, diary: Server) -> None:
    issuer.web.reachable = False
    response = await post(diary, "diary:mine", auth=f"Bearer {token(issuer)}")
    assert (response.status_code, response.json()["code"]) == (503, "AuthProviderUnavailable")
    await diary.printed(f"the keys of {issuer.url} cannot be had")


async def test_an_administrator_acts_as_a_user(issuer: Issuer, diary: Server, tmp_path: Path) -> None:
    key = (tmp_path / "data" / "admin_key").read_text().strip()
    attributes = {"issuer": "https://id.example", "subject": "ada|1", "email": "ada@id.example", "team": "ünïcode"}
    encoded = base64.b64encode(json.dumps(attributes).encode()).decode()
    for name in (key, f"prod:{key}", f"preview:team:{key}"):
        acting = await post(diary, "diary:my_email", auth=f"Convex {name}:{encoded}")
        assert acting.json()["value"] == "ada@id.example"
    assert (await post(diary, "diary:my_email", auth=f"Convex {key}")).json()["errorData"] == "Sign in first."
    assert (await post(diary, "diary:my_email", auth=f"Convex {key}x:{encoded}")).status_code == 401
    assert issuer.web.requests == []


async def test_clients_sign_in(issuer: Issuer, diary: Server) -> None:
    mine = token(issuer, email="ada@id.example")

    def over_http() -> object:
        client = http_client.ConvexHttpClient(diary.url)
        client.set_auth(mine)
        return client.query("diary:my_email")

    def over_a_socket() -> object:
        client = ConvexClient(diary.url)
        client.set_auth(mine)
        return client.query("diary:my_email")

    assert await asyncio.to_thread(over_http) == "ada@id.example"
    assert await asyncio.to_thread(over_a_socket) == "ada@id.example"


async def test_the_script_of_the_guide(issuer: Issuer, diary: Server) -> None:
    ada = token(issuer)
    env = {"YUGEN_URL": diary.url, "DIARY_TOKEN": ada}
    async with Process(sys.executable, DIARY / "read.py", env=env) as script:
        await script.printed(r"^\[\]$")
        await post(diary, "diary:write", kind="mutation", auth=f"Bearer {ada}", text="today")
        await script.printed(r"^\['today'\]$")


async def test_providers_are_taken_up_when_auth_py_changes(issuer: Issuer, tmp_path: Path) -> None:
    app = write_app(tmp_path, diary=(DIARY / "app/diary.py").read_text(), schema=(DIARY / "app/schema.py").read_text())
    async with serving(app, tmp_path / "data") as server:
        ada = f"Bearer {issuer.token(email='ada@id.example')}"
        refused = await post(server, "diary:my_email", auth=ada)
        assert (refused.status_code, refused.json()["code"]) == (401, "NoAuthProvider")
        since = len(server.lines)
        (app / "auth.py").write_text(issuer.auth_py())
        await server.printed("Reloaded", since=since)
        assert (await post(server, "diary:my_email", auth=ada)).json()["value"] == "ada@id.example"


@pytest.mark.browser
async def test_the_page_of_the_guide(issuer: Issuer, diary: Server) -> None:
    """A user signs in, stays so while a token ends and the next one takes its time, and signs out."""
    asked: list[str] = []
    slow = asyncio.Event()

    async def give_token(route: Route) -> None:
        asked.append(route.request.url.partition("?")[2])
        now = time.time()
        if len(asked) == 1:  # the server takes it for good for some two seconds more
            await route.fulfill(body=token(issuer, iat=now - 3600, exp=now - 3))
        else:
            await slow.wait()
            await route.fulfill(body=token(issuer))

    async with chromium() as browser:
        opened = await empty_window(browser)
        page = opened.page
        connections: list[WebSocket] = []
        again = asyncio.Event()

        def connected(connection: WebSocket) -> None:
            connections.append(connection)
            if len(connections) == 2:
                again.set()

        page.on("websocket", connected)
        await page.route("**/session/token*", give_token)
        await page.goto(diary.url)
        who, entries = page.locator("#who"), page.locator("li")
        await page.evaluate("""() => {
            window.told = [];
            const who = document.querySelector("#who");
            const tell = () => told.at(-1) !== who.textContent && told.push(who.textContent);
            new MutationObserver(tell).observe(who, { childList: true });
        }""")
        await page.get_by_role("button", name="Sign in").click()
        await expect(who).to_have_text("signed in")
        await post(diary, "diary:write", kind="mutation", auth=f"Bearer {token(issuer)}", text="mine")
        await expect(entries).to_have_text(["mine"])

        # The server no longer takes the token, and nothing of that shows until there is another.
        async with asyncio.timeout(60):
            await again.wait()
        slow.set()
        await post(diary, "diary:write", kind="mutation", auth=f"Bearer {token(issuer)}", text="still mine")
        await expect(entries).to_have_text(["still mine", "mine"])
        await page.get_by_role("button", name="Sign out").click()
        await expect(who).to_have_text("signed out")
        await expect(entries).to_have_count(0)
        assert await page.evaluate("told") == ["signing in", "signed in", "signed out"]
        assert asked == ["new=false", "new=true"]
        assert opened.complaints == []
