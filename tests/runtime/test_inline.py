from __future__ import annotations

from pathlib import Path

from tests.engine import SECRET, encoded, value_of
from yugen.catalog import Catalog
from yugen.functions.info import Kind, RunKind
from yugen.functions.registry import load
from yugen.runtime.inline import InlineRunner
from yugen.runtime.outcome import Answer
from yugen.runtime.run import Run
from yugen.runtime.runner import Runner
from yugen.storage.memory import MemorySnapshot, MemoryStore


class CountingStore(MemoryStore):
    """Knows how many of its snapshots are open."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[MemorySnapshot] = []

    async def snapshot(self, ts: int) -> MemorySnapshot:
        self.taken.append(await super().snapshot(ts))
        return self.taken[-1]


def run_of(kind: Kind, path: str, **args: object) -> Run:
    return Run(kind, path, encoded(**args), True, 0, 0.0, b"", "0" * 16)


async def test_it_knows_its_app_before_it_starts(counters: Path) -> None:
    runner: Runner = InlineRunner(load(counters), MemoryStore(), secret=SECRET)
    assert runner.info.functions["counters:add"].kind == "mutation"
    assert not runner.info.functions["counters:reset"].public
    assert runner.info.tables["counters"]["by_name"].unique


async def test_snapshots_are_closed_whatever_happens(counters: Path) -> None:
    store = CountingStore()
    runner = InlineRunner(load(counters), store, secret=SECRET)
    await runner.start(Catalog())
    for path in ("counters:notes", "counters:nope"):
        await runner.transact(run_of("query", path))
    assert [snapshot._closed for snapshot in store.taken] == [True, True]


async def test_calls_of_an_action_go_out_and_come_back(counters: Path) -> None:
    runner = InlineRunner(load(counters), MemoryStore(), secret=SECRET)
    await runner.start(Catalog())
    calls: list[tuple[RunKind, str, bytes]] = []

    async def call(kind: RunKind, path: str, args: bytes) -> Answer:
        calls.append((kind, path, args))
        return Answer(b"7.0", log_lines=("[LOG] 'from within'",))

    answer = await runner.act(run_of("action", "counters:twice", name="a"), call)
    assert value_of(answer) == [7.0, 7.0]
    assert answer.log_lines == ("[LOG] 'from within'",) * 4
    assert calls == [
        ("query", "counters:value", b'{"name":"a"}'),
        ("mutation", "counters:add", b'{"name":"a","amount":2.0}'),
        ("mutation", "counters:add", b'{"name":"a","amount":3.0}'),
        ("query", "counters:value", b'{"name":"a"}'),
    ]
