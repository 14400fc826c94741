"""Those who subscribe to something large that changes all the time, and never read."""

from __future__ import annotations

import asyncio
from typing import Final

from reliability.loads.raw import one_who_never_reads
from reliability.loads.scene import Scene, until
from reliability.resources import MIB, open_files, resident
from yugen_client import AsyncClient

SIZES: Final = {"readers": 40, "kib": 200, "updates": 200, "cut": 1}

CUT_SECONDS: Final = 75.0
"""After how long who has read nothing is cut off: 60 s, and what finding out takes."""

MORE_MIB: Final = 256
"""What the server may have more meanwhile, however many updates there are."""


async def play(scene: Scene, *, readers: int, kib: int, updates: int, cut: int) -> None:
    """Has so many read nothing of so many updates of so many KiB; waits until they are cut off, if asked."""
    pid = scene.server.pid
    files, before, most = open_files(pid), resident(pid), 0
    async with AsyncClient(scene.server.url) as writer:
        await writer.mutation("heavy:put", {"name": "slow", "number": 0, "size": kib << 10})
        sockets = [
            await one_who_never_reads(scene.server.port, ("heavy:get", {"name": "slow"})) for _ in range(readers)
        ]
        async for blob in writer.subscribe("heavy:get", {"name": "slow"}):
            most = max(most, resident(pid))
            if (number := int(blob["number"]) + 1) > updates:
                break
            await writer.mutation("heavy:put", {"name": "slow", "number": number, "size": kib << 10})
    [lagging] = await scene.metrics("yugen_connections_lagging")
    scene.check(lagging == readers, f"{lagging:g} were behind; {readers} were to read nothing")
    scene.figures["MiB more at most"] = more = round((most - before) / MIB, 1)
    scene.check(more <= MORE_MIB, f"the server had {more:g} MiB more; {MORE_MIB} are allowed")
    if cut:
        gone = await until(lambda: open_files(pid) < files + readers / 2, CUT_SECONDS)
        scene.within("those were cut off who read nothing", gone, CUT_SECONDS)
    # One of them may still be there, and gets the newest of it all when it reads.
    await asyncio.gather(*(asyncio.to_thread(each.close) for each in sockets))
