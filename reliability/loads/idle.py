"""Many connections on which nothing is said, and what each takes."""

from __future__ import annotations

import asyncio
from typing import Final

from reliability.loads.crowd import Crowd
from reliability.loads.scene import Scene
from reliability.resources import resident

SIZES: Final = {"clients": 5000, "seconds": 60}

THERE_SECONDS: Final = 60.0
KIB_MAX: Final = 64
"""What one may take of the server's memory, in KiB."""


async def play(scene: Scene, *, clients: int, seconds: int) -> None:
    """Has so many clients do nothing for so long."""
    before = resident(scene.server.pid)
    async with Crowd(scene.server.url, clients, 0) as crowd:
        await crowd.come()
        scene.within("all were there", await crowd.show(0), THERE_SECONDS)
        await asyncio.sleep(seconds)
        scene.within("all were still there", await crowd.show(0), 1.0)
        each = (resident(scene.server.pid) - before) / clients / 1024
        seen = await crowd.leave()
    scene.figures |= {"KiB for each": round(each, 1), "connections": seen.connections, "lost": seen.lost}
    scene.failures += seen.wrong
    scene.check(not seen.lost, f"connections were lost: {seen.lost}")
    # Where there are few, it is what the server takes for itself that is seen.
    scene.check(clients < 500 or each <= KIB_MAX, f"each takes {each:.0f} KiB; {KIB_MAX} are allowed")
