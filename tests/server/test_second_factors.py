"""A session that waits for a second factor, at a real server: it is nobody over HTTP and over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2 as httpx
import pyotp
import pytest

from reliability.serving import ROOT, SECONDS_MAX, Server, serving
from yugen_client import AsyncClient, AuthenticationFailed

APP = ROOT / "tests/auth/factors"
TOKENS = {"Yugen-Client": "token"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(APP, tmp_path / "data") as made:
        yield made


async def token_of(program: httpx.AsyncClient, session: str) -> httpx.Response:
    return await program.post("/auth/token", headers={"Authorization": f"Bearer {session}"})


async def sign_in(program: httpx.AsyncClient) -> str:
    program.cookies.clear()
    response = await program.post("/auth/sign-in/name", json={"name": "ada"}, headers=TOKENS)
    program.cookies.clear()
    session: str = response.json()["token"]
    return session


async def turn_on(program: httpx.AsyncClient, session: str) -> list[str]:
    """Has a second factor asked from here on; gives backup codes."""
    headers = {"Authorization": f"Bearer {session}"}
    secret = (await program.post("/auth/totp/enable", headers=headers)).json()["secret"]
    code = pyotp.TOTP(secret).now()
    response = await program.post("/auth/totp/confirm", json={"code": code}, headers=headers)
    assert response.status_code == 200, response.text
    codes: list[str] = response.json()["backupCodes"]
    return codes


async def test_turning_it_on_ends_what_other_sockets_show(server: Server) -> None:
    async with asyncio.timeout(SECONDS_MAX), httpx.AsyncClient(base_url=server.url) as program:
        other, own = await sign_in(program), await sign_in(program)
        token = (await token_of(program, other)).json()["token"]
        async with AsyncClient(server.url, auth=token) as client:
            results = client.subscribe("auth/users:me")
            assert (await anext(results))["name"] == "ada"
            await turn_on(program, own)

            async def shows_nothing() -> None:
                while await anext(results) is None:
                    pass

            with pytest.raises(AuthenticationFailed):
                await shows_nothing()
        assert (await token_of(program, other)).status_code == 401
        assert (await token_of(program, own)).status_code == 200


async def test_a_session_that_waits_is_nobody(server: Server) -> None:
    async with asyncio.timeout(SECONDS_MAX), httpx.AsyncClient(base_url=server.url) as program:
        codes = await turn_on(program, await sign_in(program))
        waiting = await sign_in(program)
        assert (await token_of(program, waiting)).status_code == 401
        call = {"path": "auth/users:me", "args": {}}
        shown = await program.post("/api/query", json=call, headers={"Authorization": f"Bearer {waiting}"})
        assert shown.status_code == 401
        for cookie in (waiting, f"{waiting}.c2lnbmVk"):
            shown = await program.post("/api/query", json=call, headers={"Cookie": f"yugen-session={cookie}"})
            assert shown.json()["value"] is None
        async with AsyncClient(server.url, auth=waiting) as client:
            with pytest.raises(AuthenticationFailed):
                await client.query("auth/users:me")
        # The code is shown with the token that waits, and another one is given for it.
        shown = await program.post(
            "/auth/second-factor/backup-code",
            json={"code": codes[0]},
            headers={**TOKENS, "Authorization": f"Bearer {waiting}"},
        )
        program.cookies.clear()
        session = shown.json()["token"]
        assert (await token_of(program, waiting)).status_code == 401
        token = (await token_of(program, session)).json()["token"]
        async with AsyncClient(server.url, auth=token) as client:
            assert (await client.query("auth/users:me"))["name"] == "ada"
        assert not server.errors()
