"""Imports from the first byte to the last document, as the convex command line brings them in."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from reliability.fuzzing import archives, spoil
from reliability.fuzzing.surface import TAKEN, Attempt, Finding, Surface
from reliability.fuzzing.world import SECONDS_MAX, InProcess, in_process

_MODES: Final = ("append", "replace", "requireEmpty", "replaceAll")


async def attempt(world: InProcess, given: Any) -> str:
    """Imports a file. One that is refused, at whichever step, has changed nothing."""
    before = await world.digest()
    outcome = await _imported(world, given)
    if not outcome.startswith(TAKEN) and await world.digest() != before:
        raise Finding(f"it is refused ({outcome}), and has changed what is stored")
    if complaints := world.complaints():
        raise Finding("it is logged: " + "\n".join(complaints))
    return outcome


async def _imported(world: InProcess, given: Any) -> str:
    token = await world.known("import")
    part = await world.post(f"/api/import/upload_part?uploadToken={token}&partNumber=1", archives.bytes_of(given))
    wanted = {"format": given.get("form"), "mode": given.get("mode"), "tableName": given.get("table")}
    finish = {"import": wanted, "uploadToken": token, "partTokens": [part.said]}
    begun = await world.post("/api/import/finish_upload", finish)
    if begun.status != 200:
        return f"{begun.status} {begun.said['code']}"
    import_id = begun.said["importId"]
    state = await _until(world, import_id, "uploaded")
    if state["state"] == "waiting_for_confirmation":
        if not given.get("confirm", True):
            await world.post("/api/cancel_import", {"importId": import_id})
        else:
            await world.post("/api/perform_import", {"importId": import_id})
        state = await _until(world, import_id, "waiting_for_confirmation", "in_progress")
    match state:
        case {"state": "completed", "num_rows_written": rows}:
            return TAKEN if rows["$integer"] != "AAAAAAAAAAA=" else f"{TAKEN}, nothing in it"
        case {"state": "failed", "error_message": str(text)} if text.endswith("othing was imported."):
            return "canceled" if "canceled" in text else "failed"
    raise Finding(f"it comes to {state}")


async def _until(world: InProcess, import_id: str, *before: str) -> Any:
    """The state of an import once it is none of these."""
    asked = {"path": "_system/cli/queryImport", "args": {"importId": import_id}, "format": "convex_encoded_json"}
    state: Any = None
    with suppress(TimeoutError):
        async with asyncio.timeout(SECONDS_MAX):
            while state is None or state["state"] in before:
                state = (await world.post("/api/query", asked)).said["value"]["state"]
                await asyncio.sleep(0.002)  # as the command line does, though oftener
            return state
    raise Finding(f"it does not come to its end: {state}")


def _made(dice: random.Random) -> Any:
    made = archives.made(dice)
    mode = spoil.mostly(dice, dice.choice(_MODES), ("x", "", None), 0.95)
    form = spoil.mostly(dice, made["form"], ("exe", "", None), 0.97)
    return made | {"mode": mode, "form": form, "confirm": dice.random() < 0.9}


@asynccontextmanager
async def _opened() -> AsyncIterator[Attempt]:
    async with in_process() as world:
        yield partial(attempt, world)


SURFACES: Final = (Surface("imports", _made, _opened, "Imports: one that is refused has changed nothing.", 2),)
