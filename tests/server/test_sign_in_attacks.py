"""Attacks on sign-in at a real server: what it prints and keeps, which addresses it answers, and several nodes."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import orjson
import pyotp
import pytest
from websockets.asyncio.client import ClientConnection, connect

from reliability.serving import SECONDS_MAX, Server, serving
from tests.apps import write_app
from tests.server.test_own_tokens import browser, call, claims_of, token_of
from yugen.auth.requests import BODY_BYTES_MAX

APP = Path(__file__).parents[1] / "auth" / "app"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(APP, tmp_path / "data") as made:
        yield made


@asynccontextmanager
async def opened(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(SECONDS_MAX):
            yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def raw(port: int, request: str) -> tuple[int, str]:
    """The status and the whole answer to a request as it is written here, which no client changes."""
    async with opened(port) as (reader, writer):
        writer.write(request.encode("latin-1"))
        answer = (await reader.read()).decode("latin-1")
    return int(answer.split(" ", 2)[1]), answer


async def screen(server: Server, token: str) -> ClientConnection:
    """A socket of somebody, who sees their notes."""
    socket = await connect(server.url.replace("http", "ws") + "/api/sync")
    for message in (
        {
            "type": "Connect",
            "sessionId": "00000000-0000-4000-8000-000000000000",
            "connectionCount": 0,
            "lastCloseReason": None,
        },
        {"type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": token},
        {
            "type": "ModifyQuerySet",
            "baseVersion": 0,
            "newVersion": 1,
            "modifications": [{"type": "Add", "queryId": 0, "udfPath": "auth:notes", "args": [{}]}],
        },
    ):
        await socket.send(orjson.dumps(message).decode())
    while await _next(socket, "Transition") != ["welcome"]:
        pass
    return socket


async def _next(socket: ClientConnection, kind: str) -> Any:
    """The next message of a kind; of a transition, the result it brings."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            message = orjson.loads(await socket.recv())
            if message["type"] == kind:
                changes = message.get("modifications")
                return message if changes is None else changes[0]["value"] if changes else None


# Addresses -----------------------------------------------------------------------------------------------------------

OTHER_SPELLINGS = (
    "//auth/sign-out",
    "/auth//sign-out",
    "/auth/./sign-out",
    "/auth/%2e%2e/auth/sign-out",
    "/auth/x/../sign-out",
    "/auth/sign-out/",
    "/auth/sign%2dout",
    "/AUTH/sign-out",
    "/auth/sign-out;x=1",
    "/auth/sign-out%00",
    "/auth%2fsign-out",
    "/http/auth/sign-out",
    "/http//auth/sign-out",
    "/http/http/auth/sign-out",
)


async def test_another_spelling_of_an_address_is_no_way_round_the_origin(server: Server) -> None:
    signed_in = await browser(server, "ada")
    issuer = (await signed_in.get("/.well-known/openid-configuration")).json()["issuer"]
    site_port = int(issuer.rpartition(":")[2])
    assert site_port != server.port
    cookie = "; ".join(f"{name}={value}" for name, value in signed_in.cookies.items())
    for port in (server.port, site_port):
        for path in OTHER_SPELLINGS:
            for origin in ("Origin: https://evil.example\r\n", "Origin: null\r\n", ""):
                status, answer = await raw(
                    port,
                    f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{origin}Cookie: {cookie}\r\n"
                    "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
                )
                assert status in (400, 403, 404, 405), (port, path, origin, answer)
    assert (await signed_in.get("/auth/session")).json()["user"]["name"] == "ada"
    # The same endpoints are below /http and at the port of the site, with the same check of where a page is from.
    assert (await signed_in.get("/http/auth/session")).json()["user"]["name"] == "ada"
    assert (await signed_in.post("/http/auth/sign-out", json={})).status_code == 200
    assert (await signed_in.get("/auth/session")).json()["user"] is None
    await signed_in.aclose()
    assert not server.errors()


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "TRACK", "PUT", "DELETE", "PROPFIND"])
async def test_methods_that_nothing_answers(server: Server, method: str) -> None:
    for path in ("/auth/sign-out", "/http/auth/sign-out"):
        status, answer = await raw(
            server.port,
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nCookie: yugen-session=canary\r\n"
            "Connection: close\r\n\r\n",
        )
        assert status in (400, 403, 404, 405, 501)
        assert "canary" not in answer


