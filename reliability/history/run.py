"""Real clients of a real server, in rounds: what they did and saw goes to files, for `check` to judge.

Each round has lists of its own and ends when everybody has their answers. In some of them the server, or a node of it,
is killed, and a client leaves without having been told how its last mutations ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from reliability import records
from reliability.history import lists
from reliability.history.client import Client, wanted
from reliability.records import Event, Operation
from reliability.serving import Server, serving
from yugen_client import AsyncClient

COMMITS_PER_LIST: Final = 16
"""After how many transactions of a round a new list comes into use, and the oldest goes out of it."""

LISTS_IN_USE: Final = 16
REFUSED_SHARE: Final = 0.02
SCHEDULED_SHARE: Final = 0.01
BUMP_SHARE: Final = 0.1
STREAMS: Final = 4
"""Mutations that a client has in flight at once."""

SCHEDULED_SECONDS_MAX: Final = 60.0
CONVERGED_SECONDS_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do; equal plans ask the same, though what clients do at once is for the machine to interleave.

    Attributes:
        seed: of all dice.
        transactions: how many mutations, at least.
        round_size: how many of them make a round.
        clients: how many clients ask.
        watchers: how many of those watch.
        cut_share: of the answers, those that are cut off on the way.
        kills: how often the server, or one of its nodes, is killed.
        workers: how many nodes the server has; 1 has no supervisor.
    """

    seed: int
    transactions: int
    round_size: int = 5000
    clients: int = 16
    watchers: int = 4
    cut_share: float = 0.01
    kills: int = 0
    workers: int = 1


