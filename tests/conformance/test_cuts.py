"""Clients whose connections are cut again and again: each mutation takes place once, each call is answered once.

A cut costs little but the wait after it. The JavaScript clients wait 1 s ± 50 %, and twice as long after each further
cut before they are back in step; `Shears` cuts a tenth of the connections that early, and never two in a row. So one
client that is cut ten times waits for ten seconds and a few more, and a hundred of them, all in one process, take 1,000
cuts in some fifteen. The Python clients begin with 0.1 s.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from reliability.cutting import Shears, cutting
from reliability.serving import Process, serving
from yugen_client import AsyncClient, LocalStore
from yugen_client.backoff import FIRST_SECONDS, backoff_seconds

HERE = Path(__file__).parent
APP = HERE / "app"

SECONDS_MAX: Final = 90.0
"""How long all cuts may take, on a machine that has other things to do."""

BUMPS_PER_CUT: Final = 10
"""Mutations of a Python client, which never runs out of them before its last cut: one connection takes some five."""

TEAM: Final = 10
"""Clients who watch one another."""

EARLY_SECONDS: Final = 0.01
"""By how much timers may be early."""


@asynccontextmanager
async def many_shears(port: int, clients: int, cuts: int) -> AsyncIterator[list[Shears]]:
    """As many shears as clients, each of which cuts as often."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(cutting(port, f"cuts {n}", cuts)) for n in range(clients)]


async def all_cut(shears: Sequence[Shears]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        await asyncio.gather(*(each.finished.wait() for each in shears))


def check_attempts(shears: Sequence[Shears], cuts: int, first_wait_seconds: float) -> None:
    """There was one attempt for each cut, and none before the client's own backoff was over."""
    for each in shears:
        assert (each.cuts, each.attempts) == (cuts, cuts + 1)
        for cuts_in_a_row, seconds in each.waits:
            assert seconds > first_wait_seconds * 2 ** (cuts_in_a_row - 1) - EARLY_SECONDS


@pytest.mark.parametrize(("client", "clients", "cuts"), [("official", 30, 5), ("own", 30, 5)])
async def test_javascript_clients_count_exactly(client: str, clients: int, cuts: int, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(APP, tmp_path))
        shears = await stack.enter_async_context(many_shears(server.port, clients, cuts))
        command = ("node", HERE / "cuts.mjs", client, server.url, "stop", str(TEAM))
        node = await stack.enter_async_context(Process(*command, *(each.url for each in shears)))
        direct = await stack.enter_async_context(AsyncClient(server.url))

        async def stop(position: int) -> None:
            await shears[position].finished.wait()
            await direct.mutation("messages:send", {"channel": "stop", "body": str(position)})

        async with asyncio.timeout(SECONDS_MAX):
            await asyncio.gather(*map(stop, range(clients)))
        assert await node.ended() == 0, "\n".join(node.lines)
        totals = [await direct.query("counters:total", {"team": str(team)}) for team in range(0, clients, TEAM)]
    reports = [json.loads(line) for line in node.lines if line.startswith('{"')]
    assert len(reports) == clients
    for report in reports:
        assert len(report["counts"]) > cuts
        assert report["counts"] == list(range(1, len(report["counts"]) + 1))
        assert report["backwards"] == report["behind"] == []
    assert sum(totals) == sum(len(report["counts"]) for report in reports)
    check_attempts(shears, cuts, 0.5)


def count_one_more(store: LocalStore, args: dict[str, Any]) -> None:
    """What a bump will have done."""
    for path, shown_args in (("counters:count", args), ("counters:total", {"team": args["team"]})):
        value = store.get_query(path, shown_args)
        if value is not None:
            store.set_query(path, shown_args, value + 1)


async def count(url: str, position: int, bumps: int, *, optimistic: bool) -> None:
    """Counts in three streams, and watches; returns once all is shown.

    What is shown never goes back: not to before an answer, and not because an optimistic update lies over results which
    have it already, or was taken away before they have.
    """
    mine, neighbour = ({"team": "python", "name": str(n % TEAM)} for n in (position, position + 1))
    acknowledged: list[int] = []

    async def stream(client: AsyncClient, share: int) -> None:
        for _ in range(share):
            number = await client.mutation(
                "counters:bump", mine, optimistic_update=count_one_more if optimistic else None
            )
            acknowledged.append(number)
            assert await client.query("counters:count", mine) >= number

    async def watch(client: AsyncClient, path: str, args: dict[str, Any], end: int) -> None:
        before = 0
        async for value in client.subscribe(path, args):
            assert value >= max(before, max(acknowledged, default=0) if args is mine else 0)
            before = value
            if value == end:
                return

    backoff = partial(backoff_seconds, rng=random.Random(position))
    async with AsyncClient(url, backoff=backoff) as client, asyncio.TaskGroup() as tasks:
        for n in range(3):
            tasks.create_task(stream(client, len(range(n, bumps, 3))))
        tasks.create_task(watch(client, "counters:count", mine, bumps))
        tasks.create_task(watch(client, "counters:count", neighbour, bumps))
        tasks.create_task(watch(client, "counters:total", {"team": "python"}, bumps * TEAM))
    assert acknowledged == list(range(1, bumps + 1))


@pytest.mark.parametrize("optimistic", [False, True])
async def test_the_python_client_counts_exactly(optimistic: bool, tmp_path: Path) -> None:
    cuts = 6
    async with serving(APP, tmp_path) as server, many_shears(server.port, TEAM, cuts) as shears:
        async with asyncio.timeout(SECONDS_MAX):
            bumps = BUMPS_PER_CUT * cuts
            await asyncio.gather(*(count(each.url, n, bumps, optimistic=optimistic) for n, each in enumerate(shears)))
    check_attempts(shears, cuts, FIRST_SECONDS / 2)


async def test_trap_37_the_official_python_client_counts_at_least_once(tmp_path: Path) -> None:
    cuts, bumps = 20, 20 * BUMPS_PER_CUT
    async with serving(APP, tmp_path) as server, cutting(server.port, "rust", cuts) as shears:
        async with Process(sys.executable, HERE / "cuts.py", shears.url, str(bumps)) as client:
            await all_cut([shears])
            assert await client.ended() == 0, "\n".join(client.lines)
        async with AsyncClient(server.url) as newcomer:
            total = await newcomer.query("counters:total", {"team": "rust"})
    report = json.loads(client.lines[-1])
    counts = report["counts"]
    # It has a new session on each connection, so that a mutation whose answer was lost takes place again. And where it
    # is slow it takes messages of the connection before for some of the new one, and makes yet another.
    assert bumps < total <= bumps + 2 * shears.attempts
    assert counts == sorted(set(counts))
    assert counts[-1] == report["seen"][-1] == total
    assert report["seen"] == sorted(report["seen"])
