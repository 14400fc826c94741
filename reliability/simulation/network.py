"""A network in memory: connections that delay, stall, swallow and break, and never change the order within one."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from reliability.simulation.loop import SimulatedLoop
from yugen.server.connection import Disconnected

DELAY_SECONDS = 0.005
"""Of a message on a good day, at most."""


class Network:
    """All connections there are.

    Attributes:
        accepting: serve a connection at the server's end, by the numbers of the nodes that there are.
        slow: seconds that messages take at most.
        partitioned: whether nothing gets through.
        counts: what has happened.
    """

    def __init__(self, loop: SimulatedLoop, dice: random.Random, note: Callable[[str], None]) -> None:
        self.loop = loop
        self.dice = dice
        self.note = note
        self.accepting: dict[int, Callable[[Wire], None]] = {}
        self.slow = DELAY_SECONDS
        self.partitioned = False
        self.wires: dict[str, Wire] = {}
        self.counts: Counter[str] = Counter()
        self._context = Context()  # of no life: what is on its way outlives who has sent it

    async def connect(self, client: str) -> Wire:
        """A new connection of a client.

        Raises:
            OSError: nobody answers.
        """
        await asyncio.sleep(self.delay())
        if not self.accepting or self.partitioned:
            raise ConnectionRefusedError("there is no server")
        nodes = list(self.accepting)
        node = nodes[0] if len(nodes) == 1 else self.dice.choice(nodes)
        before = self.wires.get(client)
        self.counts["moves to another node"] += before is not None and before.node != node
        wire = self.wires[client] = Wire(self, client, node)
        self.counts["connections"] += 1
        self.accepting[node](wire)
        return wire

    def delay(self) -> float:
        """How long the next message takes."""
        return self.dice.random() * self.slow

    def later(self, when: float, what: Callable[..., None], *args: Any) -> None:
        """Has something happen, whoever lives by then."""
        self.loop.call_at(when, what, *args, context=self._context)

    def partition(self) -> None:
        """Lets nothing through any more."""
        self.partitioned = True

    def heal(self) -> None:
        """Lets through again what is sent, and what could not get through."""
        self.partitioned = False
        for wire in self.wires.values():
            wire.send_held()

    def cut_all(self, node: int | None = None) -> None:
        """Breaks all connections, or those to a node, as the end of the process at their other end does."""
        for wire in self.wires.values():
            if node is None or wire.node == node:
                wire.cut()


class End:
    """What has arrived at one end of a connection, or is on its way there."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.arrived: deque[str | bytes | None] = deque()
        self.under_way: deque[str | bytes | None] = deque()
        self.held: list[str | bytes | None] = []
        self.waiting: asyncio.Future[None] | None = None
        self.last = 0.0

    def send(self, message: str | bytes | None) -> None:
        if self.network.partitioned:
            self.held.append(message)  # as TCP does, which sends it again until it gets through
            return
        self.under_way.append(message)
        self.last = max(self.last, self.network.loop.now + self.network.delay())
        self.network.later(self.last, self.arrive)

    def send_held(self) -> None:
        """Sends what could not get through until now."""
        held, self.held = self.held, []
        for message in held:
            self.send(message)

    def arrive(self) -> None:
        if self.under_way:
            self.arrived.append(self.under_way.popleft())  # for two timers of one moment may come in any order
            self.wake()

    def lose(self) -> None:
        """Loses what is under way."""
        self.under_way.clear()
        self.held.clear()
        self.last = 0.0

    def wake(self) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)

    async def next(self) -> str | bytes | None:
        while not self.arrived:
            self.waiting = self.network.loop.create_future()
            await self.waiting
        if self.arrived[0] is None:
            return None
        return self.arrived.popleft()


class Wire:
    """One connection: the client's end as `websockets` has it, and the server's as `yugen.server` does.

    Attributes:
        node: to which node it leads.
        swallows: whether what is sent vanishes, and nobody is told.
        stalled: whether the client does not read.
    """

    def __init__(self, network: Network, client: str, node: int = 0) -> None:
        self.client = client
        self.node = node
        self.swallows = False
        self.stalled = False
        self._network = network
        self._to_server, self._to_client = End(network), End(network)
        self._is_cut = False
        self._close: Close | None = None
        self._reads: asyncio.Future[None] | None = None
        self.server_end = ServerEnd(self)

    def cut(self, close: Close | None = None) -> None:
        """Breaks the connection. What is on its way still arrives, or some of it."""
        if self._is_cut:
            return
        self._is_cut = True
        self._close = self._close or close
        for end in (self._to_server, self._to_client):
            if self._network.dice.random() < 0.5 and close is None:
                end.lose()
            end.send(None)
        self.read_on()

    def send_held(self) -> None:
        """Has what a partition held back go on its way."""
        self._to_server.send_held()
        self._to_client.send_held()

    def _is_lost(self) -> bool:
        return self.swallows or self._is_cut

    def read_on(self) -> None:
        """Has the client read again."""
        self.stalled = False
        if self._reads is not None and not self._reads.done():
            self._reads.set_result(None)

    # The client's end

    async def send(self, text: str) -> None:
        if self._is_cut and self._to_client.arrived and self._to_client.arrived[0] is None:
            raise self._gone()
        self._network.note(f"{self.client} -> {text[:160]}")
        if not self._is_lost():
            self._to_server.send(text)

    async def recv(self) -> str | bytes:
        message = await self._to_client.next()
        if message is None:
            raise self._gone()
        self._network.note(f"{self.client} <- {message[:160]!r}")
        return message

    async def close(self) -> None:
        self.cut()

    async def ping(self) -> asyncio.Future[None]:
        pong: asyncio.Future[None] = self._network.loop.create_future()
        if not self.swallows and not self._network.partitioned:
            pong.set_result(None)
        return pong

    def _gone(self) -> ConnectionClosedError:
        return ConnectionClosedError(self._close, None)

    # The server's

    async def server_receive(self) -> str | bytes:
        message = await self._to_server.next()
        if message is None:
            raise Disconnected
        return message

    async def server_send(self, text: bytes) -> None:
        if self._is_cut:
            raise Disconnected
        while self.stalled:
            self._reads = self._network.loop.create_future()
            await self._reads
            if self._is_cut:
                raise Disconnected
        if not self._is_lost():
            self._to_client.send(text)

    async def server_close(self, code: int, reason: str) -> None:
        if self._is_cut:
            raise Disconnected
        self._network.note(f"{self.client} is closed with {code} {reason}")
        self.cut(Close(code, reason))


class ServerEnd:
    """A `yugen.server.connection.Socket`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def receive(self) -> str | bytes:
        return await self._wire.server_receive()

    async def send(self, text: bytes) -> None:
        await self._wire.server_send(text)

    async def close(self, code: int, reason: str) -> None:
        await self._wire.server_close(code, reason)
