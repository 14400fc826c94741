"""The server: the real engine, scheduler and connections, over a real database on a disk that forgets."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path

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
from yugen.server.caller import AdminKey, Callers
from yugen.server.connection import Connection
from yugen.server.rounds import Rounds
from yugen.server.sessions import Sessions
from yugen.storage.interface import StorageError
from yugen.storage.sqlite import SqliteStore

FUNCTION_SECONDS = 0.004
"""How long a function takes at most."""


class Slow(InlineRunner):
    """Runs functions at one moment, and takes time before and after, so that others come between."""

    dice: random.Random

    async def transact(self, run: Run) -> Outcome:
        await asyncio.sleep(self.dice.random() * FUNCTION_SECONDS)
        outcome = await super().transact(run)
        await asyncio.sleep(self.dice.random() * FUNCTION_SECONDS)
        return outcome


class Server:
    """The one server, in one life after the other.

    Attributes:
        slow: seconds that the disk takes at most.
        counts: what has happened to it.
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
    ) -> None:
        self._app, self._folder, self._loop, self._disk = app, folder, loop, disk
        self._network, self._dice, self._note = network, dice, note
        self._life: Life | None = None
        self._number = 0
        self._countdown = -1
        self.path = folder / "life-0" / "data.sqlite3"
        self.path.parent.mkdir(parents=True)
        self.runtime: Runtime | None = None
        self.scheduler: Scheduler | None = None
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
        self._serving = self._loop.create_task(self._serve(), context=context)

    async def _serve(self) -> None:
        thread = SimulatedThread(self._loop, lambda: self._dice.random() * self.slow)
        store = SqliteStore(self.path, thread=thread)
        runner = Slow(self._app, store, secret=bytes(32), isolated=False)
        runner.dice = self._dice
        runtime = Runtime(store, runner, clock=time.time_ns, random_bytes=os.urandom)
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
        callers = Callers(AdminKey(self._folder / "admin_key"), None)
        sessions, rounds = Sessions(), Rounds()
        context = copy_context()
        serving: set[asyncio.Task[None]] = set()  # which nobody else holds

        def accept(wire: Wire) -> None:
            connection = Connection(wire.server_end, runtime, callers, sessions=sessions, rounds=rounds)
            serving.add(self._loop.create_task(connection.serve()))

        self.runtime = runtime
        self._network.accept = lambda wire: context.run(accept, wire)
        while not runtime.has_failed:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        assert life is self._life
        self._note("server ends itself, for it cannot write")
        self.counts["ends by itself"] += 1
        self.crash()
        self._loop.call_later(0.5, self.start, context=self._network._context)

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
        self._note(f"server dies {when}")
        self._number += 1
        path = self._folder / f"life-{self._number}" / self.path.name
        self._disk.image(self.path.parent, path.parent, self._dice)
        self._disk.forget()
        self._disk.know(*path.parent.iterdir())  # or else what the next life has not opened when it ends would be lost
        self.path = path
        self.runtime = self.scheduler = self._network.accept = None
        self._loop.end(life)
        self._network.cut_all()
