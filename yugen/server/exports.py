"""Making exports beside everything else: a worker writes them, one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

from yugen import values
from yugen.runtime.own import CallRefused, change, value_of
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.storage.interface import StorageError, Timestamp
from yugen.system.deployment import Deployment
from yugen.values import Int64

logger = logging.getLogger(__name__)


class Exports:
    """The exports of a deployment.

    Args:
        runtime: runs the functions that make them.
        deployment: where they are.
    """

    def __init__(self, runtime: Runtime, deployment: Deployment) -> None:
        self._runtime = runtime
        self._deployment = deployment
        self._busy = False
        self._making: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Clears away what an earlier server has left unfinished, or tries to."""
        try:
            await self._keep(await change(self._runtime, "_system/exports:recover"))
        except (CallRefused, Overloaded, StorageError, OSError) as error:
            logger.error("what is left of earlier exports cannot be cleared away: %s", error)

    @property
    def busy(self) -> bool:
        """Whether an export is being made."""
        return self._busy

    async def request(self, *, include_storage: bool) -> None:
        """Begins an export of what is committed now.

        Raises:
            CallRefused: one is being made already.
        """
        if self._busy:
            raise CallRefused("ExportInProgress", "An export is being made already; wait for it.")
        self._busy = True
        try:
            ts = await self._runtime.latest()
            form = {"format": "zip", "include_storage": include_storage}
            await change(self._runtime, "_system/exports:request", start_ts=Int64(ts), form=form)
        except BaseException:
            self._busy = False
            raise
        self._making = asyncio.get_running_loop().create_task(self._make(ts, files=include_storage))
        self._making.add_done_callback(self._made)

    def find(self, ts: Timestamp) -> Path | None:
        """The archive of a timestamp, if it is complete and still kept."""
        file = self._deployment.archive(ts)
        return file if file.is_file() else None

    async def close(self) -> None:
        """Gives up what is being made."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait([self._making])

    async def _make(self, ts: Timestamp, *, files: bool) -> None:
        try:
            size = await self._write(ts, files=files)
            await self._keep(await change(self._runtime, "_system/exports:finish", start_ts=Int64(ts), size=size))
        except Exception as error:
            logger.error("the export of %d has failed: %s", ts, error)

    def _made(self, making: asyncio.Task[None]) -> None:
        self._busy = False

    async def _write(self, ts: Timestamp, *, files: bool) -> Int64 | None:
        """The bytes of the archive, once it is written; None if it could not be."""
        args = values.canonical({"start_ts": Int64(ts), "files": files})
        try:
            size: Int64 = value_of(await self._runtime.query_once("_system/exports:write", args, ts))
        except (CallRefused, Overloaded, StorageError) as error:
            logger.error("the export of %d has failed: %s", ts, error)
            return None
        return size

    async def _keep(self, timestamps: Iterable[Timestamp]) -> None:
        """Removes every file but the archives of these timestamps."""
        kept = {self._deployment.archive(ts) for ts in timestamps}
        await asyncio.to_thread(_remove_others, self._deployment.exports, kept)


def _remove_others(folder: Path, kept: set[Path]) -> None:
    if folder.is_dir():
        for file in set(folder.iterdir()) - kept:
            file.unlink(missing_ok=True)
