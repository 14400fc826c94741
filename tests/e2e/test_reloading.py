"""An app that is saved again and again while clients look at it and others write: real server, real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import websockets

from reliability.serving import SECONDS_MAX, Server, serving
from tests.apps import write_app

pytestmark = pytest.mark.usefixtures("started_as_people_do")

RELOADS = int(os.environ.get("YUGEN_RELOADS", "12"))
"""`make test YUGEN_RELOADS=200` is more thorough."""

SUBSCRIBERS = 8

WRITE_KIB = 1
"""What a mutation may leave in the memory of the server: of the database, there is a cache of up to 32 MiB."""

APP = """
    from yugen import Document, MutationCtx, QueryCtx, mutation, query


    class Counter(Document, table="counters"):
        value: int


    @query
    async def state(ctx: QueryCtx) -> dict[str, int]:
        counter = await ctx.db.query(Counter).first()
        return {"code": 0, "count": counter.value if counter else 0}


    @query
    async def fixed(ctx: QueryCtx) -> str:
        return "the same"


    @mutation
    async def add(ctx: MutationCtx) -> None:
        counter = await ctx.db.query(Counter).first()
        if counter is None:
            await ctx.db.insert(Counter(value=1))
        else:
            await ctx.db.patch(counter.id, value=counter.value + 1)
"""


def version(number: int) -> str:
    return APP.replace('"code": 0', f'"code": {number}')


class Follower:
    """One connection that must not end, and what came over it."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.replace('http', 'ws')}/api/1.48.0/sync"
        self._news = asyncio.Condition()
        self._version = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
        self.states: list[dict[str, Any]] = []
        self.fixed: list[Any] = []

    async def follow(self) -> None:
        async with websockets.connect(self._url, max_size=None) as socket:
            await socket.send(json.dumps({"type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0}))
            added = [
                {"type": "Add", "queryId": query_id, "udfPath": path, "args": [{}]}
                for query_id, path in enumerate(("notes:state", "notes:fixed"))
            ]
            change = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": added}
            await socket.send(json.dumps(change))
            async for text in socket:
                message = json.loads(text)
                if message["type"] == "Ping":
                    continue
                assert message["type"] == "Transition", message
                assert message["startVersion"] == self._version, "a Transition is missing"
                self._version = message["endVersion"]
                async with self._news:
                    for each in message["modifications"]:
                        assert each["type"] == "QueryUpdated", each
                        (self.states, self.fixed)[each["queryId"]].append(each["value"])
                    self._news.notify_all()
        raise AssertionError("the connection was closed")

    async def sees(self, **wanted: int) -> None:
        async with asyncio.timeout(SECONDS_MAX), self._news:
            await self._news.wait_for(lambda: self.states and wanted.items() <= self.states[-1].items())


class Writer:
    """Counts up again and again; each time must be acknowledged."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.added = 0
        self.stopping = False

    async def write(self) -> None:
        async with httpx.AsyncClient(timeout=SECONDS_MAX) as client:
            while not self.stopping:
                body = {"path": "notes:add", "args": {}}
                answer = (await client.post(f"{self._url}/api/mutation", json=body)).json()
                assert answer["status"] == "success", answer
                self.added += 1


def memory(server: Server) -> int:
    """What the server's own process has in memory, in KiB."""
    status = Path(f"/proc/{server._process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.timeout(60 + 10 * RELOADS)
async def test_no_socket_is_dropped_and_no_update_lost(tmp_path: Path) -> None:
    app = write_app(tmp_path, notes=version(0))
    patient = ("--limit", "transaction_seconds=30")  # of a busy machine
    async with serving(app, tmp_path / "data", *patient, expected_errors=["Not reloaded"]) as server:
        followers = [Follower(server.url) for _ in range(SUBSCRIBERS)]
        writer = Writer(server.url)
        following = [asyncio.create_task(each.follow()) for each in followers]
        writing = asyncio.create_task(writer.write())
        await asyncio.gather(*(each.sees(code=0) for each in followers))
        sizes = []
        for number in range(1, RELOADS + 1):
            if number % 4 == 0:
                since = len(server.lines)
                write_app(tmp_path, notes=f"{APP}\n    def broken(:\n")
                await server.printed("Not reloaded", since=since)
                await server.printed(r"^    \s*def broken\(:", since=since)
            write_app(tmp_path, notes=version(number))
            await asyncio.gather(*(each.sees(code=number) for each in followers))
            sizes.append((memory(server), writer.added))
        writer.stopping = True
        await writing
        await asyncio.gather(*(each.sees(code=RELOADS, count=writer.added) for each in followers))
        assert not any(task.done() for task in following)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        assert len(server.children()) <= 3, "processes of earlier versions are left"
    for follower in followers:
        assert follower.fixed == ["the same"], "a result that did not change was sent again"
        codes = [state["code"] for state in follower.states]
        assert sorted(set(codes)) == list(range(RELOADS + 1))
        assert codes == sorted(codes)
        counts = [state["count"] for state in follower.states]
        assert counts == sorted(counts)
    if RELOADS >= 40:  # by then there is as much as there will ever be
        (early, added), (late, more) = sizes[RELOADS // 4], sizes[-1]
        assert late - early < 1024 + (more - added) * WRITE_KIB, sizes
