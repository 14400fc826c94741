"""Files in an object store such as S3, through obstore.

How to get in is for the environment to say, by the variables that each provider has for it (`AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, ...). An object is there once all of it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import islice
from typing import Any, Final

from yugen.files.store import PIECE_BYTES, BadFileStore, FileDamaged, FileStoreError, Held, checked

_PART_BYTES: Final = 8 * 1024 * 1024
"""Bytes of a part of an upload; S3 takes 10,000 of them, and none but the last below 5 MiB."""

_PARTS_AT_ONCE: Final = 2
_LISTED: Final = 1000

_RETRIES: Final[Any] = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
"""Somebody waits: by default it would be tried for three minutes."""


class ObjectFiles:
    """A `FileStore` in an object store.

    Args:
        url: which one, and the beginning of the names in it: `s3://bucket/prefix`.

    Raises:
        BadFileStore: that is no object store.
    """

    def __init__(self, url: str) -> None:
        import obstore  # noqa: PLC0415 -- only those who keep files elsewhere pay for it
        from obstore.store import from_url  # noqa: PLC0415

        self._obstore: Any = obstore
        # How long a whole file takes depends on who reads it; what counts is that something moves. Whether to go
        # without TLS is for whoever writes the address of the store.
        options: Any = {
            "timeout": "7 days",
            "read_timeout": "60 seconds",
            "connect_timeout": "10 seconds",
            "allow_http": True,
        }
        self._url = url
        try:
            self._objects: Any = from_url(url, client_options=options, retry_config=_RETRIES)
        except Exception as error:
            raise BadFileStore(f"Files cannot be kept at {url}: {_text(error)}") from None

    def create(self, key: str) -> _Writer:
        with self._explained():
            options = {"buffer_size": _PART_BYTES, "max_concurrency": _PARTS_AT_ONCE}
            writer = self._obstore.open_writer(self._objects, checked(key), **options)
        return _Writer(self, key, writer)

    def open(self, key: str, start: int, end: int) -> _Reader:
        with self._explained():
            try:
                if start == end:
                    return _Reader(self, self._obstore.head(self._objects, checked(key))["size"], None)
                found = self._obstore.get(self._objects, checked(key), options={"range": (start, end)})
            except FileNotFoundError:
                raise FileDamaged(f"There is no object {key} at {self._url}.") from None
            return _Reader(self, found.meta["size"], found.stream(PIECE_BYTES))

    def remove(self, keys: Sequence[str]) -> None:
        with self._explained():
            for key in keys:
                with suppress(FileNotFoundError):
                    self._obstore.delete(self._objects, checked(key))

    def held(self) -> Iterator[list[Held]]:
        with self._explained():
            objects = (each for batch in self._obstore.list(self._objects, chunk_size=_LISTED) for each in batch)
            while batch := list(islice(objects, _LISTED)):
                found = []
                for each in batch:
                    with suppress(FileStoreError):  # of something else than ours
                        found.append(Held(checked(each["path"]), each["last_modified"].timestamp()))
                yield found

    def clear(self, before: float) -> None:
        """Nothing: the store keeps parts of broken uploads by its own rules, which its owner sets."""

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileStoreError:
            raise
        except Exception as error:  # obstore has many kinds, and some of Python's own
            raise FileStoreError(f"{self._url} cannot be used: {_text(error)}") from error


class _Writer:
    def __init__(self, files: ObjectFiles, key: str, writer: Any) -> None:
        self._files = files
        self._key = key
        self._writer = writer

    def write(self, piece: bytes | bytearray, /) -> None:
        with self._files._explained():
            self._writer.write(bytes(piece))

    def finish(self) -> None:
        with self._files._explained():
            self._writer.close()

    def abandon(self) -> None:
        # An upload in parts that is only given up stays at the store, unseen and paid for. So it is ended, and the
        # object removed; nothing refers to it at any time.
        with suppress(Exception):
            self._writer.close()
        self._files.remove([self._key])


class _Reader:
    def __init__(self, files: ObjectFiles, size: int, stream: Any) -> None:
        self.size = size
        self._files = files
        self._stream = stream

    def read(self) -> bytes:
        if self._stream is None:
            return b""
        with self._files._explained():
            return bytes(next(self._stream, b""))

    def close(self) -> None:
        self._stream = None


def _text(error: Exception) -> str:
    """What an error of obstore says, without the structures that it prints after that."""
    return str(error).partition("\n\nDebug source")[0].strip()[:500]