async def test_the_host_of_a_request_makes_no_address(tmp_path: Path) -> None:
    async with serving(APP, tmp_path / "data", development=False) as server:
        for path in ("/.well-known/openid-configuration", "/auth/session", "/auth/methods"):
            status, answer = await raw(
                server.port,
                f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n"
                "X-Forwarded-Proto: https\r\nForwarded: host=evil.example\r\nConnection: close\r\n\r\n",
            )
            assert status == 200
            assert "evil.example" not in answer


async def test_a_body_that_never_ends_is_answered(server: Server) -> None:
    async with opened(server.port) as (reader, writer):
        writer.write(
            f"POST /auth/sign-in/name HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        # Not more than is read: who goes on writing to a connection that ends may lose the answer.
        writer.write(b"%x\r\n" % (BODY_BYTES_MAX + 1) + b" " * (BODY_BYTES_MAX + 1))
        assert b" 413 " in await reader.readline()


async def test_a_page_of_another_site_that_wants_to_read_a_token(server: Server) -> None:
    signed_in = await browser(server, "ada")
    for path in ("/auth/token", "/auth/session", "/http/auth/token"):
        for method in ("GET", "OPTIONS"):
            headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
            answer = await signed_in.request(method, path, headers=headers)
            assert "access-control-allow-origin" not in answer.headers, (method, path)
            assert "access-control-allow-credentials" not in answer.headers
    await signed_in.aclose()


# Tokens --------------------------------------------------------------------------------------------------------------


async def test_a_token_of_another_deployment(server: Server, tmp_path: Path) -> None:
    async with serving(APP, tmp_path / "other") as other:
        here, there = await browser(server, "ada"), await browser(other, "ada")
        foreign = await token_of(there)
        refused = await call(server, "auth:notes", foreign)
        assert refused.status_code == 401
        assert "not from this deployment" in refused.text
        # Also one that says of itself that it is from here, in the session of somebody here.
        own = claims_of(await token_of(here))
        header, _, signature = foreign.split(".")
        payload = base64.urlsafe_b64encode(json.dumps(own).encode()).rstrip(b"=").decode()
        assert (await call(server, "auth:notes", f"{header}.{payload}.{signature}")).status_code == 401
        await here.aclose()
        await there.aclose()


async def test_a_socket_of_which_the_key_was_rotated_away(server: Server, tmp_path: Path) -> None:
    signed_in = await browser(server, "ada")
    token = await token_of(signed_in)
    socket = await screen(server, token)
    key = (tmp_path / "data" / "admin_key").read_text().strip()
    async with httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Convex {key}"}) as admin:
        rotated = {"path": "auth/tokens:rotate_keys", "args": {}, "format": "json"}
        assert (await admin.post("/api/mutation", json=rotated)).json()["value"] == 1
    assert "ended" in (await _next(socket, "AuthError"))["error"]
    assert (await call(server, "auth:notes", token)).status_code == 401
    other = await token_of(signed_in)
    assert (await call(server, "auth:notes", other)).json()["value"] == ["welcome"]
    await socket.close()
    await signed_in.aclose()


async def test_internal_functions_of_sign_in_called_by_clients(server: Server) -> None:
    signed_in = await browser(server, "ada")
    token = await token_of(signed_in)
    for path, args in {
        "auth/sessions:of_token": {"token": "x"},
        "auth/sessions:standing": {"session": claims_of(token)["sid"]},
        "auth/sessions:renew": {"session": claims_of(token)["sid"]},
        "auth/sessions:end": {"token": "x"},
        "auth/tokens:newest_key": {},
        "auth/tokens:key_set": {},
        "auth/tokens:rotate_keys": {},
        "auth/admin:make_admin": {"email": "ada@example.com"},
        "auth/admin:begin_impersonation": {"admin": "x", "user": "x", "device": {}},
        "auth:begin": {"name": "bob", "device": {}},
    }.items():
        for credentials in (None, token):
            headers = {} if credentials is None else {"Authorization": f"Bearer {credentials}"}
            async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
                for kind in ("query", "mutation", "action"):
                    body = {"path": path, "args": args, "format": "json"}
                    answer = await client.post(f"/api/{kind}", json=body)
                    assert "Could not find" in answer.text, (path, answer.text)
    await signed_in.aclose()


# Secrets -------------------------------------------------------------------------------------------------------------


async def test_no_secret_is_in_what_is_printed_or_stored(tmp_path: Path) -> None:
    """Everything that somebody could sign in by, looked for in the output of a server and in all of its files."""
    data = tmp_path / "data"
    secrets: dict[str, str] = {}
    async with serving(APP, data) as server:
        client = httpx.AsyncClient(base_url=server.url)
        headers = {"Yugen-Client": "token"}
        answer = await client.post("/auth/sign-in/name", json={"name": "ada"}, headers=headers)
        secrets["session token"] = answer.json()["token"]
        client.cookies.clear()
        headers = {"Authorization": f"Bearer {secrets['session token']}"}
        secrets["JSON Web Token"] = (await client.post("/auth/token", headers=headers)).json()["token"]
        assert (await call(server, "auth:notes", secrets["JSON Web Token"])).status_code == 200
        socket = await screen(server, secrets["JSON Web Token"])
        signed_in = await browser(server, "bob")
        (secrets["cookie"],) = signed_in.cookies.values()
        secrets["signature of a token"] = secrets["JSON Web Token"].rpartition(".")[2]
        # And what goes wrong with it, which is where secrets are told most often.
        wrong: dict[str, dict[str, Any]] = {
            f"/auth/nothing/{secrets['session token']}": {},
            "/auth/sign-in/name": {"json": {"name": 1}},
            "/auth/admin/impersonate": {"json": {"user": "x"}},
        }
        for path, options in wrong.items():
            await client.post(path, headers=headers, **options)
        await call(server, "auth:nothing", secrets["JSON Web Token"])
        await call(server, "auth:notes", secrets["JSON Web Token"] + "x")
        await call(server, "auth:burn", secrets["JSON Web Token"], text=object.__name__)
        await socket.close()
        await client.aclose()
        await signed_in.aclose()
        printed = "\n".join(server.lines)
    stored = b"".join(file.read_bytes() for file in sorted(data.rglob("*")) if file.is_file())
    assert len(stored) > 10_000
    assert b"ada@example.com" in stored  # so that what is looked for would be found
    for name, secret in secrets.items():
        assert secret not in printed, name
        assert secret.encode() not in stored, name
    assert not re.search(rb'"(?:d|p|q|dp|dq|qi)" ?: ?"', stored), "a private key"
    assert b"PRIVATE KEY" not in stored


WHOLE = """
    from pathlib import Path

    from yugen.auth import ApiKeys, Auth, EmailPassword, MagicLink, Totp


    class Postbox:
        async def send(self, mail):
            with Path({postbox!r}).open("a") as file:
                file.write(mail.text)
            if "/auth/link?" in mail.text:
                print("a link was left in the postbox")


    auth = Auth(EmailPassword(verify=False), MagicLink(), Totp(), ApiKeys(scopes=["read"]), sender=Postbox())
"""


async def test_no_password_link_or_key_is_in_what_is_printed_or_stored(tmp_path: Path) -> None:
    data, postbox = tmp_path / "data", tmp_path / "postbox"
    postbox.touch()
    app = write_app(tmp_path, auth=WHOLE.format(postbox=str(postbox)))
    secrets = {"password": "correct horse battery", "new password": "staple of another battery", "typo": "corect hrose"}
    async with serving(app, data) as server:
        headers = {"Origin": server.url}
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=SECONDS_MAX) as client:

            async def post(path: str, status: int = 200, **fields: Any) -> dict[str, Any]:
                answer = await client.post(f"/auth{path}", json=fields)
                assert answer.status_code == status, answer.text
                found: dict[str, Any] = answer.json()
                return found

            async def link() -> str:
                since = len(server.lines)
                await post("/sign-in/magic-link", email="ada@example.com")
                await server.printed("a link was left in the postbox", since=since)
                *_, found = re.finditer(r"/auth/link\?token=([\w-]{30,})", postbox.read_text())
                return found[1]

            await post("/sign-up/password", email="ada@example.com", password=secrets["password"])
            await post("/sign-in/password", 401, email="ada@example.com", password=secrets["typo"])
            # As a form, and as what nothing takes.
            form = {"email": "ada@example.com", "password": secrets["typo"]}
            await client.post("/auth/sign-in/password", data=form)
            await client.post("/auth/sign-in/password", content=secrets["typo"])
            old, new = secrets["password"], secrets["new password"]
            await post("/change-password", currentPassword=old, password=new)
            secrets["API key"] = (await post("/api-keys", name="robot", scopes=["read"]))["key"]
            await call(server, "auth/api_keys:list", secrets["API key"])
            # Whoever confirms the address would have the account without a second factor of who has not.
            assert (await post("/totp/enable", 403))["code"] == "EmailNotVerified"
            secrets["first link"] = await link()
            await post("/verify/magic-link", token=secrets["first link"])
            await post("/set-password", password=new)
            enabled = await post("/totp/enable")
            secrets["TOTP"] = enabled["secret"]
            number = pyotp.TOTP(enabled["secret"]).now()
            for place, code in enumerate((await post("/totp/confirm", code=number))["backupCodes"]):
                secrets[f"backup code {place}"] = code
            client.cookies.clear()
            secrets["link"] = await link()
            await client.get("/auth/link", params={"token": secrets["link"]})
            assert (await post("/verify/magic-link", token=secrets["link"]))["secondFactor"]
            (secrets["cookie"],) = (value for name, value in client.cookies.items() if name.endswith("session"))
        printed = "\n".join(server.lines)
    stored = b"".join(file.read_bytes() for file in sorted(data.rglob("*")) if file.is_file())
    assert b"argon2id" in stored  # so that what is looked for would be found
    for name, secret in secrets.items():
        assert secret not in printed, name
        assert secret.encode() not in stored, name


