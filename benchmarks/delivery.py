"""From a commit to the sockets of those whose queries it touched: what the server process does for each of them.

Everything but the transport and the functions is real: sockets are in memory, and a query answers as soon as it is
asked. So this is the processor time that Yugen adds to a broadcast, and to a function.
"""

import asyncio
import gc
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import cast

import uvloop

from benchmarks.figures import Section
from yugen.functions.names import canonical_path
from yugen.identity import Identity
from yugen.intervals import point
from yugen.runtime.causes import Why
from yugen.runtime.outcome import Answer, MutationAnswer, Outcome
from yugen.runtime.queries import Queries, QueryKey
from yugen.runtime.runtime import Runtime
from yugen.runtime.writes import Written
from yugen.server.caller import AdminKey, Callers
from yugen.server.connection import Connection, Disconnected
from yugen.server.newcomers import Newcomers
from yugen.server.rounds import Rounds
from yugen.server.unread import Unread
from yugen.storage.interface import Change, Commit

CONNECTIONS = 1000
WRITES = 40
RESULT_BYTES = 400


class Engine:
    """As much of a runtime as a connection sees: each query reads one key, and `write` changes it.

    A run takes `seconds`, in which it does nothing.
    """

    refusing = False

    def __init__(self, seconds: float = 0.0) -> None:
        self.ts = 1
        self.queries = Queries(self._execute, self.ts)
        self._seconds = seconds

    @property
    def acknowledged(self) -> int:
        return self.ts

    def refusal(self, path: str, request_id: str, received_ns: int | None) -> None:
        return None

    def query_key(self, path: str, args: bytes, *, public: bool = True, journal: str | None = None) -> QueryKey:
        return QueryKey(canonical_path(path), args, public, journal)

    def write(self, *keys: bytes) -> None:
        """Publishes a commit."""
        self.ts += 1
        self.queries.publish(Written(Commit(self.ts, tuple(Change(key, None, b"{}") for key in keys))))

    def call(
        self, path: str, args: bytes, identity: Identity | None, answered: Callable[[MutationAnswer], None], **_: object
    ) -> Callable[[MutationAnswer], None]:
        return answered

    def begin(self, call: Callable[[MutationAnswer], None]) -> None:
        """Answers a mutation at once."""
        self.ts += 1
        call(MutationAnswer(Answer(b"null"), self.ts))

    async def _execute(self, key: QueryKey, caller: Identity | None, ts: int, why: Why) -> Outcome:
        if self._seconds:
            await asyncio.sleep(self._seconds)
        return Outcome(Answer(b'"%d %s"' % (ts, b"x" * RESULT_BYTES)), (point(key.args),))


class Socket:
    """A client that reads at once."""

    def __init__(self, arrived: Callable[[], None]) -> None:
        self.frames: asyncio.Queue[str | None] = asyncio.Queue()
        self._arrived = arrived

    async def receive(self) -> str | bytes:
        frame = await self.frames.get()
        if frame is None:
            raise Disconnected
        return frame

    async def send(self, text: bytes) -> None:
        self._arrived()

    async def close(self, code: int, reason: str) -> None: ...

    def say(self, **message: object) -> None:
        """Sends a message to the server."""
        self.frames.put_nowait(json.dumps(message))

    def connect(self) -> None:
        """As clients begin."""
        uuid = f"{id(self):08x}-0000-4000-8000-000000000000"[-36:]
        self.say(type="Connect", sessionId=uuid, connectionCount=0, lastCloseReason=None, clientTs=time.time() * 1000)
        self.say(type="ModifyQuerySet", baseVersion=0, newVersion=1, modifications=[])

    def subscribe(self, topic: int, query_id: int = 0) -> None:
        """Adds a query."""
        add = {"type": "Add", "queryId": query_id, "udfPath": "notes:newest", "args": [{"topic": f"topic {topic}"}]}
        self.say(type="ModifyQuerySet", baseVersion=1 + query_id, newVersion=2 + query_id, modifications=[add])


