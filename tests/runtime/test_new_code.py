"""Another version of an app takes over while the one before serves."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.apps import write_app
from tests.engine import SECRET, act, ask, change, encoded, interleaving, new_store, value_of
from tests.server.peers import SECONDS_MAX, Probe
from yugen.functions.registry import load
from yugen.runtime.causes import Rerun
from yugen.runtime.deploy import DeployError
from yugen.runtime.inline import InlineRunner
from yugen.runtime.outcome import Answer
from yugen.runtime.queries import QueryKey, Subscription
from yugen.runtime.runtime import Runtime, TimestampOutOfReach
from yugen.storage.interface import Commit, Decide, Store, Timestamp

RELOADS = int(os.environ.get("YUGEN_RELOADS", "60"))
"""How often the code changes under load; `make test YUGEN_RELOADS=200` is more thorough."""

APP = """
    from typing import Any

    from yugen import ActionCtx, Document, Index, MutationCtx, QueryCtx, action, migration, mutation, query

    class Note(Document, table="notes"):
        text: str


    @query
    async def count(ctx: QueryCtx) -> list[int]:
        return [1, len(await ctx.db.query(Note).collect())]


    @query
    async def fixed(ctx: QueryCtx) -> str:
        return "the same"


    @mutation
    async def add(ctx: MutationCtx, text: str) -> int:
        await ctx.db.insert(Note(text=text))
        return 1


    @action
    async def post(ctx: ActionCtx, text: str) -> list[int]:
        return [1, await ctx.run_mutation("notes:add", text=text)]
"""
TITLED = APP.replace(
    "text: str\n\n\n    @query", 'title: str\n        by_title = Index("title")\n\n\n    @query'
).replace("Note(text=text)", "Note(title=text)")
INDEXED = APP.replace(
    "text: str\n\n\n    @query", 'text: str\n        by_text = Index("text")\n\n\n    @query'
).replace(
    "ctx.db.query(Note).collect())]",
    "ctx.db.query(Note).collect()), len(await ctx.db.query(Note).with_index(Note.by_text).collect())]",
)
RENAMES = """
    from typing import Any
    from yugen import MutationCtx, migration

    @migration("notes")
    async def text_becomes_title(ctx: MutationCtx, note: dict[str, Any]) -> dict[str, Any]:
        note["title"] = note.pop("text")
        {more}
        return note
"""


def version(number: int, text: str = APP) -> str:
    return text.replace("[1, ", f"[{number}, ").replace("return 1\n", f"return {number}\n")


class Subscriber:
    """Asks a query again whenever it hears that its answer has ended, as a connection does."""

    def __init__(self, bench: Bench, path: str) -> None:
        self._runtime = bench.runtime
        self._key = QueryKey(path, b"{}")
        self._stale = asyncio.Event()
        self._news = asyncio.Condition()
        self._subscription: Subscription = bench.runtime.queries.subscribe(self._key, None, self._stale.set)
        self._stale.set()
        self.seen: list[tuple[Timestamp, Answer]] = []
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            ts = self._runtime.ts
            with self._runtime.queries.holding(ts):
                answer = await self._runtime.queries.at(self._key, None, ts)
            async with self._news:
                self.seen.append((ts, answer))
                self._news.notify_all()

    @property
    def values(self) -> list[object]:
        return [value_of(answer) for _, answer in self.seen]

    async def sees(self, value: object) -> None:
        await self._last(lambda answer: answer.failure is None and value_of(answer) == value)

    async def fails(self) -> None:
        await self._last(lambda answer: answer.failure is not None)

    async def has_seen(self, count: int) -> None:
        await self._until(lambda: len(self.seen) >= count)

    async def _last(self, holds: Callable[[Answer], bool]) -> None:
        await self._until(lambda: bool(self.seen) and holds(self.seen[-1][1]))

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS_MAX), self._news:
            await self._news.wait_for(condition)

    async def end(self) -> None:
        self._subscription()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class Bench:
    """A runtime whose app is written anew."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store
        self.probes: list[Probe] = []
        self.runtime = Runtime(store, self.runner(APP))
        self._subscribers: list[Subscriber] = []

    def runner(self, notes: str, **modules: str) -> Probe:
        app = load(write_app(self._folder, notes=notes, **modules))
        self.probes.append(Probe(InlineRunner(app, self._store, secret=SECRET)))
        return self.probes[-1]

    async def take_up(self, notes: str, **modules: str) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            await self.runtime.take_up(self.runner(notes, **modules))

    def subscribe(self, path: str) -> Subscriber:
        self._subscribers.append(Subscriber(self, path))
        return self._subscribers[-1]

    async def end(self) -> None:
        for subscriber in self._subscribers:
            await subscriber.end()
        await self.runtime.close()


