"""Two runtimes over one SQLite file: to all who call them they are one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

import pytest

from reliability.checkers.serializability import anomalies
from tests.apps import write_app
from tests.engine import SECRET, VAULT, ask, change, encoded, set_variables, value_of
from tests.runtime.test_serializability import LISTS, Lists
from yugen.catalog import IndexSpec
from yugen.functions.registry import load
from yugen.runtime import deploy
from yugen.runtime.environment import Variables
from yugen.runtime.inline import InlineRunner
from yugen.runtime.mutations import Request
from yugen.runtime.outcome import Answer, MutationAnswer
from yugen.runtime.runtime import Runtime
from yugen.storage.board import Board
from yugen.storage.interface import StorageError
from yugen.storage.sqlite_nodes import NodeStore

APP = """
    from yugen import Document, Index, MutationCtx, QueryCtx, mutation, query


    class Entry(Document, table="entries"):
        client: str
        number: int

        by_client = Index("client", "number")


    @query
    async def numbers(ctx: QueryCtx, client: str) -> list[int]:
        return [e.number async for e in ctx.db.query(Entry).with_index(Entry.by_client, client=client)]


    @query
    async def variable(ctx: QueryCtx, name: str) -> str | None:
        return ctx.env.get(name)


    @mutation
    async def append(ctx: MutationCtx, client: str) -> int:
        last = await ctx.db.query(Entry).with_index(Entry.by_client, client=client).order("desc").first()
        number = last.number + 1 if last else 0
        await ctx.db.insert(Entry(client=client, number=number))
        return number


    @mutation
    async def claim(ctx: MutationCtx, client: str) -> None:
        if await ctx.db.query(Entry).with_index(Entry.by_client, client=client).first():
            raise ValueError("it is taken")
        await ctx.db.insert(Entry(client=client, number=0))


    @mutation
    async def check(ctx: MutationCtx, client: str) -> None:
        entries = await ctx.db.query(Entry).with_index(Entry.by_client, client=client).collect()
        if not entries:
            raise ValueError(f"{client} has written nothing")


    @mutation
    async def put(ctx: MutationCtx, table: str, number: int) -> str:
        return await ctx.db.insert(table, {"number": number})
