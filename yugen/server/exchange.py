"""Calls between the nodes of one machine: what one of them has to do for all, and what each knows for itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from yugen.runtime.channel import Message, Unpacker, pack
from yugen.runtime.own import CallRefused
from yugen.runtime.runner import Overloaded
from yugen.storage.interface import StorageError

Handler = Callable[..., Awaitable[Any]]

_CHUNK: Final = 256 * 1024

logger = logging.getLogger(__name__)


class Exchange:
    """One node's part of it.

    Args:
        folder: one that only we may enter, for a socket of each node.
        node: which node this is.
    """

    def __init__(self, folder: Path, node: int) -> None:
        self._folder = folder
        self._node = node
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def open(self, handlers: Mapping[str, Handler]) -> None:
        """Answers calls from now on.

        Args:
            handlers: what can be called, by its name. What they take and give is plain data.
        """

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._calls.add(task)
            try:
                await _answer(handlers, reader, writer)
            except ConnectionError:
                pass  # nobody waits for the answer any more
            finally:
                self._calls.discard(task)
                writer.close()

        path = self._folder / str(self._node)
        path.unlink(missing_ok=True)  # of a node in whose place this one is
        self._server = await asyncio.start_unix_server(serve, path)

    async def close(self) -> None:
        """Answers nothing more, and gives up what is being answered."""
        if self._server is not None:
            self._server.close()
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def call(self, node: int, what: str, *args: Any) -> Any:
        """What a node answers. Whoever stops waiting has it stop as well.

        Raises:
            CallRefused: it refuses.
            Overloaded: it has too much to do, or is not there at the moment.
            StorageError: the store failed.
        """
        unpacker = Unpacker()
        try:
            reader, writer = await asyncio.open_unix_connection(self._folder / str(node))
            try:
                writer.write(pack((what, *args)))
                answer = await _read(reader, unpacker)
            finally:
                writer.close()
        except OSError:
            answer = None
        match answer:
            case ("gives", value):
                return value
            case ("refused", code, text):
                raise CallRefused(code, text)
            case ("storage", text):
                raise StorageError(text)
            case ("overloaded", text):
                raise Overloaded(text)
            case _:
                raise Overloaded("The server process that does this is not there; try again in a moment.")


async def _read(reader: asyncio.StreamReader, unpacker: Unpacker) -> Message | None:
    """The one message that comes, or None."""
    while data := await reader.read(_CHUNK):
        for message in unpacker.feed(data):
            return message
    return None


async def _answer(handlers: Mapping[str, Handler], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    message = await _read(reader, Unpacker())
    if message is None:
        return
    what, *args = message
    working = asyncio.ensure_future(handlers[what](*args))
    leaving = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            writer.write(pack(_outcome(what, working)))
            await writer.drain()
    finally:
        for task in (working, leaving):
            task.cancel()
        with suppress(Exception):
            await asyncio.gather(working, leaving, return_exceptions=True)


def _outcome(what: str, done: asyncio.Future[Any]) -> Message:
    try:
        return ("gives", done.result())
    except CallRefused as error:
        return ("refused", error.code, str(error))
    except StorageError as error:
        return ("storage", str(error))
    except Overloaded as error:
        return ("overloaded", str(error))
    except Exception:
        logger.exception("another node's call of %s failed", what)
        return ("failed",)
