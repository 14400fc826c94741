"""Files on a disk: each is written under another name, made durable, and then given its own.

files/ab/ab12...    a file, in a folder by the beginning of its key
files/parts/        what is being written
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from yugen.files.store import PIECE_BYTES, FileDamaged, FileStoreError, Held, checked

_PARTS: Final = "parts"
_HELD_MAX: Final = 1000


class LocalFiles:
    """A `FileStore` in a folder, which only its owner may look into. Any number of processes may share it.

    Args:
        folder: where it is; made when something is stored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, key: str) -> _Writer:
        with _explained(self._folder):
            return _Writer(self._folder, self._path(key))

    def open(self, key: str, start: int, end: int) -> _Reader:
        with _explained(self._folder):
            return _Reader(self._path(key), start, end)

    def remove(self, keys: Sequence[str]) -> None:
        with _explained(self._folder):
            for key in keys:
                self._path(key).unlink(missing_ok=True)

    def held(self) -> Iterator[list[Held]]:
        with _explained(self._folder):
            if not self._folder.is_dir():
                return
            for folder in sorted(each for each in self._folder.iterdir() if len(each.name) == 2):
                found: list[Held] = []
                with os.scandir(folder) as entries:
                    for entry in entries:
                        with suppress(FileNotFoundError, FileStoreError):
                            found.append(Held(checked(entry.name), entry.stat(follow_symlinks=False).st_mtime))
                        if len(found) == _HELD_MAX:
                            yield found
                            found = []
                if found:
                    yield found

    def clear(self, before: float) -> None:
        with _explained(self._folder):
            parts = self._folder / _PARTS
            for part in parts.iterdir() if parts.is_dir() else ():
                with suppress(FileNotFoundError):
                    if part.lstat().st_mtime < before:
                        part.unlink()

    def _path(self, key: str) -> Path:
        return self._folder / checked(key)[:2] / key


class _Writer:
    def __init__(self, folder: Path, path: Path) -> None:
        self._path = path
        parts = folder / _PARTS
        for each in (folder, parts):
            if not each.is_dir():
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync(each.parent)
        self._part = parts / f"{path.name}.{secrets.token_hex(4)}"
        self._file = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._closed = False

    def write(self, piece: bytes | bytearray, /) -> None:
        with _explained(self._part):
            written = 0
            while written < len(piece):
                written += os.write(self._file, memoryview(piece)[written:])

    def finish(self) -> None:
        with _explained(self._part):
            os.fsync(self._file)
            self._close()
            folder = self._path.parent
            folder.mkdir(mode=0o700, exist_ok=True)
            self._part.rename(self._path)
            # The outer one too, for another process may have made the inner one a moment ago.
            _sync(folder)
            _sync(folder.parent)

    def abandon(self) -> None:
        with _explained(self._part):
            self._close()
            # After a `finish` that failed halfway, it may have its own name already.
            self._part.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._file)


class _Reader:
    def __init__(self, path: Path, start: int, end: int) -> None:
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise FileDamaged(f"The file {path} is not there.") from None
        self._path = path
        self._closed = False
        self._place, self._end = start, end
        self.size = os.fstat(self._file).st_size

    def read(self) -> bytes:
        with _explained(self._path):
            piece = os.pread(self._file, min(PIECE_BYTES, self._end - self._place), self._place)
        self._place += len(piece)
        return piece

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._file)


def _sync(folder: Path) -> None:
    """Makes durable what a folder holds, and by which names."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raises a `FileStoreError` for what the system says."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"The disk that holds {path} is full; free some space, and files can be stored again."
            raise FileStoreError(text, full=True) from error
        raise FileStoreError(
            f"{path} cannot be used ({error.strerror or error}); see whether its disk is well."
        ) from error
