"""Results that are very large, or too large, and values that are nested very deep, or too deep."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from reliability.loads.scene import GIVEN_UP_SECONDS, Scene
from yugen_client import AsyncClient

SIZES: Final = {"clients": 4, "mib": 15}

DEEP: Final = 60
TOO_DEEP: Final = 70


async def play(scene: Scene, *, clients: int, mib: int) -> None:
    """Has so many clients watch a result of so many MiB, and others ask for what there cannot be."""
    url = scene.server.url
    async with asyncio.timeout(GIVEN_UP_SECONDS), AsyncClient(url) as writer:
        await writer.mutation("heavy:put", {"name": "giant", "number": 1, "size": 512 << 10})
        watching = [asyncio.create_task(_watch(url, 2 * mib, last=3)) for _ in range(clients)]
        for number in (2, 3):
            await writer.mutation("heavy:put", {"name": "giant", "number": number, "size": 512 << 10})
        sizes = await asyncio.gather(*watching)
        scene.figures["bytes of each result"] = sizes[0]
        scene.check(set(sizes) == {mib << 20}, f"results of {mib} MiB came with {sorted(set(sizes))} bytes")
        scene.figures["depth of a value"] = depth = _depth(await writer.query("heavy:nest", {"depth": DEEP}))
        scene.check(depth == DEEP, f"a value of depth {DEEP} came with depth {depth}")
        deep: Any = 1
        for _ in range(30):
            deep = [deep]
        scene.check(_depth(await writer.query("heavy:echo", {"value": deep})) == 30, "a value has changed on its way")
        refused = await scene.refused([("query", "heavy:get", {"name": "giant", "times": 40})] * 8, "LimitExceeded")
        refused += await scene.refused([("query", "heavy:nest", {"depth": TOO_DEEP})] * 8, "ReturnsValidationError")
        refused += await scene.refused([("mutation", "heavy:keep", {"value": deep})] * 8, "")
    scene.figures["refused"] = refused
    scene.check(refused == 24, f"{refused} of 24 were refused")


async def _watch(url: str, times: int, *, last: int) -> int:
    async with AsyncClient(url) as client:
        async for blob in client.subscribe("heavy:get", {"name": "giant", "times": times}):
            if blob["number"] == last:
                return len(blob["content"])
    return 0


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        value, depth = value[0], depth + 1
    return depth
