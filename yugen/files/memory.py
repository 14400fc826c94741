"""Files in the memory of one process, for tests of apps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from yugen.files.store import FileDamaged, Held


class MemoryFiles:
    """A `FileStore` that ends with its process.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._files: dict[str, tuple[bytes, float]] = {}

    def create(self, key: str) -> _Writer:
        return _Writer(key, self._store)

    def _store(self, key: str, content: bytes) -> None:
        self._files[key] = content, self._clock()

    def open(self, key: str, start: int, end: int) -> _Reader:
        if key not in self._files:
            raise FileDamaged(f"There is no file {key} in memory.")
        return _Reader(self._files[key][0], start, end)

    def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._files.pop(key, None)

    def held(self) -> Iterator[list[Held]]:
        yield [Held(key, stored) for key, (_, stored) in self._files.items()]

    def clear(self, before: float) -> None:
        """Nothing: what is not finished is nowhere."""


class Nowhere(MemoryFiles):
    """A `FileStore` that forgets what it is given, for those who want to know whether they could store it."""

    def create(self, key: str) -> _Writer:
        return _Forgetting(key, self._store)


class _Writer:
    def __init__(self, key: str, store: Callable[[str, bytes], None]) -> None:
        self._key = key
        self._store = store
        self._content = bytearray()

    def write(self, piece: bytes | bytearray, /) -> None:
        self._content += piece

    def finish(self) -> None:
        self._store(self._key, bytes(self._content))

    def abandon(self) -> None:
        self._content.clear()


class _Forgetting(_Writer):
    def write(self, piece: bytes | bytearray, /) -> None:
        pass


class _Reader:
    def __init__(self, content: bytes, start: int, end: int) -> None:
        self.size = len(content)
        self._left = content[start:end]

    def read(self) -> bytes:
        piece, self._left = self._left, b""
        return piece

    def close(self) -> None:
        self._left = b""
