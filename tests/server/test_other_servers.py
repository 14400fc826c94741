"""The ASGI app under servers as they come."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import websockets

from reliability.serving import SECONDS_MAX
from tests.apps import write_app
from tests.outer import SERVERS, outside
from tests.server.peers import NOTES

MAIN = """
from yugen import Yugen

app = Yugen("app").asgi()
"""


@pytest.mark.parametrize("server", SERVERS)
async def test_a_subscription_and_a_mutation(tmp_path: Path, server: str) -> None:
    write_app(tmp_path, notes=NOTES)
    (tmp_path / "main.py").write_text(MAIN)
    async with outside(tmp_path, "main:app", server=server) as process, asyncio.timeout(SECONDS_MAX):
        await _talk(f"ws://127.0.0.1:{process.port}/api/1.48.0/sync")
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(f"ws://127.0.0.1:{process.port}/elsewhere")


async def _talk(url: str) -> None:
    async with websockets.connect(url) as client:
        add = {"type": "Add", "queryId": 0, "udfPath": "notes:count", "args": [{"book": "a"}]}
        await client.send(
            json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]})
        )
        assert _count(await client.recv()) == 0
        args = [{"book": "a", "text": "é"}]
        await client.send(json.dumps({"type": "Mutation", "requestId": 0, "udfPath": "notes:add", "args": args}))
        response, transition = await client.recv(), await client.recv()
        assert json.loads(response)["success"] is True
        assert _count(transition) == 1


def _count(transition: Any) -> Any:
    return json.loads(transition)["modifications"][0]["value"]
