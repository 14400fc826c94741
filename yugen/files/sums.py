"""The checksums of a file: of all of it, and of each block of it, for those who read a part.

The whole has a SHA-256, which is also its name to caches. A block has a CRC-32: it is held against accidents, and a
file of many gigabytes has no more than some kilobytes of them in its record.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

from yugen.files.store import FileDamaged

BLOCK_BYTES: Final = 1024 * 1024
"""Of each but the last block of a file. To read one byte, the block that it is in is read."""

BLOCKS_MAX: Final = 131_072
"""Blocks that have checksums, in half of what a record may be large. A larger file has none."""

_SUM: Final = struct.Struct(">I")


class Bytes(NamedTuple):
    """Bytes that are stored.

    Attributes:
        key: where they are.
        size: how many.
        sha256: their SHA-256.
        blocks: the CRC-32 of each block, of 4 bytes each; none at all of a file from before they were kept.
    """

    key: str
    size: int
    sha256: bytes
    blocks: bytes = b""


class Summing:
    """Adds up what comes."""

    def __init__(self) -> None:
        self._size = 0
        self._whole = hashlib.sha256()
        self._block = 0
        self._blocks = bytearray()

    def add(self, piece: bytes | bytearray) -> None:
        """Takes in the next bytes."""
        self._whole.update(piece)
        left = memoryview(piece)
        while left:
            part = left[: BLOCK_BYTES - self._size % BLOCK_BYTES]
            self._block = zlib.crc32(part, self._block)
            self._size += len(part)
            if self._size % BLOCK_BYTES == 0:
                self._end_block()
            left = left[len(part) :]

    def stored(self, key: str) -> Bytes:
        """What they have come to, under a key. Nothing may be added after that."""
        if self._size % BLOCK_BYTES:
            self._end_block()
        few = len(self._blocks) <= BLOCKS_MAX * _SUM.size
        return Bytes(key, self._size, self._whole.digest(), bytes(self._blocks) if few else b"")

    def _end_block(self) -> None:
        self._blocks += _SUM.pack(self._block)
        self._block = 0


class Part:
    """Some of the bytes of a file, whose blocks are looked at before any of them is given.

    Args:
        stored: the file, whose blocks have checksums.
        start: where it begins.
        end: before which it ends.
        read: gives the next bytes of the file, from `first` on; none at the end.
    """

    def __init__(self, stored: Bytes, start: int, end: int, read: Callable[[], bytes]) -> None:
        self._stored, self._start, self._end, self._read = stored, start, end, read
        self._place = self.first(start)
        self._came = bytearray()

    @staticmethod
    def first(start: int) -> int:
        """Where the block begins that a place is in."""
        return start - start % BLOCK_BYTES

    @staticmethod
    def last(end: int, size: int) -> int:
        """Where the block ends that ends at a place or behind it."""
        return min(-(-end // BLOCK_BYTES) * BLOCK_BYTES, size)

    def next(self) -> bytes:
        """The next bytes; none at the end.

        Raises:
            FileDamaged: they are not those that were stored.
        """
        if self._place >= self._end:
            return b""
        size = min(BLOCK_BYTES, self._stored.size - self._place)
        while len(self._came) < size and (piece := self._read()):
            self._came += piece
        block, self._came = bytes(self._came[:size]), self._came[size:]
        (wanted,) = _SUM.unpack_from(self._stored.blocks, self._place // BLOCK_BYTES * _SUM.size)
        if len(block) < size or zlib.crc32(block) != wanted:
            raise FileDamaged(f"The bytes of the file {self._stored.key} are not those that were stored.")
        given = block[max(self._start - self._place, 0) : self._end - self._place]
        self._place += size
        return given
