"""Random queries held up to date through random mutations, against running them anew: no invalidation is missed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from tests.engine import encoded, engine, interleaving, new_store, value_of
from yugen.runtime.outcome import Answer
from yugen.runtime.queries import QueryKey
from yugen.runtime.runtime import Runtime

APP = {
    "schema": """
        from typing import Literal
        from yugen import Document, Index

        class Item(Document, table="items"):
            name: str
            kind: Literal["a", "b", "c"]
            rank: int
            note: str | None = None

            by_kind = Index("kind", "rank")
            by_rank = Index("rank")


        class Short(Document):
            name: str
            note: str | None = None
    """,
    "items": """
        from typing import Any
        from yugen import MutationCtx, QueryCtx, YugenError, gt, gte, lt, lte, mutation, query
        from .schema import Item, Short

        BOUNDS = {"gt": gt, "gte": gte, "lt": lt, "lte": lte}

        @query(name="list")
        async def list_items(
            ctx: QueryCtx, index: str, fixed: dict[str, Any], bound: list[Any], order: str, odd: bool, take: int
        ) -> list[Item]:
            bounds = dict(fixed)
            if bound:
                bounds["rank"] = BOUNDS[bound[0]](bound[1])
            items = ctx.db.query(Item).with_index(index, **bounds).order(order)
            if odd:
                items = items.filter(lambda item: item.rank % 2 == 1)
            return await (items.take(take) if take else items.collect())

        WANTED = {"p"}
        KEEP = {
            "small": lambda item: item.rank < 3,
            "unnoted": lambda item: item.note is None,
            "wanted": lambda item: item.note in WANTED and not item.kind == "c",
            "named": lambda item: item.name.startswith("n1") or 1 < item.rank % 4 <= 3,
            "hidden": lambda item: isinstance(item.note, str),
        }

        @query
        async def part(
            ctx: QueryCtx, keep: list[str], fields: list[str], order: str, take: int, how: str
        ) -> Any:
            items = ctx.db.query(Item).with_index(Item.by_rank).order(order)
            for name in keep:
                items = items.filter(KEEP[name])
            if how == "count":
                return await items.count()
            if how == "shape":
                items = items.select(Short)
            elif fields:
                items = items.select(*fields)
            return await (items.take(take) if take else items.collect())

        @query
        async def nth(ctx: QueryCtx, n: int) -> Item | None:
            # Goes from one read to the next: a document, by what another says.
            found = await ctx.db.query(Item).order("desc").first()
            if found is None:
                return None
            rows = await ctx.db.query(Item).with_index(Item.by_rank, rank=found.rank).take(n)
            return await ctx.db.get(rows[-1].id)

        @query
        async def page(ctx: QueryCtx, stop: int) -> list[str]:
            names = []
            async for item in ctx.db.query(Item).with_index(Item.by_rank):
                names.append(item.name)
                if item.rank >= stop:
                    break
            return names

        @query
        async def strict(ctx: QueryCtx, kind: str) -> str:
            found = await ctx.db.query(Item).with_index(Item.by_kind, kind=kind, rank=3).unique()
            if found is None:
                raise YugenError("none")
            return found.name

        @query
        async def tags(ctx: QueryCtx, text: str) -> int:
            if text:
                return await ctx.db.query("tags").filter(lambda tag: tag["text"] == text).count()
            return await ctx.db.query("tags").count()

        @query
        async def nested(ctx: QueryCtx) -> list[int]:
            return [await ctx.run_query(tags, text) for text in ("", "x")]

        @mutation
        async def apply(ctx: MutationCtx, edits: list[list[Any]]) -> None:
            for kind, *args in edits:
                match kind, *args:
                    case "insert", name, of, rank:
                        await ctx.db.insert(Item(name=name, kind=of, rank=rank))
                    case "tag", text:
                        await ctx.db.insert("tags", {"text": text})
                    case _:
                        items = await ctx.db.query(Item).collect()
                        if not items:
                            continue
                        chosen = items[int(args[0]) % len(items)]
                        match kind, *args:
                            case "rank", _, rank:
                                await ctx.db.patch(chosen.id, rank=rank)
                            case "kind", _, of:
                                await ctx.db.patch(chosen.id, kind=of)
                            case "note", _, note:
                                await ctx.db.patch(chosen.id, note=note)
                            case "delete", _:
                                await ctx.db.delete(chosen.id)
    """,
}


def queries(dice: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """Queries to hold, of every shape."""

    def listing() -> tuple[str, dict[str, Any]]:
        index = dice.choice(["by_kind", "by_rank", "by_creation_time"])
        fixed = {"kind": dice.choice("abc")} if index == "by_kind" and dice.random() < 0.8 else {}
        bounded = dice.random() < 0.6 and (index == "by_rank" or bool(fixed))
        return "items:list", {
            "index": index,
            "fixed": fixed,
            "bound": [dice.choice(["gt", "gte", "lt", "lte"]), dice.randint(0, 6)] if bounded else [],
            "order": dice.choice(["asc", "desc"]),
            "odd": dice.random() < 0.3,
            "take": dice.choice([0, 1, 2, 3]),
        }

    def parts() -> tuple[str, dict[str, Any]]:
        return "items:part", {
            "keep": dice.sample(["small", "unnoted", "wanted", "named", "hidden"], dice.choice([0, 1, 1, 2])),
            "fields": dice.sample(["name", "kind", "rank", "note"], dice.choice([0, 1, 2])),
            "order": dice.choice(["asc", "desc"]),
            "take": dice.choice([0, 2, 4]),
            "how": dice.choice(["", "", "count", "shape"]),
        }

    others: list[tuple[str, dict[str, Any]]] = [
        ("items:nth", {"n": 2}),
        ("items:page", {"stop": dice.randint(1, 5)}),
        ("items:strict", {"kind": "a"}),
        ("items:tags", {"text": ""}),
        ("items:tags", {"text": "x"}),
        ("items:nested", {}),
        ("items:nope", {}),
    ]
    return [listing() for _ in range(12)] + [parts() for _ in range(16)] + others


def edits(dice: random.Random) -> list[list[Any]]:
    makers: list[Callable[[], list[Any]]] = [
        lambda: ["insert", f"n{dice.randint(0, 99)}", dice.choice("abc"), dice.randint(0, 6)],
        lambda: ["insert", f"n{dice.randint(0, 99)}", dice.choice("abc"), dice.randint(0, 6)],
        lambda: ["rank", dice.randint(0, 50), dice.randint(0, 6)],
        lambda: ["kind", dice.randint(0, 50), dice.choice("abc")],
        lambda: ["note", dice.randint(0, 50), dice.choice(["p", "q", None])],
        lambda: ["delete", dice.randint(0, 50)],
        lambda: ["delete", dice.randint(0, 50)],
        lambda: ["tag", dice.choice("xy")],
    ]
    weights = [4, 4, 4, 4, 4, 3, 3, 1]
    return [maker() for maker in dice.choices(makers, weights, k=dice.randint(1, 3))]


def content(answer: Answer) -> Any:
    """What an answer says. The request id of a failure is of the run."""
    if answer.failure is None:
        return value_of(answer)
    return answer.failure.message.partition("] ")[2], answer.failure.data


async def fresh(runtime: Runtime, key: QueryKey, ts: int) -> Any:
    return content((await runtime._execute(key, None, ts)).answer)


@dataclass
class Subscriber:
    """Holds the answers of some queries as a session does: asks again for those it was told of, all at one timestamp.

    `seen` is every answer it ever had, with the timestamp it was given for.
    """

    runtime: Runtime
    keys: list[QueryKey]
    held: dict[QueryKey, Any] = field(default_factory=dict)
    stale: set[QueryKey] = field(default_factory=set)
    seen: list[tuple[QueryKey, int, Any]] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.ts = self.runtime.ts
        self.stale |= set(self.keys)
        self.stops = [self.runtime.queries.subscribe(key, None, self._listener(key)) for key in self.keys]
        self.wake.set()

    def _listener(self, key: QueryKey) -> Callable[[], None]:
        def listener() -> None:
            self.stale.add(key)
            self.wake.set()

        return listener

    async def catch_up(self) -> None:
        self.wake.clear()
        self.ts, stale = self.runtime.ts, sorted(self.stale, key=self.keys.index)
        self.stale.clear()
        with self.runtime.queries.holding(self.ts):
            answers = await asyncio.gather(*(self.runtime.queries.at(key, None, self.ts) for key in stale))
            for key, answer in zip(stale, answers, strict=True):
                self.held[key] = content(answer)
            # Those not asked again count as right at this timestamp too.
            self.seen += [(key, self.ts, self.held[key]) for key in self.keys]

    async def follow(self, until: asyncio.Event) -> None:
        """Catches up whenever it is told of something, until that is set and there is nothing more."""
        while not until.is_set() or self.stale:
            await self.wake.wait()
            await self.catch_up()

    def stop(self) -> None:
        for stop in self.stops:
            stop()


def keys_of(runtime: Runtime, dice: random.Random) -> list[QueryKey]:
    keys = [runtime.query_key(path, encoded(**args)) for path, args in queries(dice)]
    return list(dict.fromkeys(keys))


@pytest.mark.parametrize(("kind", "seed"), [("memory", 1), ("memory", 2), ("sqlite", 4)])
async def test_after_every_commit_every_answer_is_what_the_query_gives(kind: str, seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    async with engine(new_store(kind, tmp_path), write_app(tmp_path, **APP)) as runtime:
        subscriber = Subscriber(runtime, keys_of(runtime, dice))
        await subscriber.catch_up()
        spared = 0
        for _ in range(60):
            await runtime.mutate("items:apply", encoded(edits=edits(dice)))
            spared += len(subscriber.keys) - len(subscriber.stale)
            await subscriber.catch_up()
            for key in subscriber.keys:
                assert subscriber.held[key] == await fresh(runtime, key, runtime.ts), key
        assert spared > 60, "some commits concern only some queries"
        subscriber.stop()
        await runtime.mutate("items:apply", encoded(edits=[["insert", "last", of, 3] for of in "abc"]))
        await runtime.mutate("items:apply", encoded(edits=[["insert", "last", of, 0] for of in "abc"]))
        await runtime.mutate("items:apply", encoded(edits=[["tag", "x"]]))
        assert runtime.queries.statistics()["subscribed"] == 0


@pytest.mark.parametrize(("kind", "seed"), [("memory", 11), ("memory", 12), ("sqlite", 15)])
async def test_answers_given_while_commits_go_on_are_right_at_their_timestamps(
    kind: str, seed: int, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    async with engine(new_store(kind, tmp_path, interleaving(seed)), write_app(tmp_path, **APP)) as runtime:
        keys = keys_of(runtime, dice)
        subscribers = [Subscriber(runtime, dice.sample(keys, 8)) for _ in range(5)]
        written = asyncio.Event()
        following = asyncio.gather(*(subscriber.follow(written) for subscriber in subscribers))

        async def write(seed: int) -> None:
            dice = random.Random(seed)
            for _ in range(15):
                await runtime.mutate("items:apply", encoded(edits=edits(dice)))

        await asyncio.gather(*(write(seed * 100 + n) for n in range(3)))
        written.set()
        for subscriber in subscribers:
            subscriber.wake.set()
        await following
        for subscriber in subscribers:
            for key in subscriber.keys:
                assert subscriber.held[key] == await fresh(runtime, key, runtime.ts)

        expected: dict[tuple[QueryKey, int], Any] = {}
        for subscriber in subscribers:
            assert len({ts for _, ts, _ in subscriber.seen}) > 5
            for key, ts, answer in subscriber.seen:
                if (key, ts) not in expected:
                    expected[key, ts] = await fresh(runtime, key, ts)
                assert answer == expected[key, ts], (key, ts)