class Run:
    """Carries out a plan over a folder, which then has the history.

    Attributes:
        counts: how much of what there was.
    """

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._plan = plan
        self._folder = folder
        self._say = say
        self._dice = random.Random(plan.seed)
        self._events: list[Event] = []
        self._clients: list[Client] = []
        self._connecting: dict[Client, asyncio.Task[Any]] = {}
        self._names = count()
        self._values = count(1)
        self._progress = 0
        self._progressed = asyncio.Event()

    async def go(self) -> None:
        """Runs all rounds, and notes what is there in the end."""
        rounds = -(-self._plan.transactions // self._plan.round_size)
        kills = Counter(self._dice.choices(range(rounds), k=self._plan.kills))
        app = self._folder / "app"
        app.mkdir(parents=True)
        (app / "f.py").write_text(lists.APP)
        async with serving_lists(app, self._folder / "data", self._plan.workers) as server:
            for _ in range(self._plan.clients):
                self._join(server)
            began = time.monotonic()
            for number in range(rounds):
                await self._round(server, number, kills[number])
                if number % 10 == 9 or number == rounds - 1:
                    rate = self.counts["mutations"] / (time.monotonic() - began)
                    self._say(f"round {number + 1} of {rounds}, {rate:.0f} mutations/s: {dict(self.counts)}")
            await self._converge(server, rounds - 1)
            self._write(rounds)
            await self._note_done(server, rounds)
            for client in list(self._clients):
                await self._leave(client)
        (self._folder / "plan.json").write_text(json.dumps({"rounds": rounds, "counts": self.counts}))

    def _join(self, server: Server) -> None:
        name = f"c{next(self._names)}"
        dice = random.Random(f"{self._plan.seed} {name}")
        client = Client(name, server.url, dice, self._events_append, cut_share=self._plan.cut_share)
        self._clients.append(client)
        self._connecting[client] = asyncio.create_task(client.run())

    def _events_append(self, event: Event) -> None:
        self._events.append(event)

    async def _leave(self, client: Client) -> None:
        self._clients.remove(client)
        task = self._connecting.pop(client)
        task.cancel()
        await asyncio.wait([task])
        client.abandon()
        self.counts["reconnects"] += client.connections - 1
        self.counts["cuts"] += client.cuts
        self.counts["views"] += client.views

    async def _round(self, server: Server, number: int, kills: int) -> None:
        self._progress = 0
        tasks = [
            asyncio.create_task(self._work(client, number, stream))
            for client in self._clients
            for stream in range(STREAMS)
        ]
        watching = [asyncio.create_task(self._watch(client, number)) for client in self._clients[: self._plan.watchers]]
        for kill in range(kills):
            await self._reach(self._plan.round_size * (kill + 1) // (kills + 1))
            await self._kill(server)
            await self._leave(self._dice.choice(self._clients[self._plan.watchers :]))
            self._join(server)
        for task in tasks:
            try:
                await task
            except asyncio.CancelledError:
                self.counts["streams left"] += 1
        for task in watching:
            task.cancel()
        await asyncio.wait(watching)
        self._write(number)

    def _write(self, number: int) -> None:
        """Writes what was seen since the last time as the history of a round."""
        records.write(self._events, self._folder / f"round-{number:05}.jsonl")
        self._events.clear()

    async def _reach(self, progress: int) -> None:
        while self._progress < progress:
            self._progressed.clear()
            await self._progressed.wait()

    async def _kill(self, server: Server) -> None:
        self.counts["kills"] += 1
        if self._plan.workers == 1:
            await server.kill()
            await server.start()
        else:
            seen = len(server.lines)
            os.kill(self._dice.choice(server.children()), signal.SIGKILL)
            await server.printed("serves again", since=seen)

    async def _work(self, client: Client, number: int, stream: int) -> None:
        dice = random.Random(f"{self._plan.seed} {number} {client.name} {stream}")
        for each in count():
            if self._progress >= self._plan.round_size:
                return
            newest = self._progress // COMMITS_PER_LIST + LISTS_IN_USE
            self._progress += 1
            self.counts["mutations"] += 1
            token = f"{number:05}/{client.name}/{stream}/{each:05}"
            if dice.random() < BUMP_SHARE:
                await client.mutate("f:bump", {"token": token, "name": dice.choice("xyz")})
            else:
                await client.mutate("f:transact", self._transaction(dice, token, number, newest))
            self._progressed.set()

    def _transaction(self, dice: random.Random, token: str, number: int, newest: int) -> dict[str, Any]:
        def place() -> int:
            return newest - dice.randrange(LISTS_IN_USE)

        steps: list[list[Any]] = []
        for _ in range(dice.choice((1, 1, 2, 3))):
            kind = dice.random()
            if kind < 0.6:
                steps.append(["append", lists.key(number, place()), next(self._values)])
            elif kind < 0.85:
                steps.append(["read", lists.key(number, place())])
            else:
                low, high = sorted((place(), place()))
                steps.append(["scan", lists.key(number, low), lists.key(number, high)])
        ends = dice.random()
        if ends < REFUSED_SHARE:
            return {"token": token, "steps": steps, "ends": "refused"}
        if ends < REFUSED_SHARE + SCHEDULED_SHARE:
            return {"token": token, "steps": steps, "ends": "scheduled"}
        return {"token": token, "steps": steps}

    async def _watch(self, client: Client, number: int) -> None:
        """Watches the lists in use, which are others after a while, and a counter."""
        dice = random.Random(f"{self._plan.seed} {number} {client.name} watches")
        while True:
            newest = self._progress // COMMITS_PER_LIST + LISTS_IN_USE
            low = newest - dice.randrange(LISTS_IN_USE)
            client.watch(
                wanted(
                    ("f:scan", {"low": lists.key(number, low), "high": lists.key(number, newest)}),
                    ("f:scan", {"low": lists.key(number, low - 1), "high": lists.key(number, low)}),
                    ("f:counter", {"name": dice.choice("xyz")}),
                )
            )
            await self._reach(self._progress + COMMITS_PER_LIST * LISTS_IN_USE)

    async def _converge(self, server: Server, last: int) -> None:
        """Has all clients show what is there in the end, and notes what that is, as a client sees it who is new."""
        newest = self._progress // COMMITS_PER_LIST + LISTS_IN_USE
        queries: list[tuple[str, dict[str, Any]]] = [("f:counter", {"name": name}) for name in "xyz"]
        queries.append(("f:scan", {"low": lists.key(last, newest - 2 * LISTS_IN_USE), "high": lists.key(last, newest)}))
        named = wanted(*queries)
        async with AsyncClient(server.url) as reader:
            final = {name: await reader.query(*query) for name, query in named.items()}
        for client in self._clients:
            client.watch(named)
        try:
            async with asyncio.timeout(CONVERGED_SECONDS_MAX):
                await asyncio.gather(*(client.until(lambda shown: shown == final) for client in self._clients))
        except TimeoutError:
            self._say("not everybody shows what is there in the end")  # which the checker will say, too
        clients = [client.name for client in self._clients]
        (self._folder / "final.json").write_text(json.dumps({"final": final, "clients": clients}))

    async def _note_done(self, server: Server, rounds: int) -> None:
        """Notes what is stored of all that was asked, once what was scheduled has had its time."""
        expected = Counter[int]()
        names = Counter[tuple[int, str]]()
        for number in range(rounds):
            for operation in operations(records.read(self._folder / f"round-{number:05}.jsonl")):
                names[number, operation.client] += 1
                expected[number] += operation.outcome == "ok" and operation.args.get("ends") == "scheduled"
        async with AsyncClient(server.url) as reader:
            patience = time.monotonic() + SCHEDULED_SECONDS_MAX
            for number in range(rounds):
                clients = sorted(client for each, client in names if each == number)
                while True:
                    rows = [row for client in clients for row in await self._done(reader, number, client)]
                    if sum(scheduled for _, scheduled in rows) >= expected[number] or time.monotonic() > patience:
                        break
                    await asyncio.sleep(0.1)
                (self._folder / f"done-{number:05}.json").write_text(json.dumps(rows))

    async def _done(self, reader: AsyncClient, number: int, client: str) -> list[tuple[str, bool]]:
        start = f"{number:05}/{client}/"
        rows: list[tuple[str, bool]] = await reader.query(
            "f:done", {"round": f"{number:05}", "low": start, "high": start + "~"}
        )
        return rows


def operations(events: Iterable[Event]) -> Iterable[Operation]:
    """The operations among the events."""
    return (event for event in events if isinstance(event, Operation))


@asynccontextmanager
async def serving_lists(app: Path, data: Path, workers: int) -> AsyncIterator[Server]:
    """The server whose clients are watched."""
    options = ("--workers", str(workers)) if workers > 1 else ()
    expected = ["another one takes its place"]  # what is said of a node that was killed
    async with serving(app, data, *options, development=False, expected_errors=expected) as server:
        yield server
