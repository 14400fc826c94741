"""Bytes that stream in and out, and are held against their checksums."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from yugen.files.local import LocalFiles
from yugen.files.memory import MemoryFiles
from yugen.files.store import PIECE_BYTES, FileDamaged, FileStore
from yugen.files.streams import Files, save_whole, whole_file
from yugen.files.sums import BLOCK_BYTES, Bytes

CONTENT = bytes(range(256)) * 5000


async def pieces(content: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def read(files: Files, stored: Bytes, start: int = 0, end: int | None = None) -> bytes:
    async with await files.open(stored, start, end) as reading:
        return b"".join([piece async for piece in reading])


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_what_streams_in_streams_out(store: FileStore) -> None:
    files = Files(store)
    stored = await files.save(pieces(CONTENT))
    assert stored.size == len(CONTENT)
    assert stored.sha256 == hashlib.sha256(CONTENT).digest()
    assert await read(files, stored) == CONTENT
    assert await read(files, stored, 100, 700_000) == CONTENT[100:700_000]
    assert b"".join(whole_file(store, stored)) == CONTENT
    assert save_whole(store, iter([b"a", b"b"]))[1:3] == (2, hashlib.sha256(b"ab").digest())
    files.close()


async def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(3_000_000)
        raise ConnectionError

    files = Files(LocalFiles(tmp_path))
    with pytest.raises(ConnectionError):
        await files.save(broken())
    assert left(tmp_path) == []
    files.close()


async def test_one_that_is_called_off_leaves_nothing(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1_000_000)
            begun.set()

    files = Files(LocalFiles(tmp_path))
    saving = asyncio.create_task(files.save(endless()))
    await begun.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert left(tmp_path) == []
    files.close()


@pytest.mark.parametrize("size", [1, PIECE_BYTES, len(CONTENT)])
async def test_the_end_of_a_damaged_file_is_not_given(tmp_path: Path, size: int) -> None:
    store = LocalFiles(tmp_path)
    files = Files(store)
    stored = await files.save(pieces(CONTENT[:size]))
    path = tmp_path / stored.key[:2] / stored.key
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    got = bytearray()

    async def receive() -> None:
        async with await files.open(stored) as reading:
            async for piece in reading:
                got.extend(piece)

    with pytest.raises(FileDamaged, match="not those that were stored"):
        await receive()
    assert len(got) < size
    with pytest.raises(FileDamaged):
        list(whole_file(store, stored))
    files.close()


@pytest.mark.parametrize("piece", [70_000, BLOCK_BYTES, 3 * BLOCK_BYTES])
async def test_any_part_of_a_file_is_held_against_its_checksum(store: FileStore, piece: int) -> None:
    content = (CONTENT * 3)[: 3 * BLOCK_BYTES + 5]
    files = Files(store)
    streamed, whole = await files.save(pieces(content, piece)), save_whole(store, iter([content]))
    assert streamed.blocks == whole.blocks
    assert len(streamed.blocks) == 4 * 4
    ends = [edge + more for edge in (0, BLOCK_BYTES, 3 * BLOCK_BYTES) for more in (-1, 0, 1, 5)]
    for start in ends:
        for end in ends:
            if 0 <= start < end <= len(content):
                assert await read(files, streamed, start, end) == content[start:end]
    files.close()


@pytest.mark.parametrize(("start", "end"), [(0, 2), (2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 1), (7, 2 * BLOCK_BYTES)])
async def test_no_part_of_a_damaged_block_is_given(tmp_path: Path, start: int, end: int) -> None:
    content = (CONTENT * 3)[: 2 * BLOCK_BYTES + 5]
    files = Files(LocalFiles(tmp_path))
    stored = await files.save(pieces(content))
    path = tmp_path / stored.key[:2] / stored.key
    damaged = bytearray(content)
    for place in (1000, len(content) - 1):
        damaged[place] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(FileDamaged, match="not those that were stored"):
        await read(files, stored, start, end)
    middle = BLOCK_BYTES, 2 * BLOCK_BYTES
    assert await read(files, stored, *middle) == content[slice(*middle)]
    assert await read(files, stored._replace(blocks=b""), start, end) == damaged[start:end]  # as of one from before
    files.close()


async def test_a_file_of_another_size_is_not_opened(tmp_path: Path) -> None:
    store = LocalFiles(tmp_path)
    files = Files(store)
    stored = await files.save(pieces(CONTENT))
    path = tmp_path / stored.key[:2] / stored.key
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileDamaged, match="has 1279999 bytes, not 1280000"):
        await files.open(stored)
    with pytest.raises(FileDamaged):
        list(whole_file(store, stored))
    files.close()


async def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    files = Files(LocalFiles(tmp_path))
    stored = await files.save(pieces(CONTENT))
    async with await files.open(stored, 1, len(CONTENT)) as reading:
        await reading.read()
        (tmp_path / stored.key[:2] / stored.key).write_bytes(b"")
        with pytest.raises(FileDamaged):
            await reading.read()
    files.close()


def test_one_that_cannot_be_saved_whole_leaves_nothing() -> None:
    store = MemoryFiles()
    with pytest.raises(TypeError):
        save_whole(store, iter([b"a", 1]))  # type: ignore[list-item]
    assert [held for batch in store.held() for held in batch] == []
