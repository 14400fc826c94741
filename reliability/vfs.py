"""A disk under SQLite that fails when it is told to, and that can lose its power.

It stands below the checksums of pages and above the operating system, and takes account of what every file held when
it was last synced and what was written since, of which a power cut may leave anything or nothing. Where a sync fails,
what it should have written is read as if it were there, and is not (https://lwn.net/Articles/752063/).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import apsw

from yugen.storage import sqlite_connect

Operation: TypeAlias = Literal["open", "read", "write", "truncate", "sync", "delete"]
Fault: TypeAlias = Literal["EIO", "ENOSPC", "short", "torn"]
"""An input or output error; no space; a write of which the first part is done; one of which some sectors are done."""

SECTOR: Final = 512
"""Bytes that a disk writes wholly or not at all."""

_KEPT: Final = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
"""What is there after a power cut; all else is temporary."""

_NAME: Final = "faulty"
_EIO: Final[dict[str, int]] = {
    "open": apsw.SQLITE_CANTOPEN,
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "delete": apsw.SQLITE_IOERR_DELETE,
}


class _Write(NamedTuple):
    offset: int
    data: bytes


class _Truncate(NamedTuple):
    size: int


@dataclass
class _Kept:
    """What a disk has of one file.

    Attributes:
        synced: its bytes when it was last synced; None if the file was not there.
        pending: what was done to it since, in order.
    """

    synced: bytearray | None = None
    pending: list[_Write | _Truncate] = field(default_factory=list)

    def sync(self) -> None:
        if self.synced is None:
            self.synced = bytearray()
        _apply(self.synced, self.pending)
        self.pending.clear()

    def lose(self, dice: random.Random) -> None:
        """Has a sync fail as Linux does: the rest counts as written from here on, and no later sync writes it."""
        if self.synced is None:
            self.synced = bytearray()
        _apply(self.synced, [step for step in self.pending if isinstance(step, _Write) and dice.random() < 0.5])
        self.pending = [step for step in self.pending if isinstance(step, _Truncate)]


@dataclass
class _Plan:
    operation: Operation | None
    left: int
    fault: Fault
    persistent: bool


class FaultyVFS(apsw.VFS):
    """The disk; made by `faulty_disk`, which puts it under every connection that is opened meanwhile.

    Attributes:
        on_operation: called before everything that is done to the disk, with what it is and to which file. It may
            raise, or end the process.
        operations: how many there were, of each kind.
        failed: how many of them were made to fail.
        failed_syncs: how many of each file. Whoever has it open then hears of it once, as on Linux.
    """

    def __init__(self) -> None:
        super().__init__(_NAME, "unix", makedefault=True)
        self.on_operation: Callable[[Operation, Path], None] | None = None
        self.operations: Counter[Operation] = Counter()
        self.failed = 0
        self._plan: _Plan | None = None
        self._dice = random.Random(0)
        self._kept: dict[Path, _Kept] = {}
        self.failed_syncs: Counter[Path] = Counter()

    def fail(
        self, operation: Operation | None, nth: int, fault: Fault, *, persistent: bool = False, seed: int = 0
    ) -> None:
        """Has the nth operation of a kind fail, counted from now.

        Args:
            operation: of which kind; None for any that can have this fault.
            nth: which of them; 1 is the next.
            fault: how it fails.
            persistent: whether all that follow fail too, until `heal`.
            seed: of which part of a torn write is done.
        """
        self._dice = random.Random(seed)
        self._plan = _Plan(operation, nth, fault, persistent)
        self.failed = 0

    def heal(self) -> None:
        """Lets nothing fail any more."""
        self._plan = None

    def image(self, of: Path, folder: Path, dice: random.Random) -> None:
        """Writes what a power cut at this moment might leave of the files of one folder into another.

        Of what was not synced, some is there, in any order, and a part of it only by some of its sectors.
        """
        folder.mkdir(parents=True, exist_ok=True)
        share = dice.choice((0.0, dice.random(), 1.0))
        torn = dice.random() < 0.5
        for path, kept in self._kept.items():
            if path.parent != of:
                continue
            if kept.synced is None and not (kept.pending and dice.random() < share):
                continue
            left = [
                each
                for step in kept.pending
                if dice.random() < share
                for each in (_sectors(step, dice) if torn and isinstance(step, _Write) else [step])
            ]
            content = bytearray(kept.synced or b"")
            _apply(content, left)
            (folder / path.name).write_bytes(content)

    def know(self, *paths: Path) -> None:
        """Takes account of files that are there, and wholly synced, before anybody opens them."""
        for path in paths:
            self._kept[path] = _Kept(bytearray(path.read_bytes()))

    def forget(self) -> None:
        """Takes no account any more of files that were there until now."""
        self._kept.clear()

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 -- SQLite's name
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name) if name is not None else None
        if path is None or not flags[0] & _KEPT:
            return apsw.VFSFile("unix", name, flags)
        self.begin("open", path)
        there = path.exists()
        file = _File(self, path, name, flags)
        if path not in self._kept:
            self._kept[path] = _Kept(bytearray(path.read_bytes()) if there else None)
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 -- SQLite's name
        self.begin("delete", Path(filename))
        super().xDelete(filename, syncdir)
        self._kept.pop(Path(filename), None)

    def kept(self, path: Path) -> _Kept:
        """What the disk has of a file."""
        return self._kept.setdefault(path, _Kept(bytearray()))

    def begin(self, operation: Operation, path: Path) -> Fault | None:
        """Counts an operation. It raises if that fails, or returns the fault of a write that is done in part."""
        self.operations[operation] += 1
        if self.on_operation is not None:
            self.on_operation(operation, path)
        plan = self._plan
        if plan is None or plan.operation not in (None, operation) or not _can(operation, plan.fault):
            return None
        plan.left -= 1
        if plan.left > 0 or (plan.left < 0 and not plan.persistent):
            return None
        self.failed += 1
        if operation == "sync":
            self.failed_syncs[path] += 1
            self.kept(path).lose(self._dice)
        if plan.fault == "ENOSPC":
            raise apsw.exception_for(apsw.SQLITE_FULL)
        if plan.fault == "EIO":
            raise io_error(operation)
        return plan.fault

    def part(self, data: bytes, fault: Fault) -> list[_Write]:
        """The parts of a write, from its beginning, that are done before it fails."""
        if fault == "short":
            return [_Write(0, data[: self._dice.randrange(len(data))])]
        return _sectors(_Write(0, data), self._dice)


class _File(apsw.VFSFile):
    def __init__(self, vfs: FaultyVFS, path: Path, name: Any, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._vfs = vfs
        self._path = path
        self._told = vfs.failed_syncs[path]

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 -- SQLite's name
        self._vfs.begin("read", self._path)
        return super().xRead(amount, offset)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 -- SQLite's name
        fault = self._vfs.begin("write", self._path)
        pending = self._vfs.kept(self._path).pending
        if fault is None:
            super().xWrite(data, offset)
            pending.append(_Write(offset, bytes(data)))
            return
        for place, part in self._vfs.part(bytes(data), fault):
            super().xWrite(part, offset + place)
            pending.append(_Write(offset + place, part))
        raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 -- SQLite's name
        self._vfs.begin("truncate", self._path)
        super().xTruncate(newsize)
        self._vfs.kept(self._path).pending.append(_Truncate(newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 -- SQLite's name
        try:
            self._vfs.begin("sync", self._path)
        except apsw.Error:
            self._told = self._vfs.failed_syncs[self._path]
            raise
        super().xSync(flags)
        self._vfs.kept(self._path).sync()
        if self._told < self._vfs.failed_syncs[self._path]:  # another's, of the same file
            self._told = self._vfs.failed_syncs[self._path]
            raise io_error("sync")


def io_error(operation: Operation) -> Exception:
    """What SQLite is told of an operation that fails."""
    return apsw.exception_for(_EIO[operation])


@contextmanager
def faulty_disk() -> Iterator[FaultyVFS]:
    """Puts a disk that can fail under all connections that the product opens meanwhile, in this process."""
    apsw.VFS("above-nothing", "unix", makedefault=True).unregister()  # so that "unix" is the default again
    disk = FaultyVFS()
    sqlite_connect.load(again=True)
    try:
        yield disk
    finally:
        disk.unregister()
        sqlite_connect.load(again=True)


def _can(operation: Operation, fault: Fault) -> bool:
    match fault:
        case "EIO":
            return True
        case "ENOSPC":
            return operation == "write"
        case _:
            return operation == "write"


def _apply(image: bytearray, steps: list[_Write | _Truncate]) -> None:
    for step in steps:
        match step:
            case _Write(offset, data):
                if len(image) < offset:
                    image.extend(bytes(offset - len(image)))
                image[offset : offset + len(data)] = data
            case _Truncate(size):
                del image[size:]
                image.extend(bytes(size - len(image)))


def _sectors(write: _Write, dice: random.Random) -> list[_Write]:
    """Some of the sectors of a write."""
    offset, data = write
    ends = [*range(SECTOR - offset % SECTOR, len(data), SECTOR), len(data)]
    starts = [0, *ends[:-1]]
    return [
        _Write(offset + start, data[start:end]) for start, end in zip(starts, ends, strict=True) if dice.random() < 0.5
    ]
