"""Who makes a request, as its Authorization header says."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import Message

from tests.issuer import Issuer, issuing
from tests.server.peers import Bench, bench
from yugen.server.api import HttpApi
from yugen.server.backend import Backend
from yugen.server.http import Endpoints, read_body
from yugen.server.tokens import TokenVerifier


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing("ES256") as made:
        yield made


@pytest.fixture
async def notes(tmp_path: Path, issuer: Issuer) -> AsyncIterator[Bench]:
    async with bench(tmp_path, verifier=TokenVerifier([issuer.jwt()])) as made:
        yield made


@pytest.fixture
async def client(notes: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async def backend() -> Backend:
        return notes.backend

    transport = httpx.ASGITransport(app=Starlette(routes=HttpApi(Endpoints(backend, requests_max=100)).routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://yugen") as made:
        yield made


async def ask(
    client: httpx.AsyncClient, authorization: str | None = None, path: str = "notes:mine", **params: str
) -> httpx.Response:
    headers = {} if authorization is None else {b"Authorization": authorization.encode("latin-1")}
    return await client.post("/api/query", json={"path": path, "args": {}}, headers=headers, params=params)


def key(notes: Bench) -> str:
    return notes.admin_key.file.read_text().strip()


def user(**attributes: Any) -> str:
    return base64.b64encode(json.dumps(attributes).encode()).decode()


def name(response: httpx.Response) -> object:
    assert response.status_code == 200, response.text
    return response.json()["value"]["name"]


async def test_a_token_says_who_it_is(issuer: Issuer, client: httpx.AsyncClient) -> None:
    for scheme in ("Bearer ", "bearer ", "BEARER   "):
        assert name(await ask(client, f"{scheme}{issuer.token()}")) == "ada"
    assert name(await ask(client)) == "nobody"


async def test_a_bad_token_is_not_nobody(issuer: Issuer, client: httpx.AsyncClient) -> None:
    for token, code in (
        (issuer.token(exp=0), "InvalidAuthHeader"),
        (issuer.token(iss="https://evil"), "NoAuthProvider"),
        ("", "InvalidAuthHeader"),
    ):
        response = await ask(client, f"Bearer {token}")
        assert (response.status_code, response.json()["code"]) == (401, code)
        assert not token or token not in response.text


async def test_a_token_that_cannot_be_checked_is_to_be_sent_again(issuer: Issuer, client: httpx.AsyncClient) -> None:
    issuer.web.reachable = False
    response = await ask(client, f"Bearer {issuer.token()}")
    assert (response.status_code, response.json()["code"]) == (503, "AuthProviderUnavailable")


async def test_an_administrator_may_act_as_a_user(notes: Bench, client: httpx.AsyncClient) -> None:
    for kind in ("", "prod:", "preview:team:project:"):
        assert name(await ask(client, f"Convex {kind}{key(notes)}")) == "nobody"
        acting = f"convex {kind}{key(notes)}:{user(issuer='https://id', subject='ünï')}"
        assert name(await ask(client, acting)) == "ünï"
        assert (await ask(client, acting, "notes:secret")).json()["value"] == "rosebud"


@pytest.mark.parametrize(
    ("credentials", "status", "code"),
    [
        ("{key}x", 401, "BadDeployKey"),
        ("{key}x:{user}", 401, "BadDeployKey"),
        (":{user}", 401, "BadDeployKey"),
        ("{user}", 401, "BadDeployKey"),
        ("{key}:{user}x", 400, "BadAuthorizationHeader"),
        ("{key}:", 400, "BadAuthorizationHeader"),
        ("{key}:W10=", 400, "BadAuthorizationHeader"),
        ("{key}:bnVsbA==", 400, "BadAuthorizationHeader"),
        ("{key}:/w==", 400, "BadAuthorizationHeader"),
        ("{key}:\xff", 400, "BadAuthorizationHeader"),
        ("{key}:e30=", 401, "InvalidAuthHeader"),
    ],
)
async def test_other_credentials_open_nothing(
    notes: Bench, client: httpx.AsyncClient, credentials: str, status: int, code: str
) -> None:
    filled = credentials.format(key=key(notes), user=user(tokenIdentifier="x|y"))
    response = await ask(client, f"Convex {filled}", "notes:secret")
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert key(notes) not in response.text


@pytest.mark.parametrize("parameter", ["adminKey", "admin_key", "token", "access_token", "key"])
async def test_case_43_a_key_in_the_address_is_none(
    notes: Bench, issuer: Issuer, client: httpx.AsyncClient, parameter: str
) -> None:
    for secret in (key(notes), issuer.token()):
        assert "FunctionNotFound" in (await ask(client, None, "notes:secret", **{parameter: secret})).text
        assert name(await ask(client, None, **{parameter: secret})) == "nobody"


async def test_a_wait_that_is_cancelled_on_the_way_is_not_the_end() -> None:
    """As BaseHTTPMiddleware of Starlette does it: who receives first cancels the other, and itself where it waits."""
    sent, message = asyncio.Event(), {"type": "http.request", "body": b"the body", "more_body": False}

    async def receive() -> Message:
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(sent.wait)
            waiting.cancel_scope.cancel()
        return message

    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)
    assert await read_body(request) == b"the body"
