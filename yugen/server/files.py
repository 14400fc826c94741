"""The files of a deployment: taken in, found, and their bytes removed when nothing refers to them any more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from yugen import values
from yugen.catalog import RENEWALS
from yugen.errors import Refused
from yugen.files.store import FileStoreError
from yugen.functions.addresses import Addresses, TokenUsed, Upload
from yugen.functions.storage import FilePlace, Record, check_sha256, renewal_internal, to_record
from yugen.keys import document_key
from yugen.runtime.mutations import InvalidRequest, Request
from yugen.runtime.own import CallRefused, change, value_of
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.storage.interface import StorageError

GRACE_SECONDS: Final = 3600.0
"""How old bytes are that count as nobody's when no record refers to them: it may be on its way."""

LINGER_SECONDS: Final = 60.0
"""How long the bytes of a deleted file stay, for those who have found it before."""

SWEEP_SECONDS: Final = 3600.0
"""How often bytes that are nobody's are looked for."""

_ASKED_AT_ONCE: Final = 500
_PERIODS: Final = tuple(2**power for power in range(20))
_BEAT_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


class FileService:
    """The files of a deployment.

    Args:
        runtime: knows their records.
        place: where they are.
        collects: whether this is the node that removes bytes.
        exporting: whether an export is being made, which reads what was deleted since it began.
        clock: seconds since the epoch.

    Attributes:
        renewals: has addresses made anew.
        readings: how many files are being sent.

    Raises:
        BadFileStore: the place is none.
    """

    def __init__(
        self,
        runtime: Runtime,
        place: FilePlace,
        *,
        collects: bool = True,
        exporting: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._runtime = runtime
        self._place = place
        self._files = place.files
        self._collects = collects
        self._exporting = exporting
        self._clock = clock
        self._deleted: deque[tuple[float, str]] = deque()  # when, and the key
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.renewals = Renewals(runtime, clock)
        self.readings = 0

    @property
    def deleted(self) -> int:
        """How many files were deleted of late, whose bytes are yet to be removed."""
        return len(self._deleted)

    @property
    def addresses(self) -> Addresses:
        """Where files are sent and found."""
        return self._place.addresses

    @property
    def place(self) -> FilePlace:
        """Where they are."""
        return self._place

    def start(self) -> None:
        """Begins to remove what nobody needs, and to have queries make addresses anew before those expire."""
        loop = asyncio.get_running_loop()
        if self._collects:
            self._runtime.file_deleted = self._note_deleted
            self._tasks.append(
                loop.create_task(_tried(self._collect_again_and_again(), "bytes of files are not removed"))
            )
        renewing = self.renewals.go_on()
        self._tasks.append(loop.create_task(_tried(renewing, "addresses of files are not renewed")))

    async def close(self) -> None:
        """Gives up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._files.close()

    async def take(
        self, upload: Upload, pieces: AsyncIterator[bytes], content_type: str | None, sha256: bytes | None
    ) -> str:
        """Stores a file that comes in pieces; returns its id when it is durable.

        Raises:
            TokenUsed: its address was good once.
        CallRefused: its record could not be added.
            Sha256Mismatch: it is not what was announced.
            FileStoreError: it cannot be stored.
            Overloaded: too much is waiting already.
            StorageError: the store of documents failed.
        """
        files = self._files
        stored = await files.save(pieces)
        try:
            check_sha256(stored, sha256)
            return await self._add(to_record(stored, content_type), upload.once)
        except (CallRefused, Overloaded, Refused):
            await files.run(files.store.remove, [stored.key])
            raise

    async def _add(self, record: Record, once: str | None) -> str:
        # An address that is good once names the request under which its file is added, of which there is one for ever.
        request = None if once is None else Request(f"upload {once}", 0)
        answer = await self._runtime.mutate(
            "_system/files:add", values.canonical(dict(record)), public=False, request=request
        )
        try:
            new_id: str = value_of(answer.answer)
        except CallRefused as error:
            if error.code != InvalidRequest.code:
                raise
            raise TokenUsed(
                "This address was good for one file, which has been sent; ask the app for a new one."
            ) from None
        return new_id

    async def find(self, uuid: str) -> Record | None:
        """The record of the file with this UUID in its address."""
        return await self._ask("_system/files:find", uuid=uuid)

    async def get(self, id: str) -> Record | None:
        """The record of a file by its id."""
        return await self._ask("_system/files:get", id=id)

    async def _ask(self, path: str, **args: Any) -> Record | None:
        record: Record | None = value_of(await self._runtime.query(path, values.canonical(args), public=False))
        return record

    # What nobody needs ------------------------------------------------------------------------------------------------

    def _note_deleted(self, key: str) -> None:
        self._deleted.append((self._clock(), key))
        self._news.set()

    async def _collect_again_and_again(self) -> None:
        swept: float | None = None
        while True:
            now = time.monotonic()
            try:
                if swept is None or now - swept >= SWEEP_SECONDS:
                    swept = now
                    await self.sweep()
                await self.remove_deleted()
            except (CallRefused, Overloaded, StorageError, FileStoreError) as error:
                logger.error("bytes of files that nobody needs cannot be removed: %s", error)
            if not self._deleted:
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(SWEEP_SECONDS):
                        await self._news.wait()
            if self._deleted:
                await asyncio.sleep(LINGER_SECONDS)

    async def sweep(self) -> None:
        """Removes what was left by uploads that broke off, and by files whose records are gone."""
        before = self._clock() - GRACE_SECONDS
        files = self._files
        await files.run(files.store.clear, before)
        batches, count = files.store.held(), 0
        while not self._exporting() and (batch := await files.run(next, batches, None)) is not None:
            old = [held.key for held in batch if held.modified < before]
            for start in range(0, len(old), _ASKED_AT_ONCE):
                asked = old[start : start + _ASKED_AT_ONCE]
                args = values.canonical({"keys": asked})
                known = set(value_of(await self._runtime.query_once("_system/files:known", args)))
                orphans = [key for key in asked if key not in known]
                if orphans and not self._exporting():
                    await files.run(files.store.remove, orphans)
                    count += len(orphans)
        if count:
            logger.info("%d files without a record are removed", count)

    async def remove_deleted(self) -> None:
        """Removes the bytes of files that were deleted a while ago. An export that has begun by then may need them."""
        due = self._clock() - LINGER_SECONDS
        if self._exporting():
            return
        keys: list[str] = []
        while self._deleted and self._deleted[0][0] <= due:
            keys.append(self._deleted.popleft()[1])
        if keys:
            files = self._files
            await files.run(files.store.remove, keys)


class Renewals:
    """Has queries run again in time whose answers hold addresses that expire.

    Such a query has read a document that stands for a period. While an answer depends on it, it changes once a period.

    Args:
        runtime: runs them.
        clock: seconds.
    """

    def __init__(self, runtime: Runtime, clock: Callable[[], float]) -> None:
        self._runtime = runtime
        self._clock = clock
        self._since: dict[int, float] = {}  # when a period began in which somebody depends on it

    async def go_on(self) -> None:
        """Sees to it from now on."""
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            try:
                await self.look()
            except (CallRefused, Overloaded, StorageError) as error:
                logger.error("addresses of files cannot be renewed: %s", error)

    async def look(self) -> None:
        """Ends the answers whose time it is."""
        now = self._clock()
        for seconds in _PERIODS:
            if not self._runtime.queries.is_read(document_key(RENEWALS.number, renewal_internal(seconds))):
                self._since.pop(seconds, None)
            elif now - self._since.setdefault(seconds, now) >= seconds:
                self._since[seconds] = now
                await change(self._runtime, "_system/files:renew", seconds=seconds)


async def _tried(work: Coroutine[Any, Any, None], otherwise: str) -> None:
    try:
        await work
    except Exception:
        logger.exception("%s any more", otherwise)
