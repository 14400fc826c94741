"""A server, or one of its nodes: the real engine, scheduler and connections, over a real database."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reliability.simulation.forgetting import Trimming
from reliability.simulation.loop import LIFE, Life, SimulatedLoop, SimulatedThread
from reliability.simulation.network import Network, Wire
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
from yugen.server.mail import Mail
from yugen.server.nodes import Node, NodeSessions
from yugen.server.rounds import Rounds
from yugen.server.sessions import Sessions
from yugen.storage.board import Board
from yugen.storage.interface import StorageError
from yugen.storage.sqlite import SqliteStore
from yugen.storage.sqlite_nodes import NodeStore
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


@dataclass
class Nodes:
    """What nodes have that one process begins.

    Attributes:
        board: what they share in memory.
        mail: how they tell one another.
        deployed: whether one of them has brought the data to what the app declares.
    """

    board: Board
    mail: Mail
    deployed: bool = False

    def close(self) -> None:
        """Gives them up."""
        self.board.close()
        self.mail.close()


@dataclass
class Surroundings:
    """What the processes of a machine have in common.

    Attributes:
        path: the database, as it is now.
        slow: seconds that the disk takes at most.
        function_seconds: how long a function takes at most, twice.
        log_seconds: how long the log is kept.
        nodes: what nodes share; None where one process is the server.
        counts: what has happened.
        before_trimming: called once, when the log is about to be trimmed.
    """

    app: App
    folder: Path
    loop: SimulatedLoop
    network: Network
    dice: random.Random
    note: Callable[[str], None]
    path: Path
    function_seconds: float
    log_seconds: float
    slow: float = 0.004
    nodes: Nodes | None = None
    counts: Counter[str] = field(default_factory=Counter)
    before_trimming: Callable[[], None] | None = None

    @property
    def deployment(self) -> Deployment:
        """What Yugen's own functions know of where they run."""
        return Deployment(LOCAL_URL, self.folder)

    def trims(self) -> None:
        """The log is about to be trimmed."""
        before, self.before_trimming = self.before_trimming, None
        if before is not None:
            before()


