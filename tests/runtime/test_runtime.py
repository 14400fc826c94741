from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from tests.engine import act, ask, change, encoded, engine, interleaving, new_store, value_of
from yugen.catalog import Catalog
from yugen.functions.info import AppInfo
from yugen.functions.registry import load
from yugen.identity import Identity
from yugen.runtime import mutations
from yugen.runtime.commit import Proposal
from yugen.runtime.deploy import DeployError
from yugen.runtime.inline import InlineRunner
from yugen.runtime.mutations import ATTEMPTS_MAX, LOSSES_MAX, Request
from yugen.runtime.outcome import Answer, MutationAnswer, Outcome
from yugen.runtime.pressure import AT_ONCE
from yugen.runtime.run import Run
from yugen.runtime.runner import CallBack, Overloaded, Runner
from yugen.runtime.runtime import ACTION_DEPTH_MAX, Runtime
from yugen.storage.interface import Change, Commit, Decide, StorageError
from yugen.storage.memory import MemoryStore

ADA, BOB = Identity("issuer|ada", "ada", "issuer"), Identity("issuer|bob", "bob", "issuer")
STORES = pytest.mark.parametrize("kind", ["memory", "sqlite"])


class Spy:
    """A runner that lets a test look at each transaction before its outcome is given."""

    def __init__(self, inner: Runner) -> None:
        self.inner = inner
        self.runs: list[Run] = []
        self.after: Callable[[Run, Outcome], Awaitable[None]] | None = None

    @property
    def info(self) -> AppInfo:
        return self.inner.info

    async def start(self, catalog: Catalog) -> None:
        await self.inner.start(catalog)

    async def transact(self, run: Run) -> Outcome:
        self.runs.append(run)
        outcome = await self.inner.transact(run)
        if self.after is not None:
            await self.after(run, outcome)
        return outcome

    async def act(self, run: Run, call: CallBack) -> Answer:
        return await self.inner.act(run, call)

    async def finish(self) -> None:
        await self.inner.finish()

    async def drain(self) -> None:
        await self.inner.drain()

    async def close(self) -> None:
        await self.inner.close()


class Spies(list[Spy]):
    def __call__(self, runner: Runner) -> Runner:
        self.append(Spy(runner))
        return self[-1]


def failure_of(answer: Answer) -> str:
    assert answer.failure is not None
    return answer.failure.message


@STORES
async def test_queries_see_mutations_that_have_returned(kind: str, tmp_path: Path, counters: Path) -> None:
    async with engine(new_store(kind, tmp_path), counters) as runtime:
        assert await ask(runtime, "counters:value", name="a") is None
        assert await change(runtime, "counters:add", name="a", amount=5) == 5
        assert await ask(runtime, "counters:value", name="a") == 5
        assert await change(runtime, "counters:add", name="a") == 6
        assert await ask(runtime, "counters:value", name="a") == 6


@STORES
async def test_everything_is_there_after_a_restart(kind: str, tmp_path: Path, counters: Path) -> None:
    store = new_store(kind, tmp_path)
    async with engine(store, counters) as runtime:
        await change(runtime, "counters:add", name="a")
        await change(runtime, "counters:note", text="x")
        ts = runtime.ts
    store = store if kind == "memory" else new_store(kind, tmp_path)
    async with engine(store, counters) as runtime:
        assert runtime.ts == ts
        assert await ask(runtime, "counters:value", name="a") == 1
        assert await ask(runtime, "counters:notes") == 1


@STORES
async def test_50_concurrent_increments_come_to_50(kind: str, tmp_path: Path, counters: Path) -> None:
    async with engine(new_store(kind, tmp_path, interleaving(1)), counters) as runtime:
        results = await asyncio.gather(*(change(runtime, "counters:add", name="a") for _ in range(50)))
        assert sorted(results) == list(range(1, 51))
        assert await ask(runtime, "counters:value", name="a") == 50


