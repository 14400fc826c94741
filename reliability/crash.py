"""Real processes, killed by SIGKILL at every step of a commit and at random.

    python -m reliability crash [steps] [growth] [servers] [--kills 200] [--lives 200] [--every 1] [--seed 1]

*steps*: a process that opens, appends, trims, checkpoints, scrubs and closes is killed at its nth operation of the
disk, for every n. *growth*: one that trims its log is killed again and again, and its file must not grow. *servers*:
`yugen serve`, by itself and as two nodes, is killed at operations of its disk and at random while clients write,
subscribe and schedule, and its log is trimmed. After each: what was acknowledged is there, once; what was not, wholly
or not at all; and all that the file holds agrees with itself.
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
import tempfile
import textwrap
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from reliability.disk import BATCHES, NAME, tended_often
from reliability.dying import DIES, FORGETS, death
from reliability.serving import Server
from reliability.stories import TABLE, Story, check_holds
from reliability.verify import verify
from reliability.vfs import faulty_disk
from reliability.zygote import Zygote
from yugen.keys import document_key
from yugen.storage.interface import Change, Commit, Logged, RequestRecord, StorageError
from yugen.storage.memory import MemoryStore
from yugen.storage.sqlite import SqliteStore
from yugen.storage.sqlite_connect import connect
from yugen_client import AsyncClient

PARTS: Final = ("steps", "growth", "servers")

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
        acknowledged, killed = _life(partial(_live, path, seed), n)
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
    for number, commits in enumerate(BATCHES):
        await story.append(store, commits)
        if number % 3 == 2:
            await story.forget(store, story.acknowledged - 20)
    return story


def _life(live: Callable[[int], Coroutine[Any, Any, None]], dies_at: int) -> tuple[int, bool]:
    """Lives in a process of its own; the newest timestamp that it was told is durable, and whether it was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            with faulty_disk() as disk, tended_often():
                disk.on_operation = death(f"any::{dies_at}")
                asyncio.run(live(writing))
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
            await story.forget(store, story.acknowledged - 20)
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
    verify(path, whole_log=False, forgotten=story.forgotten)
    return rows


# Growth ---------------------------------------------------------------------------------------------------------------