@pytest.fixture(params=["memory", "sqlite"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, new_store(request.param, tmp_path, interleaving(1)))
    await made.runtime.start()
    yield made
    await made.end()


@asynccontextmanager
async def held_up(probe: Probe, ask: Callable[[], Awaitable[object]]) -> AsyncIterator[asyncio.Task[object]]:
    """A call that has begun to run within, and runs on afterwards."""
    probe.gate.clear()
    probe.entered.clear()
    task = asyncio.ensure_future(ask())
    async with asyncio.timeout(SECONDS_MAX):
        await probe.entered.wait()
        yield task
        probe.gate.set()
        await task


async def test_subscribers_get_what_the_new_code_gives(bench: Bench) -> None:
    subscriber = bench.subscribe("notes:count")
    await subscriber.sees([1, 0])
    before = bench.runtime.ts
    await bench.take_up(version(2))
    await subscriber.sees([2, 0])
    assert bench.runtime.ts > before
    assert await change(bench.runtime, "notes:add", text="x") == 2
    await subscriber.sees([2, 1])
    assert await act(bench.runtime, "notes:post", text="y") == [2, 2]
    reruns = [each for each in bench.runtime.queries.causes if isinstance(each, Rerun)]
    assert [each.cause.is_new_code for each in reversed(reruns)][:2] == [True, False]
    assert reruns[-1].to_json(bench.runtime.catalog)["because"]["change"] == "code"


async def test_answers_that_stay_the_same_are_equal(bench: Bench) -> None:
    subscriber = bench.subscribe("notes:fixed")
    await subscriber.sees("the same")
    await bench.take_up(version(2))
    await bench.subscribe("notes:count").sees([2, 0])
    await bench.take_up(version(3))
    await bench.subscribe("notes:count").sees([3, 0])
    await subscriber.has_seen(3)
    assert len({answer for _, answer in subscriber.seen}) == 1
    assert len(subscriber.seen) == 3


async def test_a_timestamp_that_somebody_holds_keeps_its_code(bench: Bench) -> None:
    queries, key, before = bench.runtime.queries, QueryKey("notes:count", b"{}"), bench.runtime.ts
    with queries.holding(before):
        await bench.take_up(version(2))
        await bench.take_up(version(3))
        assert value_of(await queries.at(key, None, before)) == [1, 0]
        assert value_of(await queries.at(key, None, bench.runtime.ts)) == [3, 0]
        assert len(bench.runtime._runner) == 3
    assert value_of(await queries.at(key, None, bench.runtime.ts)) == [3, 0]
    async with asyncio.timeout(SECONDS_MAX):
        await bench.runtime._runner.finish()
    assert len(bench.runtime._runner) == 1


async def test_what_runs_comes_to_its_end_in_the_code_it_began_with(bench: Bench) -> None:
    runtime, [probe] = bench.runtime, bench.probes
    async with held_up(probe, lambda: change(runtime, "notes:add", text="x")) as mutation:
        await bench.take_up(version(2))
        assert await ask(runtime, "notes:count") == [2, 0]
    assert mutation.result() == 1
    assert await ask(runtime, "notes:count") == [2, 1]
    async with held_up(bench.probes[1], lambda: act(runtime, "notes:post", text="y")) as action:
        await bench.take_up(version(3))
    assert action.result() == [2, 3]  # what it calls is new
    subscriber = bench.subscribe("notes:count")
    await subscriber.sees([3, 2])
    async with held_up(bench.probes[2], lambda: change(runtime, "notes:add", text="z")):
        bench.probes[2].gate.set()
        await subscriber.sees([3, 3])


async def test_a_query_that_runs_meanwhile_runs_again(bench: Bench) -> None:
    subscriber = None
    [probe] = bench.probes
    probe.gate.clear()
    probe.entered.clear()
    subscriber = bench.subscribe("notes:count")
    await probe.entered.wait()
    await bench.take_up(version(2))
    probe.gate.set()
    await subscriber.sees([2, 0])
    assert subscriber.values in ([[1, 0], [2, 0]], [[2, 0]])


async def test_a_version_that_is_refused_changes_nothing(bench: Bench) -> None:
    await change(bench.runtime, "notes:add", text="x")
    subscriber = bench.subscribe("notes:count")
    await subscriber.sees([1, 1])
    before = bench.runtime.ts
    with pytest.raises(DeployError, match="title"):
        await bench.take_up(TITLED)
    assert bench.runtime.ts == before
    await change(bench.runtime, "notes:add", text="y")
    await subscriber.sees([1, 2])
    assert subscriber.values == [[1, 1], [1, 2]]


async def test_migrations_and_indexes_are_there_when_it_takes_over(bench: Bench) -> None:
    await change(bench.runtime, "notes:add", text="x")
    subscriber = bench.subscribe("notes:count")
    await subscriber.sees([1, 1])
    await bench.take_up(version(2, TITLED), migrations=RENAMES.format(more=""))
    await subscriber.sees([2, 1])
    assert subscriber.values == [[1, 1], [2, 1]]  # nobody has seen what was half migrated
    assert await change(bench.runtime, "notes:add", text="y") == 2
    await subscriber.sees([2, 2])
    table = bench.runtime.catalog.named("notes")
    assert table is not None
    assert [index.name for index in table.indexes if index.since is not None] == ["by_creation_time", "by_title"]
    await bench.take_up(version(3, TITLED), migrations=RENAMES.format(more=""))
    await subscriber.sees([3, 2])


async def test_mutations_wait_while_tables_change(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, [probe] = bench.runtime, bench.probes
    holding, hold = asyncio.Event(), runtime._mutations.held

    def held() -> AbstractAsyncContextManager[None]:
        holding.set()
        return hold()

    monkeypatch.setattr(runtime._mutations, "held", held)
    async with held_up(probe, lambda: change(runtime, "notes:add", text="first")) as first:
        taking = asyncio.create_task(bench.take_up(version(2, TITLED), migrations=RENAMES.format(more="")))
        async with asyncio.timeout(SECONDS_MAX):
            await holding.wait()
        others = [asyncio.create_task(change(runtime, "notes:add", text=str(number))) for number in range(5)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert not taking.done()
        assert not any(other.done() for other in others)
    await taking
    assert first.result() == 1
    assert await asyncio.gather(*others) == [2] * 5
    assert await ask(runtime, "notes:count") == [2, 6]


async def test_a_mutation_that_is_given_up_while_it_waits_for_the_new_code_is_not_run(bench: Bench) -> None:
    runtime, [probe] = bench.runtime, bench.probes
    async with held_up(probe, lambda: change(runtime, "notes:add", text="first")):
        taking = asyncio.create_task(bench.take_up(version(2, TITLED), migrations=RENAMES.format(more="")))
        while runtime._mutations._held is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        given_up, kept = (asyncio.create_task(change(runtime, "notes:add", text=text)) for text in "ab")
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
    await taking
    await kept
    assert await ask(runtime, "notes:count") == [2, 2]


async def test_what_a_migration_has_done_before_it_failed_is_seen_by_the_code_that_stays(bench: Bench) -> None:
    for text in ("x", "bad"):
        await change(bench.runtime, "notes:add", text=text)
    subscriber = bench.subscribe("notes:count")
    await subscriber.sees([1, 2])
    breaks = RENAMES.format(more='note["title"] = 3 if note["title"] == "bad" else note["title"]')
    with pytest.raises(DeployError, match="do not fit"):
        await bench.take_up(version(2, TITLED), migrations=breaks)
    await subscriber.fails()  # the class of the code that stays has another field
    assert await change(bench.runtime, "notes:add", text="y") == 1
    mends = (
        breaks
        + """
    @migration("notes")
    async def titles_are_text(ctx: MutationCtx, note: dict[str, Any]) -> dict[str, Any]:
        title = note.pop("text", note.get("title"))
        return {**note, "title": str(title)}
"""
    )
    await bench.take_up(version(3, TITLED), migrations=mends)
    await subscriber.sees([3, 3])


@pytest.mark.parametrize("appends", range(1, 7))
async def test_what_is_called_off_midway_leaves_the_code_that_stays_with_all_there_is(
    appends: int, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = bench.runtime
    await change(runtime, "notes:add", text="a")
    subscriber = bench.subscribe("notes:count")
    await subscriber.sees([1, 1])
    append, count = bench._store.append, 0

    async def append_and_call_off(decide: Decide) -> Sequence[Commit]:
        nonlocal count
        commits = await append(decide)
        count += 1
        if count == appends:
            taking.cancel()
        return commits

    monkeypatch.setattr(bench._store, "append", append_and_call_off)
    taking = asyncio.create_task(bench.take_up(version(2, INDEXED)))
    await asyncio.wait([taking])
    monkeypatch.undo()
    code = await change(runtime, "notes:add", text="b")
    assert code == 1 or appends > 3, "it took over although it was called off in time"
    await subscriber.sees([1, 2] if code == 1 else [2, 2, 2])
    await bench.take_up(version(3, INDEXED))
    await subscriber.sees([3, 2, 2])


async def test_a_moment_before_the_code_changed_is_out_of_reach(bench: Bench) -> None:
    await change(bench.runtime, "notes:add", text="a")
    before = bench.runtime.ts
    await bench.take_up(version(2))
    with pytest.raises(TimestampOutOfReach):
        await bench.runtime.query_at("notes:count", b"{}", None, before)
    answer = await bench.runtime.query_at("notes:count", b"{}", None, bench.runtime.ts)
    assert value_of(answer) == [2, 1]


@pytest.mark.timeout(60 + RELOADS)
async def test_no_update_is_lost_and_nothing_stays_behind_however_often_the_code_changes(bench: Bench) -> None:
    runtime = bench.runtime
    subscribers = [bench.subscribe("notes:count") for _ in range(5)]
    added, ending = 0, False

    async def add() -> None:
        nonlocal added
        while not ending:
            answer = await runtime.mutate("notes:add", encoded(text="x"))
            assert answer.answer.failure is None
            added += 1

    def runners() -> int:
        gc.collect()
        return sum(isinstance(each, Probe | InlineRunner) for each in gc.get_objects())

    adding = [asyncio.create_task(add()) for _ in range(3)]
    objects = [runners()]
    for number in range(2, RELOADS + 2):
        await bench.take_up(version(number))
        del bench.probes[:-1]
        if number % 20 == 0:
            objects.append(runners())
    ending = True
    await asyncio.gather(*adding)
    for subscriber in subscribers:
        await subscriber.sees([RELOADS + 1, added])
        values = [value for value in subscriber.values if isinstance(value, list)]
        assert values == sorted(values), "the code or the count went back"
        timestamps = [ts for ts, _ in subscriber.seen]
        assert timestamps == sorted(timestamps)
    async with asyncio.timeout(SECONDS_MAX):
        await runtime._runner.finish()
    assert max(objects) <= objects[0] + 6, objects
    assert runtime.queries.statistics()["kept"] == 1
