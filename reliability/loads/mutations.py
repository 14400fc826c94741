"""Twice as many mutations as there can be: those that are answered are answered in time, and no fewer than before."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from reliability.loads.scene import GIVEN_UP_SECONDS, Scene
from yugen_client import AsyncClient, ClientError

SIZES: Final = {"clients": 100, "seconds": 20}
MAY_REFUSE: Final = True
OPTIONS: Final = ("--limit", "documents_read=1000000")  # to count what a quick machine has stored

SHARE_KEPT: Final = 0.8
"""How much of the best throughput must be left when twice as much is asked for."""


@dataclass
class _Came:
    """What came of calls.

    Attributes:
        answered: how many succeeded.
        refused: how many were refused, as there were too many.
        other: how else calls failed.
    """

    answered: int = 0
    refused: int = 0
    other: list[str] = field(default_factory=list)


async def play(scene: Scene, *, clients: int, seconds: int) -> None:
    """Has so many clients make mutations one after the other, and then twice as many a second, answered or not."""
    best, flood, before = _Came(), _Came(), 0.0
    crowd = [AsyncClient(scene.server.url) for _ in range(clients)]
    try:
        async with asyncio.timeout(GIVEN_UP_SECONDS + 4 * seconds):
            for client in crowd:
                before = await client.query("heavy:counted")
            until = time.monotonic() + seconds / 2
            await asyncio.gather(*(_one_by_one(client, until, best) for client in crowd))
            rate = best.answered / (seconds / 2)
            began = time.monotonic()
            each = clients / max(2 * rate, 1.0)
            await asyncio.gather(*(_on_time(client, each, began + seconds, flood) for client in crowd))
            took = time.monotonic() - began
            stored = await crowd[0].query("heavy:counted") - before
    finally:
        await asyncio.gather(*(client.close() for client in crowd))
    kept = flood.answered / took / rate if rate else 0.0
    scene.figures |= {
        "mutations a second": round(rate),
        "answered": best.answered + flood.answered,
        "refused": best.refused + flood.refused,
        "share of the throughput that is left at twice as many": round(kept, 2),
    }
    scene.check(flood.answered > 0, "nothing was answered")
    scene.check(not scene.strict or kept >= SHARE_KEPT, f"only {kept:.0%} of the throughput was left")
    other = best.other + flood.other
    scene.check(not other, f"{len(other)} failed in another way, the first: {other[:1]}")
    answered = best.answered + flood.answered
    scene.check(stored == answered, f"{answered:,} were answered as done, and {stored:,.0f} are stored")


async def _call(client: AsyncClient, came: _Came) -> None:
    try:
        await client.mutation("heavy:count", {"name": "flood"})
    except ClientError as error:
        if "Overloaded" in str(error):
            came.refused += 1
        else:
            came.other.append(repr(error))
    else:
        came.answered += 1


async def _one_by_one(client: AsyncClient, until: float, came: _Came) -> None:
    while time.monotonic() < until:
        await _call(client, came)


async def _on_time(client: AsyncClient, each: float, until: float, came: _Came) -> None:
    async with asyncio.TaskGroup() as group:
        due = time.monotonic()
        while due < until:
            group.create_task(_call(client, came))
            due += each
            await asyncio.sleep(due - time.monotonic())
