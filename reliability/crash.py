"""Real processes, killed by SIGKILL at every step of a commit and at random.

    python -m reliability crash [steps] [servers] [--kills 200] [--every 1] [--seed 1]

*steps*: a process that opens, appends, trims, checkpoints, scrubs and closes is killed at its nth operation of the
disk, for every n. *servers*: `yugen serve`, by itself and as two nodes, is killed at operations of its disk and at
random while clients write, subscribe and schedule. After each: what was acknowledged is there, once; what was not,
wholly or not at all; and all that the file holds agrees with itself.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from reliability.disk import BATCHES, NAME, tended_often
from reliability.dying import DIES, Death
from reliability.serving import Server
from reliability.stories import Story, check_holds
from reliability.verify import verify
from reliability.vfs import faulty_disk
from yugen.storage.interface import StorageError
from yugen.storage.memory import MemoryStore
from yugen.storage.sqlite import SqliteStore
from yugen.storage.sqlite_connect import connect
from yugen_client import AsyncClient

# Steps ----------------------------------------------------------------------------------------------------------------


def steps(folder: Path, seed: int, *, every: int = 1) -> Counter[str]:
    """Kills a process at its nth operation, for every n or one in `every`.

    Raises:
        AssertionError: something was lost or wrong.
    """
    figures: Counter[str] = Counter()
    told = asyncio.run(_told(seed))
    for n in itertools.count(1, every):
        path = folder / "life" / NAME
        acknowledged, killed = _life(path, seed, n)
        try:
            figures["rows"] += asyncio.run(_check(path, told, acknowledged, figures))
        except (AssertionError, StorageError) as error:
            raise AssertionError(f"killed at operation {n}, seed {seed}: {error}") from error
        shutil.rmtree(path.parent)
        if not killed:
            break
        figures["kills"] += 1
        if figures["kills"] % _SAY_EVERY == 0:
            print(f"  {figures['kills']} kills", flush=True)
    return figures


async def _told(seed: int) -> Story:
    """What a life comes to that nobody ends."""
    story = Story(seed)
    store = MemoryStore()
    for commits in BATCHES:
        await story.append(store, commits)
    return story


def _life(path: Path, seed: int, dies_at: int) -> tuple[int, bool]:
    """Lives in a process of its own; the newest timestamp that it was told is durable, and whether it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            with faulty_disk() as disk, tended_often():
                disk.on_operation = Death(f"any::{dies_at}")
                asyncio.run(_live(path, seed, writing))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as lines:
        acknowledged = [int(line) for line in lines if line.endswith("\n")]
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), f"it ended with {code}"
    return max(acknowledged, default=0), code != 0


async def _live(path: Path, seed: int, writing: int) -> None:
    story = Story(seed)
    store = SqliteStore(path)
    await store.open()
    for number, commits in enumerate(BATCHES):
        await story.append(store, commits)
        os.write(writing, f"{story.acknowledged}\n".encode())
        if number % 3 == 2:
            await store.trim(story.acknowledged - 5)
    await store.scrub()
    await store.close()


async def _check(path: Path, told: Story, acknowledged: int, figures: Counter[str]) -> int:
    story = told.copy()
    store = SqliteStore(path)
    newest = await store.open()
    try:
        assert newest >= acknowledged, f"acknowledged up to {acknowledged}, and there is {newest}"
        assert newest in story.ends, f"{newest} is in the middle of an append"
        figures["unacknowledged and there"] += newest > acknowledged
        rows = await check_holds(store, story, newest)
        await story.append(store, 1)
        assert story.acknowledged > newest, "time has gone back"
    finally:
        await store.close()
    verify(path, whole_log=False)
    return rows


# Servers --------------------------------------------------------------------------------------------------------------

