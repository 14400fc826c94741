"""The ASGI app under servers as they come."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.apps import write_app
from tests.server.peers import NOTES
from tests.serving import SECONDS_MAX, Process

MAIN = """
from yugen import Yugen

app = Yugen("app").asgi()
"""


@pytest.mark.parametrize(
    "server",
    [
        ["uvicorn", "main:app", "--port", "PORT"],
        ["granian", "main:app", "--port", "PORT", "--interface", "asgi"],
        ["hypercorn", "main:app", "--bind", "127.0.0.1:PORT"],
    ],
)
async def test_a_subscription_and_a_mutation(tmp_path: Path, server: list[str]) -> None:
    write_app(tmp_path, notes=NOTES)
    (tmp_path / "main.py").write_text(MAIN)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [word.replace("PORT", str(port)) for word in server]
    async with Process(sys.executable, "-m", *command, cwd=tmp_path) as process:
        async with asyncio.timeout(SECONDS_MAX):
            await _listening(process, port)
            await _talk(f"ws://127.0.0.1:{port}/api/1.48.0/sync")
            with pytest.raises(websockets.InvalidStatus):
                await websockets.connect(f"ws://127.0.0.1:{port}/elsewhere")
        process.interrupt()
        await process.ended()
    assert not [line for line in process.lines if "Traceback" in line], "\n".join(process.lines)


async def _listening(process: Process, port: int) -> None:
    """Waits until the server accepts connections, which not every one says in time."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            assert process.running, "\n".join(process.lines)
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


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
