"""The engine for tests: a started runtime over any store, with functions on the test's own event loop."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from yugen import values
from yugen.functions.registry import load
from yugen.runtime.environment import Variables
from yugen.runtime.inline import InlineRunner
from yugen.runtime.limits import RunLimits
from yugen.runtime.outcome import Answer
from yugen.runtime.pool import WorkerPool
from yugen.runtime.runner import Runner
from yugen.runtime.runtime import Runtime
from yugen.runtime.setup import Setup
from yugen.storage.interface import Store
from yugen.storage.memory import MemoryStore, Pause
from yugen.storage.sqlite import SqliteStore
from yugen.vault import Vault

SECRET = bytes(32)
"""Seals the cursors of tests, which hide nothing."""

VAULT_KEY = base64.b64encode(SECRET).decode()
VAULT = Vault(lambda: (SECRET,))
"""Seals the environment variables of tests."""


@asynccontextmanager
async def engine(
    store: Store,
    app: Path,
    *,
    development: bool = True,
    clock: Callable[[], int] = time.time_ns,
    random_bytes: Callable[[int], bytes] = os.urandom,
    wrap: Callable[[Runner], Runner] = lambda runner: runner,
    limits: RunLimits | None = None,
) -> AsyncIterator[Runtime]:
    """A started runtime of the app in a folder; closes it, and the store with it.

    Args:
        store: a store that is not open yet.
        app: the app's folder.
        development: whether the text of errors goes to callers.
        clock: nanoseconds since the epoch.
        random_bytes: gives that many random bytes.
        wrap: makes the runner to use out of the inline one.
        limits: what functions may use.
    """
    runner = InlineRunner(load(app), store, secret=SECRET, development=development, limits=limits)
    runtime = Runtime(store, wrap(runner), variables=Variables(VAULT), clock=clock, random_bytes=random_bytes)
    try:
        await runtime.start()
        yield runtime
    finally:
        await runtime.close()


@asynccontextmanager
async def worker_engine(folder: Path, app: Path, limits: RunLimits) -> AsyncIterator[tuple[Runtime, WorkerPool]]:
    """The same with functions in worker processes, over a database in that folder; and where they run."""
    database = folder / "app.db"
    pool = await WorkerPool.launch(Setup(app, database, SECRET, True, limits))
    runtime = Runtime(SqliteStore(database), pool, variables=Variables(VAULT))
    try:
        await runtime.start()
        yield runtime, pool
    finally:
        await runtime.close()


def new_store(kind: str, folder: Path, pause: Pause | None = None) -> Store:
    """A store by its name: `"memory"`, with these pauses, or `"sqlite"`, in a file of that folder."""
    if kind == "sqlite":
        return SqliteStore(folder / "app.db")
    return MemoryStore(pause) if pause else MemoryStore()


def interleaving(seed: int) -> Pause:
    """Pauses for a `MemoryStore` that give way to other tasks now and then, in the same way for the same seed."""
    dice = random.Random(seed)

    async def pause() -> None:
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)

    return pause


def encoded(**args: Any) -> bytes:
    """Arguments as they come to a runtime."""
    return values.canonical(args)


def value_of(answer: Answer) -> Any:
    """The value of an answer that must not be a failure."""
    assert answer.failure is None, answer.failure.message
    assert answer.value is not None
    return values.loads(answer.value)


async def ask(runtime: Runtime, path: str, **args: Any) -> Any:
    """The value of a query now."""
    return value_of(await runtime.query(path, encoded(**args)))


async def change(runtime: Runtime, path: str, **args: Any) -> Any:
    """The value of a mutation."""
    return value_of((await runtime.mutate(path, encoded(**args))).answer)


async def act(runtime: Runtime, path: str, **args: Any) -> Any:
    """The value of an action."""
    return value_of(await runtime.act(path, encoded(**args)))


def sealed(variables: Mapping[str, str | None]) -> bytes:
    """The arguments of the mutation that changes environment variables."""
    changes: list[dict[str, Any]] = []
    for name, value in variables.items():
        if value is None:
            changes.append({"name": name})
        else:
            changes.append({"name": name, "sealed": VAULT.seal(name, value), "size": len(value.encode())})
    return encoded(changes=changes)


async def set_variables(runtime: Runtime, **variables: str | None) -> None:
    """Changes environment variables of a runtime over `VAULT`; None takes one away."""
    value_of((await runtime.mutate("_system/environment:update", sealed(variables), public=False)).answer)
