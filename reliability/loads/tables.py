"""Thousands of tables: what starting takes then, and writing, and memory."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from reliability.loads.scene import GIVEN_UP_SECONDS, Scene
from reliability.resources import MIB, resident
from yugen_client import AsyncClient

SIZES: Final = {"tables": 5000}

AT_ONCE: Final = 50
"""Tables that one mutation makes."""

STARTED_SECONDS: Final = 10.0
WRITTEN_SECONDS: Final = 0.25
MORE_MIB: Final = 256


async def play(scene: Scene, *, tables: int) -> None:
    """Makes so many tables, starts the server again, and writes to some of them."""
    server = scene.server
    before = resident(server.pid)
    async with asyncio.timeout(GIVEN_UP_SECONDS), AsyncClient(server.url) as client:
        began = time.monotonic()
        for first in range(0, tables, AT_ONCE):
            await client.mutation("heavy:spread", {"first": first, "count": min(AT_ONCE, tables - first)})
        scene.figures["seconds until all were made"] = round(time.monotonic() - began, 2)
        more = (resident(server.pid) - before) / MIB
    scene.figures["MiB more with all of them"] = round(more, 1)
    scene.check(more <= MORE_MIB, f"the server had {more:.0f} MiB more; {MORE_MIB} are allowed")
    await server.kill()
    began = time.monotonic()
    await server.start()
    scene.within("it served again", time.monotonic() - began, STARTED_SECONDS)
    took = []
    async with asyncio.timeout(GIVEN_UP_SECONDS), AsyncClient(server.url) as client:
        for number in range(0, tables, max(1, tables // 100)):
            began = time.monotonic()
            await client.mutation("heavy:spread", {"first": number, "count": 1})
            took.append(time.monotonic() - began)
            found = await client.query("heavy:one_of", {"number": number})
            scene.check(found == 2, f"table {number} has {found} documents, and not 2")
    took.sort()
    scene.figures["writes afterwards"] = len(took)
    scene.within("one was written, of half of them", took[len(took) // 2], WRITTEN_SECONDS)
