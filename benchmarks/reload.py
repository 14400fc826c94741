"""`yugen dev`: how soon a new app is served, and how soon a save is seen by those who subscribe."""

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.figures import Figure, Goal, Sample, Section
from benchmarks.servers import free_port, serving
from benchmarks.workloads import effort
from yugen_client import AsyncClient

SUBSCRIBERS = 100
SAVES = 10
PAUSE_SECONDS = 1.0
"""Between two saves: nobody saves twice within a second."""

RETURNS = 'return await ctx.db.query(Task).order("desc").take(50)'


def new_app(folder: Path) -> Path:
    """An app as `yugen init` makes it."""
    subprocess.run(
        [sys.executable, "-m", "yugen", "init", str(folder / "new")], check=True, stdout=subprocess.DEVNULL, cwd=folder
    )
    return folder / "new" / "app"


def save(file: Path, number: int) -> None:
    """Has the query of the app return a number."""
    text = file.read_text().replace("-> list[Task]", "-> int").replace(RETURNS, "return 0")
    file.write_text(re.sub(r"return \d+", f"return {number}", text))


async def seen(url: str, file: Path, subscribers: int) -> list[float]:
    """Seconds from each save until the last of all subscribers has its result."""
    took = []
    async with AsyncExitStack() as stack:
        results = []
        for _ in range(subscribers):
            client = await stack.enter_async_context(AsyncClient(url))
            results.append(client.subscribe("tasks:list", {}))
        await asyncio.gather(*(anext(each) for each in results))
        for number in range(SAVES):
            await asyncio.sleep(PAUSE_SECONDS)
            began = time.perf_counter()
            save(file, number)
            assert await asyncio.gather(*(anext(each) for each in results)) == [number] * subscribers
            took.append(time.perf_counter() - began)
    return took


def measure() -> Section:
    starts: list[float] = []
    saves: dict[int, list[float]] = {1: [], SUBSCRIBERS: []}
    for _ in range(effort.rounds):
        for subscribers in saves:
            with tempfile.TemporaryDirectory() as temporary:
                app, port = new_app(Path(temporary)), free_port()
                words = [sys.executable, "-m", "yugen", "dev", str(app), "--port", str(port)]
                with serving(words, Path(temporary), port) as server:
                    starts.append(server.start_seconds)
                    saves[subscribers] += asyncio.run(seen(f"http://127.0.0.1:{port}", app / "tasks.py", subscribers))
    return Section(
        [
            Figure("start of `yugen dev` on a new app", "s", Sample.of(starts), goal=Goal(at_most=1)),
            Figure("from a save to a subscriber's result", "s", Sample.of(saves[1]), goal=Goal(at_most=0.3)),
            Figure(
                f"from a save to the last of {SUBSCRIBERS} results",
                "s",
                Sample.of(saves[SUBSCRIBERS]),
                goal=Goal(at_most=0.5),
            ),
        ]
    )
