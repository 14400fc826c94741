"""Imports from the first byte of an upload to the last document: files come in here, workers write what they hold."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from yugen import values
from yugen.runtime.own import CallRefused, change, value_of
from yugen.runtime.runner import Overloaded
from yugen.runtime.runtime import Runtime
from yugen.storage.interface import StorageError
from yugen.system.deployment import Deployment

UPLOAD_SIZE_MAX = 5 * 1024 * 1024 * 1024
"""Bytes of a file to be imported: stored files, and documents."""

UPLOADS_MAX = 8
"""Uploads under way at once; one more has the oldest given up."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Upload:
    """A file that comes in parts; `parts` holds the size of each by its token, which is also the name of its file."""

    folder: Path
    parts: dict[str, int] = field(default_factory=dict)


Step = Callable[[str], Awaitable[None]]
"""A part of what is to be done for an import, which is given by its id."""


class Imports:
    """The imports of a deployment.

    Args:
        runtime: runs the functions that carry them out.
        deployment: where the files are.
    """

    def __init__(self, runtime: Runtime, deployment: Deployment) -> None:
        self._runtime = runtime
        self._folder = deployment.imports
        self._uploads: dict[str, _Upload] = {}
        self._files: set[str] = set()  # of imports that have begun, and perhaps ended
        # Each takes much memory of a worker, and then of this process.
        self._turn = asyncio.Lock()
        self._jobs: set[asyncio.Task[None]] = set()

    @property
    def uploads(self) -> int:
        """How many files are being sent, or wait to be brought in."""
        return len(self._uploads)

    async def start(self) -> None:
        """Clears away what an earlier server has left unfinished, or tries to."""
        try:
            await change(self._runtime, "_system/imports:recover")
            self._files = await self._needed()
            await asyncio.to_thread(_remove_others, self._folder, self._files)
        except (CallRefused, Overloaded, StorageError, OSError) as error:
            logger.error("what is left of earlier imports cannot be cleared away: %s", error)

    async def start_upload(self) -> str:
        """Gets ready for the parts of a file; returns the token to send them with.

        Raises:
            CallRefused: there is no place for it.
        """
        while len(self._uploads) >= UPLOADS_MAX:
            await self._forget_upload(next(iter(self._uploads)))
        token = secrets.token_urlsafe(32)
        upload = _Upload(self._folder / f"upload-{secrets.token_hex(8)}")
        with _explained():
            await asyncio.to_thread(_make, upload.folder)
        self._uploads[token] = upload
        return token

    async def add_part(self, token: str, content: bytes) -> str:
        """Takes in a part of a file; returns the token to name it by. What is sent again gets another one.

        Raises:
            CallRefused: there is no such upload, or it becomes too large.
        """
        upload = self._upload(token)
        if sum(upload.parts.values()) + len(content) > UPLOAD_SIZE_MAX:
            await self._forget_upload(token)
            raise CallRefused("ImportTooLarge", f"A file to be imported has at most {UPLOAD_SIZE_MAX} bytes.")
        part = secrets.token_hex(8)
        upload.parts[part] = len(content)
        with _explained():
            await asyncio.to_thread((upload.folder / part).write_bytes, content)
        return part

    async def finish_upload(self, token: str, parts: Sequence[str], *, form: str, mode: str, table: str | None) -> str:
        """Begins to import the file of these parts; returns the id of the import.

        Raises:
            CallRefused: there is no such upload or part, or no such way to import.
        """
        upload = self._upload(token)
        if not all(part in upload.parts for part in parts) or len(set(parts)) < len(parts):
            raise CallRefused("UploadNotFound", "A part of the file has not arrived; import it again.")
        name = f"file-{secrets.token_hex(8)}"
        file = self._folder / name
        del self._uploads[token]
        try:
            with _explained():
                await asyncio.to_thread(_join, [upload.folder / part for part in parts], file)
            begin = "_system/imports:begin"
            import_id: str = await change(self._runtime, begin, file=name, form=form, mode=mode, table=table)
        except BaseException:
            await asyncio.to_thread(file.unlink, missing_ok=True)
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, upload.folder, ignore_errors=True)
        self._files.add(name)
        self._start(import_id, self._check)
        return import_id

    async def perform(self, import_id: str) -> None:
        """Begins to write the documents of an import that has been confirmed.

        Raises:
            CallRefused: it does not wait for that.
        """
        await change(self._runtime, "_system/imports:confirm", id=import_id)
        self._start(import_id, self._perform)

    async def cancel(self, import_id: str) -> None:
        """Gives up an import whose documents are not written yet.

        Raises:
            CallRefused: it has ended already.
        """
        await change(self._runtime, "_system/imports:cancel", id=import_id)
        await self._forget_files()

    async def close(self) -> None:
        """Gives up what is under way. What waits to be confirmed goes on waiting."""
        for job in self._jobs:
            job.cancel()
        if self._jobs:
            await asyncio.wait(self._jobs)

    async def _check(self, import_id: str) -> None:
        state = value_of(await self._runtime.query_once("_system/imports:check", values.canonical({"id": import_id})))
        await change(self._runtime, "_system/imports:checked", id=import_id, state=state)

    async def _perform(self, import_id: str) -> None:
        await change(self._runtime, "_system/imports:perform", id=import_id)

    def _start(self, import_id: str, step: Step) -> None:
        job = asyncio.get_running_loop().create_task(self._do(import_id, step))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _do(self, import_id: str, step: Step) -> None:
        """Does one step of an import. If it fails, so does the import."""
        try:
            async with self._turn:
                try:
                    await step(import_id)
                except (CallRefused, Overloaded, StorageError) as error:
                    await change(self._runtime, "_system/imports:fail", id=import_id, text=_reason(error))
            await self._forget_files()
        except Exception:
            logger.exception("an import has failed")

    def _upload(self, token: str) -> _Upload:
        upload = self._uploads.get(token)
        if upload is None:
            raise CallRefused("UploadNotFound", "There is no such upload, or it has been given up; import it again.")
        return upload

    async def _forget_upload(self, token: str) -> None:
        upload = self._uploads.pop(token)
        await asyncio.to_thread(shutil.rmtree, upload.folder, ignore_errors=True)

    async def _forget_files(self) -> None:
        """Removes the files of imports that have ended."""
        ended = self._files - await self._needed()
        self._files -= ended
        for name in ended:
            await asyncio.to_thread((self._folder / name).unlink, missing_ok=True)

    async def _needed(self) -> set[str]:
        """The files of imports that have not ended."""
        return set(value_of(await self._runtime.query_once("_system/imports:files", b"{}")))


def _reason(error: Exception) -> str:
    """Why an import failed; what is wrong with its file needs no name."""
    return f"{error.code}: {error}" if isinstance(error, CallRefused) and error.code != "InvalidImport" else str(error)


@contextmanager
def _explained() -> Iterator[None]:
    """Tells a client what is the matter with our disk."""
    try:
        yield
    except OSError as error:
        logger.error("a file to be imported cannot be stored: %s", error)
        text = f"The server could not store the file ({error.strerror}); see whether its disk is full, and try again."
        raise CallRefused("UploadFailed", text) from None


def _make(folder: Path) -> None:
    """Makes a folder, and the one it is in, that only their owner can look into."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)


def _join(parts: Sequence[Path], file: Path) -> None:
    """Makes one file of several, which only its owner can read."""
    with file.open("xb") as out:
        file.chmod(0o600)
        for part in parts:
            with part.open("rb") as content:
                shutil.copyfileobj(content, out)


def _remove_others(folder: Path, kept: set[str]) -> None:
    if not folder.is_dir():
        return
    for each in [each for each in folder.iterdir() if each.name not in kept]:
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)
