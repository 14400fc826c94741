"""Running functions in worker processes, so that nothing a function does can stall or take down the server.

A function past its limit is interrupted in its process; if it holds out, the process is killed and only that function
has failed.
"""

from __future__ import annotations

import asyncio
import logging
import socket

from yugen.catalog import Catalog
from yugen.functions.info import AppInfo
from yugen.runtime.action_workers import ActionWorkers
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer, Outcome
from yugen.runtime.processes import AppFailed, Nursery, Role
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack
from yugen.runtime.setup import Setup
from yugen.runtime.transaction_workers import TransactionWorkers

__all__ = ["AppFailed", "Nursery", "WorkerPool"]

logger = logging.getLogger(__name__)


class WorkerPool:
    """A `Runner` over worker processes.

    Args:
        nursery: where workers come from; the pool closes it.
        info: what the nursery's app holds.
        limits: how long and how much functions may run.
        cores: how many cores of the machine are for this server; by default all.
    """

    def __init__(self, nursery: Nursery, info: AppInfo, *, limits: RunLimits, cores: int | None = None) -> None:
        self.info = info
        self._nursery = nursery
        self._forking = asyncio.Lock()
        self._transactions = TransactionWorkers(self._fork, limits, cores)
        self._actions = ActionWorkers(self._fork, limits)

    @classmethod
    async def launch(cls, setup: Setup) -> WorkerPool:
        """A pool for the app of a deployment.

        Raises:
            AppFailed: the app does not load.
        """
        nursery = Nursery(setup)
        try:
            return cls(nursery, await nursery.load(), limits=setup.limits)
        except BaseException:
            await nursery.close()
            raise

    async def start(self, catalog: Catalog) -> None:
        """As `Runner.start`: one worker is there when this returns.

        Raises:
            AppFailed: the process with the app has ended, and the app does not load any more.
            Overloaded: no process can be started.
        """
        self._transactions.catalog = self._actions.catalog = catalog
        if not self._transactions.all:
            await self._transactions.add()

    def transact(self, run: Run) -> asyncio.Future[Outcome]:
        """As `Runner.transact`."""
        return self._transactions.run(run)

    async def act(self, run: Run, call: CallBack) -> Answer:
        """As `Runner.act`."""
        return await self._actions.run(run, call)

    async def finish(self) -> None:
        """As `Runner.finish`."""
        await self._transactions.finish()
        await self._actions.finish()

    async def drain(self) -> None:
        """As `Runner.drain`."""
        await self._actions.drain()

    async def close(self) -> None:
        """Kills what still runs and ends all processes."""
        await self._transactions.close()
        await self._actions.close()
        await self._nursery.close()

    def statistics(self) -> dict[str, int]:
        """How many workers there are and were lost, and how many runs they have or that wait for one."""
        return {
            "transaction_workers": len(self._transactions.all),
            "action_workers": len(self._actions.all),
            "transaction_workers_lost": self._transactions.losses,
            "action_workers_lost": self._actions.losses,
            "running": sum(len(worker.jobs) for worker in self._transactions.all),
            "waiting": self._transactions.count_waiting(),
            "actions": len(self._actions.jobs),
        }

    async def _fork(self, role: Role) -> tuple[int, socket.socket]:
        async with self._forking:
            try:
                return await self._nursery.fork(role)
            except AppFailed as error:
                logger.error("the app is loaded again: %s", error)
            await self._nursery.close()
            self._nursery = self._nursery.again()
            if await self._nursery.load() != self.info:
                raise AppFailed("The app's code is not what it was when the server started; restart the server.")
            return await self._nursery.fork(role)
