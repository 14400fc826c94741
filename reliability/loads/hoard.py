"""Those who subscribe to more than anybody should have at once, and those who do so and never read."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any, Final

from reliability.loads.raw import one_who_never_reads
from reliability.loads.scene import GIVEN_UP_SECONDS, Scene
from reliability.resources import MIB, resident
from yugen.runtime.queries import LIVE_BYTES_MAX
from yugen.server.unread import UNREAD_BYTES_MAX
from yugen.sync.session import SessionLimits
from yugen_client import AsyncClient, ClientError

SIZES: Final = {"clients": 6, "queries": 40, "mib": 14, "silent": 16}

MORE_MIB: Final = (LIVE_BYTES_MAX + UNREAD_BYTES_MAX + 5 * SessionLimits().answer_bytes) // MIB
"""What the server may have more meanwhile: what is kept and unread, and what it takes to make one Transition."""

_LOOK_SECONDS: Final = 0.1


async def play(scene: Scene, *, clients: int, queries: int, mib: int, silent: int) -> None:
    """Has so many clients subscribe to so many results of so many MiB each, all different; others do and never read."""
    before, most = resident(scene.server.pid), 0
    fit = min(queries, SessionLimits().answer_bytes // ((mib << 20) + 4096))
    seen: Counter[str] = Counter()
    async with AsyncExitStack() as stack, asyncio.timeout(GIVEN_UP_SECONDS):
        watching = []
        for number in range(clients):
            client = await stack.enter_async_context(AsyncClient(scene.server.url))
            watching += [
                asyncio.create_task(_watch(client, args, seen)) for args in _queries(number * queries, queries, mib)
            ]
            while seen.total() < (number + 1) * queries:
                most = max(most, resident(scene.server.pid))
                await asyncio.sleep(_LOOK_SECONDS)
        wrong = dict(seen) != {"shown": clients * fit, "ResultTooLarge": clients * (queries - fit)}
        scene.check(not wrong, f"{dict(seen)} of {clients} x {queries} results, of which {fit} each should be shown")
        of_all = [("heavy:filled", args) for args in _queries(0, queries, mib)]
        sockets = [await one_who_never_reads(scene.server.port, *of_all) for _ in range(silent)]
        lagging = refused = 0.0
        while lagging + refused < silent:
            most = max(most, resident(scene.server.pid))
            lagging, refused = await scene.metrics("yugen_connections_lagging", "yugen_unread_refused_total")
            await asyncio.sleep(_LOOK_SECONDS)
        live, unread = await scene.metrics("yugen_queries_live_bytes", "yugen_unread_bytes")
        for each in watching:
            each.cancel()
        await asyncio.gather(*(asyncio.to_thread(each.close) for each in sockets))
    scene.figures["results"] = dict(seen)
    scene.figures["MiB kept for them"] = round(live / MIB, 1)
    scene.figures["MiB unread"] = round(unread / MIB, 1)
    scene.figures["cut off of those who read nothing"] = int(refused)
    scene.figures["MiB more at most"] = more = round((most - before) / MIB, 1)
    scene.check(more <= MORE_MIB, f"the server had {more:g} MiB more; {MORE_MIB} are allowed")
    scene.check(unread <= UNREAD_BYTES_MAX, f"{unread:g} bytes were unread; {UNREAD_BYTES_MAX} are allowed")


def _queries(first: int, count: int, mib: int) -> list[dict[str, Any]]:
    return [{"number": number, "size": mib << 20} for number in range(first, first + count)]


async def _watch(client: AsyncClient, args: dict[str, Any], seen: Counter[str]) -> None:
    try:
        async for text in client.subscribe("heavy:filled", args):
            assert len(text) == args["size"]
            seen["shown"] += 1
    except ClientError as error:
        seen["ResultTooLarge" if "ResultTooLarge" in str(error) else str(error)[:200]] += 1
