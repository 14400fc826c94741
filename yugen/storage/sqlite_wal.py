"""Whether the write-ahead log is whole, when the file is opened.

SQLite recovers the log up to the first frame whose checksum is wrong, and takes the rest for what a crash has left of a
transaction that nobody was told of. Whoever commits has the log synced before the next transaction begins. So two
commits that follow one another behind the wrong frame say that it was right once, and that commits which were
acknowledged would go without a word. What is behind it can be read, since every checksum goes on from the one before.

The form of the log: https://www.sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from yugen.storage.sqlite_errors import damaged

_HEADER: Final = struct.Struct(">8I")
"""Magic, version, size of pages, checkpoints, two salts, two checksums."""

_FRAME: Final = struct.Struct(">6I")
"""Number of the page, size of the database after a commit and otherwise 0, two salts, two checksums."""

_SUMMED: Final = 8
"""Bytes of a frame's header that its checksum is of, with the page."""

_MASK: Final = 0xFFFFFFFF

_PIECE_BYTES: Final = 64 * 1024
"""Of the log, what is written at once: SQLite's file systems take less than 128 KiB."""


class _Log(NamedTuple):
    """What the header of a log says."""

    file: int
    page_bytes: int
    words: struct.Struct
    salts: tuple[int, int]

    def place(self, number: int) -> int:
        return _HEADER.size + number * (_FRAME.size + self.page_bytes)


class _Frame(NamedTuple):
    commit: bool
    salts: tuple[int, int]
    checksum: tuple[int, int]


def check(connection: apsw.Connection, path: Path) -> None:
    """Holds what SQLite has recovered against what is there. It reads no more than the headers of the other frames.

    Args:
        connection: one that has opened the file and read something, while nobody can write.
        path: the database.

    Raises:
        StorageError: commits that were acknowledged are damaged.
    """
    wal = Path(f"{path}-wal")
    try:
        file = os.open(wal, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        recovered, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        log = _opened(file)
        if log is not None and _has_lost_commits(log, max(recovered, 0)):
            raise damaged(wal, "commits that were acknowledged cannot be read, by their checksums")
    finally:
        os.close(file)


def write_again(connection: apsw.Connection, path: Path) -> None:
    """Writes the log once more as it is, and syncs it, while nobody else writes.

    Where a sync fails, the system takes for written what it has not written: it is read as if it were there, and no
    later sync writes it (https://lwn.net/Articles/752063/). After a power cut the log would end before it, and what is
    moved into the database until then would be overlaid by the pages of earlier commits.

    Raises:
        apsw.Error: that failed, or somebody else writes for too long.
    """
    wal = Path(f"{path}-wal")
    if not wal.exists() or not wal.stat().st_size:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        file = apsw.VFSFile("", str(wal), [apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_WAL, 0])
        try:
            size = file.xFileSize()
            try:
                for place in range(0, size, _PIECE_BYTES):
                    file.xWrite(file.xRead(min(_PIECE_BYTES, size - place), place), place)
            finally:  # what was not even tried to be synced is written by this also where there is no space
                file.xSync(apsw.SQLITE_SYNC_NORMAL)
        finally:
            file.xClose()
    finally:
        connection.execute("ROLLBACK")


def _opened(file: int) -> _Log | None:
    """What the header says; None if there is nothing behind it."""
    raw = os.pread(file, _HEADER.size, 0)
    first = os.pread(file, _FRAME.size, _HEADER.size)
    if len(first) < _FRAME.size or not any(raw):
        return None
    magic, _, page_bytes, _, salt, other_salt, *checksum = _HEADER.unpack(raw)
    words = struct.Struct(">2I" if magic & 1 else "<2I")
    salts = salt, other_salt
    if _sum(words, raw[: _HEADER.size - 8], (0, 0)) != tuple(checksum):
        salts = _frame(first).salts
        if _starts_over(words, raw, salts):
            return None
    if not (512 <= page_bytes <= 65536 and page_bytes & (page_bytes - 1) == 0):
        page_bytes = 4096
    return _Log(file, page_bytes, words, salts)


def _starts_over(words: struct.Struct, header: bytes, salts: tuple[int, int]) -> bool:
    """Whether a header was being written to start the log over, which is done when all behind it is in the database.

    SQLite counts checkpoints on then, and takes the next first salt and any second one.

    Args:
        words: how checksums read bytes.
        header: the beginning of the new one, and the rest of the one before.
        salts: of what is behind it.
    """
    *same, count = struct.unpack_from(">4I", header)
    before = struct.pack(">6I", *same, (count - 1) & _MASK, *salts)
    before += struct.pack(">2I", *_sum(words, before, (0, 0)))
    new = struct.pack(">5I", *same, count, (salts[0] + 1) & _MASK)
    ends = range(16, len(new))
    return header.startswith(new) or any(header == new[:end] + before[end:] for end in ends)


def _has_lost_commits(log: _Log, recovered: int) -> bool:
    frames: list[_Frame] = []
    while len(raw := os.pread(log.file, _FRAME.size, log.place(recovered + len(frames)))) == _FRAME.size:
        frames.append(_frame(raw))
    if sum(frame.commit and frame.salts == log.salts for frame in frames) < 2:
        return False
    commits = 0  # of frames that follow one another
    for number, frame in enumerate(frames[1:], recovered + 1):
        before = frames[number - recovered - 1]
        if frame.salts != log.salts or not _follows(log, number, before, frame):
            commits = 0
            continue
        commits = commits or int(before.commit)
        commits += frame.commit
        if commits > 1:
            return True
    return False


def _follows(log: _Log, number: int, before: _Frame, frame: _Frame) -> bool:
    raw = os.pread(log.file, _FRAME.size + log.page_bytes, log.place(number))
    if len(raw) < _FRAME.size + log.page_bytes:
        return False
    begun = _sum(log.words, raw[:_SUMMED], before.checksum)
    return _sum(log.words, raw[_FRAME.size :], begun) == frame.checksum


def _frame(raw: bytes) -> _Frame:
    _, size, salt, other_salt, *checksum = _FRAME.unpack(raw)
    return _Frame(bool(size), (salt, other_salt), (checksum[0], checksum[1]))


def _sum(words: struct.Struct, data: bytes, begun: tuple[int, int]) -> tuple[int, int]:
    one, two = begun
    for first, second in words.iter_unpack(data):
        one = (one + first + two) & _MASK
        two = (two + second + one) & _MASK
    return one, two
