"""Real servers: `yugen dev` and `yugen serve` as processes, watched through what they print."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self, cast

from reliability.zygote import Zygote

YUGEN = Path(sys.executable).with_name("yugen")
ROOT = Path(__file__).parent.parent

zygote: Zygote | None = None
"""What `yugen` is forked from where there are many short lives. Otherwise it is started as people start it."""

SECONDS_MAX = 60.0
"""How long anything is waited for that a process should print or do. What is right comes within milliseconds."""

_READY = re.compile(r"Yugen is ready at (https?://127\.0\.0\.1:(\d+)) ")
_SITE = re.compile(r"HTTP actions are at (http://127\.0\.0\.1:\d+)$")
_ERROR = re.compile(r'^(\d\d:\d\d:\d\d)? +(ERROR|CRITICAL) |"level": "(error|critical)"|^Traceback ')
_FUNCTION_FAILED = re.compile(r" failed \[Request ID: ")


class Process:
    """A program under test, whose output, both streams together, is read as it comes. Leaving `async with` kills it.

    Everything the program starts shares its output, so the output ends when the last process is gone: `ended` waits
    for that, and a process left behind shows as a timeout.

    Attributes:
        lines: what was printed so far.
    """

    def __init__(self, *command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
        self._command = [str(part) for part in command]
        self._cwd = cwd
        # Rich folds lines at the width of the terminal, which a pipe does not have.
        self._env = os.environ | {"COLUMNS": "400", "PYTHONUNBUFFERED": "1"} | (env or {})
        self._printed = asyncio.Condition()
        self.lines: list[str] = []

    async def start(self) -> None:
        """Starts the program, with standard input closed."""
        self._process = await self._begin()
        self._reading = asyncio.create_task(self._read())

    async def _begin(self) -> asyncio.subprocess.Process:
        program, *words = self._command
        if zygote is not None and program == str(YUGEN):
            forked = await zygote.start(words, cwd=self._cwd, env=self._env)
            return cast("asyncio.subprocess.Process", forked)  # which it is like
        return await asyncio.create_subprocess_exec(
            *self._command,
            cwd=self._cwd,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=2**22,
        )

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            async with self._printed:
                self.lines.append(line.decode().rstrip())
                self._printed.notify_all()
        async with self._printed:
            self._printed.notify_all()

    async def printed(self, pattern: str | re.Pattern[str], *, since: int = 0) -> re.Match[str]:
        """Waits for a line that holds the pattern, among those from number `since` on."""
        found: re.Match[str] | None = None

        def look() -> bool:
            nonlocal found
            found = next(filter(None, (re.search(pattern, line) for line in self.lines[since:])), None)
            return found is not None or self._process.stdout is None or self._process.stdout.at_eof()

        async with asyncio.timeout(SECONDS_MAX), self._printed:
            await self._printed.wait_for(look)
        assert found, f"{self._command} ended without printing {pattern}:\n" + "\n".join(self.lines)
        return found

    def kill_process(self) -> None:
        """As `kill -9` does: the program itself, and not what it started."""
        self._process.kill()

    def interrupt(self) -> None:
        """As Ctrl-C in a terminal does: the program and all it started are told."""
        os.killpg(self._process.pid, signal.SIGINT)

    @property
    def pid(self) -> int:
        """The process id of the program itself."""
        return self._process.pid

    def children(self) -> list[int]:
        """The process ids of those that the program itself has started, the oldest first."""
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @property
    def running(self) -> bool:
        """Whether the program has not ended."""
        return self._process.returncode is None

    async def ended(self, *, seconds: float = SECONDS_MAX) -> int:
        """Waits, for so long at most, until the program and all it started are gone; returns its exit status."""
        try:
            async with asyncio.timeout(seconds):
                status = await self._process.wait()
                await self._reading
        except TimeoutError:
            raise TimeoutError(f"{self._command} has not ended; it printed:\n" + "\n".join(self.lines)) from None
        return status

    async def destroy(self) -> None:
        """Leaves nothing behind, whatever state it is in."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self.ended()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.destroy()


class Server(Process):
    """A running server; made by `serving`.

    Attributes:
        url: its address, the same after each restart.
        port: its port.
    """

    url: str
    port: int

    def __init__(self, app: Path, data: Path, *options: str, development: bool) -> None:
        command = "dev" if development else "serve"
        place = ("--host", "127.0.0.1", "--port", "0", "--data", data)
        super().__init__(YUGEN, command, app, *place, "--site-port", "0", *options, cwd=app.parent)

    async def start(self) -> None:
        """Starts the server and waits until it is ready."""
        since = len(self.lines)
        await super().start()
        try:
            ready = await self.printed(_READY, since=since)
        except BaseException:
            await self.destroy()  # whoever waits for it in `async with` has nothing to leave yet
            raise
        self.url, self.port = ready[1], int(ready[2])
        self._command[self._command.index("--port") + 1] = ready[2]

    async def site_url(self) -> str:
        """The address of its HTTP actions, if it has any; another one after each start."""
        since = max(number for number, line in enumerate(self.lines) if _READY.search(line))
        return (await self.printed(_SITE, since=since))[1]

    def terminate(self) -> None:
        """As `kill` does, and those that run services: the program itself is told, and what it started is its own."""
        self._process.terminate()

    async def kill(self) -> None:
        """Ends the server as `kill -9` does, and waits until its workers have noticed."""
        self.kill_process()
        await self.ended()

    async def stop(self) -> None:
        """Ends the server as Ctrl-C does. Fails if it does not go cleanly."""
        self.interrupt()
        assert await self.ended() == 0, "\n".join(self.lines)

    def errors(self) -> list[str]:
        """Lines that report a fault of the server. That a function failed is a warning, and not among them."""
        return [line for line in self.lines if _ERROR.search(line) and not _FUNCTION_FAILED.search(line)]


@asynccontextmanager
async def serving(
    app: Path, data: Path, *options: str, development: bool = True, expected_errors: Sequence[str] = ()
) -> AsyncIterator[Server]:
    """Runs a real server for an app, on a free port of 127.0.0.1.

        async with serving(ROOT / "examples/chat/app", tmp_path / "data") as server:
            async with AsyncClient(server.url) as client: ...
            await server.kill()   # as `kill -9` does; also `stop()`, as Ctrl-C does
            await server.start()  # again, on the same port and data

    It is ready when the block begins. A server that is running when the block ends is stopped as by Ctrl-C. The test
    fails if that is not clean: another exit status than 0, a process left behind, or a line that reports a fault of
    the server and holds none of `expected_errors`.

    Args:
        app: the folder of the app package.
        data: the folder for its data.
        options: more for the command line.
        development: `yugen dev`, not `yugen serve`.
        expected_errors: parts of error lines that this test provokes.
    """
    async with Server(app, data, *options, development=development) as server:
        yield server
        if server.running:
            await server.stop()
    unexpected = [line for line in server.errors() if not any(part in line for part in expected_errors)]
    assert not unexpected, "\n".join(server.lines)
