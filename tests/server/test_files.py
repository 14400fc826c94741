"""The bytes of files that nobody needs any more, and those that somebody does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.engine import SECRET, change, encoded, value_of
from tests.server.peers import Bench, bench
from yugen.catalog import RENEWALS
from yugen.files.store import BadFileStore, FileStoreError
from yugen.files.sums import Bytes
from yugen.functions.addresses import Upload
from yugen.functions.storage import FilePlace, renewal_internal
from yugen.keys import document_key
from yugen.runtime.runner import Overloaded
from yugen.server import files as module
from yugen.server.files import GRACE_SECONDS, LINGER_SECONDS, FileService


class Deployment:
    """Files whose clock the test moves, beside an export that the test makes."""

    def __init__(self, notes: Bench) -> None:
        self.notes = notes
        self.now = 1_900_000_000.0
        self.exporting = False
        place = FilePlace(SECRET, "http://yugen", "", notes.deployment.folder)
        self.service = FileService(
            notes.runtime, place, clock=lambda: self.now, exporting=lambda: self.exporting, collects=True
        )
        notes.runtime.file_deleted = self.service._note_deleted

    async def store(self, content: bytes = b"content") -> str:
        async def pieces() -> AsyncIterator[bytes]:
            yield content

        return await self.service.take(Upload(), pieces(), None, None)

    async def orphan(self) -> Bytes:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"nobody's"

        return await self.service.place.files.save(pieces())

    async def delete(self, file: str) -> None:
        answer = await self.notes.runtime.mutate("_system/files:delete", encoded(id=file), public=False)
        assert value_of(answer.answer)

    def left(self) -> set[str]:
        folder = self.notes.deployment.folder / "files"
        return {path.name for path in folder.rglob("*") if path.is_file()}

    def age(self, *, seconds: float) -> None:
        for path in (self.notes.deployment.folder / "files").rglob("*"):
            if path.is_file():
                os.utime(path, (self.now - seconds,) * 2)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with bench(tmp_path) as notes:
        made = Deployment(notes)
        yield made
        await made.service.close()
        await notes.files.close()


async def test_deleted_bytes_go_after_a_while(at: Deployment) -> None:
    file, _ = await at.store(), await at.store()
    assert len(at.left()) == 2
    await at.delete(file)
    assert len(at.left()) == 2
    await at.service.remove_deleted()
    assert len(at.left()) == 2
    at.now += LINGER_SECONDS
    await at.service.remove_deleted()
    assert len(at.left()) == 1


async def test_an_export_keeps_what_it_may_need(at: Deployment) -> None:
    await at.delete(await at.store())
    await at.orphan()
    at.age(seconds=GRACE_SECONDS + 1)
    at.now += LINGER_SECONDS
    at.exporting = True
    await at.service.remove_deleted()
    await at.service.sweep()
    assert len(at.left()) == 2
    at.exporting = False
    await at.service.remove_deleted()
    await at.service.sweep()
    assert at.left() == set()


async def test_what_is_nobodys_is_found_and_the_rest_left(
    at: Deployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_ASKED_AT_ONCE", 2)
    caplog.set_level("INFO")
    kept = [await at.store() for _ in range(5)]
    orphans = [await at.orphan() for _ in range(5)]
    writer = at.service.place.store.create("0" * 32)
    writer.write(b"half")
    at.age(seconds=GRACE_SECONDS + 1)
    young = await at.orphan()
    os.utime(next((at.notes.deployment.folder / "files").rglob(young.key)), (at.now, at.now))
    await at.service.sweep()
    left = at.left()
    assert len(left) == 6
    assert young.key in left
    assert left.isdisjoint({orphan.key for orphan in orphans})
    for file in kept:
        record = await at.service.get(file)
        assert record is not None
        assert record["key"] in left
    assert "5 files without a record are removed" in caplog.text
    writer.abandon()


async def test_it_is_done_at_the_start_and_when_something_is_deleted(
    at: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.0)
    orphan = await at.orphan()
    file = await at.store()
    at.age(seconds=GRACE_SECONDS + 1)
    at.service.start()
    async with asyncio.timeout(60):
        while orphan.key in at.left():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await at.delete(file)
        while at.left():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_store_that_fails_is_tried_again(
    at: Deployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.0)

    def fails(before: float) -> None:
        raise FileStoreError("the disk is tired")

    monkeypatch.setattr(at.service.place.store, "clear", fails)
    at.service.start()
    async with asyncio.timeout(60):
        while "cannot be removed" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0)
        file = await at.store()
        await at.delete(file)
        while at.left():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_failed_record_leaves_no_bytes(at: Deployment) -> None:
    at.notes.probe.error = Overloaded("too much")
    with pytest.raises(Overloaded):
        await at.store()
    assert at.left() == set()
    at.notes.probe.error = None
    assert await at.store()


async def test_renewals_happen_once_a_period_and_only_for_somebody(at: Deployment) -> None:
    runtime, renewals = at.notes.runtime, at.service.renewals
    await renewals.look()
    before = runtime.ts
    at.now += 100
    await renewals.look()
    assert runtime.ts == before
    assert not runtime.queries.is_read(document_key(RENEWALS.number, renewal_internal(16)))
    await change(runtime, "notes:add", book="a", text="x")
    assert runtime.ts > before


async def test_a_place_that_is_none_is_refused_at_once(at: Deployment) -> None:
    place = FilePlace(SECRET, "http://yugen", "az://container-without-an-account", at.notes.deployment.folder)
    with pytest.raises(BadFileStore, match="Files cannot be kept at az://container-without-an-account"):
        FileService(at.notes.runtime, place)
