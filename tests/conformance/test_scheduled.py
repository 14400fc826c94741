"""The official Python client, unmodified, watches what becomes of what is scheduled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import convex
import pytest

from reliability.serving import serving
from tests.apps import write_app

APP = """
    import asyncio
    from typing import Any

    from yugen import ActionCtx, MutationCtx, QueryCtx, action, mutation, query


    @mutation
    async def plan(ctx: MutationCtx, what: str) -> str:
        return await ctx.scheduler.run_after(0.5, what, seconds=0.2)


    @mutation
    async def change(ctx: MutationCtx, seconds: float) -> None: ...


    @action
    async def wait(ctx: ActionCtx, seconds: float) -> None:
        await asyncio.sleep(seconds)


    @mutation
    async def fail(ctx: MutationCtx, seconds: float) -> None:
        raise ValueError(f"not in {seconds}")


    @query
    async def job(ctx: QueryCtx, id: str) -> dict[str, Any] | None:
        return await ctx.db.system.get(id)
"""

FIELDS = {"_id", "_creationTime", "name", "args", "scheduledTime", "state"}


@pytest.mark.parametrize(
    ("what", "kinds"),
    [
        ("change", ["pending", "success"]),
        ("wait", ["pending", "inProgress", "success"]),
        ("fail", ["pending", "failed"]),
    ],
)
async def test_a_client_sees_each_state(what: str, kinds: list[str], tmp_path: Path) -> None:
    async with serving(write_app(tmp_path, jobs=APP), tmp_path / "data") as server:
        client = convex.ConvexClient(server.url)

        def watch() -> list[Any]:
            job = client.mutation("jobs:plan", {"what": f"jobs:{what}"})
            seen: list[Any] = []
            for state in client.subscribe("jobs:job", {"id": job}):
                seen.append(state)
                if "completedTime" in seen[-1]:
                    return seen
            raise AssertionError("a subscription does not end by itself")

        async with asyncio.timeout(60):
            *before, last = await asyncio.to_thread(watch)
    assert [each["state"]["kind"] for each in (*before, last)] == kinds
    assert all(each.keys() == FIELDS for each in before)
    assert last.keys() == FIELDS | {"completedTime"}
    assert last["name"] == f"jobs:{what}"
    assert last["args"] == [{"seconds": 0.2}]
    assert last["completedTime"] >= last["scheduledTime"] > last["_creationTime"]
    assert last["state"].get("error", "").startswith("ValueError: not in 0.2" if what == "fail" else "")
