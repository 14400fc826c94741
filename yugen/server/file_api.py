"""The HTTP API of files: sending and fetching them (protocol.md 4.2 and 4.3)."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from typing import Final

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from yugen.files.store import FileDamaged, FileStoreError
from yugen.files.streams import Reading
from yugen.functions.addresses import PRIVATE_PATH, UPLOAD_PATH, TokenExpired, TokenInvalid, TokenUsed
from yugen.functions.storage import InvalidFile, Record, Sha256Mismatch, check_content_type, read_sha256, stored_bytes
from yugen.runtime.runner import Overloaded
from yugen.server.backend import Backend
from yugen.server.conditions import Selection, select
from yugen.server.files import FileService
from yugen.server.http import Endpoints, HttpError, JsonResponse, header

STALL_SECONDS_MAX: Final = 120.0
"""How long nothing may move before an upload or a download counts as broken."""

READINGS_MAX: Final = 2000
"""Files that may be on their way to clients at once."""

MAX_AGE_SECONDS: Final = 2_592_000
"""How long clients may keep a file, which never changes (protocol.md 4.3)."""

_UUID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGEST: Final = re.compile(r"(?:^|,)[ \t]*sha-256=([A-Za-z0-9+/]{43}=)[ \t]*(?:,|$)", re.IGNORECASE)
_INERT: Final = re.compile(
    r"(?:(?:image/(?!svg)|audio/|video/|font/)[a-z0-9.-]+|text/(?:plain|csv|markdown|css|javascript|vtt)"
    r"|application/(?:pdf|json|octet-stream|zip|gzip|wasm|javascript))"
    r"(?: ?; ?[a-z]+=(?:[a-z0-9._-]+|\"[a-z0-9 .,_-]+\"))*",
    re.IGNORECASE,
)
"""Types that a browser shows or keeps without running anything of them, and that it reads no other way: of several with
commas between, it would take the last one."""

_EXPOSED: Final = "Accept-Ranges, Content-Length, Content-Range, Digest, ETag"
_CONFINED: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'"

logger = logging.getLogger(__name__)


class FileApi:
    """The routes at which files are sent and fetched.

    Args:
        endpoints: makes the endpoints.
    """

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._damaged: set[str] = set()

    def routes(self) -> list[Route]:
        """What to mount at the root of an origin, before the routes of `HttpApi`."""
        return [
            Route(UPLOAD_PATH, self._endpoints.make(_upload)),
            Route(PRIVATE_PATH, self._endpoints.make(self._private, "GET", "HEAD")),
            Route("/api/storage/{uuid:path}", self._endpoints.make(self._public, "GET", "HEAD")),
        ]

    async def _public(self, request: Request, backend: Backend) -> Response:
        uuid = request.path_params["uuid"].lower()
        if not _UUID.fullmatch(uuid):
            raise HttpError(
                400, "InvalidStoragePath", "The address of a file ends in its UUID; use it as get_url gave it."
            )
        record = await backend.files.find(uuid)
        return await self._send(request, backend, record, MAX_AGE_SECONDS)

    async def _private(self, request: Request, backend: Backend) -> Response:
        now = time.time() * 1000
        try:
            file_id, expires = backend.files.addresses.read_private(request.query_params.get("token", ""), now)
        except (TokenInvalid, TokenExpired) as error:
            raise HttpError(401, error.code, str(error)) from None
        record = await backend.files.get(file_id)
        return await self._send(request, backend, record, min(MAX_AGE_SECONDS, int((expires - now) / 1000)))

    async def _send(self, request: Request, backend: Backend, record: Record | None, max_age: int) -> Response:
        if record is None:
            raise HttpError(404, "FileNotFound", "There is no such file; it may have been deleted.")
        stored = stored_bytes(record)
        etag = stored.sha256.hex()
        selected = select(request.headers, method=request.method, etag=etag, size=stored.size)
        headers = _headers(record, etag, selected, stored.size, max_age)
        if selected.status not in (200, 206):
            return Response(status_code=selected.status, headers=headers)
        if request.method == "HEAD":
            return Response(headers=headers)
        files = backend.files
        if files.readings >= READINGS_MAX:
            raise Overloaded(f"{files.readings} files are on their way already; try again in a moment.")
        files.readings += 1
        try:
            if stored.key in self._damaged:
                raise FileDamaged("It was found before.")
            reading = await files.place.files.open(stored, selected.start, selected.end)
            try:
                # Of what is read at once, this already says whether it is what was stored.
                first = await reading.read()
            except BaseException:
                await reading.close()
                raise
        except BaseException as error:
            files.readings -= 1
            if isinstance(error, FileStoreError):
                raise self._unreadable(record, error) from None
            raise
        return _Sending(self, files, record, reading, first, selected.status, headers)

    def _unreadable(self, record: Record, error: FileStoreError) -> HttpError:
        """Takes note of a file that cannot be read; gives what its reader is told."""
        logger.error("the file %s cannot be sent: %s", record["_id"], error)
        if isinstance(error, FileDamaged):
            self._damaged.add(record["key"])
            text = "The stored file is damaged or missing; restore it from a backup, or store it again."
            return HttpError(500, "FileDamaged", text)
        return HttpError(503, "FileStoreUnavailable", "The store of files has failed; try again in a moment.")


class _Sending(StreamingResponse):
    """A file on its way. If its bytes turn out to be damaged, or nobody reads them, it breaks off before its end."""

    def __init__(
        self,
        api: FileApi,
        files: FileService,
        record: Record,
        reading: Reading,
        first: bytes,
        status: int,
        headers: dict[str, str],
    ) -> None:
        super().__init__(self._pieces(), status, headers)
        self._api = api
        self._files = files
        self._record = record
        self._reading = reading
        self._first = first

    async def _pieces(self) -> AsyncIterator[bytes]:
        piece = self._first
        while piece:
            yield piece
            piece = await self._reading.read()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(STALL_SECONDS_MAX):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except FileStoreError as error:
            self._api._unreadable(self._record, error)
            # All there is to tell a client whose response has begun is that it does not end.
            raise BrokenOff(str(error)) from None
        except TimeoutError:
            raise BrokenOff(f"nobody has read the file {self._record['_id']} for {STALL_SECONDS_MAX:g} s") from None
        finally:
            self._files.readings -= 1
            await self._reading.close()


class BrokenOff(Exception):
    """A response that has begun and cannot go on."""


async def _upload(request: Request, backend: Backend) -> Response:
    try:
        upload = backend.files.addresses.read_upload(request.query_params.get("token", ""), time.time() * 1000)
    except (TokenInvalid, TokenExpired) as error:
        raise HttpError(401, error.code, str(error)) from None
    content_type, sha256 = header(request, b"content-type"), _announced(request)
    try:
        check_content_type(content_type)
        pieces = _pieces(request, upload.size_max)
        file_id = await backend.files.take(upload, pieces, content_type, sha256)
    except (Sha256Mismatch, InvalidFile) as error:
        raise HttpError(400, error.code, str(error)) from None
    except TokenUsed as error:
        raise HttpError(401, error.code, str(error)) from None
    except FileStoreError as error:
        logger.error("a file cannot be stored: %s", error)
        if error.full:
            raise HttpError(507, "StorageFull", "The server has no room for this file; try again later.") from None
        raise HttpError(503, "FileStoreUnavailable", "The store of files has failed; try again in a moment.") from None
    return JsonResponse(orjson.dumps({"storageId": file_id}))


def _announced(request: Request) -> bytes | None:
    """The SHA-256 that a `Digest` header says the body has, if it does."""
    digest = header(request, b"digest")
    found = digest and _DIGEST.search(digest)
    return read_sha256(found[1]) if found else None


async def _pieces(request: Request, size_max: int | None) -> AsyncIterator[bytes]:
    """The body of a request, as it comes."""
    declared = header(request, b"content-length") or ""
    size = int(declared) if declared.isdecimal() else 0
    stream = request.stream()
    came = 0
    while True:
        if size_max is not None and max(came, size) > size_max:
            raise HttpError(413, "FileTooLarge", f"A file sent to this address has at most {size_max} bytes.")
        try:
            async with asyncio.timeout(STALL_SECONDS_MAX):
                piece = await anext(stream, None)
        except TimeoutError:
            text = f"Nothing of the file has come for {STALL_SECONDS_MAX:g} s; send it again."
            raise HttpError(408, "RequestTimeout", text) from None
        except ClientDisconnect:
            raise HttpError(400, "UploadBroken", "The upload ended before the file was complete.") from None
        if piece is None:
            return
        came += len(piece)
        yield piece


def _headers(record: Record, etag: str, selected: Selection, size: int, max_age: int) -> dict[str, str]:
    """The headers of an answer about a file."""
    content_type, status = record.get("contentType"), selected.status
    headers = {
        "Accept-Ranges": "bytes",
        "Access-Control-Expose-Headers": _EXPOSED,
        "Cache-Control": f"private, max-age={max_age}",
        "ETag": f'"{etag}"',
        # What somebody has sent is never to be taken for a part of a page of this origin.
        "X-Content-Type-Options": "nosniff",
    }
    if status == 416:
        return headers | {"Content-Range": f"bytes */{size}"}
    if status not in (200, 206):
        return headers
    if content_type is not None:
        headers["Content-Type"] = content_type
        if not _INERT.fullmatch(content_type):
            headers |= {"Content-Disposition": "attachment", "Content-Security-Policy": _CONFINED}
    headers["Content-Length"] = str(selected.end - selected.start)
    if status == 206:
        return headers | {"Content-Range": f"bytes {selected.start}-{selected.end - 1}/{size}"}
    return headers | {"Digest": f"sha-256={record['sha256']}"}
