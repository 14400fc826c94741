"""Where a scenario of load takes place: a server, a canary that watches it from another process, and its memory."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx2

from reliability.canary import SETTLE_SECONDS, Report, watching
from reliability.resources import MIB, allow_many_files, open_files, resident
from reliability.serving import Server, serving
from yugen_client import AsyncClient, ClientError

APP: Final = Path(__file__).parent / "app"

LEFT_MIB: Final = 64
"""By how much more memory the server may have when everybody has left than before they came, apart from KEPT."""

LEFT_KIB_EACH: Final = 16
"""How much that may be for each client that was there at once, if it is more.

Python has its memory in blocks of a megabyte, of which few are empty when a crowd has left. The next one uses them.
"""

KEPT: Final = ("yugen_query_cache_bytes", "yugen_sqlite_memory_bytes")
"""What a server keeps within bounds of its own: answers, and pages of the database."""

LEAVING_SECONDS: Final = 15.0
"""How long it has for that, and for letting go of files."""

LEFT_FILES: Final = 16
"""How many more open files it may have then: processes that run functions, views of the database."""

GIVEN_UP_SECONDS: Final = 180.0
"""How long anything is waited for, on however busy a machine."""

_LOOK_SECONDS: Final = 0.05


@dataclass
class Scene:
    """What a scenario has at hand, and what it says of it.

    Attributes:
        server: the server.
        data: the folder of its data.
        strict: whether times count: they do on a machine that does nothing else.
        clients: how many were there at once, at most.
        figures: what was measured, by what it is.
        failures: what did not hold, in words.
    """

    server: Server
    data: Path
    strict: bool
    clients: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    async def memory(self) -> int:
        """Bytes of memory that the server has, apart from KEPT."""
        return resident(self.server.pid) - int(sum(await self.metrics(*KEPT)))

    async def metrics(self, *names: str) -> list[float]:
        """What the server says of itself, by these names."""
        key = (self.data / "admin_key").read_text().strip()
        async with httpx2.AsyncClient(headers={"Authorization": f"Convex {key}"}) as client:
            told = (await client.get(f"{self.server.url}/metrics", timeout=GIVEN_UP_SECONDS)).text
        found = [float(each) for name in names for each in re.findall(rf"^{name}{{.*}} (\S+)$", told, re.MULTILINE)]
        assert len(found) == len(names)
        return found

    def check(self, holds: bool, failure: str) -> None:
        """Notes a failure, unless something holds."""
        if not holds:
            self.failures.append(failure)

    def within(self, what: str, seconds: float, most: float) -> None:
        """Notes how long something took. Never is a failure; more than `most` is one where times count."""
        self.figures[f"seconds until {what}"] = round(seconds, 3)
        if math.isinf(seconds) or (self.strict and seconds > most):
            self.failures.append(f"it took {seconds:.1f} s until {what}; {most:g} s are allowed")

    def watched(self, who: str, report: Report, *, refusals: bool = False, timely: bool = True) -> None:
        """Notes what a canary has seen.

        Args:
            who: which one it was.
            report: what it says.
            refusals: whether some of its mutations may be refused even where times count.
            timely: whether times count for it where they do.
        """
        self.figures[who] = str(report)
        if refusals or not self.strict:
            kept = {error: count for error, count in report.refused.items() if "Overloaded" not in error}
            report = replace(report, refused=kept)
        limits = {} if self.strict and timely else {"p99": math.inf, "longest": math.inf}
        self.failures += report.failures(**limits)

    async def refused(self, calls: Sequence[tuple[str, str, dict[str, Any]]], code: str) -> int:
        """Makes calls (kind, function, arguments) that are all to be refused, at once; how many were, for that."""
        async with AsyncClient(self.server.url) as client:
            async with asyncio.timeout(GIVEN_UP_SECONDS):
                answers = await asyncio.gather(
                    *(getattr(client, kind)(path, args) for kind, path, args in calls), return_exceptions=True
                )
        right = 0
        for (_, path, _), answer in zip(calls, answers, strict=True):
            if isinstance(answer, ClientError) and code in str(answer):
                right += 1
            else:
                self.failures.append(f"{path} was not refused as {code}, but gave {str(answer)[:300]!r}")
        return right


@asynccontextmanager
async def scene(data: Path, *options: str, strict: bool = False, may_refuse: bool = False) -> AsyncIterator[Scene]:
    """A server for as long as the block lasts, which must have got over it when that has ended.

    All the while a canary must be told what is right. When the block has ended, the server must soon have about as much
    memory and as many open files as when it began.

    Args:
        data: the folder for the server's data.
        options: more for its command line.
        strict: whether times count.
        may_refuse: whether the server is given so much that it may refuse mutations of the canary too.
    """
    allow_many_files()
    async with serving(APP, data, *options, development=False) as server:
        made = Scene(server, data, strict)
        async with AsyncClient(server.url) as client:  # all is there that every server has
            await client.query("usage:newest", {"topic": "nobody's"})
        pid, before, files = server.pid, await made.memory(), open_files(server.pid)
        # Where times do not count, what comes late is not lost.
        async with watching(server.url, settle=SETTLE_SECONDS if strict else GIVEN_UP_SECONDS) as watch:
            yield made
            if server.pid == pid:
                await _gets_over_it(made, before, files)
        # Who waits for a server that was killed waits for its start as well.
        made.watched("canary", watch.report, refusals=may_refuse, timely=server.pid == pid)


async def until(holds: Callable[[], bool], seconds: float = GIVEN_UP_SECONDS) -> float:
    """Waits until something holds that nobody tells of; how many seconds that took, or infinity."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            return math.inf
        await asyncio.sleep(_LOOK_SECONDS)
    return time.monotonic() - began


async def _gets_over_it(made: Scene, before: int, files: int) -> None:
    pid = made.server.pid
    left = max(LEFT_MIB, made.clients * LEFT_KIB_EACH / 1024)
    most = before + left * MIB
    await until(lambda: resident(pid) <= most and open_files(pid) - files <= LEFT_FILES, LEAVING_SECONDS)
    more, more_files = (await made.memory() - before) / MIB, open_files(pid) - files
    made.figures["MiB more in the end"] = round(more, 1)
    made.figures["MiB of them all"] = round(resident(pid) / MIB, 1)
    made.figures["open files more in the end"] = more_files
    made.check(more <= left, f"the server has {more:.0f} MiB more in the end; {left:.0f} are allowed")
    made.check(more_files <= LEFT_FILES, f"it has {more_files} open files more; {LEFT_FILES} are allowed")
