"""Who calls, by the JavaScript clients in Node, over HTTP and over a WebSocket: users and administrators."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from reliability.serving import Process, Server, serving
from tests.conformance.site import HERE, reports, write_app
from tests.issuer import Issuer, issuing, sign, signing_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

DENIED = [{"refused": "InvalidAuthHeader"}] * 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(issuer: Issuer, folder: Path) -> AsyncIterator[Server]:
    async with serving(write_app(folder, "notes_app", auth=issuer.auth_py()), folder / "data") as server:
        yield server


async def play(name: str, server: Server, *words: str) -> list[Any]:
    async with Process("node", HERE / f"{name}.mjs", server.url, *words) as node:
        assert await node.ended() == 0, "\n".join(node.lines)
    return reports(node)


def admin_key(folder: Path) -> str:
    return (folder / "data/admin_key").read_text().strip()


async def test_callers_over_http(server: Server, issuer: Issuer, folder: Path) -> None:
    good, expired = issuer.token(sub="ada"), issuer.token(sub="ada", exp=int(time.time()) - 60)
    forged = sign(issuer.claims(sub="ada"), signing_key("RS256", 9), {"kid": issuer.key.kid})
    told: dict[str, Any] = {}
    for report in await play("http_auth", server, good, expired, forged, admin_key(folder)):
        told |= report

    def calls(user: str | None) -> list[Any]:
        return [user, {"data": {"code": "empty", "by": user}}, user]

    assert told["nobody"] == told["left"] == told["admin"] == calls(None)
    assert told["user"] == told["constructed"] == calls("ada")
    assert told["acting"] == calls("bea")
    assert told["expired"] == told["forged"] == told["nonsense"] == DENIED
    assert told["guessed"] == [{"refused": "BadDeployKey"}] * 3
    assert "Could not find public function" in told["hiddenToNobody"]["failed"]
    assert told["hiddenToAdmin"] == told["hiddenToActing"] == [None]
    assert told["anyKind"] == [[None], None]


async def test_the_order_of_calls_over_http(server: Server, issuer: Issuer) -> None:
    queued, parallel, consistent = await play("http_order", server, issuer.token(sub="bob"))
    empty = {"code": "empty", "by": "bob"}
    assert queued["settled"] == ["fulfilled", "fulfilled", empty, "fulfilled", "fulfilled"]
    assert (queued["most"], queued["texts"]) == (1, ["1", "2", "3", "4"])
    assert parallel["all"] == 10
    assert parallel["most"] > 1
    assert consistent["mine"] == [10, 10]
    assert consistent["mineNow"] == [11, 11]
    assert consistent["shared"] == consistent["sharedNow"] - 1


@pytest.mark.parametrize("client", ["official", "own"])
async def test_a_user_over_a_websocket(client: str, server: Server, issuer: Issuer) -> None:
    now = time.time()
    # The server takes it for good for 5 seconds more than it says, and the client has no other.
    ending = issuer.token(sub="cyd", iat=now - 3600, exp=now - 2)
    async with Process("node", HERE / "socket_auth.mjs", client, server.url, "-", ending, ending) as node:
        assert await node.ended() == 0, "\n".join(node.lines)
    signed_in, called, signed_out = reports(node)
    assert signed_in == {"users": ["cyd"]}
    assert called == {"action": "cyd"}
    assert signed_out == {"users": ["cyd", None], "changes": [True, False], "left": 0}


async def test_an_administrator_over_a_websocket(server: Server, issuer: Issuer, folder: Path) -> None:
    admin, acting = await play("socket_admin", server, admin_key(folder))
    assert admin == {"owners": ["cyd"]}
    assert acting == {"action": "dot"}
