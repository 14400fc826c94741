"""What is scheduled, workflows and the outbox, while the process is killed at every boundary there is.

A service outside counts what it is asked for. However often the process has died, in the end each mutation has been
carried out once, each effect that has a key has come about once, and nothing is lost: what has not been done is
reported as failed. `make test YUGEN_CRASHES=1000` plays as many stories.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reliability.serving import ROOT, Server, serving
from tests.apps import write_app
from tests.crashing import PASSED
from yugen import values
from yugen_client import AsyncClient

CRASHES = int(os.environ.get("YUGEN_CRASHES", "8"))
"""Stories with crashes at random boundaries, each with another seed."""

LIVES_MAX, BOUNDARY_MAX = 6, 30

APP = """
    import asyncio
    from typing import Any

    {boundary}
    from yugen import (
        ActionCtx,
        Document,
        Id,
        Index,
        MutationCtx,
        QueryCtx,
        Retry,
        WorkflowCtx,
        action,
        internal_mutation,
        mutation,
        query,
        workflow,
    )

    PORT = {port}
    ORDERS = {orders}
    OFTEN = Retry(attempts=50, first=0.5 * {scale})


    class Entry(Document, table="entries"):
        text: str

        by_text = Index("text")


    async def ask(what: str, text: str) -> str:
        boundary()
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        try:
            writer.write(f"{{what}} {{text}}\\n".encode())
            answer = (await reader.readline()).decode().strip()
            if not answer:
                raise ConnectionError("cut off")
            boundary()
            return answer
        finally:
            writer.close()


    @internal_mutation
    async def add(ctx: MutationCtx, text: str) -> Id[Entry]:
        return await ctx.db.insert(Entry(text=text))


    @query
    async def count(ctx: QueryCtx, text: str) -> int:
        return len(await ctx.db.query(Entry).with_index(Entry.by_text, text=text).collect())


    @action
    async def ping(ctx: ActionCtx, text: str) -> None:
        await ask("once", text)


    @action
    async def charge(ctx: ActionCtx, text: str) -> str:
        return await ask(ctx.idempotency_key, text)


    @internal_mutation
    async def approve(ctx: MutationCtx, flow: str, number: int) -> None:
        await ctx.db.insert(Entry(text=f"approved {{number}}"))
        assert await ctx.workflows.send_event(flow, "approved", number)


    @workflow
    async def fulfil(ctx: WorkflowCtx, number: int) -> list[Any]:
        await ctx.step(add, f"reserved {{number}}")
        charged, _ = await asyncio.gather(
            ctx.with_retry(OFTEN).step(charge, f"charge {{number}}"), ctx.step(add, f"packed {{number}}")
        )
        seen = await ctx.step(count, f"packed {{number}}")
        await ctx.sleep(60 * {scale})
        approved = await ctx.wait_for_event("approved", timeout=3600)
        await ctx.step(add, f"done {{number}}")
        return [charged, seen, approved]


    @mutation
    async def begin(ctx: MutationCtx) -> None:
        if await ctx.db.query(Entry).first() is not None:
            return
        for number in range(ORDERS):
            await ctx.db.insert(Entry(text=f"ordered {{number}}"))
            await ctx.scheduler.run_after(number * {scale}, add, f"noted {{number}}")
            await ctx.scheduler.run_after(0, ping, f"ping {{number}}")
            flow = await ctx.workflows.start(fulfil, number)
            await ctx.scheduler.run_after(40 * number * {scale}, approve, flow, number)
            await ctx.outbox.with_retry(OFTEN).send(f"mail-{{number}}", charge, f"mail {{number}}")
            await ctx.outbox.with_retry(Retry(attempts=1)).send(f"try-{{number}}", charge, f"try {{number}}")


    @query
    async def everything(ctx: QueryCtx) -> dict[str, Any]:
        return {{
            "entries": [entry.text for entry in await ctx.db.query(Entry).collect()],
            **{{
                table: await ctx.db.system.query(table).collect()
                for table in ("_scheduled_functions", "_workflows", "_workflow_steps", "_outbox")
            }},
        }}
"""


def fulfilling(port: int, orders: int, *, real: bool = False) -> str:
    """The app.

    Args:
        port: where the service outside is.
        orders: how many there are.
        real: whether it runs in a real server, where waiting takes time.
    """
    boundary = "boundary = type(None)" if real else "from tests.crashing import boundary"
    return APP.format(port=port, orders=orders, boundary=boundary, scale=0.01 if real else 1)


ENTRIES = ("ordered", "noted", "reserved", "packed", "approved", "done")


@dataclass
class Service:
    """A service outside. Who asks it with a key that it knows gets the answer it gave before, as with payments.

    Attributes:
        dice: whether it answers, after it has done what it was asked for.
        effects: what it has done, by key.
        asked: how often it was asked for what has no key.
    """

    dice: random.Random
    effects: dict[str, list[str]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    port: int = 0
    requests: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def has_been_asked(self, times: int) -> None:
        """Waits until it has been asked so often."""
        async with self.arrived:
            await self.arrived.wait_for(lambda: self.requests >= times)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            key, _, text = (await reader.readline()).decode().strip().partition(" ")
            if not text:
                return  # whoever was about to ask has died
            if key == "once":
                self.asked[text] += 1
            elif text not in self.effects.setdefault(key, []):
                self.effects[key].append(text)
            async with self.arrived:
                self.requests += 1
                self.arrived.notify_all()
            if self.dice.random() < 0.8:
                writer.write(f"did {text}\n".encode())
                await writer.drain()
        except ConnectionError:
            pass  # whoever asked has died
        finally:
            writer.close()


@asynccontextmanager
async def service(seed: int) -> AsyncIterator[Service]:
    made = Service(random.Random(seed))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


class Lives:
    """Gives an app one life after the other; see `tests.crashing`."""

    async def __aenter__(self) -> Lives:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.crashing",
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert await self._process.wait() == 0

    async def live(self, app: Path, data: Path, dies_at: int | None) -> int | None:
        """One life; how many boundaries it passed, or None if it was killed."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        (data / PASSED).write_text("0")
        stdin.write(json.dumps({"app": str(app), "data": str(data), "dies_at": dies_at}).encode() + b"\n")
        answer = json.loads(await stdout.readline())
        assert answer["status"] in (0, -9), answer
        return answer["passed"] if answer["status"] == 0 else None


