"""Hours of ordinary use: whether memory, open files and processes stay what they are, and all that is seen is right.

    python -m reliability soak --minutes 60 --users 16 --seed 1 --samples samples.jsonl

Users come, subscribe, write, schedule, run actions, ask over HTTP, send files, and leave, some without a word; each
checks what it is shown against what it has written. What the server takes of the machine is sampled all the while.
After a warm-up, it must not grow: `judge` says by how much it may seem to.

Times mean something where nothing else runs. On a machine that is busy with other things, give `--late`: then only what
takes longer than that counts, and how busy it was is said beside the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import httpx2

from reliability.canary import SETTLE_SECONDS, Report, watching
from reliability.disk import NAME
from reliability.resources import MIB, Usage, growth, usage
from reliability.serving import Server, serving
from yugen.catalog import SCHEDULED
from yugen.keys import index_prefix, prefix_end
from yugen.runtime.retention import LOG_SECONDS_MIN
from yugen.storage.sqlite_connect import connect
from yugen_client import AsyncClient, ClientError

APP: Final = Path(__file__).parent / "loads/app"

WARM_UP: Final = 1 / 3
"""The share of a run, from its beginning, that is not judged: caches fill up to their bounds."""

SAMPLES_MIN: Final = 8
"""Of what is judged; of fewer nothing can be said."""

SLACK: Final = {
    "server": (4 * MIB, 0.04),
    "workers": (8 * MIB, 0.08),
    "files": (16, 0.1),
    "processes": (2, 0.1),
    "stored": (16 * MIB, 0.25),
    "database": (8 * MIB, 0.25),
}
"""By how much each may seem to grow while it is judged: so much, or that share of its median, if it is more."""

LOG_SHARE: Final = 1 / 6
"""For which share of a run its server keeps the log of changes, a minute at least: it levels off while it is judged."""

KINDS: Final = ("add", "later", "action", "http", "file")
"""What users do."""

LATE_SECONDS: Final = 10.0
"""How long what a user does may take until the user sees that it was done."""


def kept_for_days(path: Path) -> int:
    """Bytes of the database that are there for days: the answers of mutations, and what has run by the clock.

    Args:
        path: the database, which nobody has open.
    """
    connection = connect(path, read_only=True)
    try:
        answers = "SELECT sum(pgsize) FROM dbstat WHERE name IN ('records', 'requests', 'recent_requests')"
        ran = "SELECT sum(length(key) + length(value)) FROM documents WHERE key >= ? AND key < ?"
        prefix = index_prefix(SCHEDULED.number, 0)
        kept: int = connection.execute(answers).get
        return kept + (connection.execute(ran, (prefix, prefix_end(prefix))).get or 0)
    finally:
        connection.close()


def judge(samples: Sequence[Usage], warm_up: float = WARM_UP, log_seconds: float = 0.0, for_days: int = 0) -> list[str]:
    """In words, what has grown after the warm-up; among it, that there is too little to tell.

    The database is judged if it has had its log, which is kept for `log_seconds`, when the warm-up ends.

    Args:
        samples: of the whole run.
        warm_up: the share of it that is not judged.
        log_seconds: for how long the server has kept its log.
        for_days: bytes at the end of what came to the database at all times and goes after days: see `kept_for_days`.
    """
    judged = [each for each in samples if each.seconds >= samples[-1].seconds * warm_up] if samples else []
    if len(judged) < SAMPLES_MIN:
        return [f"memory: {len(judged)} samples tell nothing"]
    failures = []
    for name, (least, share) in SLACK.items():
        if name == "database" and judged[0].seconds < log_seconds:
            continue
        values = [(each.seconds, float(getattr(each, name))) for each in judged]
        middle = sorted(value for _, value in values)[len(values) // 2]
        grown, slack = growth(values), max(least, share * middle)
        if name == "database":
            slack += for_days * (1 - warm_up)
        if grown > slack:
            failures.append(f"{name}: has grown by {grown:,.0f} from about {middle:,.0f}; {slack:,.0f} may be noise")
    return failures


class User:
    """Somebody who uses the app for a while, again and again.

    Args:
        url: the server.
        site: its HTTP actions.
        name: whom nobody else is called.
        seed: for what is done, and when.
        pause: seconds between two things that are done, on average.
        late: seconds that one of them may take. Where that is more than usual, it may also be refused as `Overloaded`.
        counts: counts what was done.
        wrong: gets what must not happen, in words.
        leaving: set when everybody is to leave.
    """

    def __init__(
        self,
        url: str,
        site: str,
        name: str,
        *,
        seed: int,
        pause: float,
        late: float,
        counts: Counter[str],
        wrong: list[str],
        leaving: asyncio.Event,
    ) -> None:
        self._url = url
        self._site = site
        self._name = self._topic = name
        self._dice = random.Random(f"{seed} {name}")
        self._pause = pause
        self._late = late
        self._counts = counts
        self._wrong = wrong
        self._leaving = leaving
        self._number = 0
        self._client: AsyncClient

    async def live(self) -> None:
        """Comes and goes until everybody is to leave."""
        while not self._leaving.is_set():
            self._client = AsyncClient(self._url)
            try:
                async with asyncio.TaskGroup() as group:
                    watching_others = group.create_task(self._watch_others())
                    for _ in range(self._dice.randint(5, 50)):
                        await self._do()
                        if self._leaving.is_set():
                            break
                        await asyncio.sleep(self._dice.expovariate(1 / self._pause))
                    watching_others.cancel()
            finally:
                await self._client.close()
            self._counts["visits"] += 1

    async def _watch_others(self) -> None:
        topics = ["ticks", *(f"user {number}" for number in range(4))]
        async for _ in self._client.subscribe("usage:newest", {"topic": self._dice.choice(topics), "count": 5}):
            self._counts["results"] += 1

    async def _do(self) -> None:
        kind = self._dice.choices(KINDS, [60, 10, 10, 10, 10])[0]
        try:
            async with asyncio.timeout(self._late):
                await getattr(self, f"_{kind}")()
            self._counts[kind] += 1
        except (ClientError, TimeoutError, httpx2.HTTPError) as error:
            if self._late > LATE_SECONDS and "Overloaded" in str(error):
                self._counts["refused"] += 1
                self._topic = f"{self._name} after {self._counts['refused']}"  # who knows what of it was done
                self._number = 0
            else:
                self._wrong.append(f"{self._topic}: {kind}: {error!r}")

    def _next(self) -> dict[str, Any]:
        self._number += 1
        body = "x" * self._dice.randint(10, 2000)
        return {"topic": self._topic, "number": self._number, "body": f"{self._number} {body}"}

    async def _add(self) -> None:
        note = self._next()
        await self._client.mutation("usage:add", note)
        await self._sees(note)

    async def _sees(self, note: dict[str, Any]) -> None:
        """Fails if the note is not the newest of this user's, whole."""
        async for shown in self._client.subscribe("usage:newest", {"topic": self._topic, "count": 3}):
            numbers = [int(each["number"]) for each in shown]
            if numbers != list(range(self._number, max(self._number - 3, 0), -1)) or shown[0]["body"] != note["body"]:
                self._wrong.append(f"{self._topic}: after {self._number} there was {numbers}")
            return

    async def _later(self) -> None:
        await self._client.mutation("usage:later", {"topic": "later", "number": self._number})

    async def _action(self) -> None:
        note = self._next()
        count = await self._client.action("usage:through", note)
        if count != min(self._number, 10):
            self._wrong.append(f"{self._topic}: an action has counted {count} after {self._number}")
        await self._sees(note)

    async def _http(self) -> None:
        async with httpx2.AsyncClient(timeout=self._late) as client:
            answer = await client.get(f"{self._site}/newest", params={"topic": self._topic})
        if answer.status_code != 200 or answer.json() != {"count": min(self._number, 10)}:
            self._wrong.append(f"{self._topic}: over HTTP after {self._number}: {answer.status_code} {answer.text!r}")

    async def _file(self) -> None:
        content = self._dice.randbytes(self._dice.randint(1, 200_000))
        file = await self._client.upload(await self._client.mutation("usage:upload_url"), content)
        await self._client.mutation("usage:drop", {"file": file})