async def test_a_table_made_on_the_fly_wakes_those_who_missed_it(counters: Path) -> None:
    async with engine(MemoryStore(interleaving(2)), counters) as runtime:
        told: list[str] = []
        runtime.queries.subscribe(runtime.query_key("counters:notes", b"{}"), None, lambda: told.append("notes"))
        assert await ask(runtime, "counters:notes") == 0
        await asyncio.gather(*(change(runtime, "counters:note", text=f"{n}") for n in range(10)))
        assert told
        assert await ask(runtime, "counters:notes") == 10
        assert runtime.catalog.named("notes") is not None


async def test_a_mutation_that_fails_writes_nothing_and_has_no_timestamp(counters: Path) -> None:
    async with engine(MemoryStore(), counters) as runtime:
        ts = runtime.ts
        answer = await runtime.mutate("counters:fail", encoded(name="a"))
        assert answer.ts is None
        assert answer.answer.failure is not None
        assert answer.answer.failure.data == b'{"code":"NO"}'
        assert runtime.ts == ts
        assert await ask(runtime, "counters:value", name="a") is None


async def test_a_mutation_that_writes_nothing_commits_nothing(counters: Path) -> None:
    async with engine(MemoryStore(), counters) as runtime:
        ts = runtime.ts
        assert (await runtime.mutate("counters:look", encoded(name="a"))).ts == ts
        assert runtime.ts == ts


async def test_names_that_no_function_can_have_are_answers(counters: Path) -> None:
    async with engine(MemoryStore(), counters) as runtime:
        for path in ("../x:y", "a b:c", "x" * 5000, ""):
            assert "FunctionNotFound" in failure_of(await runtime.query(path, b"{}"))
            assert "FunctionNotFound" in failure_of((await runtime.mutate(path, b"{}")).answer)
            assert "FunctionNotFound" in failure_of(await runtime.act(path, b"{}"))
            assert runtime.kind_of(path) == "query"
        assert runtime.kind_of("counters.js:add") == "mutation"
        assert runtime.kind_of("counters:twice") == "action"


async def test_internal_functions_are_for_administrators_and_other_functions(counters: Path) -> None:
    async with engine(MemoryStore(), counters) as runtime:
        await change(runtime, "counters:add", name="a")
        refused = await runtime.mutate("counters:reset", encoded(name="a"))
        assert "FunctionNotFound" in failure_of(refused.answer)
        assert await act(runtime, "counters:clear", name="a") is None
        await change(runtime, "counters:add", name="a")
        allowed = await runtime.mutate("counters:reset", encoded(name="a"), public=False)
        assert value_of(allowed.answer) is None
        assert await ask(runtime, "counters:value", name="a") is None


# Requests that come again -------------------------------------------------------------------------------------------


@STORES
async def test_trap_17_a_request_sent_again_gets_the_same_answer_and_happens_once(
    kind: str, tmp_path: Path, counters: Path
) -> None:
    store, request = new_store(kind, tmp_path), Request("session", 3)
    async with engine(store, counters) as runtime:
        first = await runtime.mutate("counters:add", encoded(name="a"), ADA, request=request)
        await change(runtime, "counters:add", name="a")
        again = await runtime.mutate("counters:add", encoded(name="a"), ADA, request=request)
        assert again == first
        assert first.answer.log_lines == ("[LOG] 'adding 1'",)
    store = store if kind == "memory" else new_store(kind, tmp_path)
    async with engine(store, counters) as runtime:
        assert await runtime.mutate("counters:add", encoded(name="a"), ADA, request=request) == first
        assert await ask(runtime, "counters:value", name="a") == 2
        other = await runtime.mutate("counters:add", encoded(name="a"), ADA, request=Request("session", 4))
        assert value_of(other.answer) == 3


