"""Sending and fetching files: plain HTTP, beside the connection."""

from __future__ import annotations

import asyncio
import io
import mimetypes
import os
import uuid
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from yugen_client.errors import ClientClosed, TransferFailed

if TYPE_CHECKING:
    import httpx2


T = TypeVar("T")


class Readable(Protocol):
    """A file open for reading in binary mode, or what can be read like one."""

    def read(self, size: int, /) -> bytes: ...


Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable
"""What to send: a path, bytes, or a file open for reading in binary mode."""

PIECE_BYTES: Final = 64 * 1024

SILENCE_SECONDS_MAX: Final = 120.0
"""How long nothing may move before a transfer counts as broken."""

_SHOWN_MAX: Final = 500


class Transfers:
    """The HTTP client of a client, which is made when the first file is sent or fetched."""

    def __init__(self) -> None:
        self._http: httpx2.AsyncClient | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def upload(self, url: str, source: Source, content_type: str | None) -> str:
        """See `AsyncClient.upload`."""
        return await self._until_closed(self._upload(url, source, content_type))

    async def download(self, url: str, to: str | os.PathLike[str] | None) -> bytes | Path:
        """See `AsyncClient.download`."""
        return await self._until_closed(self._download(url, to))

    async def close(self) -> None:
        """Ends what is on its way; callers get ClientClosed."""
        self._closed = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        if self._http is not None:
            await self._http.aclose()

    async def _until_closed(self, transfer: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(transfer)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._closed and caller is not None and not caller.cancelling():
                raise ClientClosed("the client was closed while the file was on its way") from None
            raise

    async def _upload(self, url: str, source: Source, content_type: str | None) -> str:
        import httpx2  # noqa: PLC0415 -- only those who send files pay for it

        file, name, is_ours = await asyncio.to_thread(_opened, source)
        try:
            size = await asyncio.to_thread(_size_left, file)
            headers = {"Content-Type": content_type or _guess(name) or "application/octet-stream"}
            if size is not None:
                headers["Content-Length"] = str(size)
            try:
                # A redirect is not followed: what has been sent would have to be sent again, and may not be there to.
                response = await self._client().post(
                    url, content=_pieces(file), headers=headers, follow_redirects=False
                )
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise TransferFailed(f"the file could not be sent: {_told(error)}") from error
        finally:
            if is_ours:
                await asyncio.to_thread(file.close)
        if not response.is_success:
            raise TransferFailed(f"the server refused the file: {_reason(response)}", response.status_code)
        try:
            storage_id = response.json()["storageId"]
        except (ValueError, KeyError, TypeError):
            storage_id = None
        if not isinstance(storage_id, str):
            raise TransferFailed(f"{url} is no upload address: it answered without a storageId", response.status_code)
        return storage_id

    async def _download(self, url: str, to: str | os.PathLike[str] | None) -> bytes | Path:
        import httpx2  # noqa: PLC0415

        try:
            async with self._client().stream("GET", url) as response:
                if not response.is_success:
                    await response.aread()
                    raise TransferFailed(f"the server has no such file: {_reason(response)}", response.status_code)
                if to is None:
                    return await response.aread()
                return await _save(response.aiter_bytes(PIECE_BYTES), Path(to))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise TransferFailed(f"the file could not be fetched: {_told(error)}") from error

    def _client(self) -> httpx2.AsyncClient:
        import httpx2  # noqa: PLC0415

        if self._http is None:
            self._http = httpx2.AsyncClient(timeout=SILENCE_SECONDS_MAX, follow_redirects=True)
        return self._http


def _opened(source: Source) -> tuple[Any, str | None, bool]:
    """A file to read from, the name it has, and whether it is ours to close."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source), None, True
    if isinstance(source, str | os.PathLike):
        return Path(source).open("rb"), os.fspath(source), True
    if not callable(getattr(source, "read", None)):
        raise TypeError(f"{type(source).__name__} is no file; pass a path, bytes, or a file open in binary mode")
    if not isinstance(source.read(0), bytes | bytearray | memoryview):
        raise TypeError("the file is open as text; open it in binary mode, as in open(path, 'rb')")
    name = getattr(source, "name", None)
    return source, name if isinstance(name, str) else None, False


def _size_left(file: Any) -> int | None:
    """How much there is to read; None if only reading tells."""
    try:
        place = file.tell()
        end: int = file.seek(0, os.SEEK_END)
        file.seek(place)
    except (AttributeError, OSError):
        return None
    return end - int(place)


def _guess(name: str | None) -> str | None:
    return None if name is None else mimetypes.guess_type(name)[0]


async def _pieces(file: Readable) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece


async def _save(pieces: AsyncIterator[bytes], to: Path) -> Path:
    """Writes beside the file first, so that it never is there in part."""
    partial = to.with_name(f".{to.name}.{uuid.uuid4().hex}")
    try:
        file = await asyncio.to_thread(partial.open, "xb")
        try:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
        finally:
            await asyncio.to_thread(file.close)
        await asyncio.to_thread(partial.replace, to)
    finally:
        await asyncio.to_thread(partial.unlink, missing_ok=True)
    return to


def _reason(response: httpx2.Response) -> str:
    """What the server says, as it says it to Convex's clients: `{"code": ..., "message": ...}`."""
    try:
        body = response.json()
        return f"{body['code']}: {body['message']} (status {response.status_code})"
    except (ValueError, KeyError, TypeError):
        return f"{response.text[:_SHOWN_MAX] or response.reason_phrase} (status {response.status_code})"


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