# Several nodes -------------------------------------------------------------------------------------------------------


async def test_a_session_that_is_revoked_ends_at_every_node(tmp_path: Path) -> None:
    async with serving(APP, tmp_path / "data", "--workers", "2", development=False) as server:
        # New connections for each, so that both nodes are asked: what one has signed the other takes.
        browsers = [await browser(server, "ada") for _ in range(6)]
        tokens = await asyncio.gather(*(token_of(each) for each in browsers))
        for each in browsers:
            fresh = httpx.AsyncClient(base_url=server.url, cookies=each.cookies)
            assert (await fresh.get("/auth/session")).json()["user"]["name"] == "ada"
            await fresh.aclose()
        assert len((await browsers[0].get("/.well-known/jwks.json")).json()["keys"]) == 1
        sockets = [await screen(server, token) for token in tokens for _ in range(2)]
        assert (await call(server, "auth/sessions:list", tokens[0])).status_code == 200
        async with httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {tokens[0]}"}) as client:
            body = {"path": "auth/sessions:revoke_all", "args": {}, "format": "json"}
            assert (await client.post("/api/mutation", json=body)).json()["value"] == 6
        for socket in sockets:
            assert "ended" in (await _next(socket, "AuthError"))["error"]
            await socket.close()
        for each, token in zip(browsers, tokens, strict=True):
            assert (await call(server, "auth:notes", token)).status_code == 401
            assert (await each.get("/auth/session")).json()["user"] is None
            await each.aclose()