APP: Final = """
    from yugen import ActionCtx, Count, Document, Index, MutationCtx, QueryCtx, action, internal_action
    from yugen import internal_mutation, mutation, query


    class Entry(Document, table="entries"):
        kind: str
        client: str
        number: int

        by_client = Index("kind", "client", "number")
        counted = Count("kind")


    @query
    async def numbers(ctx: QueryCtx, kind: str, client: str) -> list[int]:
        entries = ctx.db.query(Entry).with_index(Entry.by_client, kind=kind, client=client)
        return [entry.number async for entry in entries]


    @query
    async def total(ctx: QueryCtx) -> int:
        return await ctx.db.query(Entry).with_index(Entry.counted, kind="written").count()


    @internal_mutation
    async def put(ctx: MutationCtx, kind: str, client: str, number: int) -> None:
        await ctx.db.insert(Entry(kind=kind, client=client, number=number))


    @internal_action
    async def act(ctx: ActionCtx, client: str, number: int) -> None:
        await ctx.run_mutation(put, "acted", client, number)


    @mutation
    async def write(ctx: MutationCtx, client: str, number: int) -> int:
        await ctx.db.insert(Entry(kind="written", client=client, number=number))
        if number % 5 == 0:
            await ctx.scheduler.run_after(0, put, "scheduled", client, number)
            await ctx.scheduler.run_after(0, act, client, number)
        return number
"""

CLIENTS: Final = 4
_SAY_EVERY: Final = 100
_STEPS: Final = (("write", "-wal", 40), ("sync", "-wal", 12), ("write", ".sqlite3", 10), ("any", "", 120))
"""Operations at which a server dies, and at the latest at which of them."""

_SECONDS_MAX: Final = 1.0
"""How long a server lives at most, after which it is killed from outside."""

_SETTLE_SECONDS: Final = 30.0


async def servers(folder: Path, seed: int, kills: int, *options: str) -> Counter[str]:
    """Kills a server so many times while clients write, and holds what is there against what they were told.

    Raises:
        AssertionError: something was lost, doubled or wrong.
    """
    dice, figures = random.Random(seed), Counter[str]()
    app, data = folder / "app", folder / "data"
    app.mkdir(parents=True)
    (app / "f.py").write_text(textwrap.dedent(APP))
    server = Server(app, data, *options, development=False)
    server._command[:1] = [sys.executable, "-m", "reliability.dying"]
    acknowledged: Counter[str] = Counter()
    stopping, shown = asyncio.Event(), 0

    async def write(name: str) -> None:
        async with AsyncClient(server.url) as client:
            while not stopping.is_set():
                number = acknowledged[name]
                assert await client.mutation("f:write", {"client": name, "number": number}) == number
                acknowledged[name] += 1

    async def watch() -> None:
        nonlocal shown
        async with AsyncClient(server.url) as client:
            async for total in client.subscribe("f:total"):
                assert total >= shown, f"the count went from {shown} back to {total}"
                shown = total

    async with server:
        writers = [asyncio.create_task(write(f"c{number}")) for number in range(CLIENTS)]
        watching = asyncio.create_task(watch())
        try:
            for _ in range(kills):
                figures[await _die(server, dice)] += 1
                known = dict(acknowledged)
                contents = verify(data / NAME)
                figures["changes of the log"] = contents.changes
                written = _written(data / NAME)
                for name, count in known.items():
                    numbers = sorted(written[name])
                    assert numbers == list(range(len(numbers))), f"{name} has {numbers[-20:]}"
                    assert len(numbers) >= count, f"{name} was told of {count}, and there are {len(numbers)}"
                    figures["unacknowledged and there"] += len(numbers) - count
                await _start(server, dice, figures)
                for task in (*writers, watching):
                    if task.done():
                        task.result()
            stopping.set()
            await _start_for_good(server)  # for whom writers may be waiting
            await asyncio.gather(*writers)
            await _settle(server, acknowledged, figures)
        finally:
            for task in (*writers, watching):
                task.cancel()
            await asyncio.gather(*writers, watching, return_exceptions=True)
    figures["acknowledged"] = acknowledged.total()
    figures["shown"] = shown
    assert acknowledged.total() > 0, "nothing was written"
    return figures