def growth(folder: Path, seed: int, lives: int) -> Counter[str]:
    """Has a store that trims its log live again and again, to be killed each time, and looks how large its file is.

    Raises:
        AssertionError: it becomes larger and larger, or does not agree with itself.
    """
    path, dice = folder / "growing" / NAME, random.Random(seed)
    figures, pages, acknowledged = Counter[str](lives=lives), list[int](), 0
    for _ in range(lives):
        done, killed = _life(partial(_grow, path), dice.randint(*_GROWTH_STEPS))
        acknowledged = max(acknowledged, done)
        figures["kills"] += killed
        assert verify(path, whole_log=False, forgotten=acknowledged).newest >= acknowledged, "commits are lost"
        with closing(connect(path, read_only=True)) as connection:
            pages.append(connection.pragma("page_count"))
    earlier, later = max(pages[lives // 4 : lives // 2]), max(pages[lives // 2 :])
    assert later <= earlier * 1.2, f"the file grows, seed {seed}: {pages}"
    figures["commits"], figures["pages at most"] = acknowledged, later
    assert acknowledged > 10 * later, "a log that nobody trims would have found room"
    left = asyncio.run(_trim(path))
    assert left.changes == 0, f"of a log that is trimmed {left.changes} changes are left"
    return figures


async def _grow(path: Path, writing: int) -> None:
    """Commits to the same few documents until it is killed, and keeps the log of the last commits only."""
    store = SqliteStore(path)
    newest = await store.open()
    key = document_key(TABLE, bytes(16))
    while True:
        snapshot = await store.snapshot(newest)
        before = await snapshot.get(key)
        snapshot.close()
        images = [before, *(f"{newest + n}".encode() * 20 for n in range(1, 9))]
        commits = [
            Commit(
                newest + n,
                (Change(key, images[n - 1], images[n]),),
                RequestRecord("growing", newest + n, b"digest", b"value"),
            )
            for n in range(1, len(images))
        ]
        await store.append(lambda _, __, commits=commits: commits)  # type: ignore[misc]
        newest = commits[-1].ts
        os.write(writing, f"{newest}\n".encode())
        await store.trim(newest - 10)
        await store.forget_requests(newest - 10)


async def _trim(path: Path) -> Logged:
    store = SqliteStore(path)
    newest = await store.open()
    try:
        return await store.trim(newest)
    finally:
        await store.close()


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
_GROWTH_STEPS: Final = (150, 900)
"""Operations that a life has whose file is looked at."""

_SAY_EVERY: Final = 25
_STEPS: Final = (("write", "-wal", 40), ("sync", "-wal", 12), ("write", ".sqlite3", 10), ("any", "", 120))
"""Operations at which a server dies, and at the latest at which of them."""

_PATIENCE: Final = (1, 10, 30, 30)
"""How many times as much a node does before it dies: it serves while others start, and so does each in its place."""

_ANSWERS_MAX: Final = 60
_SECONDS_MAX: Final = 5.0
"""How many mutations a server answers at most, and how long it lives, before it is killed from outside."""

_SETTLE_SECONDS: Final = 30.0

_AGAIN_SECONDS: Final = 0.05
"""How soon clients come back."""

_FORGETS_SECONDS: Final = 0.2
"""How long a server keeps its log."""


class DyingServer(Server):
    """A server that ends at a step of its disk, and that forgets its log soon.

    Args:
        zygote: what it is forked from.
        app: the folder of the app.
        data: the folder for its data.
        options: more for the command line.
    """

    def __init__(self, zygote: Zygote, app: Path, data: Path, *options: str) -> None:
        super().__init__(app, data, *options, "--limit", f"log_seconds={_FORGETS_SECONDS}", development=False)
        self._zygote = zygote
        self._env[FORGETS] = str(_FORGETS_SECONDS)

    async def _begin(self) -> asyncio.subprocess.Process:
        forked = await self._zygote.start(self._command[1:], cwd=self._cwd, env=self._env)
        return cast("asyncio.subprocess.Process", forked)  # which it is like


async def servers(
    zygote: Zygote, folder: Path, seed: int, kills: int, *options: str, say: bool = False
) -> Counter[str]:
    """Kills a server so many times while clients write, and holds what is there against what they were told.

    Raises:
        AssertionError: something was lost, doubled or wrong.
    """
    dice, figures = random.Random(seed), Counter[str]()
    app, data = folder / "app", folder / "data"
    app.mkdir(parents=True)
    (app / "f.py").write_text(textwrap.dedent(APP))
    server = DyingServer(zygote, app, data, *options)
    horizon = 0
    answers = _Answers()
    acknowledged = answers.of
    stopping, shown, told = asyncio.Event(), 0, _SAY_EVERY

    async def write(name: str) -> None:
        async with AsyncClient(server.url, backoff=lambda _: _AGAIN_SECONDS) as client:
            while not stopping.is_set():
                number = acknowledged[name]
                assert await client.mutation("f:write", {"client": name, "number": number}) == number
                answers.add(name)

    async def watch() -> None:
        nonlocal shown
        async with AsyncClient(server.url, backoff=lambda _: _AGAIN_SECONDS) as client:
            async for total in client.subscribe("f:total"):
                assert total >= shown, f"the count went from {shown} back to {total}"
                shown = total

    async with server:
        writers = [asyncio.create_task(write(f"c{number}")) for number in range(CLIENTS)]
        watching = asyncio.create_task(watch())
        try:
            while figures["kills"] < kills:
                since = len(server.lines)
                figures[await _die(server, dice, answers)] += 1
                nodes = sum("by signal 9; another one" in line for line in server.lines[since:])
                figures["nodes killed"] += nodes
                figures["kills"] += nodes + 1
                known = dict(acknowledged)
                contents = verify(data / NAME, whole_log=False)
                assert contents.horizon >= horizon, "the horizon of the log has gone back"
                figures["lives in which the log was trimmed"] += contents.horizon > horizon
                horizon = contents.horizon
                figures["changes held against the log"] += contents.changes
                written = _written(data / NAME)
                for name, count in known.items():
                    numbers = sorted(written[name])
                    assert numbers == list(range(len(numbers))), f"{name} has {numbers[-20:]}"
                    assert len(numbers) >= count, f"{name} was told of {count}, and there are {len(numbers)}"
                    figures["unacknowledged and there"] += len(numbers) - count
                await _start(server, dice, figures, patience=dice.choice(_PATIENCE) if options else 1)
                for task in (*writers, watching):
                    if task.done():
                        task.result()
                if say and figures["kills"] >= told:
                    told += _SAY_EVERY
                    done = ", ".join(f"{key} {value:,}" for key, value in sorted(figures.items()))
                    print(f"  {acknowledged.total():,} acknowledged, {done}", flush=True)
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


class _Answers:
    """What clients were told has taken place.

    Attributes:
        of: how many mutations of each client.
    """

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        self._reached = asyncio.Event()
        self._enough = 0

    def add(self, name: str) -> None:
        self.of[name] += 1
        if self.of.total() >= self._enough:
            self._reached.set()

    async def more(self, count: int) -> None:
        """Waits until there are so many more."""
        self._enough = self.of.total() + count
        self._reached.clear()
        await self._reached.wait()


async def _die(server: Server, dice: random.Random, answers: _Answers) -> str:
    """Waits until the server has died at a step, or kills it after some answers; says which."""
    dying = [
        asyncio.create_task(server._process.wait()),
        asyncio.create_task(answers.more(dice.randint(1, _ANSWERS_MAX))),
    ]
    await asyncio.wait(dying, timeout=_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
    for task in dying:
        task.cancel()
    await asyncio.gather(*dying, return_exceptions=True)
    if not server.running:
        await server.ended()
        return "died at a step"
    if dice.random() < 0.5:
        await server.kill()
        return "server killed"
    await server.destroy()
    return "all processes killed"


async def _start(server: Server, dice: random.Random, figures: Counter[str], patience: int) -> None:
    """Starts a server that is to die at some step, perhaps before it serves; then another."""
    operation, ending, last = dice.choice(_STEPS)
    server._env[DIES] = f"{operation}:{ending}:{dice.randint(1, last * patience)}"
    while True:
        try:
            await server.start()
        except AssertionError:
            figures["kills"] += 1
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


async def _run_servers(folder: Path, seed: int, kills: int, *options: str) -> Counter[str]:
    with Zygote() as zygote:
        return await servers(zygote, folder, seed, kills, *options, say=True)


def main(words: Sequence[str]) -> bool:
    """Runs it; whether everything held."""
    parser = argparse.ArgumentParser(prog="python -m reliability crash", description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--kills", type=int, default=200, help="of servers: half of them by itself, half as two nodes")
    parser.add_argument("--lives", type=int, default=200, help="of a store that trims its log")
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
            "growth": lambda: growth(folder / "growth", options.seed, options.lives),
            "servers: one process": lambda: asyncio.run(_run_servers(folder / "one", options.seed, half)),
            "servers: two nodes": lambda: asyncio.run(
                _run_servers(folder / "two", options.seed, half, "--workers", "2")
            ),
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
