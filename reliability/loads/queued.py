"""More at once on one connection than it may hold: it is closed with what that is called, and nobody else hears of it.

A client of ours that is asked for more waits with the rest, and all of it takes place, once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

from reliability.loads.raw import closed
from reliability.loads.scene import GIVEN_UP_SECONDS, Scene
from yugen_client import AsyncClient

SIZES: Final = {"calls": 3000}


async def play(scene: Scene, *, calls: int) -> None:
    """Says too much in each way there is; then has our client make so many calls at once."""
    port = scene.server.port
    refusals = {
        "mutations": ("1013 TooManyConcurrentMutations", list(_mutations(1001))),
        "actions": ("1013 TooManyConcurrentActions", list(_actions(1001))),
        "subscriptions": ("1013 TooManySubscriptions", [_query_set(4097, "")]),
        "large subscriptions": ("1013 QuerySetTooLarge", [_query_set(33, "x" * (1 << 20))]),
    }
    async with asyncio.timeout(GIVEN_UP_SECONDS):
        for what, (expected, texts) in refusals.items():
            said = await closed(port, *texts)
            scene.figures[f"too many {what}"] = said
            scene.check(said == expected, f"too many {what}: closed as {said}, and not as {expected}")
        async with AsyncClient(scene.server.url) as client:
            names = [f"queued {number}" for number in range(calls)]
            before = await client.query("heavy:counted")
            answers = await asyncio.gather(
                *(client.mutation("heavy:count", {"name": name}) for name in names), return_exceptions=True
            )
            failed = [answer for answer in answers if isinstance(answer, BaseException)]
            stored = int(await client.query("heavy:counted") - before)
            connections = client.connection_state.connection_count
    scene.figures |= {"mutations at once": calls, "of them stored": stored, "failed": len(failed)}
    scene.check(stored == calls - len(failed), f"{stored} of {calls} were stored, and {len(failed)} failed")
    others = [failure for failure in failed if "Overloaded" not in str(failure)]
    scene.check(not others, f"of {calls} mutations at once {len(others)} failed, the first: {others[:1]}")
    scene.check(connections == 1, f"the client needed {connections} connections")


def _mutations(count: int) -> Iterator[str]:
    # The first one keeps the others waiting.
    yield json.dumps({"type": "Mutation", "requestId": 0, "udfPath": "heavy:spin_writing", "args": [{"number": 0}]})
    for number in range(1, count):
        args = {"topic": "queued", "number": number, "body": ""}
        yield json.dumps({"type": "Mutation", "requestId": number, "udfPath": "usage:add", "args": [args]})


def _actions(count: int) -> Iterator[str]:
    for number in range(count):
        yield json.dumps({"type": "Action", "requestId": number, "udfPath": "heavy:rest", "args": [{}]})


def _query_set(count: int, body: str) -> str:
    adds: list[dict[str, Any]] = [
        {"type": "Add", "queryId": number, "udfPath": "heavy:echo", "args": [{"value": f"{number} {body}"}]}
        for number in range(count)
    ]
    return json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": adds})
