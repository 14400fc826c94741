"""Many connections on which nothing is said, what each takes, and that as many again take nothing more.

What connections have taken stays with the process for the next ones, as far as something lives between it. So it may
seem that the server has not got over them; those that come again tell.
"""

from __future__ import annotations

import asyncio
from typing import Final

from reliability.loads.crowd import Crowd
from reliability.loads.scene import Scene
from reliability.resources import MIB, resident

SIZES: Final = {"clients": 5000, "seconds": 60}

THERE_SECONDS: Final = 60.0
KIB_MAX: Final = 64
"""What one may take of the server's memory, in KiB."""

AGAIN_MIB: Final = 16
"""By how much more memory the server may have with as many clients again."""


async def play(scene: Scene, *, clients: int, seconds: int) -> None:
    """Has so many clients do nothing for so long, and then as many again."""
    scene.clients = max(scene.clients, clients)
    before = resident(scene.server.pid)
    first = await _come_and_go(scene, "all were there", clients, seconds)
    again = await _come_and_go(scene, "as many were there again", clients, 0)
    each, more = (first - before) / clients / 1024, (again - first) / MIB
    scene.figures |= {"KiB for each": round(each, 1), "MiB more with as many again": round(more, 1)}
    # Where there are few, it is what the server takes for itself that is seen.
    scene.check(clients < 500 or each <= KIB_MAX, f"each takes {each:.0f} KiB; {KIB_MAX} are allowed")
    scene.check(more <= AGAIN_MIB, f"as many again take {more:.0f} MiB more; {AGAIN_MIB} are allowed")


async def _come_and_go(scene: Scene, what: str, clients: int, seconds: int) -> int:
    async with Crowd(scene.server.url, clients, 0) as crowd:
        await crowd.come()
        scene.within(what, await crowd.show(0), THERE_SECONDS)
        await asyncio.sleep(seconds)
        scene.check(await crowd.show(0) < float("inf"), "some were not there any more")
        with_all = resident(scene.server.pid)
        seen = await crowd.leave()
    scene.failures += seen.wrong
    scene.check(seen.connections == clients, f"there were {seen.connections} connections of {clients} clients")
    scene.check(not seen.lost, f"connections were lost: {seen.lost}")
    return with_all
