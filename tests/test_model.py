"""Random apps, data, questions and mutations: the engine must do what a plain database does, and run no more for it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from tests.engine import encoded, engine, new_store, value_of
from tests.model_database import Answer, Database, Fault, Page, Position, Question, Stored, order
from tests.random_apps import APP, Maker, told, told_steps
from yugen import values
from yugen.runtime.queries import QueryKey
from yugen.runtime.runtime import Runtime
from yugen.schema import UNSET
from yugen.storage import sqlite_totals, sqlite_writer

# The engine and the model, side by side ------------------------------------------------------------------------------


@dataclass(eq=False)
class Held:
    """A question that somebody has subscribed to, as the engine has last answered it."""

    question: Question
    key: QueryKey
    answer: Answer
    page: Page | None
    stale: bool = False


@dataclass
class Tally:
    """How often a write changed the answer to a held question, ran it again, and lay in the range it had asked for.

    `spared` are those that lay in the range and ran nothing, by what the question had to do with it.
    """

    changed: int = 0
    reruns: int = 0
    in_range: int = 0
    spared: Counter[str] = field(default_factory=Counter)


@dataclass
class Pair:
    """The engine and the model of one app."""

    runtime: Runtime
    maker: Maker
    model: Database
    held: list[Held] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    # Asking

    async def compare(self, question: Question) -> None:
        """Asks both, all pages one after the other."""
        if question.end != "paginate":
            found = await self.asked(self.key(question))
            expected = self.model.ask(question).value
            assert same(found, expected), (question, found, expected)
            return
        after: Position | None = None
        cursor: str | None = None
        for _ in range(200):
            found = await self.asked(self.key(question, cursor))
            answer, page = self.model.page(question, Page(after))
            cursor, after = found.pop("continueCursor", None), page.until
            assert same(found, answer.value), (question, found, answer.value)
            if cursor is None or found["isDone"]:
                return
        raise AssertionError("pages without end")

    def key(self, question: Question, cursor: str | None = None) -> QueryKey:
        args = encoded(question=told(question, self.maker.schema[question.table], cursor))
        return self.runtime.query_key("app:ask", args)

    async def asked(self, key: QueryKey) -> Any:
        value = value_of(await self.runtime.queries.at(key, None, self.runtime.ts))
        if isinstance(value, dict) and "continueCursor" in value:
            return {name: value[name] for name in ("page", "isDone", "continueCursor")}
        return value

    # Subscribing

    async def hold(self, question: Question) -> None:
        """Subscribes to a question; to one page of it, the first or the second, with its end where it now is."""
        key = self.key(question)
        page: Page | None = None
        if question.end == "paginate":
            _, page = self.model.page(question, Page())
            if self.maker.flip(0.4) and page.until:
                found = await self.asked(key)
                key = self.key(question, found["continueCursor"])
                _, page = self.model.page(question, Page(page.until))
            journal = (await self.runtime.queries.at(key, None, self.runtime.ts)).journal
            key = key._replace(journal=journal)
            if journal is None:
                page = Page(page.after)  # it failed, and has no end
        held = Held(question, key, self.expected(question, page), page)

        def listener() -> None:
            held.stale = True

        self.runtime.queries.subscribe(key, None, listener)
        await self.check(held)
        self.held.append(held)

    def expected(self, question: Question, page: Page | None) -> Answer:
        return self.model.ask(question) if page is None else self.model.page(question, page)[0]

    async def check(self, held: Held) -> None:
        held.answer = self.expected(held.question, held.page)
        found = await self.asked(held.key)
        if isinstance(found, dict):
            found.pop("continueCursor", None)
        assert same(found, held.answer.value), (held.question, found, held.answer.value)
        held.stale = False

    # Writing

    async def write(self, steps: list[list[Any]], *, strict: bool) -> None:
        """Carries out a mutation in both, and sees which of the held questions it concerns."""
        for held in self.held:
            if held.stale:  # told without a write, as may happen
                await self.check(held)
        before = self.model.snapshot()
        sent = told_steps(steps, self.maker.schema)
        answer = (await self.runtime.mutate("app:run", encoded(steps=sent, strict=strict, known={}))).answer
        if answer.failure is not None:
            assert answer.failure.data is not None, answer.failure
            with pytest.raises(Fault) as raised, self.model.transaction():
                self.run(steps, {}, {}, strict=strict)
            assert values.loads(answer.failure.data) == list(raised.value.args), (steps, answer.failure)
        else:
            results, made = value_of(answer)
            found, _ = self.run(steps, {}, made, strict=strict)
            assert same(results, found), (steps, results, found)
        await self.settle(before)

    async def settle(self, before: dict[str, dict[str, Stored]]) -> None:
        changes = list(_changes(before, self.model.tables))
        for held in self.held:
            old, new = held.answer, self.expected(held.question, held.page)
            changed = not same(old.value, new.value)
            mine = [(one, other) for table, one, other in changes if table == held.question.table]
            began = held.question.table not in before and held.question.table in self.model.tables
            assert held.stale or not changed, ("missed", held.question, mine, old.value, new.value)
            if held.stale and not began:
                assert any(old.depends_on(*each) for each in mine), ("needless", held.question, mine)
            in_range = any(each and old.in_range(each) for change in mine for each in change)
            self.tally.changed += changed
            self.tally.reruns += held.stale
            self.tally.in_range += in_range
            if in_range and not held.stale:
                self.tally.spared[_why(held.question)] += 1
            if held.stale:
                await self.check(held)

    def run(
        self, steps: list[list[Any]], known: Mapping[str, str], made: Mapping[str, Any], *, strict: bool
    ) -> tuple[list[Any], dict[str, str]]:
        """What the app's `run` does, in the model; `made` is what the engine has made of handles."""
        results: list[Any] = []
        mine: dict[str, str] = {}
        for each in steps:
            try:
                results.append(self.step({**known, **mine}, mine, made, *each))
            except Fault as fault:
                if strict:
                    raise
                results.append(fault.value)
        return results, mine

    def step(
        self, known: Mapping[str, str], mine: dict[str, str], made: Mapping[str, Any], kind: str, *args: Any
    ) -> Any:
        def all_of(fields: Stored, references: dict[str, str]) -> Stored:
            return fields | {name: known.get(other, other) for name, other in references.items()}

        match kind, *args:
            case "insert", handle, table, fields, references:

                def identify() -> tuple[str, float]:
                    # What is undone later is known to nobody, and comes after all that is.
                    new, created = made.get(handle) or (f"undone {handle}", 1e300)
                    return new, created

                mine[handle] = self.model.insert(table, all_of(fields, references), identify)
            case "patch", handle, fields, removed, references:
                fields = all_of(fields, references) | dict.fromkeys(removed, UNSET)
                self.model.patch(known.get(handle, handle), fields)
            case "replace", handle, fields, references:
                self.model.replace(known.get(handle, handle), all_of(fields, references))
            case "delete", handle:
                self.model.delete(known.get(handle, handle))
            case "ask", question:
                answer = self.model.ask(question).value
                if isinstance(answer, dict) and "error" in answer:
                    raise Fault(*answer["error"])
                return answer
            case "run", steps, strict:
                with self.model.transaction():
                    results, inner = self.run(steps, known, made, strict=strict)
                mine |= inner
                return results
            case "raise", text:
                raise Fault(text)
        return None


