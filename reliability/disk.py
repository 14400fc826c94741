"""A real database on a disk that fails, tears and forgets.

    python -m reliability disk [PART ...] [--images 2000] [--flips 2000] [--every 1] [--log 1000000] [--seed 1]

Six parts. *faults*: every operation of a store's life, from open to close, fails in every way there is, once and for
good. *images*: the power is cut at any moment, and of what was not synced anything may be left. *syncs*: a
sync fails, which ends the process, and the power is cut while the next one starts. *flips*: a bit is another than was
written, in pages of every kind and in the log. *conversion*: a file from before pages had checksums is opened, and that
fails or is cut off anywhere. *restart*: how long it takes to open a database that was killed with a large log. After
each, what was acknowledged must be there, and no answer be wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw

from reliability.stories import TABLE, Story, check_holds
from reliability.verify import verify
from reliability.vfs import Fault, FaultyVFS, Operation, faulty_disk
from yugen.keys import document_key
from yugen.storage import (
    sqlite,
    sqlite_connect,
    sqlite_log,
    sqlite_requests,
    sqlite_schema,
    sqlite_view,
    sqlite_writer,
)
from yugen.storage.interface import Change, Commit, StorageError
from yugen.storage.sqlite import SqliteStore
from yugen.storage.sqlite_connect import connect
from yugen.storage.sqlite_schema import CHECKSUMS_SINCE, MIGRATIONS

FAULTS: tuple[tuple[Operation | None, Fault], ...] = (
    (None, "EIO"),
    ("write", "ENOSPC"),
    ("write", "short"),
    ("write", "torn"),
    ("sync", "EIO"),
)
NAME = "data.sqlite3"
BATCHES = (1, 3, 1, 64, 1, 5, 1, 2, 20, 1)
"""How many commits each append has."""

FEW, SMALL = (1, 2, 16, 1, 3, 1), (20, 20, 300, 9000)
"""The same of a life in which every operation fails once, and sizes of documents in it."""

PARTS = ("faults", "images", "syncs", "flips", "conversion", "restart")

WAL_BYTES = 64 * 2**20
"""Which a WAL may have before it starts over; and what of the restart is done with that."""

RESTART_SECONDS_MAX = 5.0


@contextmanager
def tended_often() -> Iterator[None]:
    """Has stores do soon what they otherwise do when there is much of it: checkpoints, totals, requests."""
    with ExitStack() as patches:
        for what, name, value in (
            (sqlite_writer, "_CHECKPOINT_FRAMES", 30),
            (sqlite_writer, "_TRUNCATE_FRAMES", 120),
            (sqlite_writer, "_DIRTY_MAX", 4),
            (sqlite_requests, "MERGE_AT", 16),
            (sqlite_requests, "FORGOTTEN_AT_ONCE", 20),
            (sqlite_log, "ROWS_MAX", 12),
            (sqlite, "TRIM_PAUSE_SECONDS", 0),
        ):
            patches.enter_context(patch.object(what, name, value))
        yield


# Faults ---------------------------------------------------------------------------------------------------------------


async def faults(folder: Path, seed: int, *, every: int = 1, say: bool = False) -> Counter[str]:
    """Fails the nth operation of a life, for every n, or for one in `every`.

    Raises:
        AssertionError: something was lost or wrong.
    """
    figures: Counter[str] = Counter()
    with tended_often(), faulty_disk() as disk:
        for (operation, fault), persistent in itertools.product(FAULTS, (False, True)):
            for n in itertools.count(1, every):
                place = folder / "life"
                disk.heal()
                disk.forget()
                what = f"{fault} of {operation or 'anything'} {n}, {'for good' if persistent else 'once'}, seed {seed}"
                try:
                    failed = await _life(disk, place / NAME, seed, (operation, n, fault, persistent), figures)
                except AssertionError as error:
                    raise AssertionError(f"{what}: {error}") from error
                shutil.rmtree(place)
                if not failed:
                    break
                figures["faults"] += failed
                figures["lives"] += 1
            if say:
                print(
                    f"  {fault} of {operation or 'anything'} {'for good' if persistent else 'once'}: up to {n}",
                    flush=True,
                )
    return figures


async def _life(
    disk: FaultyVFS, path: Path, seed: int, fault: tuple[Operation | None, int, Fault, bool], figures: Counter[str]
) -> int:
    """One life of a store with a fault in it, and the next without; how many operations failed."""
    operation, nth, kind, persistent = fault
    story = Story(seed, SMALL)
    disk.fail(operation, nth, kind, persistent=persistent, seed=nth)
    errors = await _live(path, story)
    failed = disk.failed
    disk.heal()
    for error in errors:
        assert isinstance(error, StorageError), f"{error!r} is not explained"
        assert not error.damaged, f"a whole file was taken for a damaged one: {error}"
        if kind == "ENOSPC":
            assert error.full, f"no space was taken for something else: {error}"
    if operation == "sync" and errors:
        stopped = [error for error in errors if isinstance(error, StorageError) and error.stopped]
        assert stopped, f"a sync has failed, and it has gone on: {errors[0]}"
    if failed and errors:
        figures["errors"] += len(errors)
    store = SqliteStore(path)
    newest = await store.open()
    assert newest >= story.acknowledged, f"acknowledged up to {story.acknowledged}, and there is {newest}"
    assert newest in story.ends, f"{newest} is in the middle of an append"
    figures["rows"] += await check_holds(store, story, newest)
    await story.append(store, 2)
    figures["rows"] += await check_holds(store, story, story.acknowledged)
    await store.close()
    verify(path, whole_log=False, forgotten=story.forgotten)
    return failed


async def _live(path: Path, story: Story) -> list[Exception]:
    """Opens a store, appends, reads, trims, exports, scrubs and closes, whatever fails; gives what failed."""
    errors: list[Exception] = []
    store = SqliteStore(path)
    try:
        await store.open()
    except StorageError as error:
        errors.append(error)
        with _gathered(errors):
            await store.close()
        return errors
    for number, commits in enumerate(FEW):
        stopped = store.stopped
        try:
            await story.append(store, commits)
            assert not stopped, "it was stopped, and has appended all the same"
        except StorageError as error:
            errors.append(error)
        with _gathered(errors):
            await check_holds(store, story, story.acknowledged)  # reads go on
        if number % 3 == 2:
            with _gathered(errors):
                through = sorted(ts for ts in story.states if ts <= story.acknowledged)[-2:][0]
                await store.trim(through)
                await story.forget(store, through)
    with _gathered(errors):
        await store.changes(story.acknowledged)
    with _gathered(errors):
        await store.scrub()
    with _gathered(errors):
        await store.close()
    return errors


@contextmanager
def _gathered(errors: list[Exception]) -> Iterator[None]:
    try:
        yield
    except (StorageError, apsw.Error, OSError) as error:
        errors.append(error)


# Images ---------------------------------------------------------------------------------------------------------------


async def images(folder: Path, seed: int, count: int) -> Counter[str]:
    """Cuts the power so many times, at operations that the seed chooses, and opens what that leaves.

    Raises:
        AssertionError: something was lost or wrong.
    """
    figures: Counter[str] = Counter()
    with tended_often(), faulty_disk() as disk:
        for number in itertools.count(seed):
            await _cut_one(disk, folder, number, count, figures)
            if figures["images"] >= count:
                break
    return figures


async def _cut_one(disk: FaultyVFS, folder: Path, seed: int, count: int, figures: Counter[str]) -> None:
    """Cuts the power at some moments of one life, and opens what each has left."""
    disk.forget()
    dice = random.Random(f"image {seed}")
    story, taken = Story(seed), list[tuple[Path, int]]()
    share = dice.choice((0.02, 0.1, 0.3))

    def cut(operation: Operation, _: Path) -> None:
        if dice.random() < (max(share, 0.5) if operation == "sync" else share):
            if figures["images"] + len(taken) == count:
                return
            image = folder / f"image-{seed}-{len(taken)}"
            disk.image(path.parent, image, dice)
            taken.append((image, story.acknowledged))

    path = folder / f"life-{seed}" / NAME
    disk.on_operation = cut
    await _write(path, story, dice)
    disk.on_operation = None
    figures["images"] += len(taken)
    for image, acknowledged in taken:
        try:
            figures["commits"] += await _check_image(image / NAME, story, acknowledged, figures)
        except (AssertionError, StorageError) as error:
            raise AssertionError(f"seed {seed}, {image}, acknowledged {acknowledged}: {error}") from error
        shutil.rmtree(image)
    shutil.rmtree(path.parent)


async def _write(path: Path, story: Story, dice: random.Random, batches: Sequence[int] = BATCHES) -> None:
    """A life in which much is written, and some of it trimmed and forgotten."""
    store = SqliteStore(path)
    try:
        await store.open()
        for commits in batches:
            await story.append(store, commits)
            if dice.random() < 0.2:
                await store.trim(story.acknowledged - dice.randrange(10))
                await story.forget(store, story.acknowledged - dice.randrange(30))
        if dice.random() < 0.2:
            await store.scrub()
    finally:
        await store.close()


async def syncs(folder: Path, seed: int, count: int) -> Counter[str]:
    """Has a sync fail in lives of a store, and cuts the power so many times while the next ones begin.

    Raises:
        AssertionError: something was lost or wrong.
    """
    figures: Counter[str] = Counter()
    with tended_often(), faulty_disk() as disk:
        for number in itertools.count(seed):
            await _fail_a_sync(disk, folder, number, figures)
            if figures["images"] >= count:
                break
    return figures


async def _fail_a_sync(disk: FaultyVFS, folder: Path, seed: int, figures: Counter[str]) -> None:
    disk.forget()
    dice = random.Random(f"sync {seed}")
    story, taken = Story(seed), list[tuple[Path, Story]]()
    path = folder / f"life-{seed}" / NAME
    disk.fail("sync", dice.randrange(1, 20), "EIO", seed=seed)
    with suppress(StorageError):
        await _write(path, story, dice)
    figures["failed syncs"] += disk.failed
    disk.heal()

    def cut(operation: Operation, _: Path) -> None:
        if dice.random() < (0.5 if operation == "sync" else 0.05):
            image = folder / f"image-{seed}-{len(taken)}"
            disk.image(path.parent, image, dice)
            taken.append((image, story.copy()))

    disk.on_operation = cut
    await _write(path, story, dice, (1, 1))
    disk.on_operation = None
    figures["images"] += len(taken)
    for image, told in taken:
        try:
            figures["commits"] += await _check_image(image / NAME, told, told.acknowledged, figures)
        except (AssertionError, StorageError, apsw.Error) as error:
            raise AssertionError(f"seed {seed}, {image}, acknowledged {told.acknowledged}: {error}") from error
        shutil.rmtree(image)
    shutil.rmtree(path.parent)


async def _check_image(path: Path, story: Story, acknowledged: int, figures: Counter[str]) -> int:
    store = SqliteStore(path)
    newest = await store.open()
    try:
        assert newest >= acknowledged, f"the newest is {newest}"
        assert newest in story.ends, f"{newest} is in the middle of an append"
        figures["unacknowledged"] += newest > acknowledged
        figures["rows"] += await check_holds(store, story, newest)
    finally:
        await store.close()
    verify(path, whole_log=False, forgotten=story.forgotten)
    return sum(ts <= newest for ts in story.states)


# Flips ----------------------------------------------------------------------------------------------------------------


async def flips(folder: Path, seed: int, count: int) -> Counter[str]:
    """Flips a bit of the file or of its log, and asks for all there is; so many times.

    Raises:
        AssertionError: an answer was wrong.
    """
    figures: Counter[str] = Counter()
    dice = random.Random(seed)
    closed, killed = folder / "closed", folder / "killed"
    story = Story(seed)
    store = SqliteStore(closed / NAME)
    await store.open()
    for _ in range(6):
        for commits in BATCHES:
            await story.append(store, commits)
    story.trimmed = sorted(story.states)[len(story.states) // 2]
    await store.trim(story.trimmed)
    await store.close()
    shutil.copytree(closed, killed)
    # Kept from moving its log into the file, as if it had been killed.
    store = SqliteStore(killed / NAME)
    await store.open()
    tail = story.copy()
    for _ in range(8):
        await tail.append(store, 2)
    log = folder / "log"
    shutil.copytree(killed, log, ignore=shutil.ignore_patterns("*-shm"))
    await store.close()
    pages = _pages(closed / NAME)
    for _ in range(count):
        kind = dice.choice((*pages, "log", "log"))
        where, told = (log, tail) if kind == "log" else (closed, story)
        file = Path(f"{where / NAME}-wal") if kind == "log" else where / NAME
        content = bytearray(file.read_bytes())
        place = dice.randrange(len(content))
        if kind == "header":
            place = dice.randrange(100)
        elif kind != "log":
            place = (dice.choice(pages[kind]) - 1) * sqlite_writer.PAGE_BYTES + place % sqlite_writer.PAGE_BYTES
        content[place] ^= 1 << dice.randrange(8)
        trial = folder / "trial"
        shutil.copytree(where, trial)
        (trial / file.name).write_bytes(content)
        try:
            figures[f"{kind}: {await _ask(trial / NAME, told)}"] += 1
        except AssertionError as error:
            raise AssertionError(f"byte {place} of the {kind}, seed {seed}: {error}") from error
        shutil.rmtree(trial)
    figures["flips"] = count
    return figures


def _pages(path: Path) -> dict[str, list[int]]:
    """The numbers of the pages of a file, by what they are."""
    pages: dict[str, list[int]] = {"header": [1]}
    with closing(connect(path, read_only=True)) as connection:
        for table, number, kind in connection.execute("SELECT name, pageno, pagetype FROM dbstat"):
            inside = "an index" if table in ("entries", "totals", "dirty", "requests") or "auto" in table else "a table"
            pages.setdefault(f"{kind} of {inside}", []).append(number)
        used = {number for each in pages.values() for number in each}
        free = sorted(set(range(1, connection.pragma("page_count") + 1)) - used)
    if free:
        pages["free"] = free
    return pages


async def _ask(path: Path, story: Story) -> str:
    """Asks a store for everything; what came of it."""
    store = SqliteStore(path)
    try:
        newest = await store.open()
        if newest != story.acknowledged:
            # Of the last append alone a log cannot tell whether it was torn or damaged.
            last = max(end for end in story.ends if end < story.acknowledged)
            assert newest == last, f"commits up to {story.acknowledged} were acknowledged, and there is {newest}"
            return "the last append was taken for a torn one"
        await check_holds(store, story, newest)
        await _check_log(store, story)
    except StorageError as error:
        if not error.damaged:
            raise AssertionError(f"it is not told that the file is damaged: {error}") from error
        return "noticed"
    finally:
        await store.close()
    return "not asked for"


async def _check_log(store: SqliteStore, story: Story) -> None:
    """Checks that what the log says of every commit is what the story says."""
    trimmed = story.trimmed
    commits = await store.changes(trimmed, limit=len(story.states))
    assert [commit.ts for commit in commits] == sorted(ts for ts in story.states if ts > trimmed), "other commits"
    for commit in commits:
        for change in commit.changes:
            assert change.after == story.states[commit.ts].get(change.key), f"another change at {commit.ts}"


# Conversion -----------------------------------------------------------------------------------------------------------


async def conversion(folder: Path, seed: int, every: int) -> Counter[str]:
    """Opens databases from before pages had checksums; at one in so many operations it fails, or the power is cut.

    Raises:
        AssertionError: something was lost or wrong, or a file was left as it was.
    """
    figures: Counter[str] = Counter()
    story = Story(seed, SMALL)
    closed, killed = folder / "closed", folder / "killed"
    with _without_checksums():
        store = SqliteStore(closed / NAME)
        await store.open()
        for commits in FEW:
            await story.append(store, commits)
        shutil.copytree(closed, killed, ignore=shutil.ignore_patterns("*-shm"))  # with a log to recover
        await store.close()
    with faulty_disk() as disk:
        for before in (closed, killed):
            for n in itertools.count(1, every):
                disk.heal()
                disk.forget()
                place = folder / "life"
                shutil.copytree(before, place)
                disk.know(*place.iterdir())
                if not await _convert(disk, place, story, n, figures):
                    break
                shutil.rmtree(place)
            shutil.rmtree(folder / "life")
    return figures


async def _convert(disk: FaultyVFS, place: Path, story: Story, n: int, figures: Counter[str]) -> bool:
    """Opens a database whose nth operation fails, and what a power cut before it leaves; whether there was one."""
    image, left = place / "image", itertools.count(1)
    dice = random.Random(n)

    def cut(_: Operation, path: Path) -> None:
        if next(left) == n:
            disk.image(place, image, dice)

    disk.on_operation = cut
    disk.fail(None, n, "EIO")
    store, errors = SqliteStore(place / NAME), list[Exception]()
    with _gathered(errors):
        await store.open()
    await store.close()
    assert not any(isinstance(each, StorageError) and each.damaged for each in errors), f"not damaged: {errors}"
    figures["failures"] += len(errors)
    failed, disk.on_operation = disk.failed > 0, None
    disk.heal()
    for each in (place, image):
        if each.exists():
            figures["opened"] += 1
            figures["rows"] += await _check_converted(each / NAME, story)
    return failed


async def _check_converted(path: Path, story: Story) -> int:
    store = SqliteStore(path)
    assert await store.open() == story.acknowledged, "commits are lost"
    rows = await check_holds(store, story, story.acknowledged)
    await _check_log(store, story)
    await store.close()
    verify(path)
    return rows


@contextmanager
def _without_checksums() -> Iterator[None]:
    """Has stores make and open databases as they were before pages had checksums."""
    before = MIGRATIONS[: CHECKSUMS_SINCE - 1]
    with ExitStack() as patches:
        for what, name, value in (
            (sqlite_connect, "_VFS", "unix"),
            (sqlite_writer, "reserve", lambda _: None),
            *((module, "MIGRATIONS", before) for module in (sqlite_schema, sqlite_writer, sqlite_view)),
        ):
            patches.enter_context(patch.object(what, name, value))
        yield


# Restart --------------------------------------------------------------------------------------------------------------


async def restart(folder: Path, changes: int, seconds_max: float = RESTART_SECONDS_MAX) -> dict[str, float]:
    """How many seconds it takes to open a database with so many changes in its log and a WAL of 64 MiB.

    Raises:
        AssertionError: it took longer than it may.
    """
    path, wal = folder / NAME, Path(f"{folder / NAME}-wal")
    store = SqliteStore(path)
    await store.open()
    ts = 0

    async def append(count: int, size: int) -> None:
        nonlocal ts
        keys = [document_key(TABLE, number.to_bytes(16, "big")) for number in range(ts + 1, ts + count + 1)]
        commits = [Commit(ts + n, (Change(key, None, b"x" * size),)) for n, key in enumerate(keys, 1)]
        ts += count
        await store.append(lambda _, __: commits)

    while ts < changes:
        await append(1000, 100)
    while _bytes(wal) < WAL_BYTES:
        with patch.object(sqlite_writer.Writer, "tend", lambda _: None):
            await append(10, 100_000)
    killed = folder / "killed"
    killed.mkdir()
    for file in (path, wal):
        shutil.copy(file, killed)
    await store.close()
    store = SqliteStore(killed / NAME)
    figures = {"commits in the log": ts, "MiB of WAL": _bytes(killed / wal.name) / 2**20}
    began = time.perf_counter()
    newest = await store.open()
    figures["seconds"] = seconds = time.perf_counter() - began
    await store.close()
    assert newest == ts, f"acknowledged up to {ts}, and there is {newest}"
    assert seconds < seconds_max, f"it took {seconds:.1f} s to open"
    return figures


def _bytes(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def main(words: Sequence[str]) -> bool:
    """Runs it; whether everything held."""
    parser = argparse.ArgumentParser(prog="python -m reliability disk", description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}; all of them if none is named")
    parser.add_argument("--images", type=int, default=2000, help="power cuts")
    parser.add_argument("--flips", type=int, default=2000, help="flipped bits")
    parser.add_argument("--every", type=int, default=1, help="fail one in so many operations")
    parser.add_argument("--log", type=int, default=1_000_000, help="commits in the log of the restart")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    print(f"seed {options.seed}")
    logging.disable(logging.CRITICAL)  # what is told of thousands of faults
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs: dict[str, Callable[[], Coroutine[Any, Any, Mapping[str, float]]]] = {
            "faults": lambda: faults(folder / "faults", options.seed, every=options.every, say=True),
            "images": lambda: images(folder / "images", options.seed, options.images),
            "syncs": lambda: syncs(folder / "syncs", options.seed, options.images),
            "flips": lambda: flips(folder / "flips", options.seed, options.flips),
            "conversion": lambda: conversion(folder / "conversion", options.seed, options.every),
            "restart": lambda: restart(folder / "restart", options.log),
        }
        held = True
        for part, run in runs.items():
            if part not in options.parts:
                continue
            began = time.perf_counter()
            (folder / part).mkdir()
            try:
                figures = asyncio.run(run())
            except (AssertionError, StorageError) as error:
                print(f"{part}: FAILED: {error}", flush=True)
                held = False
            else:
                shown = ", ".join(f"{key} {value:,.2f}".removesuffix(".00") for key, value in sorted(figures.items()))
                print(f"{part}: {shown}, in {time.perf_counter() - began:.0f} s", flush=True)
    return held