async def soak(
    data: Path,
    *,
    seconds: float,
    users: int,
    seed: int,
    every: float,
    pause: float,
    out: TextIO | None,
    late: float | None = None,
) -> list[str]:
    """Lives through so many seconds of use; returns in words what did not hold, and prints figures.

    Args:
        data: the folder for the server's data.
        seconds: how long.
        users: how many there are at a time.
        seed: for what they do.
        every: seconds from one sample to the next.
        pause: seconds between two things that one user does.
        out: gets each sample as a line of JSON, as it is taken.
        late: seconds that anything may take where others use the machine too; by default, what it may where none do.
    """
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    samples: list[Usage] = []
    leaving = asyncio.Event()

    def missing() -> bool:
        return not all(counts[kind] for kind in KINDS)

    kept = max(LOG_SECONDS_MIN, seconds * LOG_SHARE)
    async with (
        serving(APP, data, "--limit", f"log_seconds={kept:.0f}", development=False) as server,
        watching(server.url, settle=late or SETTLE_SECONDS) as watch,
    ):
        site = await server.site_url()
        crowd = [
            asyncio.create_task(
                User(
                    server.url,
                    site,
                    f"user {number}",
                    seed=seed,
                    pause=pause,
                    late=late or LATE_SECONDS,
                    counts=counts,
                    wrong=wrong,
                    leaving=leaving,
                ).live()
            )
            for number in range(users)
        ]
        try:
            await _sample(server, data, seconds, missing, every, samples, out)
            leaving.set()
            ended = await asyncio.gather(*crowd, return_exceptions=True)
        finally:
            for each in crowd:
                each.cancel()
    wrong += [f"a user has ended: {each!r}" for each in ended if each is not None]
    if missing() or not counts["visits"]:
        wrong.append(f"not everything was tried: {dict(counts)}")
    for_days = kept_for_days(data / NAME)
    judged = judge(samples, log_seconds=kept, for_days=for_days)
    failures = [*wrong[:20], *_of_canary(watch.report, late), *judged]
    _print(counts, samples, str(watch.report))
    print(f"{for_days // 1024:,} KiB of the database are kept for days: answers of mutations, what was scheduled")
    return failures


