"""Many subscriptions for long, each of its own, and a commit a second that concerns all of them.

After the first third the server's memory may not grow any more. With `writers`, so many clients write as fast as they
can meanwhile, what none of these subscribes to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from reliability.loads.crowd import Crowd
from reliability.loads.scene import Scene
from reliability.resources import MIB, growth, resident
from yugen_client import AsyncClient

SIZES: Final = {"clients": 1000, "queries": 10, "seconds": 600, "writers": 0}

THERE_SECONDS: Final = 60.0
CONVERGED_SECONDS: Final = 5.0
"""What all may take to show a commit: each of these queries runs once for it."""

BESIDE_WRITERS_SECONDS: Final = 10.0
"""The same where every other turn of the workers is a writer's."""

GROWN_MIB: Final = 4
"""By how much the server's memory may seem to grow while it is judged."""


async def play(scene: Scene, *, clients: int, queries: int, seconds: int, writers: int) -> None:
    """Holds so many clients with so many queries each for so long."""
    server = scene.server
    took: list[float] = []
    memory: list[tuple[float, float]] = []
    scene.clients = max(scene.clients, clients)
    async with (
        Crowd(server.url, clients, queries) as crowd,
        AsyncClient(server.url) as writer,
        _writing(server.url, writers) as written,
    ):
        came = time.monotonic()
        await crowd.come()
        scene.within("all were there", await crowd.show(0), THERE_SECONDS)
        until = time.monotonic() + seconds
        while time.monotonic() < until or not took:
            began = time.monotonic()
            note = {"topic": "storm", "number": len(took) + 1, "body": "x" * 100}
            await writer.mutation("usage:add", note)
            took.append(await crowd.show(len(took) + 1))
            memory.append((began, await scene.memory() / MIB))
            await asyncio.sleep(max(0.0, began + 1 - time.monotonic()))
        scene.figures["MiB with all of them"] = round(resident(server.pid) / MIB, 1)
        seen = await crowd.leave()
    if writers:
        scene.figures["writes a second meanwhile"] = round(sum(written) / (time.monotonic() - came))
    took.sort()
    grown = growth(memory[len(memory) // 3 :])
    scene.figures["MiB of growth after the first third"] = round(grown, 1)
    scene.check(grown <= GROWN_MIB, f"memory has grown by {grown:.1f} MiB; {GROWN_MIB} may be noise")
    scene.figures |= {"commits": len(took), "results": seen.results, "lost": seen.lost}
    scene.figures["seconds until all showed a commit, p50"] = round(took[len(took) // 2], 3)
    scene.within("all showed a commit, at most", took[-1], BESIDE_WRITERS_SECONDS if writers else CONVERGED_SECONDS)
    scene.failures += seen.wrong
    scene.check(not seen.lost, f"connections were lost: {seen.lost}")
    scene.check(
        seen.results >= clients * queries * (len(took) + 1),
        f"there were {seen.results} results for {len(took)} commits that concern {clients * queries} queries",
    )


@asynccontextmanager
async def _writing(url: str, writers: int) -> AsyncIterator[list[int]]:
    """Has so many clients write one thing after the other; gives how many each has written so far."""
    written = [0] * writers

    async def write(writer: int) -> None:
        async with AsyncClient(url) as client:
            while True:
                note = {"topic": f"writer {writer}", "number": written[writer], "body": "x"}
                await client.mutation("usage:add", note)
                written[writer] += 1

    tasks = [asyncio.create_task(write(writer)) for writer in range(writers)]
    try:
        yield written
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for each in ended:
        if isinstance(each, Exception):
            raise each
