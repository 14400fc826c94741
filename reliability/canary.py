"""A client that writes numbers and watches them through a subscription, all the time.

It finds how long that takes, and whether what comes is what was written.

    async with Canary(server.url) as canary: ...          # in the process at hand
    async with watching(server.url) as watch: ...         # in one of its own, which a busy program does not hold up
    failures = watch.report.failures()

It writes on a timetable, and a number counts from when it was due. What waits behind one that takes long is late as
well, so that a stall of five seconds is a hundred late numbers and not one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from yugen_client import AsyncClient, ClientError

EVERY_SECONDS: Final = 0.05

SETTLE_SECONDS: Final = 30.0
"""How long, at the end, the last numbers may take to be seen before they count as lost."""

P99_SECONDS: Final = 1.0
MAX_SECONDS: Final = 5.0
"""What a number may take from when it was due until it is seen, whatever others do meanwhile."""

_WRONG_MAX: Final = 20


@dataclass(slots=True)
class Report:
    """What a canary has seen.

    Attributes:
        written: numbers that were due.
        latencies: seconds from when each number was due until it, or a later one, was seen; in ascending order.
        wrong: what must not happen: the first of it, in words.
        refused: how often which error was the answer to a write.
        seconds: how long it has watched.
    """

    written: int = 0
    latencies: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def quantile(self, share: float) -> float:
        """The latency in seconds that this share of numbers did not exceed; 0 if there are none."""
        return self.latencies[min(int(len(self.latencies) * share), len(self.latencies) - 1)] if self.latencies else 0.0

    def failures(self, p99: float = P99_SECONDS, longest: float = MAX_SECONDS) -> list[str]:
        """In words, what did not hold; among it, that nothing was watched."""
        failures = [f"canary: {each}" for each in self.wrong]
        if not self.latencies:
            failures.append("canary: it has seen nothing")
        if self.quantile(0.99) > p99:
            failures.append(f"canary: p99 was {self.quantile(0.99):.3f} s, more than {p99:g} s")
        if self.quantile(1.0) > longest:
            failures.append(f"canary: the longest was {self.quantile(1.0):.3f} s, more than {longest:g} s")
        failures += [f"canary: refused {count} times: {error}" for error, count in self.refused.items()]
        return failures

    def __str__(self) -> str:
        p50, p99, longest = (self.quantile(share) * 1000 for share in (0.5, 0.99, 1.0))
        figures = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {longest:.1f} ms"
        seen = f"{len(self.latencies)} of {self.written} seen, {sum(self.refused.values())} refused"
        return f"canary: {seen}, {figures}, {len(self.wrong)} wrong"


class Canary:
    """Writes and watches while its block lasts.

    Args:
        url: the server, whose app has the functions of `reliability/loads/app/canary.py`.
        every: seconds from one number to the next.
        settle: seconds that the last numbers get at the end.

    Attributes:
        report: what it has seen; whole once the block has ended.
    """

    def __init__(self, url: str, *, every: float = EVERY_SECONDS, settle: float = SETTLE_SECONDS) -> None:
        self._client = AsyncClient(url)
        self._every = every
        self._settle = settle
        self._name = f"canary {uuid.uuid4()}"
        self._due: dict[int, float] = {}  # when each number was that has not been seen
        self._seen = 0
        self._acknowledged = 0
        self._refused: Counter[str] = Counter()
        self._writes: set[asyncio.Task[None]] = set()
        self._all_seen = asyncio.Event()
        self._answered = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.report = Report()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        self._began = self._loop.time()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._watch())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        writing, watching = self._tasks
        writing.cancel()
        if self._due:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settle):
                    if self._writes:
                        await asyncio.wait(self._writes)
                    await self._all_seen.wait()
        watching.cancel()
        for ended in await asyncio.gather(writing, watching, return_exceptions=True):
            if isinstance(ended, Exception):
                self._wrong(f"it has ended: {ended!r}")
        await self._client.close()
        lost = [number for number in self._due if number <= self._acknowledged]
        if lost:
            self._wrong(f"{len(lost)} numbers were acknowledged and never seen, the first is {lost[0]}")
        elif self._due:
            self._wrong(f"{len(self._due)} numbers had no answer after {self._settle:g} s")
        self.report.latencies.sort()
        self.report.refused = dict(self._refused)
        self.report.seconds = self._loop.time() - self._began

    async def until(self, number: int) -> None:
        """Waits until this number, or a later one, is acknowledged."""
        while self._acknowledged < number:
            self._answered.clear()
            await self._answered.wait()

    def _wrong(self, what: str) -> None:
        if len(self.report.wrong) < _WRONG_MAX:
            self.report.wrong.append(what)

    async def _write(self) -> None:
        due = self._loop.time()
        while True:
            self.report.written += 1
            self._all_seen.clear()
            self._due[self.report.written] = due
            task = asyncio.create_task(self._write_one(self.report.written))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)
            due += self._every
            await asyncio.sleep(due - self._loop.time())

    async def _write_one(self, number: int) -> None:
        args = {"name": self._name, "number": number, "proof": proof(self._name, number)}
        try:
            before = await self._client.mutation("canary:write", args)
        except ClientError as error:
            self._refused[str(error).partition("] ")[2] or str(error)] += 1
            del self._due[number]
            return
        finally:
            self._answered.set()
        # What it was written over: the newest one that was acknowledged, since one client's are in their order.
        if before != self._acknowledged:
            self._wrong(f"{number} was written over {before:g}, and not over {self._acknowledged}")
        self._acknowledged = number

    async def _watch(self) -> None:
        async for perch in self._client.subscribe("canary:read", {"name": self._name}):
            now = self._loop.time()
            if perch is None:
                if self._seen:
                    self._wrong(f"there was nothing after {self._seen}")
                continue
            self._see(perch, now)

    def _see(self, perch: dict[str, Any], now: float) -> None:
        number = int(perch["number"])
        if perch["proof"] != proof(self._name, number):
            self._wrong(f"{number} came with the proof of another number")
        if number < self._seen:
            self._wrong(f"{number} was seen after {self._seen}")
        if number > self.report.written:
            self._wrong(f"{number} was seen and never written")
        self._seen = max(self._seen, number)
        for each in [each for each in self._due if each <= number]:
            self.report.latencies.append(now - self._due.pop(each))
        if not self._due:
            self._all_seen.set()


def proof(name: str, number: int) -> str:
    """What only this number of this canary comes with."""
    return hashlib.sha256(f"{name}|{number}".encode()).hexdigest()


class Watch:
    """A canary in a process of its own.

    Attributes:
        report: what it has seen; there when the block of `watching` has ended.
    """

    report: Report


@asynccontextmanager
async def watching(url: str, *, every: float = EVERY_SECONDS, settle: float = SETTLE_SECONDS) -> AsyncIterator[Watch]:
    """Has a canary in a process of its own watch a server while the block lasts; as for `Canary`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "reliability.canary", url, str(every), str(settle)),
        cwd=Path(__file__).parent.parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    watch = Watch()
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdout.readline()  # it says when it has begun
        yield watch
        process.stdin.close()
        printed = await process.stdout.read()
        await process.wait()
        watch.report = Report(**json.loads(printed))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _watch_until_told(url: str, every: float, settle: float) -> None:
    async with Canary(url, every=every, settle=settle) as canary:
        print("watching", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(dataclasses.asdict(canary.report)))


def main(words: Sequence[str]) -> bool:
    """`python -m reliability.canary URL [EVERY [SETTLE]]`: watches until its input ends; prints a report."""
    every = float(words[1]) if len(words) > 1 else EVERY_SECONDS
    settle = float(words[2]) if len(words) > 2 else SETTLE_SECONDS
    asyncio.run(_watch_until_told(words[0], every, settle))
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
