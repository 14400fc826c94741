"""Everybody at once: a crowd that comes, one commit that all of them watch, and a restart after which all come back.

The clients are real ones, each with queries of its own, and know for themselves when they show what was written.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from reliability.canary import watching
from reliability.resources import MIB, allow_many_files, resident
from reliability.serving import Server, serving
from yugen_client import AsyncClient

APP: Final = Path(__file__).parent / "app"

CONVERGED_SECONDS: Final = 5.0
"""What all may take to show one commit."""

BACK_SECONDS: Final = 60.0
"""What all may take to be back after a restart, with results."""

GIVEN_UP_SECONDS: Final = 120.0
LEFT_MIB: Final = 64
"""By how much more memory the server may have when the crowd has left than before it came."""


class _Crowd:
    """Clients with subscriptions, each of which has its own arguments."""

    def __init__(self, url: str, clients: int, queries: int) -> None:
        self._clients = [AsyncClient(url) for _ in range(clients)]
        self._queries = queries
        self._shown: dict[tuple[int, int], int] = {}
        self._news = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    def come(self) -> None:
        """Subscribes, all of them at once."""
        for number, client in enumerate(self._clients):
            for query in range(self._queries):
                self._tasks.append(asyncio.create_task(self._watch(client, number, query)))

    async def _watch(self, client: AsyncClient, number: int, query: int) -> None:
        reader = number * self._queries + query
        async for notes in client.subscribe("usage:newest", {"topic": "storm", "count": 1, "reader": reader}):
            self._shown[number, query] = int(notes[0]["number"]) if notes else 0
            async with self._news:
                self._news.notify_all()

    async def show(self, number: int) -> float:
        """Waits until all show this number; returns how many seconds that took, or infinity if it was never so."""
        began = time.monotonic()
        everything = len(self._tasks)

        def converged() -> bool:
            return len(self._shown) == everything and all(each == number for each in self._shown.values())

        try:
            async with asyncio.timeout(GIVEN_UP_SECONDS), self._news:
                await self._news.wait_for(converged)
        except TimeoutError:
            return float("inf")
        return time.monotonic() - began

    async def leave(self) -> None:
        """Closes all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(client.close() for client in self._clients))


async def storm(data: Path, *, clients: int, queries: int, restarts: bool = True) -> tuple[dict[str, Any], list[str]]:
    """Has so many clients with so many queries each live through it; returns figures, and what did not hold."""
    allow_many_files()
    figures: dict[str, Any] = {"clients": clients, "subscriptions": clients * queries}
    failures: list[str] = []
    async with serving(APP, data, development=False) as server:
        async with watching(server.url) as watch:
            await _come_and_see(server, clients, queries, figures, failures)
        figures["canary"] = str(watch.report)
        failures += watch.report.failures()
        if restarts:
            await _come_back(server, clients, queries, figures, failures)
    return figures, failures


async def _come_and_see(
    server: Server, clients: int, queries: int, figures: dict[str, Any], failures: list[str]
) -> None:
    before = resident(server.pid)
    crowd = _Crowd(server.url, clients, queries)
    async with AsyncClient(server.url) as writer:
        crowd.come()
        figures["seconds until all were there"] = there = await crowd.show(0)
        _check(there, BACK_SECONDS, "all were there", failures)
        await writer.mutation("usage:add", {"topic": "storm", "number": 1, "body": "x" * 100})
        figures["seconds until all showed one commit"] = seen = await crowd.show(1)
        _check(seen, CONVERGED_SECONDS, "all showed one commit", failures)
    figures["MiB with all of them"] = round(resident(server.pid) / MIB, 1)
    await crowd.leave()
    left = (resident(server.pid) - before) / MIB
    figures["MiB more when they had left"] = round(left, 1)
    if left > LEFT_MIB:
        failures.append(f"the server has {left:.0f} MiB more after the crowd has left; {LEFT_MIB} are allowed")


async def _come_back(server: Server, clients: int, queries: int, figures: dict[str, Any], failures: list[str]) -> None:
    crowd = _Crowd(server.url, clients, queries)
    crowd.come()
    await crowd.show(1)
    await server.kill()
    await server.start()
    async with AsyncClient(server.url) as writer:
        await writer.mutation("usage:add", {"topic": "storm", "number": 2, "body": "x" * 100})
        figures["seconds until all were back"] = back = await crowd.show(2)
        _check(back, BACK_SECONDS, "all were back", failures)
    await crowd.leave()


def _check(seconds: float, most: float, what: str, failures: list[str]) -> None:
    if seconds > most:
        failures.append(f"it took {seconds:.1f} s until {what}; {most:g} s are allowed")
