"""Functions that take all memory, never end, sleep, or try too many ways: they fail, and others do not notice."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from reliability.loads.scene import GIVEN_UP_SECONDS, Scene
from yugen_client import AsyncClient

SIZES: Final = {"calls": 8}

STOPPED_SECONDS: Final = 2.0
"""What a function may take until its caller hears that it was stopped: its limit of a second, and as much again."""

BAD: Final = {
    "heavy:leak": ("query", "MemoryLimitExceeded"),
    "heavy:spin": ("query", "TimeLimitExceeded"),
    "heavy:spin_writing": ("mutation", "TimeLimitExceeded"),
    "heavy:sleep": ("query", "TimeLimitExceeded"),
    "heavy:backtrack": ("query", "TimeLimitExceeded"),
}


async def play(scene: Scene, *, calls: int) -> None:
    """Calls each so many times, one after the other, while somebody goes on who has nothing to do with it."""
    refused = 0
    other = asyncio.create_task(_go_on(scene))
    async with asyncio.timeout(GIVEN_UP_SECONDS):
        for path, (kind, code) in BAD.items():
            longest = 0.0
            for number in range(calls):
                began = time.monotonic()
                refused += await scene.refused([(kind, path, {"number": number})], code)
                longest = max(longest, time.monotonic() - began)
            scene.within(f"{path} was stopped, at most", longest, STOPPED_SECONDS)
        # All kinds at once, and more of them than there are processors.
        refused += sum(
            await asyncio.gather(
                *(scene.refused([(kind, path, {"number": calls})], code) for path, (kind, code) in BAD.items())
            )
        )
    other.cancel()
    [gone_on] = await asyncio.gather(other, return_exceptions=True)
    scene.check(isinstance(gone_on, asyncio.CancelledError), f"somebody else could not go on: {gone_on!r}")
    scene.figures["stopped"] = refused
    scene.check(refused == (calls + 1) * len(BAD), f"{refused} of {(calls + 1) * len(BAD)} were stopped")
    scene.check(scene.figures.get("calls of another", 0) > 0, "nobody else has tried to go on")
    async with AsyncClient(scene.server.url) as client:
        kept = await client.query("heavy:kept")
    scene.check(kept == 0, f"{kept} rows are there of mutations that were stopped")


async def _go_on(scene: Scene) -> None:
    async with AsyncClient(scene.server.url) as client:
        number = 0
        while True:
            number += 1
            await client.mutation("usage:add", {"topic": "other", "number": number, "body": ""})
            [newest] = await client.query("usage:newest", {"topic": "other", "count": 1})
            scene.check(newest["number"] == number, f"after {number} somebody else was shown {newest['number']}")
            scene.figures["calls of another"] = 2 * number