def _written(path: Path) -> dict[str, list[int]]:
    """What clients have written, as it stands in a file that no server has at the moment."""
    written: defaultdict[str, list[int]] = defaultdict(list)
    with closing(connect(path, read_only=True)) as connection:
        for (value,) in connection.execute("SELECT value FROM documents"):
            fields = json.loads(value)
            if isinstance(fields, dict) and fields.get("kind") == "written":
                written[fields["client"]].append(int(fields["number"]))
    return written


async def _die(server: Server, dice: random.Random) -> str:
    """Waits until the server has died at a step, or kills it; says which."""
    with suppress(TimeoutError):
        async with asyncio.timeout(dice.uniform(0.1, _SECONDS_MAX)):
            await server._process.wait()
    if not server.running:
        await server.ended()
        return "died at a step"
    if dice.random() < 0.5:
        await server.kill()
        return "server killed"
    await server.destroy()
    return "all processes killed"


async def _start(server: Server, dice: random.Random, figures: Counter[str]) -> None:
    """Starts a server that is to die at some step, perhaps before it serves; then another."""
    operation, ending, last = dice.choice(_STEPS)
    server._env[DIES] = f"{operation}:{ending}:{dice.randint(1, last)}"
    while True:
        try:
            await server.start()
        except AssertionError:
            figures["died before it served"] += 1
            server._env.pop(DIES, None)
        else:
            return


async def _start_for_good(server: Server) -> None:
    """Starts a server that does not die at any step, in place of the one that may."""
    if server.running:
        await server.destroy()
    else:
        await server.ended()
    server._env.pop(DIES, None)
    await server.start()


async def _settle(server: Server, acknowledged: Counter[str], figures: Counter[str]) -> None:
    """Waits until what is scheduled is done; checks that each mutation was done once, and each action at most once."""
    async with AsyncClient(server.url) as reader:
        for name, count in acknowledged.items():
            numbers = await reader.query("f:numbers", {"kind": "written", "client": name})
            assert numbers == list(range(count)), f"{name} was told of {count}, and there are {len(numbers)}"
            due = list(range(0, count, 5))
            async with asyncio.timeout(_SETTLE_SECONDS):
                async for numbers in reader.subscribe("f:numbers", {"kind": "scheduled", "client": name}):
                    assert len(numbers) == len(set(numbers)), "a scheduled mutation was carried out twice"
                    if numbers == due:
                        break
            acted = await reader.query("f:numbers", {"kind": "acted", "client": name})
            assert len(acted) == len(set(acted)), "an action ran twice"
            assert set(acted) <= set(due)
            figures["scheduled mutations"] += len(due)
            figures["actions"] += len(acted)
    await server.stop()


def main(words: Sequence[str]) -> bool:
    """Runs it; whether everything held."""
    parser = argparse.ArgumentParser(prog="python -m reliability crash", description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", default=("steps", "servers"), help="steps, servers; both if none is named")
    parser.add_argument("--kills", type=int, default=200, help="of servers: half of them by itself, half as two nodes")
    parser.add_argument("--every", type=int, default=1, help="kill at one in so many operations")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    print(f"seed {options.seed}")
    logging.disable(logging.CRITICAL)
    held = True
    with tempfile.TemporaryDirectory() as name:
        folder, half = Path(name), options.kills // 2
        runs: dict[str, Callable[[], Counter[str]]] = {
            "steps": lambda: steps(folder / "steps", options.seed, every=options.every),
            "servers: one process": lambda: asyncio.run(servers(folder / "one", options.seed, half)),
            "servers: two nodes": lambda: asyncio.run(servers(folder / "two", options.seed, half, "--workers", "2")),
        }
        for what, run in runs.items():
            if what.partition(":")[0] not in options.parts:
                continue
            began = time.perf_counter()
            try:
                figures = run()
            except (AssertionError, StorageError, TimeoutError) as error:
                print(f"{what}: FAILED: {error!r}", flush=True)
                held = False
            else:
                shown = ", ".join(f"{key} {value:,}" for key, value in sorted(figures.items()))
                print(f"{what}: {shown}, in {time.perf_counter() - began:.0f} s", flush=True)
    return held
