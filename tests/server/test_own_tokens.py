"""Tokens of the app's own sign-in at a real server: who they stand for, and that they end with their session."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from joserfc import jws
from joserfc.jwk import OctKey, RSAKey
from websockets.asyncio.client import ClientConnection, connect

from reliability.serving import SECONDS_MAX, Server, serving
from yugen_client import AsyncClient, AuthenticationFailed

APP = Path(__file__).parents[1] / "auth" / "app"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(APP, tmp_path / "data") as made:
        yield made


async def browser(server: Server, name: str) -> httpx.AsyncClient:
    """Somebody who has signed in."""
    made = httpx.AsyncClient(base_url=server.url, headers={"Origin": server.url})
    response = await made.post("/auth/sign-in/name", json={"name": name})
    assert response.status_code == 200, response.text
    return made


async def token_of(signed_in: httpx.AsyncClient) -> str:
    response = await signed_in.post("/auth/token")
    assert response.status_code == 200, response.text
    token: str = response.json()["token"]
    return token


async def call(server: Server, path: str, token: str | None, **args: Any) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
        changing = ("auth:write", "auth/sessions:revoke", "auth/sessions:revoke_others")
        kind = "mutation" if path in changing else "query"
        return await client.post(f"/api/{kind}", json={"path": path, "args": args, "format": "convex_encoded_json"})


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


async def test_a_token_stands_for_its_session_until_that_ends(server: Server) -> None:
    phone, laptop = await browser(server, "ada"), await browser(server, "ada")
    token = await token_of(phone)
    assert (await call(server, "auth:notes", token)).json()["value"] == ["welcome"]
    assert (await call(server, "auth:notes", None)).json()["value"] is None

    shown: asyncio.Queue[Any] = asyncio.Queue()

    async def watch(client: AsyncClient) -> None:
        async for value in client.subscribe("auth:notes"):
            shown.put_nowait(value)

    tokens = [token]

    async def fetch(*, force_refresh: bool = False) -> str | None:
        response = await phone.post("/auth/token")
        tokens.append(response.text)
        return response.json().get("token") if response.status_code == 200 else None

    async with asyncio.timeout(SECONDS_MAX), AsyncClient(server.url, auth=fetch) as client:
        watching = asyncio.create_task(watch(client))
        assert await shown.get() == ["welcome"]
        sessions = (await call(server, "auth/sessions:list", await token_of(laptop))).json()["value"]
        other = next(each["id"] for each in sessions if not each["current"])
        await call(server, "auth/sessions:revoke", await token_of(laptop), session=other)
        while await shown.get() is not None:
            pass
        watching.cancel()
    refused = await call(server, "auth:notes", token)
    assert (refused.status_code, refused.json()["message"]) == (401, "The session has ended; sign in again.")
    assert (await call(server, "auth:write", token, text="late")).status_code == 401
    await phone.aclose()
    await laptop.aclose()


async def open_socket(stack: AsyncExitStack, server: Server, token: str) -> ClientConnection:
    """A socket at which somebody sits, once it has shown them their own."""
    socket = await stack.enter_async_context(connect(f"ws://127.0.0.1:{server.port}/api/1.48.0/sync"))
    hello = {"type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0, "lastCloseReason": None}
    queries = [
        {"type": "Add", "queryId": number, "udfPath": path, "args": [{}]}
        for number, path in enumerate(("auth/sessions:list", "auth:notes"))
    ]
    asking = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": queries}
    signing_in = {"type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": token}
    for message in (hello, asking, signing_in):
        await socket.send(json.dumps(message))
    while True:
        heard = json.loads(await socket.recv())
        if heard["type"] == "Transition" and heard["endVersion"]["identity"] == 1:
            assert all(each["type"] == "QueryUpdated" for each in heard["modifications"]), heard
            return socket


async def test_nobody_sees_their_queries_fail_whose_session_has_ended(server: Server) -> None:
    """Clients then find out that nobody is signed in, instead of showing errors of queries that want somebody."""
    async with asyncio.timeout(SECONDS_MAX), AsyncExitStack() as stack:
        signed_in = [await browser(server, "ada") for _ in range(8)]
        for each in signed_in:
            stack.push_async_callback(each.aclose)
        tokens = [await token_of(each) for each in signed_in]
        sockets = [await open_socket(stack, server, token) for token in tokens[1:]]
        await call(server, "auth/sessions:revoke_others", tokens[0])
        told = [[json.loads(text)["type"] async for text in socket] for socket in sockets]
    assert told == [["AuthError"]] * 7


async def test_keys_and_issuer_are_published(server: Server) -> None:
    signed_in = await browser(server, "ada")
    token = await token_of(signed_in)
    found = (await signed_in.get("/.well-known/openid-configuration")).json()
    assert found["issuer"] == claims_of(token)["iss"]
    keys = (await signed_in.get(found["jwks_uri"])).json()["keys"]
    assert all("d" not in key and "p" not in key for key in keys)
    jws.deserialize_compact(token, RSAKey.import_key(keys[0]))
    await signed_in.aclose()


async def forgeries(server: Server, signed_in: httpx.AsyncClient) -> dict[str, str]:
    good = await token_of(signed_in)
    claims = claims_of(good)
    keys = (await signed_in.get("/.well-known/jwks.json")).json()["keys"]
    kid, public = keys[0]["kid"], RSAKey.import_key(keys[0])
    own = RSAKey.generate_key(2048)
    header, payload, signature = good.split(".")

    def encoded(part: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    def signed(key: Any, headers: dict[str, Any] | None = None, **changes: Any) -> str:
        said = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return jws.serialize_compact({"alg": "RS256", "kid": kid, **(headers or {})}, json.dumps(said), key)

    pem = public.as_pem(private=False)
    unsigned = f"{encoded({'alg': 'HS256', 'kid': kid})}.{payload}"
    confused = base64.urlsafe_b64encode(hmac.digest(pem, unsigned.encode(), "sha256")).rstrip(b"=").decode()
    return {
        "alg none": f"{encoded({'alg': 'none', 'kid': kid})}.{payload}.",
        "alg None": f"{encoded({'alg': 'None', 'kid': kid})}.{payload}.",
        "key confusion": f"{unsigned}.{confused}",
        "empty key": jws.serialize_compact(
            {"alg": "HS256", "kid": kid}, json.dumps(claims), OctKey.import_key(b"k" * 32)
        ),
        "another key": signed(own),
        "own jwk": signed(own, {"jwk": own.as_dict(private=False)}),
        "own jku": signed(own, {"jku": "https://evil.example/jwks.json"}),
        "kid of a file": signed(own, {"kid": "../../../../dev/null"}),
        "kid as sql": signed(own, {"kid": "' OR 1=1 --"}),
        "changed payload": f"{header}.{encoded({**claims, 'sub': 'somebody'})}.{signature}",
        "cut off": f"{header}.{payload}.{signature[:-4]}",
        "another issuer": signed(own, iss="https://evil.example"),
        "no issuer": signed(own, iss=None),
        "the session itself": claims["sid"],
    }


async def test_no_forged_token_is_taken(server: Server) -> None:
    signed_in = await browser(server, "ada")
    for name, token in (await forgeries(server, signed_in)).items():
        response = await call(server, "auth:notes", token)
        assert response.status_code in (400, 401), (name, response.text)
        async with AsyncClient(server.url, auth=token) as client:
            with pytest.raises(AuthenticationFailed):
                await client.query("auth:notes")
    assert not server.errors()
    await signed_in.aclose()


async def test_who_is_signed_in_takes_what_they_are_from_the_session_alone(server: Server) -> None:
    ada, bob = await browser(server, "ada"), await browser(server, "bob")
    token = await token_of(ada)
    mine = claims_of(token)
    assert mine["exp"] - time.time() <= 600
    sessions = (await call(server, "auth/sessions:list", await token_of(bob))).json()["value"]
    refused = await call(server, "auth/sessions:revoke", token, session=sessions[0]["id"])
    assert "no such session" in refused.text
    assert (await bob.get("/auth/session")).json()["user"]["name"] == "bob"
    await ada.aclose()
    await bob.aclose()
