"""Users stay apart, however many share queries and whoever sits at one socket after another.

`YUGEN_SEPARATION_USERS=200 YUGEN_SEPARATION_SECONDS=180` makes it the long run; here it is a short one.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from reliability.serving import SECONDS_MAX, Server, serving

APP = Path(__file__).parents[1] / "auth" / "app"
USERS = int(os.environ.get("YUGEN_SEPARATION_USERS", "12"))
SECONDS = float(os.environ.get("YUGEN_SEPARATION_SECONDS", "0"))
SWAPS = 6
"""How often a screen changes hands in the short run."""

WHOLE = int(SECONDS + USERS * 2 + 60)


class Screen:
    """A socket at which one user sits after another, and all that it was ever shown."""

    def __init__(self, socket: ClientConnection, users: list[tuple[str, str]]) -> None:
        self.socket = socket
        self.users = users
        self.sat: list[str | None] = [None]  # by version of the identity
        self.shown: list[tuple[str | None, Any]] = []
        self.results = 0
        self.refused = 0  # calls of which the server had too many at the time, and said so
        self.identity = 0

    async def open(self) -> None:
        hello = {"type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0, "lastCloseReason": None}
        await self._send(**hello)
        queries = [
            {"type": "Add", "queryId": number, "udfPath": path, "args": [{}]}
            for number, path in enumerate(("auth:notes", "auth/users:me"))
        ]
        await self._send(type="ModifyQuerySet", baseVersion=0, newVersion=1, modifications=queries)

    async def sit(self, name: str, token: str) -> None:
        """Lets somebody else sit down here."""
        version = len(self.sat) - 1
        self.sat.append(name)
        await self._send(type="Authenticate", baseVersion=version, tokenType="User", value=token)

    async def write(self, number: int, text: str) -> None:
        await self._send(type="Mutation", requestId=number, udfPath="auth:write", args=[{"text": text}])

    async def listen(self, until: int) -> None:
        """Takes in what comes until the results of an identity of this version have come."""
        while self.identity < until:
            message = orjson.loads(await self.socket.recv())
            assert message["type"] in ("Transition", "MutationResponse", "Ping"), message
            if message["type"] == "MutationResponse":
                self._check_call(message["success"], message["result"])
            if message["type"] == "Transition":
                self.identity = message["endVersion"]["identity"]
                who = self.sat[self.identity]
                for change in message["modifications"]:
                    if change["type"] == "QueryFailed":
                        self._check_call(False, change["errorMessage"])
                        continue
                    assert change["type"] == "QueryUpdated", change
                    self.results += 1
                    self._check(who, change["queryId"], change["value"])

    def _check_call(self, success: bool, result: Any) -> None:
        """A server that is asked for more than it can do refuses calls; that is no reason to show what is another's."""
        if not success:
            assert "Uncaught Overloaded: " in result, result
            self.refused += 1

    def _check(self, who: str | None, query: int, value: Any) -> None:
        """What is shown is of who sits here."""
        if who is None:
            assert value is None, value
        elif query == 0:
            assert all(text == "welcome" or text.startswith(f"{who}:") for text in value), (who, value)
        else:
            assert value["name"] == who, (who, value)

    async def _send(self, **message: Any) -> None:
        await self.socket.send(orjson.dumps(message).decode())


async def sign_in(server: Server, name: str) -> tuple[str, str]:
    async with httpx.AsyncClient(base_url=server.url, headers={"Origin": server.url}, timeout=60) as client:
        assert (await client.post("/auth/sign-in/name", json={"name": name})).status_code == 200
        return name, (await client.post("/auth/token")).json()["token"]


async def use(screen: Screen, dice: random.Random, deadline: float | None) -> None:
    """Has users change at a screen, who each write and see what is theirs."""
    await screen.open()
    requests = 0
    for swap in range(1, 1_000_000):
        if swap > SWAPS if deadline is None else time.monotonic() > deadline:
            break
        name, token = dice.choice(screen.users)
        await screen.sit(name, token)
        for _ in range(dice.randrange(3)):
            await screen.write(requests, f"{name}:{requests}")
            requests += 1
        if dice.random() < 0.3:  # and some leave before they have seen anything
            continue
        async with asyncio.timeout(SECONDS_MAX + SECONDS):
            await screen.listen(len(screen.sat) - 1)


@pytest.mark.timeout(WHOLE + 60)
async def test_nobody_ever_sees_what_is_anothers(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with serving(APP, tmp_path / "data", development=False) as server:
        users: list[tuple[str, str]] = []
        for first in range(0, USERS, 8):
            names = [f"user{number}" for number in range(first, min(first + 8, USERS))]
            users += await asyncio.gather(*(sign_in(server, name) for name in names))
        address = server.url.replace("http", "ws") + "/api/sync"
        deadline = time.monotonic() + SECONDS if SECONDS else None
        sockets = await asyncio.gather(*(connect(address, max_size=None) for _ in range(USERS)))
        screens = [Screen(socket, users) for socket in sockets]
        try:
            async with asyncio.TaskGroup() as group:
                for number, screen in enumerate(screens):
                    group.create_task(use(screen, random.Random(number), deadline))
        finally:
            for socket in sockets:
                await socket.close()
        results, swaps = sum(screen.results for screen in screens), sum(len(screen.sat) for screen in screens)
        refused = sum(screen.refused for screen in screens)
        assert results > USERS * 2
        assert refused == 0 or SECONDS
        record_property("figures", f"{USERS} users, {swaps} swaps, {results} results, {refused} calls refused")
