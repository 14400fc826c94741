"""How often queries run again for a write that changes nothing for them, and how often they would with less precision.

Nothing here takes time that is measured: the same seed gives the same counts on every machine.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from unittest.mock import patch

import uvloop

from benchmarks.figures import Section, compared
from benchmarks.servers import HERE
from yugen import values
from yugen.functions.registry import load
from yugen.intervals import Interval, IntervalSet
from yugen.runtime.inline import InlineRunner
from yugen.runtime.outcome import Answer
from yugen.runtime.queries import QueryKey
from yugen.runtime.runtime import Runtime
from yugen.runtime.transaction import Rows, Transaction
from yugen.runtime.writes import Written, overlap
from yugen.storage.memory import MemoryStore

CHANNELS = ("general", "random", "help", "news")
AUTHORS = ("ada", "bob", "cid", "dot", "eve", "fay")
MESSAGES = 60
"""In each channel, to begin with."""

WRITES = 400

KINDS = {
    "no filter, limit or `select`": ("everything",),
    "limits": ("newest", "last", "page"),
    "filters": ("pinned", "by"),
    "`select`": ("outline", "recent_lines"),
    "totals": ("count", "likes"),
}
ARGUMENTS: Mapping[str, dict[str, Any]] = {
    "by": {"author": "ada"},
    "page": {"paginationOpts": {"numItems": 20.0, "cursor": None}},
}


@dataclass
class Subscription:
    """A query that is held: its newest answer, the ranges it asked for, and how far it read them."""

    kind: str
    key: QueryKey
    answer: Answer = field(default_factory=Answer)
    asked: tuple[Interval, ...] = ()
    read: tuple[Interval, ...] = ()
    stale: bool = False

    def tell(self) -> None:
        self.stale = True


class Channels:
    """An engine with people who write to channels, and some who look at them."""

    def __init__(self, runtime: Runtime, seed: int) -> None:
        self.runtime = runtime
        self.dice = random.Random(seed)
        self.messages: list[str] = []
        self.subscriptions: list[Subscription] = []

    async def call(self, name: str, **args: Any) -> Any:
        answer = (await self.runtime.mutate(f"messages:{name}", values.canonical(args))).answer
        assert answer.value is not None, answer.failure
        return values.loads(answer.value)

    async def send(self, channel: str) -> None:
        self.messages.append(await self.call("send", channel=channel, author=self.dice.choice(AUTHORS), body="hello"))

    async def write(self) -> None:
        """One write: a message comes, is liked, edited, pinned or removed; newer ones more often than older ones."""
        newer = self.messages[-1 - int(self.dice.random() ** 2 * len(self.messages))]
        match self.dice.choices(["send", "like", "edit", "pin", "remove"], [30, 40, 15, 5, 10])[0]:
            case "send":
                await self.send(self.dice.choice(CHANNELS))
            case "like":
                await self.call("like", message=newer)
            case "edit":
                await self.call("edit", message=newer, body=f"hello {self.dice.random()}")
            case "pin":
                await self.call("pin", message=newer, pinned=self.dice.random() < 0.7)
            case "remove":
                self.messages.remove(newer)
                await self.call("remove", message=newer)

    async def subscribe(self, kind: str, name: str, **args: Any) -> None:
        key = self.runtime.query_key(f"messages:{name}", values.canonical(args))
        journal = (await self.runtime.queries.at(key, None, self.runtime.ts)).journal
        held = Subscription(kind, self.runtime.query_key(key.path, key.args, journal=journal))
        self.runtime.queries.subscribe(held.key, None, held.tell)
        await self.runtime.queries.at(held.key, None, self.runtime.ts)
        await self.look(held)
        self.subscriptions.append(held)

    async def look(self, held: Subscription) -> None:
        """Runs a query beside the engine's own runs, to know its answer and what it reads."""
        with asked_ranges() as asked:
            outcome = await self.runtime._execute(held.key, None, self.runtime.ts)
        assert outcome.answer.failure is None
        held.answer, held.asked = outcome.answer, tuple(asked)
        held.read = tuple(IntervalSet((*outcome.reads, *(interval for interval, _ in outcome.guarded))))


@contextmanager
def asked_ranges() -> Iterator[IntervalSet]:
    """The ranges of indexes that functions ask for within, however far they read them."""
    asked = IntervalSet()
    rows = Transaction.rows

    def noted(self: Transaction, start: bytes, end: bytes, **options: Any) -> Rows:
        asked.add(start, end)
        return rows(self, start, end, **options)

    with patch.object(Transaction, "rows", noted):
        yield asked


async def started(channels: Channels) -> None:
    """Fills the channels, and subscribes to every query in each of them."""
    for _ in range(MESSAGES):
        for channel in CHANNELS:
            await channels.send(channel)
    for channel in CHANNELS:
        for kind, names in KINDS.items():
            for name in names:
                args = ARGUMENTS.get(name, {})
                await channels.subscribe(kind, name, channel=channel, **args)


async def tally(seed: int) -> dict[str, Counter[str]]:
    """By kind of query: how often a write ran one again, changed its answer, lay in what it read and in its ranges."""
    counts = {kind: Counter[str]() for kind in KINDS}
    store = MemoryStore()
    runner = InlineRunner(load(HERE / "channels"), store, secret=bytes(32))
    ticks = count(1_800_000_000_000_000_000, 1_000_000)
    runtime = Runtime(store, runner, clock=lambda: next(ticks))
    try:
        await runtime.start()
        channels = Channels(runtime, seed)
        await started(channels)
        with patch.object(runtime.queries, "publish", wraps=runtime.queries.publish) as publish:
            for _ in range(WRITES):
                publish.reset_mock()
                await channels.write()
                for published in publish.call_args_list:  # none if it was pinned already
                    for held in channels.subscriptions:
                        await settle(channels, held, published.args[0], counts[held.kind])
    finally:
        await runtime.close()
    return counts


async def settle(channels: Channels, held: Subscription, written: Written, counts: Counter[str]) -> None:
    """Counts what a write was to a query, and brings the query up to date."""
    in_range = overlap(held.asked, written.keys)
    assert in_range or not held.stale
    if not in_range:
        return
    counts["in range"] += 1
    counts["in what was read"] += overlap(held.read, written.keys) is not None
    counts["run again"] += held.stale
    before = held.answer.value
    await channels.look(held)
    changed = before != held.answer.value
    assert held.stale or not changed, f"{held.key} should have run again"
    counts["changed"] += changed
    if held.stale:
        held.stale = False
        await channels.runtime.queries.at(held.key, None, channels.runtime.ts)


def measure() -> Section:
    counts = uvloop.run(tally(1))
    figures = [
        compared(
            f"runs again, queries with {kind}", "runs", found["run again"], found["in range"], "writes in their ranges"
        )
        for kind, found in counts.items()
    ]
    whole = sum(counts.values(), Counter[str]())
    for name, what in (
        ("in range", "writes in their ranges"),
        ("in what was read", "writes in what they read of those"),
        ("changed", "answers that changed"),
    ):
        figures.append(compared("runs again, all of them", "runs", whole["run again"], whole[name], what))
    return Section(figures, (), {"subscriptions": len(CHANNELS) * sum(map(len, KINDS.values())), "writes": WRITES})