def _of_canary(report: Report, late: float | None) -> list[str]:
    if late is None:
        return report.failures()
    refused = {error: count for error, count in report.refused.items() if "Overloaded" not in error}
    return dataclasses.replace(report, refused=refused).failures(p99=late, longest=late)


async def _sample(
    server: Server,
    data: Path,
    seconds: float,
    missing: Callable[[], bool],
    every: float,
    samples: list[Usage],
    out: TextIO | None,
) -> None:
    """Samples for so many seconds; where that is short, until nothing is missing, but ten times as long at most."""
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds or (missing() and now < 10 * seconds):
        samples.append(await asyncio.to_thread(usage, server.pid, data, now))
        if out is not None:
            print(json.dumps(dataclasses.asdict(samples[-1])), file=out, flush=True)
        await asyncio.sleep(every)


def _print(counts: Counter[str], samples: Sequence[Usage], canary: str) -> None:
    first, last = samples[int(len(samples) * WARM_UP)], samples[-1]
    writes = sum(counts[kind] for kind in ("add", "later", "action", "file"))
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    print(canary)
    print(f"load average of the machine at the end: {os.getloadavg()[2]:.1f} of {os.cpu_count()} processors")
    for name in ("server", "workers", "database", "stored"):
        before, after = getattr(first, name) / MIB, getattr(last, name) / MIB
        print(f"{name}: {before:.1f} MiB after the warm-up, {after:.1f} at the end")
    print(f"{last.processes} processes with {last.files} open files, {first.files} after the warm-up")
    print(f"{len(samples)} samples over {last.seconds:.0f} s, {writes} writes of users")


def main(words: Sequence[str]) -> bool:
    """Runs a soak; returns whether everything held."""
    options = argparse.ArgumentParser(prog="python -m reliability soak", description=__doc__)
    options.add_argument("--minutes", type=float, default=60.0)
    options.add_argument("--users", type=int, default=16)
    options.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options.add_argument("--pause", type=float, default=0.5, help="seconds between two things that a user does")
    options.add_argument("--samples", type=Path, help="gets each sample as a line of JSON")
    options.add_argument("--late", type=float, help="seconds that anything may take, where others use the machine too")
    given = options.parse_args(words)
    again = f"--minutes {given.minutes:g} --users {given.users} --pause {given.pause:g} --seed {given.seed}"
    print(f"python -m reliability soak {again}", flush=True)
    with tempfile.TemporaryDirectory() as folder, Path(given.samples or "/dev/null").open("w") as out:
        failures = asyncio.run(
            soak(
                Path(folder, "data"),
                seconds=given.minutes * 60,
                users=given.users,
                seed=given.seed,
                every=5.0,
                pause=given.pause,
                out=out,
                late=given.late,
            )
        )
    for failure in failures:
        print("FAILED", failure)
    return not failures