class Bench:
    """Connections to one engine."""

    def __init__(self, connections: int, seconds: float = 0.0) -> None:
        self.engine = Engine(seconds)
        self.sockets = [Socket(self._arrived) for _ in range(connections)]
        self.tasks: list[asyncio.Task[None]] = []
        self._left = 0
        self._done = asyncio.Event()

    async def connect(self) -> None:
        """Has every client connect."""
        runtime, callers = cast("Runtime", self.engine), Callers(cast("AdminKey", None))
        newcomers, rounds, unread = Newcomers(), Rounds(), Unread()
        for socket in self.sockets:
            connection = Connection(socket, runtime, callers, newcomers=newcomers, rounds=rounds, unread=unread)
            self.tasks.append(asyncio.create_task(connection.serve()))
            socket.connect()
        await self.messages(1)

    async def messages(self, each: int) -> None:
        """Waits until each client, on average, has been sent so many messages."""
        self._left += each * len(self.sockets)
        self._done.clear()
        await self._done.wait()

    def _arrived(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._done.set()

    async def close(self) -> None:
        """Has every client leave."""
        for socket in self.sockets:
            socket.frames.put_nowait(None)
        await asyncio.gather(*self.tasks)


async def fan_out(queries: int) -> float:
    """Microseconds of processor time for each of the connections, whose queries one write makes run again."""
    # All who wait for a query wait for its run, as they do for one in a worker.
    bench = Bench(CONNECTIONS, seconds=0.05 if queries == 1 else 0.0)
    await bench.connect()
    for number, socket in enumerate(bench.sockets):
        socket.subscribe(number % queries)
    await bench.messages(1)
    keys = [b'{"topic":"topic %d"}' % number for number in range(queries)]
    gc.collect()
    gc.freeze()
    times = []
    for _ in range(WRITES):
        began = time.process_time()
        bench.engine.write(*keys)
        await bench.messages(1)
        times.append(time.process_time() - began)
    await bench.close()
    gc.unfreeze()
    return statistics.median(times) / CONNECTIONS * 1e6


async def mutations(calls: int = 20_000) -> float:
    """Microseconds of processor time from a mutation's frame to its response and Transition, without its run."""
    bench = Bench(50)
    await bench.connect()
    frame = {"type": "Mutation", "udfPath": "notes:add", "args": [{"topic": "a", "body": "x" * 100}]}
    frames = [json.dumps({**frame, "requestId": number}) for number in range(calls // len(bench.sockets))]
    began = time.process_time()
    for each in frames:
        for socket in bench.sockets:
            socket.frames.put_nowait(each)
        await bench.messages(2)
    elapsed = time.process_time() - began
    await bench.close()
    return elapsed / calls * 1e6


async def memory() -> tuple[float, float]:
    """KiB that an idle connection takes without its transport, and a further subscription of a query that is cached."""
    await mutations(100)  # whatever is made once
    bench = Bench(CONNECTIONS)
    gc.collect()
    tracemalloc.start()
    await bench.connect()
    gc.collect()
    idle, _ = tracemalloc.get_traced_memory()
    more = 8
    for query_id in range(more):
        for socket in bench.sockets:
            socket.subscribe(query_id, query_id)
        await bench.messages(1)
    gc.collect()
    subscribed, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await bench.close()
    return idle / CONNECTIONS / 1024, (subscribed - idle) / CONNECTIONS / more / 1024


async def costs() -> dict[str, float]:
    gc.set_threshold(50_000, 20, 100)  # as in the server
    shared, distinct = await fan_out(1), await fan_out(CONNECTIONS)
    connection, subscription = await memory()
    return {
        f"each of {CONNECTIONS} subscribers of one query, processor time, µs": round(shared, 1),
        f"each of {CONNECTIONS} subscribers of queries of their own, processor time, µs": round(distinct, 1),
        "a mutation's frame, response and Transition, processor time, µs": round(await mutations(), 1),
        "an idle connection without its transport, KiB": round(connection, 2),
        "a further subscription of a cached query, KiB": round(subscription, 2),
    }


def measure() -> Section:
    return Section([], (), uvloop.run(costs()))