@STORES
@pytest.mark.parametrize("seed", range(8))
async def test_trap_17_a_request_on_many_connections_at_once_happens_once(
    kind: str, seed: int, tmp_path: Path, counters: Path
) -> None:
    async with engine(new_store(kind, tmp_path, interleaving(seed)), counters) as runtime:
        told: list[MutationAnswer] = []
        answers = await asyncio.gather(
            *(
                runtime.mutate("counters:add", encoded(name="a"), request=Request("s", 1), answered=told.append)
                for _ in range(5)
            ),
            change(runtime, "counters:add", name="b"),
        )
        assert answers[:5] == [answers[0]] * 5
        assert told == [answers[0]] * 5
        assert await ask(runtime, "counters:value", name="a") == 1


@STORES
async def test_a_request_that_reads_nothing_happens_once_too(kind: str, tmp_path: Path, counters: Path) -> None:
    async with engine(new_store(kind, tmp_path), counters) as runtime:
        await change(runtime, "counters:note", text="first")
        again = [runtime.mutate("counters:note", encoded(text="x"), request=Request("s", 1)) for _ in range(5)]
        answers = await asyncio.gather(*again)
        assert answers == [answers[0]] * 5
        assert await ask(runtime, "counters:notes") == 2


async def test_sessions_that_are_not_remembered_are_looked_up(
    tmp_path: Path, counters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutations, "SESSIONS_MAX", 2)
    async with engine(new_store("sqlite", tmp_path), counters) as runtime:
        requests = [Request(f"session {number}", 3) for number in range(5)]
        first = [await runtime.mutate("counters:add", encoded(name="a"), request=request) for request in requests]
        assert runtime.measure()["yugen_sessions_remembered"] == 2
        again = [await runtime.mutate("counters:add", encoded(name="a"), request=request) for request in requests]
        assert again == first
        assert await ask(runtime, "counters:value", name="a") == 5


