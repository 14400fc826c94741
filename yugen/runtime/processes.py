"""The server's end of the nursery: the process that has the app loaded and forks workers."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from typing import Literal

from yugen.errors import Refused
from yugen.functions.info import AppInfo
from yugen.runtime.channel import BlockingChannel, Message
from yugen.runtime.runner import Overloaded
from yugen.runtime.setup import Setup
from yugen.runtime.spawn import spawn

Role = Literal["transactions", "actions"]

GOODBYE_SECONDS_MAX = 2.0
"""How long the nursery may take to end by itself; one that is loading an app does not listen."""


class AppFailed(Refused):
    """The app does not load; the text says where and why."""

    code = "AppFailed"


class Nursery:
    """The process with the app loaded. It begins to load when this is made; the server may get ready meanwhile."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._turn = asyncio.Lock()
        self._process, ours = spawn()
        self._control = BlockingChannel(ours)
        self._control.send(("load", setup.to_data()))

    async def load(self) -> AppInfo:
        """Waits until the app is loaded.

        Raises:
            AppFailed: it does not load.
        """
        match await self._receive():
            case ("loaded", info), _:
                return AppInfo.from_data(info)
            case ("failed", text), _:
                raise AppFailed(text)
            case message, _:
                raise AssertionError(message)

    async def fork(self, role: Role) -> tuple[int, socket.socket]:
        """A new worker: its process id and our end of its channel.

        Raises:
            AppFailed: the nursery has ended.
            Overloaded: the system gives no more processes.
        """
        async with self._turn:
            try:
                self._control.send(("fork", role))
            except OSError:
                raise await self._ended() from None
            match await self._receive():
                case ("forked", pid), int(file):
                    return pid, socket.socket(fileno=file)
                case ("unable", text), _:
                    raise Overloaded(f"No process can be started to run functions: {text}.")
                case message, _:
                    raise AssertionError(message)

    def again(self) -> Nursery:
        """A new one like this."""
        return Nursery(self._setup)

    async def close(self) -> None:
        """Ends the process and with it its workers."""
        self._control.socket.close()
        try:
            await asyncio.to_thread(self._process.wait, GOODBYE_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def _receive(self) -> tuple[Message, int | None]:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._control.socket, readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                received = self._control.receive_file_ready()
                if received is not None:
                    return received
        except (EOFError, ConnectionError):
            raise await self._ended() from None
        finally:
            loop.remove_reader(self._control.socket)

    async def _ended(self) -> AppFailed:
        code = await asyncio.to_thread(self._process.wait)
        return AppFailed(f"The process that loads the app ended with status {code}; see what it printed.")
