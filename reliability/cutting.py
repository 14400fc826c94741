"""Connections that break at chosen places: in the handshake, within a frame, between a request and its response."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeAlias

Place: TypeAlias = Literal["handshake", "opening", "Mutation", "MutationResponse", "Transition"]
"""Where a connection is cut: the first two before it says anything of use, the others at a message of that type."""

EARLY: Final[tuple[Place, ...]] = ("handshake", "opening")
LATE: Final[tuple[Place, ...]] = ("Mutation", "MutationResponse", "Transition")

EARLY_SHARE: Final = 0.1
"""Of the cuts, those before the client is in step again; after such a one it waits twice as long."""

MESSAGES_MAX: Final = 3
"""At which message of its type at the latest a connection is cut, counted from when the client is in step."""

_EXTENSIONS: Final = re.compile(rb"\r\nsec-websocket-extensions:[^\r]*", re.IGNORECASE)
_TEXT: Final = 0x1


class _Cut(Exception):
    """Now."""


class Shears:
    """Passes frames between one client and a server and cuts its connections; made by `cutting`.

    It cuts a connection only once the one before it, or it itself, has brought the client back in step: every request
    sent again has its response, and a Transition after it.

    Attributes:
        url: what the client connects to instead of the server.
        attempts: connections that the client has begun.
        cuts: how many of them were cut.
        waits: before each attempt after a cut, how many cuts there were since the client was in step, and the seconds
            since the last of them.
        finished: set once all cuts are made.
    """

    def __init__(self, port: int, dice: random.Random, cuts_max: int) -> None:
        self._port = port
        self._dice = dice
        self._cuts_max = cuts_max
        self._cut_at = 0.0
        self._cuts_in_a_row = 0
        self._request_max = -1
        self._writers: set[asyncio.StreamWriter] = set()
        self.attempts = 0
        self.cuts = 0
        self.waits: list[tuple[int, float]] = []
        self.finished = asyncio.Event()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    def _plan(self) -> Place | None:
        """Where to cut the connection that begins."""
        self.attempts += 1
        if self._cuts_in_a_row:
            self.waits.append((self._cuts_in_a_row, asyncio.get_running_loop().time() - self._cut_at))
        if self.cuts == self._cuts_max:
            return None
        early = self._cuts_in_a_row < 2 and self._dice.random() < EARLY_SHARE
        return self._dice.choice(EARLY if early else LATE)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        place = self._plan()
        server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        both = {to_server, to_client}
        self._writers |= both
        try:
            # Without extensions frames are not compressed, and can be read here.
            to_server.write(_EXTENSIONS.sub(b"", await client.readuntil(b"\r\n\r\n")))
            answer = await server.readuntil(b"\r\n\r\n")
            if place == "handshake":
                to_client.write(answer[: self._dice.randrange(len(answer))])
                raise _Cut
            to_client.write(answer)
            talk = _Talk(place, self._request_max, self._dice)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._pass(client, to_server, talk, up=True))
                directions.create_task(self._pass(server, to_client, talk, up=False))
        except* _Cut:
            self.cuts += 1
            self._cuts_in_a_row += 1
            self._cut_at = asyncio.get_running_loop().time()
            if self.cuts == self._cuts_max:
                self.finished.set()
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers -= both
            for writer in both:
                writer.close()  # and not aborted: what was passed on arrives

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, talk: _Talk, *, up: bool) -> None:
        while True:
            frame, payload = await _read(source)
            if frame[0] & 0x0F == _TEXT:
                message = json.loads(payload)
                cut = talk.sent(message) if up else talk.heard(message)
                if up and message["type"] == "Mutation":
                    self._request_max = max(self._request_max, message["requestId"])
                if cut:
                    share = self._dice.choice((1.0, self._dice.random()))
                    target.write(frame[: round(share * len(frame))])
                    raise _Cut
                if talk.in_step:
                    self._cuts_in_a_row = 0
            target.write(frame)


class _Talk:
    """What is said over one connection, until the message at which it is cut.

    Attributes:
        in_step: whether the client has caught up with what it had asked before.
    """

    def __init__(self, place: Place | None, request_max: int, dice: random.Random) -> None:
        self._place = place
        self._request_max = request_max  # of the connections before
        self._messages_left = dice.randint(1, MESSAGES_MAX)
        self._sent_again: set[int] = set()
        self._has_answers = False
        self.in_step = False

    def sent(self, message: dict[str, Any]) -> bool:
        """Takes in a message of the client; returns whether the connection is cut at it."""
        if message["type"] == "Mutation" and message["requestId"] <= self._request_max:
            self._sent_again.add(message["requestId"])
            return False
        return self._counts(message)

    def heard(self, message: dict[str, Any]) -> bool:
        """The same for a message of the server."""
        if self._place == "opening":
            return True
        if self._counts(message):
            return True
        if message["type"] == "MutationResponse":
            self._has_answers = True
            self._sent_again.discard(message["requestId"])
        elif message["type"] == "Transition":
            self.in_step = self.in_step or (self._has_answers and not self._sent_again)
        return False

    def _counts(self, message: dict[str, Any]) -> bool:
        self._messages_left -= self.in_step and message["type"] == self._place
        return self._messages_left == 0


async def _read(source: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The next frame, and what is in it."""
    frame = head = await source.readexactly(2)
    size = head[1] & 0x7F
    if size >= 126:
        longer = await source.readexactly(2 if size == 126 else 8)
        frame += longer
        size = int.from_bytes(longer)
    mask = await source.readexactly(4) if head[1] & 0x80 else b""
    masked = await source.readexactly(size)
    pad = (mask * (size // 4 + 1))[:size] if mask else bytes(size)
    payload = (int.from_bytes(masked) ^ int.from_bytes(pad)).to_bytes(size)
    return frame + mask + masked, payload


@asynccontextmanager
async def cutting(port: int, seed: str, cuts_max: int) -> AsyncIterator[Shears]:
    """Runs shears for one client of the server on a port of 127.0.0.1."""
    shears = Shears(port, random.Random(seed), cuts_max)
    await shears.start()
    try:
        yield shears
    finally:
        await shears.close()
