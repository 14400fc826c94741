from __future__ import annotations

import asyncio
import random

from tests.storage.model import History, Note, append, expected_all, key_of, read_all, whole
from yugen.storage.memory import MemoryStore


async def test_every_read_and_append_lets_others_run() -> None:
    pauses = 0

    async def pause() -> None:
        nonlocal pauses
        pauses += 1

    store = MemoryStore(pause)
    await store.open()
    await append(store, History().commit(10, {1: Note(1, "ada")}))
    snapshot = await store.snapshot(10)
    await snapshot.get(key_of(1))
    await snapshot.scan(*whole(1), limit=1)
    await store.changes(0)
    await store.find_request("session", 1)
    snapshot.close()
    await store.close()
    assert pauses == 9  # one each, and an append before and after it takes place


async def test_pauses_by_default() -> None:
    store = MemoryStore()
    await store.open()
    order: list[str] = []

    async def read(name: str) -> None:
        snapshot = await store.snapshot(0)
        order.append(f"{name} opened")
        await snapshot.get(key_of(1))
        order.append(f"{name} read")

    await asyncio.gather(read("a"), read("b"))
    assert order == ["a opened", "b opened", "a read", "b read"]


async def test_readers_and_a_writer_interleaved_by_a_seed_see_whole_commits() -> None:
    dice = random.Random(7)

    async def pause() -> None:
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)

    store = MemoryStore(pause)
    await store.open()
    history = History()
    seen = set()

    async def write() -> None:
        for ts in range(1, 30):
            await append(store, history.commit(ts, {n: Note(ts, "ada") for n in range(3)}))

    async def read() -> None:
        for _ in range(10):
            # The model knows a commit before the store does, so ask for one that must have been answered.
            ts = max(history.newest - 1, 0)
            snapshot = await store.snapshot(ts)
            assert await read_all(snapshot) == expected_all(history.at(ts))
            snapshot.close()
            seen.add(ts)

    await asyncio.gather(write(), *[read() for _ in range(5)])
    assert len(seen) > 5
