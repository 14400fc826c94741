"""Other people's servers: an ASGI app with Yugen in it, as a process under uvicorn, granian or hypercorn."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from reliability.serving import ROOT, SECONDS_MAX, Process

SERVERS = {
    "uvicorn": ["uvicorn", "APP", "--port", "PORT"],
    # By itself it waits for ever for a worker that does not end: seen twice in 300 runs on a busy machine.
    "granian": ["granian", "APP", "--port", "PORT", "--interface", "asgi", "--workers-kill-timeout", "20"],
    "hypercorn": ["hypercorn", "APP", "--bind", "127.0.0.1:PORT"],
}


class Outer(Process):
    """A running server; made by `outside`.

    Attributes:
        url: its address.
        port: its port.
    """

    url: str
    port: int


@asynccontextmanager
async def outside(
    folder: Path,
    app: str,
    *options: str,
    server: str = "uvicorn",
    env: dict[str, str] | None = None,
    expected_errors: Sequence[str] = (),
) -> AsyncIterator[Outer]:
    """Serves the ASGI app `module:name` in a folder. It accepts connections when the block begins.

    A server that is running when the block ends is stopped as by Ctrl-C. The test fails if a process is left behind,
    or if anything was printed with a traceback that holds none of `expected_errors`.

    Args:
        folder: where the module is.
        app: the ASGI app.
        options: more for the command line.
        server: one of `SERVERS`.
        env: more for its environment.
        expected_errors: parts of the last lines of tracebacks that this test provokes.
    """
    port = free_port()
    words = [word.replace("PORT", str(port)).replace("APP", app) for word in SERVERS[server]]
    async with Outer(sys.executable, "-m", *words, *options, cwd=folder, env=env) as process:
        process.port, process.url = port, f"http://127.0.0.1:{port}"
        async with asyncio.timeout(SECONDS_MAX):
            await listening(process, port)
        yield process
        if process.running:
            process.interrupt()
            await process.ended()
    begun = [number for number, line in enumerate(process.lines) if "Traceback" in line]
    unexpected = [
        number for number in begun if not any(part in "\n".join(process.lines[number:]) for part in expected_errors)
    ]
    assert not unexpected, "\n".join(process.lines)


def example(name: str, folder: Path) -> Path:
    """A copy of an example, so that its data is nobody else's."""
    made_by_running_it = shutil.ignore_patterns("__pycache__", ".*", "*.sqlite3", "*.pem", "convex.js")
    return shutil.copytree(ROOT / "examples" / name, folder / name, ignore=made_by_running_it)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


async def listening(process: Process, port: int) -> None:
    """Waits until a server accepts connections, which not every one says in time."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            assert process.running, "\n".join(process.lines)
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