class Server:
    """One process, in one life after the other.

    Args:
        among: what it shares with others.
        number: which node it is; 0 where there is only one.
        serves: called when it has come to serve.
        cannot: called when it cannot start, or cannot go on.
        waits: whether what it writes has to wait for another node.

    Attributes:
        runtime: its engine, while it serves.
        life: what it lives; None while it does not.
        is_stopping: whether it is about to end in good order.
        is_closing: whether it has died, and the system is about to close its files.
    """

    def __init__(
        self,
        among: Surroundings,
        number: int,
        *,
        serves: Callable[[], None],
        cannot: Callable[[Server], None],
        waits: Callable[[Server], bool],
    ) -> None:
        self._among, self.number = among, number
        self._serves, self._cannot, self._waits = serves, cannot, waits
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._asked: set[asyncio.Task[None]] = set()
        self._store: SqliteStore | None = None
        self._sessions = Sessions()
        self.life: Life | None = None
        self.is_stopping = False
        self.is_closing = False
        self.runtime: Runtime | None = None
        self.scheduler: Scheduler | None = None
        self.trimming: Trimming | None = None

    def start(self) -> None:
        """Begins a life, if there is none."""
        if self.life is not None:
            return
        life = self.life = Life()
        context = copy_context()
        context.run(LIFE.set, life)
        self._among.counts["lives"] += 1
        self._among.note(f"server {self.number} starts")
        self._serving: asyncio.Task[None] = self._among.loop.create_task(self._serve(), context=context)

    async def _serve(self) -> None:
        among, life, is_first = self._among, self.life, self.number == 0
        store, peers = self._open_store()
        self._store, self.is_stopping = store, False
        runtime = Runtime(store, self._runner(store), clock=time.time_ns, random_bytes=os.urandom, peers=peers)
        try:
            await runtime.start(deployed=among.nodes is not None and among.nodes.deployed, reindexes=is_first)
        except StorageError as error:
            among.note(f"server {self.number} cannot start: {error}")
            among.counts["starts that failed"] += 1
            await runtime.close()
            self.life = None
            self._cannot(self)
            return
        if among.nodes is not None:
            among.nodes.deployed = True
        if is_first:
            self.scheduler = Scheduler(runtime, RunLimits())
            self.scheduler.serve()
            self.trimming = Trimming(runtime, among.log_seconds, among.counts, among.trims)
            self.trimming.serve()
            among.counts["lives with a trimmed log"] += among.counts["trimmings"] > 0
        self._callers = callers = Callers(AdminKey(among.folder / "admin_key"), None)
        sessions, rounds = self._open_sessions(runtime), Rounds()
        context = copy_context()
        self._connections.clear()
        self._asked.clear()

        def accept(wire: Wire) -> None:
            connection = Connection(wire.server_end, runtime, callers, sessions=sessions, rounds=rounds)
            self._connections[connection] = among.loop.create_task(connection.serve())

        self.runtime = runtime
        among.network.accepting[self.number] = lambda wire: context.run(accept, wire)
        self._serves()
        while not runtime.has_failed:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        assert life is self.life
        among.note(f"server {self.number} ends itself, for it cannot write")
        among.counts["ends by itself"] += 1
        self._cannot(self)

    def _open_store(self) -> tuple[SqliteStore, NodeStore | None]:
        among = self._among
        thread = SimulatedThread(among.loop, lambda: among.dice.random() * among.slow, lambda: self._waits(self))
        if among.nodes is None:
            return SqliteStore(among.path, thread=thread), None
        store = NodeStore(among.path, among.nodes.board, self.number, tends=self.number == 0, thread=thread)
        return store, store

    def _open_sessions(self, runtime: Runtime) -> Sessions:
        nodes = self._among.nodes
        if nodes is None:
            return Sessions()
        node = Node(self.number, nodes.board, nodes.mail, self._among.folder, deployed=True)
        self._sessions = NodeSessions(node, runtime.settled)
        self._sessions.listen()
        return self._sessions

    def ask(self, work: Coroutine[Any, Any, None]) -> None:
        """Has something be done by the life that there is, and die with it."""
        context = copy_context()
        context.run(LIFE.set, self.life)
        task = self._among.loop.create_task(work, context=context)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    @property
    def serves(self) -> bool:
        """Whether it answers, and goes on with that."""
        return self.runtime is not None and not self.runtime.has_failed and not self.is_stopping

    @property
    def is_asked(self) -> bool:
        """Whether something is being done that it was asked for."""
        return self.life is not None and bool(self._asked)

    @property
    def has_the_turn(self) -> bool:
        """Whether it keeps other nodes from writing, for longer than a moment, or until its files are closed."""
        if self.life is None:
            return self.is_closing
        return isinstance(self._store, NodeStore) and self._store._node_writer._turn._depth > 0

    def stop(self, stopped: Callable[[Server, Life], None]) -> None:
        """Ends the life as SIGTERM does, in good order, and then has `stopped` be called."""
        if self.runtime is not None and not self.is_stopping:
            self.is_stopping = True
            asked = self._asked
            self._asked = set()
            self.ask(self._stop(self.runtime, asked, stopped))

    async def _stop(
        self, runtime: Runtime, asked: set[asyncio.Task[None]], stopped: Callable[[Server, Life], None]
    ) -> None:
        """As `Yugen.close` does."""
        among, life = self._among, self.life
        assert life is not None
        among.note(f"server {self.number} stops")
        among.network.accepting.pop(self.number, None)
        self._serving.cancel()
        if asked:
            await asyncio.wait(asked)
        if self.scheduler is not None:
            await self.scheduler.rest()
        await runtime.drain()
        if self.scheduler is not None:
            await self.scheduler.finish()
        connections = tuple(self._connections)
        for connection in connections:
            connection.shut_down(1001, "ServerShuttingDown")
        if connections:
            await asyncio.wait([connection.gone for connection in connections], timeout=2)
        for connection in connections:
            connection.abort()
        try:
            if self.scheduler is not None:
                await self.scheduler.close()
            if self.trimming is not None:
                await self.trimming.close()
            await self._callers.close()
            await runtime.close()
        except StorageError as error:
            among.note(f"server {self.number} ends badly: {error}")
        if isinstance(self._sessions, NodeSessions):
            await self._sessions.close()
        among.network.cut_all(self.number)
        among.counts["stops in good order"] += 1
        among.note(f"server {self.number} has stopped")
        self._has_ended()
        stopped(self, life)

    def deploy(self) -> None:
        """Takes up the code of the app anew, while it serves, where that is done so."""
        if self.serves and self._among.nodes is None:
            assert self.runtime is not None
            self.ask(self._deploy(self.runtime))

    async def _deploy(self, runtime: Runtime) -> None:
        assert self.scheduler is not None
        assert self._store is not None
        try:
            await runtime.take_up(self._runner(self._store))
            await self.scheduler.take_up_crons()
        except StorageError as error:
            self._among.note(f"the code is not taken up: {error}")
        else:
            self._among.counts["code taken up"] += 1

    def _runner(self, store: SqliteStore) -> Slow:
        among = self._among
        runner = Slow(among.app, store, secret=bytes(32), isolated=False, deployment=among.deployment)
        runner.dice, runner.seconds = among.dice, among.function_seconds
        return runner

    def die(self) -> None:
        """Ends the life at this moment. What it had open is open until `close_files`, which a power cut need not do."""
        life = self.life
        if life is None:
            return
        counts, trimming = self._among.counts, self.trimming
        counts["crashes while the log was trimmed"] += trimming is not None and trimming.is_at_it
        self._has_ended()
        self._among.loop.end(life)
        self._among.network.accepting.pop(self.number, None)
        self._among.network.cut_all(self.number)

    def close_files(self) -> None:
        """Closes what a life had open that has died, as the system does. Not to be called from within that."""
        self.is_closing = False
        if self._store is not None:
            if self._store._reader is not None:
                self._store._reader.close()
            self._store._writer.close()

    def _has_ended(self) -> None:
        self.runtime = self.scheduler = self.trimming = self.life = None
