"""The server: the real engine, scheduler and connections, over a real database on a disk that forgets."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from pathlib import Path
from typing import Any, Final

from reliability.simulation.forgetting import Trimming
from reliability.simulation.loop import LIFE, Life, SimulatedLoop, SimulatedThread
from reliability.simulation.network import Network, Wire
from reliability.vfs import FaultyVFS, Operation
from yugen.functions.registry import App
from yugen.runtime.inline import InlineRunner
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Outcome
from yugen.runtime.run import Run
from yugen.runtime.runtime import Runtime
from yugen.runtime.scheduler import Scheduler
from yugen.runtime.setup import LOCAL_URL
from yugen.server.caller import AdminKey, Callers
from yugen.server.connection import Connection
from yugen.server.rounds import Rounds
from yugen.server.sessions import Sessions
from yugen.storage.interface import StorageError
from yugen.storage.sqlite import SqliteStore
from yugen.system.deployment import Deployment

FUNCTION_SECONDS: Final = (0.004, 0.004, 0.04)
"""How long a function takes at most, twice; a seed has one of these."""


class Slow(InlineRunner):
    """Runs functions at one moment, and takes time before and after, so that others come between."""

    dice: random.Random
    seconds: float

    async def transact(self, run: Run) -> Outcome:
        await asyncio.sleep(self.dice.random() * self.seconds)
        outcome = await super().transact(run)
        await asyncio.sleep(self.dice.random() * self.seconds)
        return outcome


class Server:
    """The one server, in one life after the other.

    Attributes:
        slow: seconds that the disk takes at most.
        counts: what has happened to it.
        left: what it had not ended when it had stopped.
        before_trimming: called once, when the log is about to be trimmed.
    """

    def __init__(
        self,
        app: App,
        folder: Path,
        loop: SimulatedLoop,
        disk: FaultyVFS,
        network: Network,
        dice: random.Random,
        note: Callable[[str], None],
        log_seconds: float,
    ) -> None:
        self._app, self._folder, self._loop, self._disk = app, folder, loop, disk
        self._network, self._dice, self._note = network, dice, note
        self._function_seconds, self._log_seconds = dice.choice(FUNCTION_SECONDS), log_seconds
        self._deployment = Deployment(LOCAL_URL, folder)
        self._life: Life | None = None
        self._number = 0
        self._countdown = -1
        self._is_stopping = False
        self.path = folder / "life-0" / "data.sqlite3"
        self.path.parent.mkdir(parents=True)
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._asked: set[asyncio.Task[None]] = set()
        self.left: list[str] = []
        self.runtime: Runtime | None = None
        self.scheduler: Scheduler | None = None
        self.trimming: Trimming | None = None
        self.before_trimming: Callable[[], None] | None = None
        self.slow = 0.004
        self.counts: Counter[str] = Counter()
        disk.on_operation = self._on_disk

    def start(self) -> None:
        """Begins a life, if there is none."""
        if self._life is not None:
            return
        life = self._life = Life()
        context = copy_context()
        context.run(LIFE.set, life)
        self.counts["lives"] += 1
        self._note(f"server starts life {self._number}")
        self._serving: asyncio.Task[None] = self._loop.create_task(self._serve(), context=context)

    async def _serve(self) -> None:
        thread = SimulatedThread(self._loop, lambda: self._dice.random() * self.slow)
        store = SqliteStore(self.path, thread=thread)
        self._store, self._is_stopping = store, False
        runtime = Runtime(store, self._runner(store), clock=time.time_ns, random_bytes=os.urandom)
        life = LIFE.get()
        try:
            await runtime.start()
        except StorageError as error:
            self._note(f"server cannot start: {error}")
            self.counts["starts that failed"] += 1
            await runtime.close()
            self._life = None
            self._loop.call_later(0.5, self.start, context=self._network._context)
            return
        self.scheduler = Scheduler(runtime, RunLimits())
        self.scheduler.serve()
        self.trimming = Trimming(runtime, self._log_seconds, self.counts, self._trims)
        self.trimming.serve()
        self.counts["lives with a trimmed log"] += self.counts["trimmings"] > 0
        callers = Callers(AdminKey(self._folder / "admin_key"), None)
        sessions, rounds = Sessions(), Rounds()
        context = copy_context()
        self._connections.clear()
        self._asked.clear()

        def accept(wire: Wire) -> None:
            connection = Connection(wire.server_end, runtime, callers, sessions=sessions, rounds=rounds)
            self._connections[connection] = self._loop.create_task(connection.serve())

        self._callers = callers
        self.runtime = runtime
        self._network.accept = lambda wire: context.run(accept, wire)
        while not runtime.has_failed:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        assert life is self._life
        self._note("server ends itself, for it cannot write")
        self.counts["ends by itself"] += 1
        self.crash()
        self._loop.call_later(0.5, self.start, context=self._network._context)

    def _trims(self) -> None:
        before, self.before_trimming = self.before_trimming, None
        if before is not None:
            before()

    def ask(self, work: Coroutine[Any, Any, None]) -> None:
        """Has something be done by the life that there is, and die with it."""
        context = copy_context()
        context.run(LIFE.set, self._life)
        task = self._loop.create_task(work, context=context)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    @property
    def imports(self) -> Path:
        """Where files to be imported are."""
        return self._deployment.imports

    @property
    def is_alive(self) -> bool:
        """Whether there is a life, which may not serve yet, or any more."""
        return self._life is not None

    @property
    def serves(self) -> bool:
        """Whether it answers, and goes on with that."""
        return self.runtime is not None and not self._is_stopping

    @property
    def is_doomed(self) -> bool:
        """Whether the power is to fail after so many operations of the disk."""
        return self._countdown > 0

    def stop(self, *, for_good: bool = False) -> None:
        """Ends the life as SIGTERM does: in good order."""
        if self.runtime is not None and not self._is_stopping:
            self._is_stopping = True
            asked = self._asked
            self._asked = set()
            self.ask(self._stop(self.runtime, asked, for_good))

    async def _stop(self, runtime: Runtime, asked: set[asyncio.Task[None]], for_good: bool) -> None:
        """As `Yugen.close` does."""
        life, scheduler, trimming = self._life, self.scheduler, self.trimming
        assert scheduler is not None
        assert trimming is not None
        assert life is not None
        self._note("server stops")
        self._network.accept = None
        self._serving.cancel()
        if asked:
            await asyncio.wait(asked)
        await scheduler.rest()
        await runtime.drain()
        await scheduler.finish()
        connections = tuple(self._connections)
        for connection in connections:
            connection.shut_down(1001, "ServerShuttingDown")
        if connections:
            await asyncio.wait([connection.gone for connection in connections], timeout=2)
        for connection in connections:
            connection.abort()
        try:
            await scheduler.close()
            await trimming.close()
            await self._callers.close()
            await runtime.close()
        except StorageError as error:
            self._note(f"server ends badly: {error}")
        self._network.cut_all()
        self.counts["stops in good order"] += 1
        self._note("server has stopped")
        self.runtime = self.scheduler = self.trimming = self._life = None
        self._loop.call_later(0.2, self._see_to_it_that_nothing_is_left, life, context=self._network._context)
        if not for_good:
            self._loop.call_later(0.3, self.start, context=self._network._context)

    def _see_to_it_that_nothing_is_left(self, life: Life) -> None:
        left = self._loop.left_of(life)
        self.counts["stops after which nothing was left"] += not left
        for task in left:
            name = f"{task.get_coro()}".partition(" at 0x")[0]
            self.left.append(f"{name} failed: {task.exception()!r}" if task.done() else name)
        self._loop.end(life)

    def deploy(self) -> None:
        """Takes up the code of the app anew, while it serves."""
        if self.runtime is not None and not self._is_stopping:
            self.ask(self._deploy(self.runtime))

    async def _deploy(self, runtime: Runtime) -> None:
        assert self.scheduler is not None
        try:
            await runtime.take_up(self._runner(self._store))
            await self.scheduler.take_up_crons()
        except StorageError as error:
            self._note(f"the code is not taken up: {error}")
        else:
            self.counts["code taken up"] += 1

    def _runner(self, store: SqliteStore) -> Slow:
        runner = Slow(self._app, store, secret=bytes(32), isolated=False, deployment=self._deployment)
        runner.dice, runner.seconds = self._dice, self._function_seconds
        return runner

    def crash_within(self, operations: int) -> None:
        """Has the power fail before the nth operation of the disk from now."""
        self._countdown = operations

    def _on_disk(self, operation: Operation, path: Path) -> None:
        if self._countdown > 0 and path.parent == self.path.parent:
            self._countdown -= 1
            if self._countdown == 0:
                self.crash(f"before a {operation} of {path.name}")
                self._loop.call_later(0.5, self.start, context=self._network._context)

    def crash(self, when: str = "") -> None:
        """Ends the life at this moment. What the disk has is what the next one finds."""
        life, self._life = self._life, None
        self._countdown = -1
        if life is None:
            return
        self.counts["crashes"] += 1
        self.counts["crashes while the log was trimmed"] += self.trimming is not None and self.trimming.is_at_it
        self._note(f"server dies {when}")
        self._number += 1
        path = self._folder / f"life-{self._number}" / self.path.name
        self._disk.image(self.path.parent, path.parent, self._dice)
        self._disk.forget()
        self._disk.know(*path.parent.iterdir())  # or else what the next life has not opened when it ends would be lost
        self.path = path
        self.runtime = self.scheduler = self.trimming = self._network.accept = None
        self._loop.end(life)
        self._network.cut_all()
