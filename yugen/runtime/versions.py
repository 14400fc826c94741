"""Versions of an app that follow one another while it serves: each run belongs to the version of its timestamp.

A new version takes over at a timestamp of its own. What is asked for at an earlier one still runs with the code of
then, so that the answers of one moment are all of one version. A version ends when nobody can ask for its time any
more and what runs of it has come to its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass

from yugen.catalog import Catalog
from yugen.functions.info import AppInfo
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack, Runner
from yugen.storage.interface import Timestamp

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Earlier:
    """A version that another has followed.

    Attributes:
        runner: runs its functions.
        until: the timestamp from which on the one after it runs.
        closing: whether its runner is being closed.
    """

    runner: Runner
    until: Timestamp
    closing: bool = False


class Versions:
    """A `Runner` of the newest version of an app, and of those before it while they are needed.

    Args:
        runner: of the first version.
    """

    def __init__(self, runner: Runner) -> None:
        self._newest = runner
        self._earlier: list[_Earlier] = []  # the oldest first
        self._leaving: dict[asyncio.Task[None], _Earlier] = {}

    @property
    def newest(self) -> Runner:
        """The runner of the newest version."""
        return self._newest

    @property
    def info(self) -> AppInfo:
        """What the newest version holds."""
        return self._newest.info

    async def start(self, catalog: Catalog) -> None:
        """As `Runner.start`, of the newest version."""
        await self._newest.start(catalog)

    def transact(self, run: Run) -> Awaitable[Outcome]:
        """As `Runner.transact`."""
        for earlier in self._earlier:
            if run.ts < earlier.until:
                return earlier.runner.transact(run)
        return self._newest.transact(run)

    async def act(self, run: Run, call: CallBack) -> Answer:
        """As `Runner.act`. What the action calls is of the version that is newest then."""
        return await self._newest.act(run, call)

    def take_up(self, runner: Runner, since: Timestamp, unasked: Awaitable[None]) -> None:
        """Has another version run from a timestamp on.

        Args:
            runner: of the version, started.
            since: the timestamp, which nothing has run at yet.
            unasked: done when nobody will ask for anything before the timestamp.
        """
        earlier = _Earlier(self._newest, since)
        self._newest = runner
        self._earlier.append(earlier)
        leaving = asyncio.get_running_loop().create_task(self._leave(earlier, unasked))
        self._leaving[leaving] = earlier
        leaving.add_done_callback(self._left)

    def __len__(self) -> int:
        """How many versions there are at present."""
        return 1 + len(self._earlier)

    async def finish(self) -> None:
        """As `Runner.finish`, of all versions."""
        if self._leaving:
            await asyncio.wait(self._leaving)
        await self._newest.finish()

    async def drain(self) -> None:
        """As `Runner.drain`, of all versions."""
        await asyncio.gather(self._newest.drain(), *(earlier.runner.drain() for earlier in self._earlier))

    async def close(self) -> None:
        """As `Runner.close`."""
        leaving = list(self._leaving)
        for task, earlier in self._leaving.items():
            if not earlier.closing:
                task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        await self._newest.close()

    async def _leave(self, earlier: _Earlier, unasked: Awaitable[None]) -> None:
        try:
            await unasked
            await earlier.runner.finish()
        finally:
            earlier.closing = True
            self._earlier.remove(earlier)
            await earlier.runner.close()

    def _left(self, task: asyncio.Task[None]) -> None:
        del self._leaving[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("an earlier version of the app has not ended as it should", exc_info=error)
