"""An acknowledged mutation is there after `kill -9`, once, and clients find their way back by themselves."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from reliability.serving import Server, serving
from tests.apps import ENTRIES, write_app
from yugen_client import AsyncClient

CLIENTS = 4
KILLS = 4
PAUSE_MIN, PAUSE_MAX = 20, 120
"""Acknowledgements between two kills: a random number of them."""


@pytest.mark.parametrize(("kill", "seed"), [(Server.kill, 1), (Server.destroy, 2)], ids=["server", "all-processes"])
async def test_acknowledged_mutations_survive_kills_exactly_once(
    kill: Callable[[Server], Awaitable[None]], seed: int, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    acknowledged: Counter[str] = Counter()
    arrived = asyncio.Condition()
    stopping = False
    shown = 0  # to a client that has been there from the beginning

    async with serving(write_app(tmp_path, f=ENTRIES), tmp_path / "data", development=False) as server:

        async def write(name: str) -> None:
            async with AsyncClient(server.url) as client:
                number = 0
                while not stopping:
                    assert await client.mutation("f:append", {"client": name, "number": number}) == number
                    number += 1
                    async with arrived:
                        acknowledged[name] += 1
                        arrived.notify_all()

        async def watch(client: AsyncClient) -> None:
            nonlocal shown
            async for total in client.subscribe("f:total"):
                async with arrived:
                    shown = total
                    arrived.notify_all()

        async with AsyncClient(server.url) as watcher:
            watching = asyncio.create_task(watch(watcher))
            writers = [asyncio.create_task(write(f"c{number}")) for number in range(CLIENTS)]
            for _ in range(KILLS):
                goal = acknowledged.total() + dice.randint(PAUSE_MIN, PAUSE_MAX)
                async with arrived:
                    await arrived.wait_for(lambda goal=goal: acknowledged.total() >= goal)  # type: ignore[misc]
                await kill(server)
                kept = dict(acknowledged)
                await server.start()
                async with AsyncClient(server.url) as reader:
                    for name, count in kept.items():
                        numbers = await reader.query("f:numbers", {"client": name})
                        assert numbers[:count] == list(range(count))
                        assert len(numbers) == len(set(numbers))
            stopping = True
            await asyncio.gather(*writers)
            async with AsyncClient(server.url) as reader:
                for name, count in acknowledged.items():
                    assert await reader.query("f:numbers", {"client": name}) == list(range(count))
            async with arrived:
                await arrived.wait_for(lambda: shown == acknowledged.total())
            watching.cancel()