def check(state: dict[str, Any], outside: Service, orders: int) -> None:
    """Whether everything has happened as it must, whatever died meanwhile."""
    assert Counter(state["entries"]) == {f"{what} {number}": 1 for what in ENTRIES for number in range(orders)}
    flows = state["_workflows"]
    assert [flow["state"] for flow in flows] == [
        {"kind": "success", "result": [f"did charge {number}", 1, number]} for number in range(orders)
    ]
    assert {step["state"]["kind"] for step in state["_workflow_steps"]} == {"success"}
    assert len(state["_workflow_steps"]) == 7 * orders
    keys = {step["_id"]: [step["args"][0]["text"]] for step in state["_workflow_steps"] if step["kind"] == "action"}
    for message in state["_outbox"]:
        kind, text = message["state"]["kind"], message["args"][0]["text"]
        assert kind in (("success", "failed") if text.startswith("try") else ("success",))
        if kind == "success" or message["key"] in outside.effects:
            keys[message["key"]] = [text]
        else:
            assert message["state"]["error"]
    assert len(state["_outbox"]) == 2 * orders
    assert outside.effects == keys
    for job in state["_scheduled_functions"]:
        text, kind = job["args"][0].get("text", ""), job["state"]["kind"]
        if text.startswith("ping"):
            assert outside.asked[text] <= 1
            assert kind == "failed" or (kind == "success" and outside.asked[text] == 1)
        else:
            assert kind == "success"
    assert len(state["_scheduled_functions"]) == 3 * orders


async def story(lives: Lives, folder: Path, seed: int, deaths: list[int], orders: int) -> int:
    """Plays what happens with a death in each life at these boundaries; how many the last life passed."""
    data = folder / "data"
    data.mkdir(parents=True)
    async with service(seed) as outside:
        app = write_app(folder, f=fulfilling(outside.port, orders))
        passed = None
        for dies_at in deaths:
            if (passed := await lives.live(app, data, dies_at)) is not None:
                break
        if passed is None:
            passed = await lives.live(app, data, None)
        assert passed is not None
        state = values.loads((data / "state.json").read_bytes())
        assert isinstance(state, dict)
        check(state, outside, orders)
        return passed


async def test_a_crash_at_every_boundary(tmp_path: Path) -> None:
    async with Lives() as lives:
        passed = await story(lives, tmp_path / "alive", 1, [], 1)
        assert passed > 50
        every = 1 if CRASHES >= 100 else 10
        for dies_at in range(1, passed + 1, every):
            await story(lives, tmp_path / f"dead{dies_at}", 1, [dies_at], 1)


@pytest.mark.timeout(7200)
async def test_crashes_at_random_boundaries(tmp_path: Path) -> None:
    async with Lives() as lives:
        for seed in range(CRASHES):
            dice = random.Random(seed)
            deaths = [dice.randint(1, BOUNDARY_MAX) for _ in range(dice.randint(1, LIVES_MAX))]
            try:
                await story(lives, tmp_path / str(seed), seed, deaths, dice.randint(1, 3))
            except BaseException as error:
                error.add_note(f"with the seed {seed}")
                raise


@pytest.mark.parametrize(("kill", "seed"), [(Server.kill, 1), (Server.destroy, 2)], ids=["server", "all-processes"])
async def test_a_real_server_that_is_killed(
    kill: Callable[[Server], Awaitable[None]], seed: int, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    orders = 6
    async with service(seed) as outside:
        app = write_app(tmp_path, f=fulfilling(outside.port, orders, real=True))
        given_up = "was given up"  # as the one that is tried once may be
        async with serving(app, tmp_path / "data", development=False, expected_errors=[given_up]) as server:
            async with AsyncClient(server.url) as client:
                await client.mutation("f:begin")
            for _ in range(3):
                await outside.has_been_asked(outside.requests + dice.randint(1, 5))
                await kill(server)
                await server.start()
            async with AsyncClient(server.url) as client:
                async for state in client.subscribe("f:everything"):
                    rows = [*state["_scheduled_functions"], *state["_workflows"], *state["_outbox"]]
                    if all(row["state"]["kind"] in ("success", "failed") for row in rows):
                        break
    check(state, outside, orders)