"""
SECONDS_MAX = 60.0


class Node:
    """A runtime and its store."""

    def __init__(self, app: Path, database: Path, board: Board, number: int) -> None:
        self.store = NodeStore(database, board, number, tends=number == 0)
        runner = InlineRunner(load(app), self.store, secret=SECRET, development=True)
        self.runtime = Runtime(self.store, runner, variables=Variables(VAULT), peers=self.store)


@asynccontextmanager
async def nodes(app: Path, count: int = 2) -> AsyncIterator[list[Node]]:
    """Started nodes; the first one has deployed the app."""
    async with AsyncExitStack() as running:
        board = running.enter_context(closing(Board(count)))
        started = []
        for number in range(count):
            node = Node(app, app.parent / "app.db", board, number)
            running.push_async_callback(node.runtime.close)
            await node.runtime.start(deployed=number > 0, reindexes=number == 0)
            started.append(node)
        yield started


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Runtime, Runtime]]:
    async with nodes(write_app(tmp_path, f=APP)) as (one, other):
        yield one.runtime, other.runtime


async def test_what_one_acknowledges_the_other_shows_at_once(pair: tuple[Runtime, Runtime]) -> None:
    for number in range(10):
        here, there = pair if number % 2 else pair[::-1]
        assert await change(here, "f:append", client="a") == number
        assert await there.latest() >= here.ts
        assert await ask(there, "f:numbers", client="a") == list(range(number + 1))
        assert await change(there, "f:check", client="a") is None


async def test_a_timestamp_is_read_at_as_it_was_whatever_others_have_acknowledged_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NodeStore, "listen", lambda *_: None)  # so that one hears of the other only when it asks
    async with nodes(write_app(tmp_path, f=APP)) as (one, other):
        ts = await one.runtime.latest()
        await change(other.runtime, "f:append", client="a")
        answer = await one.runtime.query_at("f:numbers", encoded(client="a"), None, ts)
        assert value_of(answer) == []
        assert await ask(one.runtime, "f:numbers", client="a") == [0]


async def test_a_mutation_that_fails_has_seen_what_the_other_acknowledged(pair: tuple[Runtime, Runtime]) -> None:
    here, there = pair
    for number in range(20):
        await change(here, "f:append", client=f"c{number}")
        await change(there, "f:check", client=f"c{number}")  # raises where it finds nothing


async def test_those_who_listen_hear_of_the_commits_of_all_in_order(pair: tuple[Runtime, Runtime]) -> None:
    heard: list[list[int]] = [[], []]
    complete = asyncio.Event()

    async def watch(runtime: Runtime, seen: list[int]) -> None:
        changed = asyncio.Event()
        key = runtime.query_key("f:numbers", encoded(client="a"))
        end = runtime.queries.subscribe(key, None, changed.set)
        while True:
            changed.clear()
            answer = await runtime.queries.at(key, None, runtime.ts)
            seen.append(len(value_of(answer)))
            if seen[-1] == 40:
                complete.set()
                end()
                return
            await changed.wait()

    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as tasks:
        for runtime, seen in zip(pair, heard, strict=True):
            tasks.create_task(watch(runtime, seen))
        for number in range(40):
            await change(pair[number % 2], "f:append", client="a")
    for seen in heard:
        assert seen == sorted(set(seen)), "no result comes twice, and none goes back"


async def test_a_request_that_goes_to_both_is_carried_out_once(pair: tuple[Runtime, Runtime]) -> None:
    for number in range(20):
        request = Request("session", number)
        calls = (runtime.mutate("f:append", encoded(client="a"), request=request) for runtime in pair * 3)
        answers = await asyncio.gather(*calls)
        assert {(value_of(answer.answer), answer.ts) for answer in answers} == {(number, answers[0].ts)}
    assert await ask(pair[0], "f:numbers", client="a") == list(range(20))


async def test_a_request_carried_out_elsewhere_is_not_told_as_failed(pair: tuple[Runtime, Runtime]) -> None:
    here, there = pair
    await here.mutate("f:append", encoded(client="b"), request=Request("session", 0))
    await here.settled("session")  # its client has gone to the other node
    claimed = await there.mutate("f:claim", encoded(client="a"), request=Request("session", 1))
    assert claimed.answer.failure is None
    assert await ask(here, "f:numbers", client="a") == [0]
    await there.settled("session")  # it has come back, and was not told
    assert await here.mutate("f:claim", encoded(client="a"), request=Request("session", 1)) == claimed


async def test_a_request_carried_out_elsewhere_spoils_no_other_of_its_batch(pair: tuple[Runtime, Runtime]) -> None:
    """Those that wait together are appended together; the one that was carried out is left out."""
    here, there = pair

    async def send(runtime: Runtime, number: int) -> MutationAnswer:
        request = Request("session", number)
        return await runtime.mutate("f:append", encoded(client=f"c{number}"), request=request)

    numbers = range(30)
    answers = await asyncio.gather(*(send(here, n) for n in numbers), *(send(there, n) for n in numbers if n % 3))
    assert [value_of(answer.answer) for answer in answers] == [0] * len(answers)
    for number in numbers:
        assert await ask(there, "f:numbers", client=f"c{number}") == [0]


async def test_nobody_starves_where_all_write_the_same(pair: tuple[Runtime, Runtime]) -> None:
    numbers = await asyncio.gather(*(change(pair[n % 2], "f:append", client="a") for n in range(60)))
    assert sorted(numbers) == list(range(60))


async def test_tables_that_both_create_at_once_are_one(pair: tuple[Runtime, Runtime]) -> None:
    ids = await asyncio.gather(*(change(pair[n % 2], "f:put", table=f"t{n // 4}", number=n) for n in range(32)))
    assert len(set(ids)) == 32
    for runtime in pair:
        await runtime.latest()
    tables = [{table.name: table.number for table in runtime.catalog} for runtime in pair]
    assert tables[0] == tables[1]
    assert len(set(tables[0].values())) == len(tables[0])


async def test_environment_variables_reach_all(pair: tuple[Runtime, Runtime]) -> None:
    here, there = pair
    assert await ask(there, "f:variable", name="COLOUR") is None
    await set_variables(here, COLOUR="red")
    assert await ask(there, "f:variable", name="COLOUR") == "red"


async def test_a_node_that_comes_later_knows_everything(tmp_path: Path) -> None:
    app = write_app(tmp_path, f=APP)
    board = Board(3)
    async with nodes(app) as (one, _):
        await change(one.runtime, "f:append", client="a")
    late = Node(app, app.parent / "app.db", board, 2)
    try:
        await late.runtime.start(deployed=True, reindexes=False)
        assert board.newest == late.runtime.ts
        assert await ask(late.runtime, "f:numbers", client="a") == [0]
    finally:
        await late.runtime.close()


async def test_the_store_of_another_that_fails_concerns_nobody_else(
    pair: tuple[Runtime, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    await change(here, "f:append", client="a")

    async def fail() -> None:
        raise StorageError("the disk is on fire")

    await there.latest()
    monkeypatch.setattr(there._peers, "news", fail)
    await change(here, "f:append", client="a")
    with pytest.raises(StorageError, match="on fire"):
        await ask(there, "f:numbers", client="a")
    monkeypatch.undo()
    assert await ask(there, "f:numbers", client="a") == [0, 1]


def failed(runtime: Runtime) -> bool:
    return runtime.has_failed


async def test_a_node_that_can_commit_no_more_says_so(
    pair: tuple[Runtime, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    assert not failed(here)
    store = here._store
    assert isinstance(store, NodeStore)
    store._node_writer._stopped = "the disk has failed"
    assert failed(here)
    with pytest.raises(StorageError, match="the disk has failed"):
        await change(here, "f:append", client="a")

    async def break_down(*_: object) -> None:
        raise ZeroDivisionError

    assert there._committer is not None
    monkeypatch.setattr(there._committer, "_append", break_down)
    with pytest.raises(RuntimeError, match="has stopped"):
        await change(there, "f:append", client="a")
    assert failed(there)


async def test_the_first_node_finishes_what_another_left_of_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "SMALL_MAX", 5)
    app = write_app(
        tmp_path,
        f=APP.replace('        by_client = Index("client", "number")\n', "").replace(
            ".with_index(Entry.by_client, client=client)", ""
        ),
    )
    async with nodes(app, 1) as (node,):
        for number in range(10):
            await change(node.runtime, "f:append", client=f"c{number}")
    write_app(tmp_path, f=APP)
    board = Board(1)
    # One that deploys and comes to nothing more, and the one that takes its place.
    broken = Node(app, app.parent / "app.db", board, 0)
    await broken.runtime.start(reindexes=False)
    await broken.runtime.close()
    node = Node(app, app.parent / "app.db", board, 0)
    try:
        await node.runtime.start(deployed=True)
        assert node.runtime._reindexer is not None
        assert node.runtime._reindexer.going is not None
        async with asyncio.timeout(SECONDS_MAX):
            await node.runtime._reindexer.going
        table = node.runtime.catalog.named("entries")
        assert table is not None
        index = next(each for each in table.indexes if each.name == "by_client")
        assert isinstance(index, IndexSpec)
        assert index.since is not None
        assert await ask(node.runtime, "f:numbers", client="c3") == [3]
    finally:
        await node.runtime.close()


class Either:
    """Several nodes as one runtime: each call goes to any of them."""

    def __init__(self, nodes: list[Node], seed: int) -> None:
        self._runtimes = [node.runtime for node in nodes]
        self._dice = random.Random(seed)

    async def query(self, *args: Any, **more: Any) -> Answer:
        return await self._dice.choice(self._runtimes).query(*args, **more)

    async def mutate(self, *args: Any, **more: Any) -> MutationAnswer:
        return await self._dice.choice(self._runtimes).mutate(*args, **more)


@pytest.mark.timeout(90)
@pytest.mark.parametrize(("count", "clients"), [(2, 4), (2, 16), (3, 12)])
async def test_clients_of_any_node_see_no_anomaly(count: int, clients: int, tmp_path: Path) -> None:
    async with nodes(write_app(tmp_path, **LISTS), count) as running:
        lists = Lists(cast("Runtime", Either(running, clients)))
        await asyncio.gather(*(lists.client(f"client {n}", 1000 * clients + n, 600) for n in range(clients)))
        await lists.read_all()
    assert [str(anomaly) for anomaly in anomalies(lists.history)] == []
    outcomes = [transaction.outcome for transaction in lists.history]
    assert outcomes.count("committed") > len(outcomes) / 2