class GatedStore(MemoryStore):
    """Once `slow`, says when commits are durable and lets nobody else know before the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = False
        self.durable = asyncio.Event()
        self.gate = asyncio.Event()

    async def append(self, decide: Decide) -> Sequence[Commit]:
        commits = await super().append(decide)
        if self.slow:
            self.durable.set()
            await self.gate.wait()
        return commits


async def test_a_request_whose_sender_left_during_the_commit_happens_once(counters: Path) -> None:
    store = GatedStore()
    async with engine(store, counters) as runtime:
        store.slow = True
        ts = runtime.ts
        gone = asyncio.create_task(runtime.mutate("counters:add", encoded(name="a"), request=Request("s", 1)))
        await store.durable.wait()
        gone.cancel()
        await asyncio.wait([gone])
        again = asyncio.create_task(runtime.mutate("counters:add", encoded(name="a"), request=Request("s", 1)))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not again.done()
        assert runtime.ts == ts
        store.gate.set()
        answer = await again
        assert answer.ts is not None
        assert runtime.ts >= answer.ts
        assert value_of(answer.answer) == 1
        assert await ask(runtime, "counters:value", name="a") == 1


@pytest.mark.parametrize(
    ("path", "args", "identity"),
    [
        ("counters:add", {"name": "a", "amount": 2.0}, ADA),
        ("counters:look", {"name": "a"}, ADA),
        ("counters:add", {"name": "a"}, BOB),
        ("counters:add", {"name": "a"}, None),
    ],
)
async def test_a_request_used_for_something_else_is_refused(
    path: str, args: dict[str, Any], identity: Identity | None, counters: Path
) -> None:
    async with engine(MemoryStore(), counters) as runtime:
        request = Request("s", 1)
        await runtime.mutate("counters:add", encoded(name="a"), ADA, request=request)
        told: list[MutationAnswer] = []
        answer = await runtime.mutate(path, encoded(**args), identity, request=request, answered=told.append)
        assert answer.ts is None
        assert "InvalidRequest: request 1 of this session was another call before" in failure_of(answer.answer)
        assert told == [answer]
        assert await ask(runtime, "counters:value", name="a") == 1


async def test_a_request_that_failed_runs_again(counters: Path) -> None:
    async with engine(MemoryStore(), counters) as runtime:
        request = Request("s", 1)
        failed = await runtime.mutate("counters:fail", encoded(name="a"), request=request)
        assert f"[Request ID: {request.id}]" in failure_of(failed.answer)
        answer = await runtime.mutate("counters:add", encoded(name="a"), request=request)
        assert value_of(answer.answer) == 1


async def test_trap_17_a_request_sent_again_while_it_runs_ends_but_one_way(counters: Path) -> None:
    """What the caller was told has failed must not take place after all."""
    spies, begun, gate = Spies(), asyncio.Event(), asyncio.Event()
    async with engine(MemoryStore(), counters, wrap=spies) as runtime:

        async def hold(run: Run, outcome: Outcome) -> None:
            if run.path == "counters:claim" and not begun.is_set():
                begun.set()
                await gate.wait()

        def claim() -> asyncio.Task[MutationAnswer]:
            return asyncio.create_task(runtime.mutate("counters:claim", encoded(name="a"), request=Request("s", 1)))

        spies[0].after = hold
        first = claim()
        await begun.wait()
        await change(runtime, "counters:add", name="a")
        again = claim(), claim()  # which would fail now,
        for _ in range(50):
            await asyncio.sleep(0)
        await runtime.mutate("counters:reset", encoded(name="a"), public=False)  # and now no more
        gate.set()
        answers = list(await asyncio.gather(first, *again))
        assert answers == [answers[0]] * 3
        assert (answers[0].ts is None) == (await ask(runtime, "counters:value", name="a") is None)


async def test_the_answer_precedes_all_word_of_the_change(counters: Path) -> None:
    async with engine(MemoryStore(), counters) as runtime:
        heard: list[str] = []
        key = runtime.query_key("counters:value", encoded(name="a"))
        runtime.queries.subscribe(key, None, lambda: heard.append("changed"))
        await runtime.queries.at(key, None, runtime.ts)

        def answered(answer: MutationAnswer) -> None:
            assert answer.ts is not None
            assert runtime.ts < answer.ts
            heard.append("answered")

        await runtime.mutate("counters:add", encoded(name="a"), answered=answered)
        assert heard == ["answered", "changed"]


# Conflicts and overload ---------------------------------------------------------------------------------------------


async def test_a_mutation_that_keeps_losing_gives_up(counters: Path) -> None:
    spies = Spies()
    async with engine(MemoryStore(), counters, wrap=spies) as runtime:
        (spy,) = spies

        async def rival(run: Run, outcome: Outcome) -> None:
            """Another node, which nobody here can keep out, writes what was read."""
            assert runtime._committer is not None
            start, _ = outcome.reads[0]
            await runtime._committer.commit(Proposal(runtime.ts, (), (Change(start, None, None),)))

        spy.after = rival
        with pytest.raises(Overloaded, match="counters:add kept conflicting"):
            await runtime.mutate("counters:add", encoded(name="a"))
        assert [run.path for run in spy.runs].count("counters:add") == ATTEMPTS_MAX
        spy.after = None
        assert await change(runtime, "counters:add", name="a") == 1


async def test_a_mutation_that_loses_where_other_nodes_cannot_be_kept_out_fails(counters: Path) -> None:
    class Peers:
        newest, stopped = 0, False

        @asynccontextmanager
        async def alone(self) -> AsyncIterator[None]:
            if not self.stopped:
                raise StorageError("the disk is gone")
            yield

        async def news(self) -> list[Commit]:
            return []

        def listen(self, told: Callable[[], None]) -> None:
            pass

    spies = Spies()
    store = MemoryStore()
    runner = spies(InlineRunner(load(counters), store, secret=bytes(32)))
    runtime = Runtime(store, runner, peers=Peers())
    await runtime.start()

    async def rival(run: Run, outcome: Outcome) -> None:
        assert runtime._committer is not None
        start, _ = outcome.reads[0]
        await runtime._committer.commit(Proposal(runtime.ts, (), (Change(start, None, None),)))

    spies[0].after = rival
    request = Request("s", 0)
    for _ in range(2):  # and again, since it is not under way any more
        with pytest.raises(StorageError, match="the disk is gone"):
            await runtime.mutate("counters:add", encoded(name="a"), request=request)
    spies[0].after = None
    answer = await runtime.mutate("counters:add", encoded(name="a"), request=request)
    assert value_of(answer.answer) == 1
    await runtime.close()


async def test_a_mutation_that_loses_to_newcomers_keeps_them_out_for_a_moment(counters: Path) -> None:
    spies = Spies()
    async with engine(MemoryStore(), counters, wrap=spies) as runtime:
        (spy,) = spies
        newcomers: list[asyncio.Task[Any]] = []

        async def newcomer(run: Run, outcome: Outcome) -> None:
            if run.args == encoded(name="a", amount=1):
                newcomers.append(asyncio.create_task(change(runtime, "counters:add", name="a", amount=10)))
                for _ in range(100):
                    await asyncio.sleep(0)

        spy.after = newcomer
        assert await change(runtime, "counters:add", name="a", amount=1) == 10 * LOSSES_MAX + 1
        assert [newcomer.done() for newcomer in newcomers] == [True] * LOSSES_MAX + [False]
        await asyncio.gather(*newcomers)
        assert await ask(runtime, "counters:value", name="a") == 10 * LOSSES_MAX + 11


async def test_each_attempt_reads_anew(counters: Path) -> None:
    spies = Spies()
    async with engine(MemoryStore(), counters, wrap=spies) as runtime:
        (spy,) = spies

        async def rival(run: Run, outcome: Outcome) -> None:
            spy.after = None
            await change(runtime, "counters:add", name="a", amount=10)

        spy.after = rival
        assert await change(runtime, "counters:add", name="a") == 11
        first, _, second = [run for run in spy.runs if run.kind == "mutation"]
        assert second.ts > first.ts
        assert second.seed != first.seed


async def test_overload_reaches_whoever_asked_and_passes(counters: Path) -> None:
    spies = Spies()
    async with engine(MemoryStore(), counters, wrap=spies) as runtime:
        (spy,) = spies

        async def overloaded(run: Run, outcome: Outcome) -> None:
            raise Overloaded("too much")

        spy.after = overloaded
        with pytest.raises(Overloaded):
            await runtime.mutate("counters:add", encoded(name="a"))
        with pytest.raises(Overloaded):
            await runtime.query("counters:value", encoded(name="a"))
        spy.after = None
        assert await change(runtime, "counters:add", name="a") == 1
        assert await ask(runtime, "counters:value", name="a") == 1


async def test_what_has_waited_long_on_a_node_that_does_not_keep_up_is_refused_and_not_run(counters: Path) -> None:
    spies = Spies()
    moment = itertools.count(time.time_ns(), 1000)
    skipped = 0

    def clock() -> int:
        return next(moment) + skipped

    async with engine(MemoryStore(), counters, wrap=spies, clock=clock) as runtime:
        (spy,) = spies
        gate = asyncio.Event()

        async def wait(run: Run, outcome: Outcome) -> None:
            await gate.wait()

        spy.after = wait
        told: list[MutationAnswer | BaseException] = []

        def begin() -> None:
            runtime.begin(runtime.call("counters:add", encoded(name="a", amount=1), None, told.append))

        received_ns = clock()
        for _ in range(AT_ONCE):
            begin()
        skipped = 2_000_000_000
        assert runtime.refusal("counters:add", "abc", None) is None
        assert runtime.refusal("counters:add", "abc", clock()) is None
        refusal = runtime.refusal("counters:add", "abc", received_ns)
        assert refusal is not None
        assert "Overloaded: the server has more to do than it can, and has not run" in failure_of(refusal.answer)
        gate.set()
        await until(lambda: len(told) == AT_ONCE)
        assert runtime.refusal("counters:add", "abc", received_ns) is None
        assert await ask(runtime, "counters:value", name="a") == AT_ONCE


async def until(condition: Callable[[], bool]) -> None:
    """Lets other tasks run until it is so."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_a_store_that_fails_fails_the_mutation_and_later_ones_go_on(counters: Path) -> None:
    class FullStore(MemoryStore):
        full = False

        async def append(self, decide: Decide) -> Sequence[Commit]:
            if self.full:
                raise StorageError("no space", full=True)
            return await super().append(decide)

    store = FullStore()
    async with engine(store, counters) as runtime:
        await change(runtime, "counters:add", name="a")
        store.full = True
        with pytest.raises(StorageError, match="no space"):
            await runtime.mutate("counters:add", encoded(name="a"), request=Request("s", 1))
        assert await ask(runtime, "counters:value", name="a") == 1
        store.full = False
        again = await runtime.mutate("counters:add", encoded(name="a"), request=Request("s", 1))
        assert value_of(again.answer) == 2


