"""Everybody at once: a crowd that comes, one commit that all of them watch, and a restart after which all come back.

Up to the restart there is a client more that has been served before, and is to be served as well as if nobody came.
"""

from __future__ import annotations

from typing import Final

from reliability.canary import watching
from reliability.loads.crowd import Crowd
from reliability.loads.scene import Scene
from reliability.resources import MIB, resident
from yugen_client import AsyncClient

SIZES: Final = {"clients": 5000, "queries": 1}

THERE_SECONDS: Final = 60.0
CONVERGED_SECONDS: Final = 5.0
"""What all may take to show one commit."""

BACK_SECONDS: Final = 60.0
"""What all may take to be back with results, after a restart or after all have lost their connections."""


async def play(scene: Scene, *, clients: int, queries: int) -> None:
    """Has so many clients with so many queries each live through it."""
    server = scene.server
    async with Crowd(server.url, clients, queries) as crowd:
        async with watching(server.url) as watch:
            await crowd.come()
            scene.within("all were there", await crowd.show(0), THERE_SECONDS)
            await _write(server.url, 1)
            scene.within("all showed one commit", await crowd.show(1), CONVERGED_SECONDS)
            scene.figures["MiB with all of them"] = round(resident(server.pid) / MIB, 1)
            await crowd.drop()
            await _write(server.url, 2)
            scene.within("all were back who had lost their connections", await crowd.show(2), BACK_SECONDS)
        scene.watched("who was there before, up to the restart", watch.report)
        await server.kill()
        await server.start()
        await _write(server.url, 3)
        scene.within("all were back after a restart", await crowd.show(3), BACK_SECONDS)
        seen = await crowd.leave()
    scene.figures |= {"connections": seen.connections, "results": seen.results, "lost": seen.lost}
    scene.failures += seen.wrong
    scene.check(seen.connections >= 3 * clients, f"there were {seen.connections} connections of {clients} clients")


async def _write(url: str, number: int) -> None:
    async with AsyncClient(url) as client:
        await client.mutation("usage:add", {"topic": "storm", "number": number, "body": "x" * 100})
