"""The computer on which a server runs: a disk that forgets, and one process, or several nodes, over one database."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from reliability.simulation.loop import LIFE, Life, SimulatedLoop
from reliability.simulation.network import Network
from reliability.simulation.server import FUNCTION_SECONDS, Nodes, Server, Surroundings
from reliability.vfs import FaultyVFS, Operation, io_error
from yugen.functions.registry import App
from yugen.server.mail import Mail
from yugen.storage.board import Board
from yugen.storage.sqlite_nodes import finish

AGAIN_SECONDS = 0.5
"""How long the place of what has ended stays empty."""


class Machine:
    """The computer, from one power cut to the next.

    Attributes:
        servers: the one server, or its nodes.
        left: what they had not ended when they had stopped.
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
        *,
        nodes: int,
        log_seconds: float,
    ) -> None:
        path = folder / "life-0" / "data.sqlite3"
        path.parent.mkdir(parents=True)
        self._disk, self._network, self._loop, self._dice, self._note = disk, network, loop, dice, note
        seconds = dice.choice(FUNCTION_SECONDS)
        self.among = Surroundings(app, folder, loop, network, dice, note, path, seconds, log_seconds)
        self.servers = [
            Server(self.among, number, serves=self.start, cannot=self._replace, waits=self._is_others_turn)
            for number in range(nodes)
        ]
        self.left: list[str] = []
        self._cuts = 0
        self._countdown = -1
        self._is_power = True
        self._for_good = False
        self._ending: list[tuple[Server, Life]] = []
        disk.on_operation = self._on_disk

    @property
    def path(self) -> Path:
        """The database, as it is now."""
        return self.among.path

    @property
    def counts(self) -> Counter[str]:
        """What has happened."""
        return self.among.counts

    @property
    def first(self) -> Server:
        """Who does what there is one of."""
        return self.servers[0]

    @property
    def is_alive(self) -> bool:
        """Whether there is a life, which may not serve yet, or any more."""
        return any(server.life is not None for server in self.servers)

    @property
    def serves(self) -> bool:
        """Whether all there should be answer, and go on with that."""
        return all(server.serves for server in self.servers)

    @property
    def is_asked(self) -> bool:
        """Whether something is being done that an administrator has asked for."""
        return any(server.is_asked for server in self.servers)

    @property
    def is_doomed(self) -> bool:
        """Whether somebody is to die after so many operations of the disk."""
        return self._countdown > 0

    @property
    def is_stopping(self) -> bool:
        """Whether what there is ends in good order."""
        return any(server.is_stopping and server.life is not None for server in self.servers)

    def anyone(self) -> Server | None:
        """One of those who serve, if there are any."""
        serving = [server for server in self.servers if server.serves]
        return serving[0] if len(serving) == 1 else self._dice.choice(serving) if serving else None

    def start(self) -> None:
        """Begins the lives that are missing. The first node brings the data to what the app declares."""
        if self._for_good or self.is_stopping:
            return
        if len(self.servers) > 1 and self.among.nodes is None:
            self.among.nodes = Nodes(Board(len(self.servers)), Mail(len(self.servers)))
        self.first.start()
        if self.among.nodes is not None and self.among.nodes.deployed:
            for server in self.servers[1:]:
                server.start()

    def _start_again(self) -> None:
        self._loop.call_later(AGAIN_SECONDS, self.start, context=self._network._context)

    def stop(self, *, for_good: bool = False) -> None:
        """Ends all there is in good order, and starts it again unless that is for good."""
        if self.serves:
            self._for_good = for_good
            self._ending.clear()
            for server in self.servers:
                server.stop(self._stopped)

    def _stopped(self, server: Server, life: Life) -> None:
        self._ending.append((server, life))
        if self.is_alive:
            return
        if self.among.nodes is not None:
            self._loop.call_later(0.1, finish, self.path, context=self._network._context)
            self._forget_nodes()
        self._loop.call_later(0.2, self._see_to_it_that_nothing_is_left, context=self._network._context)
        self._loop.call_later(0.3, self.start, context=self._network._context)

    def _see_to_it_that_nothing_is_left(self) -> None:
        for _, life in self._ending:
            left = self._loop.left_of(life)
            self.counts["stops after which nothing was left"] += not left
            for task in left:
                name = f"{task.get_coro()}".partition(" at 0x")[0]
                self.left.append(f"{name} failed: {task.exception()!r}" if task.done() else name)
            self._loop.end(life)
        self._ending.clear()

    def _replace(self, server: Server) -> None:
        """Has another process take the place of one that cannot go on, or has not come to serve."""
        if server.life is None:
            self._start_again()
        else:
            self.kill(server)

    def kill(self, server: Server) -> None:
        """Ends a process as `kill -9` does. The only one there is goes with the power."""
        if self.among.nodes is None:
            self.cut_power("with its only process")
            return
        if server.life is None:
            return
        self._note(f"node {server.number} is killed")
        self.counts["nodes killed"] += 1
        server.die()
        server.is_closing = True
        self._loop.call_soon(server.close_files, context=self._network._context)  # this may be within one of them
        self.among.nodes.board.set_present(server.number, False)
        for other in self.among.nodes.mail.others(server.number):
            self.among.nodes.mail.post(other, {"gone": server.number})
        self.among.nodes.board.ring()
        self._start_again()

    def die_within(self, operations: int, *, power: bool = True) -> None:
        """Has the power fail before the nth operation of the disk from now, or else the node die that does it."""
        self._countdown, self._is_power = operations, power

    def _on_disk(self, operation: Operation, path: Path) -> None:
        life = LIFE.get()
        if life is not None and life.ended and self.among.nodes is not None:
            raise io_error(operation)  # who is dead does nothing more, to files that others have too
        if self._countdown <= 0 or path.parent != self.path.parent:
            return
        self._countdown -= 1
        if self._countdown:
            return
        who = [server for server in self.servers if server.life is life]
        if self._is_power or self.among.nodes is None or not who:
            self.cut_power(f"before a {operation} of {path.name}")
        else:
            self.kill(who[0])
            raise io_error(operation)

    def cut_power(self, when: str) -> None:
        """Ends all lives at this moment. What the disk has is what the next ones find."""
        self._countdown = -1
        if not self.is_alive:
            return
        self.counts["crashes"] += 1
        self._note(f"all dies {when}")
        for server in self.servers:
            server.die()
        self._cuts += 1
        path = self.among.folder / f"life-{self._cuts}" / self.path.name
        self._disk.image(self.path.parent, path.parent, self._dice)
        self._disk.forget()
        self._disk.know(*path.parent.iterdir())  # or else what the next life has not opened when it ends would be lost
        self.among.path = path
        if self.among.nodes is not None:
            self._forget_nodes()
        self._start_again()

    def _forget_nodes(self) -> None:
        assert self.among.nodes is not None
        self.among.nodes.close()
        self.among.nodes = None

    def close(self) -> None:
        """Gives up what it still has, also after a run that has failed."""
        if self.among.nodes is not None:
            self._forget_nodes()

    def _is_others_turn(self, server: Server) -> bool:
        return any(other.has_the_turn for other in self.servers if other is not server)