# Actions ------------------------------------------------------------------------------------------------------------


@STORES
async def test_actions_see_what_they_have_changed(kind: str, tmp_path: Path, counters: Path) -> None:
    async with engine(new_store(kind, tmp_path), counters) as runtime:
        assert await act(runtime, "counters:twice", name="a") == [None, 5]
        assert await act(runtime, "counters:outer", name="a") == [5, 10]


async def test_the_lines_of_what_an_action_calls_are_its_own_too(counters: Path) -> None:
    async with engine(MemoryStore(), counters) as runtime:
        answer = await runtime.act("counters:outer", encoded(name="a"))
        assert answer.log_lines == ("[LOG] 'outer'", "[LOG] 'adding 2'", "[LOG] 'adding 3'")


async def test_an_action_can_catch_what_it_called(counters: Path) -> None:
    async with engine(MemoryStore(), counters) as runtime:
        assert await act(runtime, "counters:careful") == "NO"


@STORES
async def test_what_is_asked_once_is_not_kept(kind: str, tmp_path: Path, counters: Path) -> None:
    async with engine(new_store(kind, tmp_path), counters) as runtime:
        await change(runtime, "counters:add", name="a")
        before = runtime.ts
        await change(runtime, "counters:add", name="a")
        args = encoded(name="a")
        assert value_of(await runtime.query_once("counters:value", args)) == 2
        assert value_of(await runtime.query_once("counters:value", args, before)) == 1
        assert runtime.queries.statistics()["kept"] == 0


