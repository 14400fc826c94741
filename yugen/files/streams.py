"""Files for processes with an event loop: bytes stream in and out, and are held against their checksums on the way.

However large a file is and however slow whoever sends or reads it, a stream holds a few pieces of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from yugen.files.store import BATCH_BYTES, FileDamaged, FileReader, FileStore, FileWriter, new_key
from yugen.files.sums import Bytes, Part, Summing

T = TypeVar("T")

_THREADS_MAX: Final = 16
"""Calls of a store that may block at once; a slow reader blocks none."""


class Files:
    """A store, without blocking.

    Args:
        store: where the bytes are.
    """

    def __init__(self, store: FileStore) -> None:
        self.store = store
        self._threads = ThreadPoolExecutor(_THREADS_MAX, thread_name_prefix="files")

    async def save(self, pieces: AsyncIterator[bytes]) -> Bytes:
        """Stores what comes. It is durable when this returns; if this raises, nothing of it is there.

        Raises:
            FileStoreError: it cannot be stored.
            BaseException: whatever the pieces raise.
        """
        key, writers = new_key(), list[FileWriter]()
        try:
            await self.run(lambda: writers.append(self.store.create(key)))
            (writer,) = writers
            summing, batch = Summing(), bytearray()
            async for piece in pieces:
                batch += piece
                if len(batch) >= BATCH_BYTES:
                    await self.run(_take, writer, summing, batch)
                    batch = bytearray()
            await self.run(_take, writer, summing, batch)
            await self.run(writer.finish)
        except BaseException:
            for writer in writers:
                await self.run(writer.abandon)
            raise
        return summing.stored(key)

    async def open(self, stored: Bytes, start: int = 0, end: int | None = None) -> Reading:
        """Begins to read a file, or the bytes from `start` on and before `end`.

        Raises:
            FileDamaged: it is not there, or of another size.
            FileStoreError: it cannot be read.
        """
        end = stored.size if end is None else end
        first, last = start, end
        in_blocks = bool(stored.blocks) and end - start < stored.size
        if in_blocks:
            first, last = Part.first(start), Part.last(end, stored.size)
        readers = list[FileReader]()
        try:
            await self.run(lambda: readers.append(self.store.open(stored.key, first, last)))
            (reader,) = readers
            if reader.size != stored.size:
                text = f"The file {stored.key} has {reader.size} bytes, not {stored.size} as when it was stored."
                raise FileDamaged(text)
        except BaseException:
            for reader in readers:
                await self.run(reader.close)
            raise
        part = Part(stored, start, end, reader.read) if in_blocks else None
        return Reading(self, reader, stored, end - start, part)

    async def run(self, call: Callable[..., T], *args: Any) -> T:
        """What a call gives that may block. Whoever gives up waiting does so when it is over: a file has one user."""
        done = asyncio.get_running_loop().run_in_executor(self._threads, call, *args)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            while not done.done():
                try:
                    await asyncio.wait([done])
                except asyncio.CancelledError:
                    continue
            raise

    def close(self) -> None:
        """Lets go of its threads, when what they do is done."""
        self._threads.shutdown(wait=False)


class Reading:
    """A file that is being read, piece by piece. Leaving `async with` ends that.

    Who reads all of it does not get the last piece of a file whose checksum is another than when it was stored. Who
    reads a part gets nothing of a block of which that is so; of a file from before blocks had checksums, a part is
    held against none.
    """

    def __init__(self, files: Files, reader: FileReader, stored: Bytes, size: int, part: Part | None) -> None:
        self._files = files
        self._reader = reader
        self._stored = stored
        self._part = part
        self._left = size
        self._digest = hashlib.sha256() if self._left == stored.size else None

    async def read(self) -> bytes:
        """The next bytes; none at the end.

        Raises:
            FileDamaged: they are not those that were stored.
            FileStoreError: they cannot be read.
        """
        return await self._files.run(self._next if self._part is None else self._part.next)

    def _next(self) -> bytes:
        piece = self._reader.read() if self._left else b""
        self._left -= len(piece)
        if self._digest is not None:
            self._digest.update(piece)
        wrong = self._left < 0 or (self._left > 0 and not piece)
        if wrong or (self._left == 0 and self._digest and self._digest.digest() != self._stored.sha256):
            raise FileDamaged(f"The bytes of the file {self._stored.key} are not those that were stored.")
        return piece

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def close(self) -> None:
        """Reads no more."""
        await self._files.run(self._reader.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def whole_file(store: FileStore, stored: Bytes) -> Iterator[bytes]:
    """The bytes of a file, piece by piece, for processes without an event loop.

    Raises:
        FileDamaged: they are not those that were stored. All but the last piece have come by then.
        FileStoreError: they cannot be read.
    """
    digest, left = hashlib.sha256(), stored.size
    with closing(store.open(stored.key, 0, stored.size)) as reader:
        while left > 0 and (piece := reader.read()):
            left -= len(piece)
            digest.update(piece)
            if left <= 0 and (left < 0 or digest.digest() != stored.sha256):
                break
            yield piece
    if left != 0 or reader.size != stored.size or digest.digest() != stored.sha256:
        raise FileDamaged(f"The bytes of the file {stored.key} are not those that were stored.")


def save_whole(store: FileStore, pieces: Iterator[bytes]) -> Bytes:
    """Stores a file that comes in pieces, for processes without an event loop; as `Files.save`."""
    key = new_key()
    writer = store.create(key)
    try:
        summing = Summing()
        for piece in pieces:
            summing.add(piece)
            writer.write(piece)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    return summing.stored(key)


def _take(writer: FileWriter, summing: Summing, batch: bytearray) -> None:
    summing.add(batch)
    writer.write(batch)