def _why(question: Question) -> str:
    """What keeps a write in the range of a question from running it again."""
    if question.keep:
        return "filter"
    if question.end in ("count", "sum", "min", "max", "rank"):
        return "total"
    return "select" if question.select is not None else "limit"


def same(one: Any, other: Any) -> bool:
    return order(_plain(one)) == order(_plain(other))


def _plain(value: Any) -> Any:
    # Which NaN a sum of infinities is depends on the processor.
    return nan if isinstance(value, float) and isnan(value) else value


def _changes(
    before: Mapping[str, Mapping[str, Stored]], after: Mapping[str, Mapping[str, Stored]]
) -> Iterator[tuple[str, Stored | None, Stored | None]]:
    for table in after:
        one, other = before.get(table, {}), after[table]
        for each in {**one, **other}:
            if one.get(each) is not other.get(each):
                yield table, one.get(each), other.get(each)


@asynccontextmanager
async def pair(kind: str, seed: int, folder: Path) -> AsyncIterator[Pair]:
    maker = Maker(random.Random(seed))
    app = write_app(folder, schema=maker.source(), app=APP)
    ticks = count(1_800_000_000_000_000_000, 1_000_000)
    async with engine(
        new_store(kind, folder), app, clock=lambda: next(ticks), random_bytes=random.Random(seed).randbytes
    ) as runtime:
        yield Pair(runtime, maker, Database(maker.schema))


SEEDS = [("memory", seed) for seed in range(1, 7)] + [("sqlite", seed) for seed in range(101, 103)]


@pytest.mark.parametrize(("kind", "seed"), SEEDS)
async def test_the_engine_does_what_a_plain_database_does(
    kind: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Totals stand over few documents, and soon after they are written.
    monkeypatch.setattr(sqlite_totals, "FANOUT", 2)
    monkeypatch.setattr(sqlite_writer, "_DIRTY_MAX", 4)
    async with pair(kind, seed, tmp_path) as both:
        maker = both.maker
        for _ in range(12):
            inserts = [maker.step(both.model, 0, ["insert"]) for _ in range(4)]
            await both.write(inserts, strict=False)
        for number in range(60):
            if number < 20:
                await both.hold(maker.question(both.model))
                await both.hold(maker.question(both.model))
            await both.write(maker.steps(both.model), strict=maker.flip(0.3))
            for _ in range(3):
                await both.compare(maker.question(both.model))
        assert both.tally.changed > 20
        assert len(both.tally.spared) > 2
