"""What is scheduled on real servers whose processes die: mutations run exactly once, actions at most once.

`YUGEN_CRASHES=200` has each test end its processes so often; `YUGEN_SEED` is another order of events.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from reliability.serving import Server, serving
from tests.apps import write_app
from yugen_client import AsyncClient

CRASHES = int(os.environ.get("YUGEN_CRASHES", "2"))
SEED = int(os.environ.get("YUGEN_SEED", "0"))
PLANNERS = 3
PLANNED = 30
"""What each of them schedules between two ends of a process."""

PAUSE_MIN, PAUSE_MAX = 5, 50
"""How much of that has been done by then: a random number."""

DEATH = "another one takes its place"

APP = """
    import asyncio
    from typing import Any

    from yugen import ActionCtx, Count, Document, MutationCtx, PaginationOptions, PaginationResult, QueryCtx
    from yugen import action, mutation, query


    class Plan(Document, table="plans"):
        name: str
        what: str
        job: str


    class Effect(Document, table="effects"):
        name: str

        counted = Count()


    @mutation
    async def plan(ctx: MutationCtx, name: str, what: str, delay: float, args: dict[str, Any]) -> str:
        job = await ctx.scheduler.run_after(delay, what, name=name, **args)
        await ctx.db.insert(Plan(name=name, what=what, job=job))
        return job


    @mutation
    async def plan_at(ctx: MutationCtx, names: list[str], first: float, step: float) -> None:
        for number, name in enumerate(names):
            await ctx.scheduler.run_at(first + number * step, do, name=name)


    @mutation
    async def cancel(ctx: MutationCtx, job: str) -> None:
        await ctx.scheduler.cancel(job)


    @mutation
    async def do(ctx: MutationCtx, name: str) -> None:
        await ctx.db.insert(Effect(name=name))


    @mutation
    async def chain(ctx: MutationCtx, name: str, left: int) -> None:
        await ctx.db.insert(Effect(name=name))
        if left:
            await plan(ctx, f"{name}+", "later:chain", 0, {"left": left - 1})


    @mutation
    async def fail(ctx: MutationCtx, name: str) -> None:
        await ctx.db.insert(Effect(name=name))
        raise ValueError(name)


    @action
    async def post(ctx: ActionCtx, name: str, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST /{name} HTTP/1.0\\r\\n\\r\\n".encode())
        assert b"200" in await reader.read()
        writer.close()
        await ctx.run_mutation(do, name=name)


    @query
    async def ended(ctx: QueryCtx) -> int:
        return await ctx.db.query(Effect).with_index(Effect.counted).count()


    @query
    async def rows(ctx: QueryCtx, table: str, options: PaginationOptions) -> PaginationResult[Any]:
        if table.startswith("_"):
            return await ctx.db.system.query(table).paginate(options)
        return await ctx.db.query(table).paginate(options)


    @query
    async def open(ctx: QueryCtx) -> int:
        jobs = ctx.db.system.query("_scheduled_functions")
        return len([each async for each in jobs if each["state"]["kind"] in ("pending", "inProgress")])
"""


@asynccontextmanager
async def service(dice: random.Random) -> AsyncIterator[tuple[int, Counter[str]]]:
    """A service outside, which takes its time and counts who has called: its port, and the calls."""
    calls: Counter[str] = Counter()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            name = (await reader.readline()).split()[1].decode().removeprefix("/")
            calls[name] += 1
            await asyncio.sleep(dice.random() * 0.03)
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], calls


async def kill(server: Server, dice: random.Random) -> None:
    """As `kill -9` does, to the server alone or to all its processes."""
    await dice.choice([Server.kill, Server.destroy])(server)
    await server.start()


async def terminate(server: Server, dice: random.Random) -> None:
    """As a service manager does."""
    server._process.terminate()
    assert await server.ended() == 0, "\n".join(server.lines)
    await server.start()


async def kill_a_node(server: Server, dice: random.Random) -> None:
    seen = len(server.lines)
    os.kill(dice.choice(server.children()), signal.SIGKILL)
    await server.printed("serves again", since=seen)


async def pause(server: Server, dice: random.Random) -> None:
    """Stops all its processes for a moment, as a machine does that sleeps."""
    os.killpg(server._process.pid, signal.SIGSTOP)
    await asyncio.sleep(dice.random() * 0.5)
    os.killpg(server._process.pid, signal.SIGCONT)


@pytest.mark.timeout(60 + 10 * CRASHES)
@pytest.mark.parametrize(
    ("options", "crash"),
    [((), kill), ((), terminate), (("--workers", "2"), kill_a_node), (("--workers", "2"), kill), ((), pause)],
    ids=["kill", "terminate", "kill-a-node", "kill-all-nodes", "pause"],
)
async def test_whatever_ends_all_runs_once(
    options: tuple[str, ...], crash: Callable[[Server, random.Random], Awaitable[None]], tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    app, data = write_app(tmp_path, later=APP), tmp_path / "data"
    planned: list[str] = []
    numbers = itertools.count()
    async with (
        service(dice) as (port, calls),
        serving(app, data, *options, development=False, expected_errors=[DEATH]) as server,
    ):

        async def plan() -> None:
            async with AsyncClient(server.url) as client:
                for _ in range(PLANNED):
                    what, args = dice.choice(
                        [("do", {}), ("do", {}), ("chain", {"left": 2}), ("fail", {}), ("post", {"port": port})]
                    )
                    name, delay = f"n{next(numbers)}", dice.choice([0, 0, dice.random()])
                    given = {"name": name, "what": f"later:{what}", "delay": delay, "args": args}
                    job = await client.mutation("later:plan", given)
                    planned.append(name)
                    if dice.random() < 0.1:
                        await client.mutation("later:cancel", {"job": job})

        for _ in range(CRASHES):
            async with AsyncClient(server.url) as watcher:
                goal = await watcher.query("later:ended") + dice.randint(PAUSE_MIN, PAUSE_MAX)
                planners = [asyncio.create_task(plan()) for _ in range(PLANNERS)]
                await _seen(watcher, "later:ended", lambda count, goal=goal: count >= goal)  # type: ignore[misc]
                await crash(server, dice)
                for planner in planners:
                    planner.cancel()
                await asyncio.wait(planners)
        async with AsyncClient(server.url) as watcher:
            await _seen(watcher, "later:open", lambda count: count == 0)
            plans = [(each["name"], each["what"], each["job"]) for each in await _rows(watcher, "plans")]
            states = {each["_id"]: each["state"] for each in await _rows(watcher, "_scheduled_functions")}
            effects = Counter([each["name"] for each in await _rows(watcher, "effects")])

    assert {name for name, _, _ in plans} >= set(planned)
    assert {job for _, _, job in plans} == states.keys()
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, what, job in plans:
        kind = states[job]["kind"]
        kinds[what][kind] += 1
        match what, kind:
            case "later:do" | "later:chain", "success":
                assert effects.pop(name) == 1
            case "later:fail", "failed":
                assert "ValueError: " in states[job]["error"]
                assert name not in effects
            case "later:post", "success":
                assert calls.pop(name) == effects.pop(name) == 1
            case "later:post", "failed":
                assert (
                    "server stopped" in states[job]["error"] or "was stopped with the process" in states[job]["error"]
                )
                assert calls.pop(name, 0) <= 1
                assert effects.pop(name, 0) <= 1
            case _, "canceled":
                assert name not in effects
                assert name not in calls
            case _:
                raise AssertionError((name, what, states[job]))
    assert not effects
    assert not calls
    assert kinds["later:do"]["success"] >= CRASHES
    assert kinds["later:post"]["success"] > 0


async def test_what_comes_due_while_the_server_is_down_is_made_up_for_in_order(tmp_path: Path) -> None:
    names = [str(number) for number in range(40)]
    async with serving(write_app(tmp_path, later=APP), tmp_path / "data", development=False) as server:
        async with AsyncClient(server.url) as client:
            first = time.time() * 1000 + 300
            # The last of them is to run first.
            await client.mutation("later:plan_at", {"names": names, "first": first + 39 * 5, "step": -5})
        await server.kill()
        await asyncio.sleep(max(0.0, (first + 200) / 1000 - time.time()))
        await server.start()
        async with AsyncClient(server.url) as client:
            await _seen(client, "later:ended", lambda count: count == len(names))
            assert [each["name"] for each in await _rows(client, "effects")] == names[::-1]


async def _rows(client: AsyncClient, table: str) -> list[dict[str, Any]]:
    """All documents of a table."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        options = {"numItems": 1000, "cursor": cursor}
        page = await client.query("later:rows", {"table": table, "options": options})
        found += page["page"]
        if page["isDone"]:
            return found
        cursor = page["continueCursor"]


async def _seen(client: AsyncClient, path: str, wanted: Callable[[Any], bool]) -> None:
    """Waits until a query gives what is wanted."""
    async with asyncio.timeout(60):
        async for found in client.subscribe(path):
            if wanted(found):
                return
