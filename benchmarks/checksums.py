"""What the checksums of pages cost a mutation and a read, in processor time. A minute."""

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

from benchmarks.figures import Section, compared, in_turn
from benchmarks.storage import Load, build
from benchmarks.workloads import effort
from yugen.storage import sqlite_connect, sqlite_schema, sqlite_writer
from yugen.storage.interface import Commit
from yugen.storage.sqlite import SqliteReader, SqliteStore

DOCUMENTS = 200_000
READS = 20_000
MUTATIONS = 16_384


@contextmanager
def checksums(*, on: bool) -> Iterator[None]:
    """Has stores look at checksums of pages, or go without."""
    with ExitStack() as patches:
        if not on:
            for what, name, value in (
                (sqlite_connect, "_VFS", "unix"),
                (sqlite_writer, "reserve", lambda _: None),
                (sqlite_schema, "are_checked", lambda _: True),
            ):
                patches.enter_context(patch.object(what, name, value))
        yield


async def append(built: Path, group: int) -> float:
    """Microseconds of a mutation, with what it takes to move it into the file."""
    path = built.with_name("appended.db")
    shutil.copy(built, path)
    store, load = SqliteStore(path), Load(17)
    newest = await store.open()
    batches = [
        [Commit(newest + 1 + n + first, each.changes, each.request) for n, each in enumerate(load.take(group))]
        for first in range(0, MUTATIONS // (64 // min(group, 64)), group)
    ]
    began = time.process_time()
    for batch in batches:
        await store.append(lambda _, __, batch=batch: batch)  # type: ignore[misc]
    await store.close()
    return (time.process_time() - began) / len(batches) / group * 1e6


async def read(path: Path, newest: int, known: list[bytes]) -> float:
    """Microseconds of a point read."""
    reader = SqliteReader(path)
    snapshot = await reader.snapshot(newest)
    began = time.thread_time()
    for key in known:
        await snapshot.get(key)
    spent = time.thread_time() - began
    snapshot.close()
    reader.close()
    return spent / len(known) * 1e6


def measure() -> Section:
    with tempfile.TemporaryDirectory() as folder:
        figures = []
        paths = {on: Path(folder) / f"{on}.db" for on in (True, False)}
        for on, path in paths.items():
            build(path, DOCUMENTS, checked=on)
        dice, load = random.Random(3), Load(1, 1000)
        built = [commit for _ in range(DOCUMENTS // 10_000) for commit in load.take(10_000)]
        keys, newest = [commit.changes[0].key for commit in built], built[-1].ts
        scattered, near = dice.choices(keys, k=READS), dice.choices(keys[:2000], k=READS)

        def run(on: bool, what: str) -> float:
            with checksums(on=on):
                match what:
                    case "scattered":
                        return asyncio.run(read(paths[on], newest, scattered))
                    case "near":
                        return asyncio.run(read(paths[on], newest, near))
                    case _:
                        return asyncio.run(append(paths[on], int(what)))

        for what, name in (
            ("1", "mutation, 1 a commit"),
            ("64", "mutation, 64 a commit"),
            ("near", "point read, page in memory"),
            ("scattered", "point read, page from the file"),
        ):
            found = in_turn(effort.rounds, {on: partial(run, on, what) for on in paths})
            figures.append(compared(name, "µs", found[True], found[False], "without checksums"))
        return Section(figures)