async def test_actions_call_one_another_so_deep_and_no_deeper(counters: Path) -> None:
    async with engine(MemoryStore(), counters) as runtime:
        message = failure_of(await runtime.act("counters:endless", b"{}"))
        assert f"more than {ACTION_DEPTH_MAX} deep" in message


async def test_functions_run_as_whoever_calls(counters: Path) -> None:
    async with engine(MemoryStore(), counters) as runtime:
        for identity, name in ((ADA, "ada"), (BOB, "bob"), (None, None)):
            assert value_of(await runtime.query("counters:who", b"{}", identity)) == name


# Start and end ------------------------------------------------------------------------------------------------------


async def test_an_app_that_does_not_fit_the_documents_does_not_start(tmp_path: Path, counters: Path) -> None:
    store = MemoryStore()
    async with engine(store, counters) as runtime:
        for text in ("same", "same"):
            await change(runtime, "counters:note", text=text)
    strict = write_app(
        tmp_path / "strict",
        schema="""
            from yugen import Document, Index
            class Note(Document, table="notes"):
                text: str
                by_text = Index("text", unique=True)
        """,
    )
    with pytest.raises(DeployError, match="by_text"):
        async with engine(store, strict):
            raise AssertionError("it has started")


async def test_closing_finishes_the_commits_under_way(counters: Path) -> None:
    store = GatedStore()
    async with engine(store, counters) as runtime:
        store.slow = True
        answered: list[MutationAnswer] = []
        running = asyncio.create_task(runtime.mutate("counters:add", encoded(name="a"), answered=answered.append))
        await store.durable.wait()
        asyncio.get_running_loop().call_soon(store.gate.set)
    assert [await running] == answered
