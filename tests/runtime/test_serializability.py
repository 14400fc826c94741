"""Random concurrent transactions, each of which must give what it would give alone, in the order of timestamps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from tests.engine import encoded, engine, interleaving, new_store, value_of
from yugen.runtime.outcome import MutationAnswer
from yugen.runtime.runtime import Request, Runtime

APP = {
    "schema": """
        from yugen import Document, Index

        class Item(Document, table="items"):
            key: str
            value: int

            by_key = Index("key", unique=True)
            by_value = Index("value")
    """,
    "items": """
        from typing import Any
        from yugen import MutationCtx, between, gte, lt, mutation
        from .schema import Item

        @mutation
        async def run(ctx: MutationCtx, steps: list[list[Any]]) -> list[Any]:
            return [await step(ctx, *each) for each in steps]

        async def step(ctx: MutationCtx, kind: str, *args: Any) -> Any:
            async def find(key: str) -> Item | None:
                return await ctx.db.query(Item).with_index(Item.by_key, key=key).unique()

            match kind, *args:
                case "get", key:
                    found = await find(key)
                    return found and found.value
                case "add", key, amount:
                    found = await find(key)
                    if found is None:
                        await ctx.db.insert(Item(key=key, value=amount))
                        return None
                    await ctx.db.patch(found.id, value=found.value + amount)
                    return found.value
                case "delete", key:
                    found = await find(key)
                    if found is not None:
                        await ctx.db.delete(found.id)
                    return found and found.value
                case "between", low, high:
                    items = ctx.db.query(Item).with_index(Item.by_key, key=between(low, high))
                    return [[item.key, item.value] for item in await items.collect()]
                case "largest", count:
                    items = await ctx.db.query(Item).with_index(Item.by_value).order("desc").take(int(count))
                    return sorted(item.value for item in items)
                case "largest_below", limit:
                    found = await ctx.db.query(Item).with_index("by_value", value=lt(limit)).order("desc").first()
                    return found and found.value
                case "count", low:
                    return await ctx.db.query(Item).with_index(Item.by_value, value=gte(low)).count()
                case "notes", text:
                    if text:
                        await ctx.db.insert("notes", {"text": text})
                    return await ctx.db.query("notes").count()
            raise AssertionError(kind)
    """,
}


class Model:
    """The same transactions on a plain dict, one after the other."""

    def __init__(self) -> None:
        self.items: dict[str, float] = {}
        self.notes = 0

    def run(self, steps: list[list[Any]]) -> list[Any]:
        return [self.step(*each) for each in steps]

    def step(self, kind: str, *args: Any) -> Any:
        values = sorted(self.items.values(), reverse=True)
        match kind, *args:
            case "get", key:
                return self.items.get(key)
            case "add", key, amount:
                before = self.items.get(key)
                self.items[key] = (before or 0) + amount
                return before
            case "delete", key:
                return self.items.pop(key, None)
            case "between", low, high:
                return [[key, self.items[key]] for key in sorted(self.items) if low <= key <= high]
            case "largest", count:
                return sorted(values[: int(count)])
            case "largest_below", limit:
                return next((value for value in values if value < limit), None)
            case "count", low:
                return sum(1 for value in values if value >= low)
            case "notes", text:
                self.notes += bool(text)
                return self.notes
        raise AssertionError(kind)


def steps(dice: random.Random) -> list[list[Any]]:
    """A transaction; half of them read only."""

    def key() -> str:
        return dice.choice("abcdefgh")

    reads: list[Callable[[], list[Any]]] = [
        lambda: ["get", key()],
        lambda: ["between", *sorted((key(), key()))],
        lambda: ["largest", dice.randint(1, 3)],
        lambda: ["largest_below", dice.randint(-10, 40)],
        lambda: ["count", dice.randint(-10, 40)],
        lambda: ["notes", ""],
    ]
    writes: list[Callable[[], list[Any]]] = [
        lambda: ["add", key(), dice.randint(-5, 9)],
        lambda: ["add", key(), dice.randint(-5, 9)],
        lambda: ["delete", key()],
        lambda: ["notes", "n"],
    ]
    kinds = reads if dice.random() < 0.3 else reads + 2 * writes
    return [dice.choice(kinds)() for _ in range(dice.randint(1, 4))]


@dataclass(frozen=True)
class Done:
    """A transaction that was answered; `committed` tells whether the timestamp is its own or the one it read at."""

    ts: int
    committed: bool
    steps: list[list[Any]]
    result: Any


class _Answered:
    """Listens for the answer of one mutation. A commit is answered before it is published."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __call__(self, answer: MutationAnswer) -> None:
        self.committed = answer.ts is not None and answer.ts > self._runtime.ts


async def client(runtime: Runtime, name: str, seed: int, count: int) -> list[Done]:
    """Runs transactions one after the other."""
    dice = random.Random(seed)
    done: list[Done] = []

    for number in range(count):
        transaction = steps(dice)
        request = Request(name, number) if dice.random() < 0.2 else None
        answered = _Answered(runtime)
        began = runtime.ts
        answer = await runtime.mutate(
            "items:run",
            encoded(steps=transaction),
            request=request,
            answered=answered,
        )
        assert answer.ts is not None, answer
        assert began <= answer.ts <= runtime.ts, "it takes place between its beginning and its end"
        done.append(Done(answer.ts, answered.committed, transaction, value_of(answer.answer)))
    return done


@pytest.mark.parametrize(
    ("kind", "seed", "clients", "count"),
    [
        ("memory", 1, 8, 100),
        ("memory", 2, 24, 50),
        ("memory", 3, 3, 250),
        ("sqlite", 4, 8, 100),
        ("sqlite", 5, 24, 50),
    ],
)
async def test_mutations_are_strictly_serializable_in_the_order_of_timestamps(
    kind: str, seed: int, clients: int, count: int, tmp_path: Path
) -> None:
    app = write_app(tmp_path, **APP)
    async with engine(new_store(kind, tmp_path, interleaving(seed)), app) as runtime:
        histories = await asyncio.gather(
            *(client(runtime, f"client {n}", seed * 100 + n, count) for n in range(clients))
        )
    history = [done for each in histories for done in each]
    assert len(history) == clients * count
    committed = [done.ts for done in history if done.committed]
    assert len(committed) == len(set(committed)) > len(history) / 2
    # What committed nothing read what the commit of its timestamp left.
    history.sort(key=lambda done: (done.ts, not done.committed))
    model = Model()
    for done in history:
        before = dict(model.items), model.notes
        assert model.run(done.steps) == done.result
        if not done.committed:
            assert (model.items, model.notes) == before
