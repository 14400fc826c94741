"""Clients of `ENTRIES` that write and watch while something happens to their server, and who must notice nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from yugen_client import AsyncClient

SECONDS_MAX = 60.0


class Company:
    """Those who write and watch; made by `company`.

    Attributes:
        acknowledged: how many mutations of each writer have been answered.
        shown: the totals that each watcher was shown.
    """

    def __init__(self, url: str, watchers: int) -> None:
        self._url = url
        self._news = asyncio.Condition()
        self.acknowledged: Counter[str] = Counter()
        self.shown: list[list[int]] = [[] for _ in range(watchers)]
        self.stopping = False

    async def more(self, count: int) -> None:
        """Waits until so many more mutations have been answered, and everybody watches."""
        goal = self.acknowledged.total() + count
        await self.until(lambda: self.acknowledged.total() >= goal and all(self.shown))

    async def until(self, reached: Callable[[], bool]) -> None:
        """Waits for something that those who write or watch hear of."""
        async with self._news, asyncio.timeout(SECONDS_MAX):
            await self._news.wait_for(reached)

    async def write(self, name: str) -> None:
        """Writes one number after the other, each when the one before was answered."""
        async with AsyncClient(self._url) as client:
            while not self.stopping:
                number = self.acknowledged[name]
                assert await client.mutation("f:append", {"client": name, "number": number}) == number
                async with self._news:
                    self.acknowledged[name] += 1
                    self._news.notify_all()

    async def watch(self, seen: list[int]) -> None:
        """Watches the total."""
        async with AsyncClient(self._url) as client:
            async for total in client.subscribe("f:total"):
                async with self._news:
                    seen.append(int(total))
                    self._news.notify_all()


@asynccontextmanager
async def company(url: str, *, writers: int, watchers: int) -> AsyncIterator[Company]:
    """So many who write and watch for as long as the block lasts.

    In the end each mutation that was answered must be there, once, and all must have been shown it; until then nobody
    may have met an error or gone back.
    """
    made = Company(url, watchers)
    watching = [asyncio.create_task(made.watch(seen)) for seen in made.shown]
    writing = [asyncio.create_task(made.write(f"c{number}")) for number in range(writers)]
    try:
        yield made
        made.stopping = True
        await asyncio.gather(*writing)
        await made.until(lambda: all(seen and seen[-1] == made.acknowledged.total() for seen in made.shown))
        assert not any(task.done() for task in watching)
        assert len(made.acknowledged) == writers
        async with AsyncClient(url) as reader:
            for name, count in made.acknowledged.items():
                assert await reader.query("f:numbers", {"client": name}) == list(range(count))
        for seen in made.shown:
            assert seen == sorted(seen), "nobody goes back in time"
    finally:
        for task in (*watching, *writing):
            task.cancel()
        await asyncio.wait((*watching, *writing))
