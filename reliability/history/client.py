"""A client that notes all it does and sees, and whose connections end at the worst moments.

It is the session of the Python client over a socket of its own: what is cut between the commit and its answer is an
answer that has come, and that the session never gets to see.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, Never

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from reliability.records import Event, Operation, View, shown, subscription
from yugen_client.address import sync_url
from yugen_client.messages import MutationResponse, Transition, decode_server, encode_client
from yugen_client.outcome import Success
from yugen_client.session import RequestResolved, Session

RECONNECT_SECONDS: Final = 0.02
"""How soon it is back when there is no server; the clients of others have more patience, and see less of a restart."""


class Client:
    """One client.

    Attributes:
        cuts: how many answers were cut off.
        connections: how many there were.
        views: how many were noted.
    """

    def __init__(
        self, name: str, url: str, dice: random.Random, note: Callable[[Event], None], *, cut_share: float
    ) -> None:
        self.name = name
        self._url = sync_url(url)
        self._dice = dice
        self._note = note
        self._cut_share = cut_share
        self._session = Session(str(uuid.UUID(int=dice.getrandbits(128))))
        self._wake = asyncio.Event()
        self._called: dict[int, tuple[str, dict[str, Any], int, asyncio.Future[Operation]]] = {}
        self._answers: dict[int, int] = {}
        self._subscriptions: dict[str, int] = {}
        self._seen: asyncio.Event = asyncio.Event()
        self.shown: dict[str, Any] = {}
        self.cuts = self.connections = self.views = 0

    async def mutate(self, function: str, args: dict[str, Any]) -> Operation:
        """Asks for a mutation, and waits until the session says how it ended."""
        answer: asyncio.Future[Operation] = asyncio.get_running_loop().create_future()
        request = self._session.mutation(function, args)
        self._called[request] = (function, args, time.monotonic_ns(), answer)
        self._wake.set()
        return await answer

    def watch(self, wanted: Mapping[str, tuple[str, dict[str, Any]]]) -> None:
        """Subscribes to these queries, by the names that `subscription` gives them, and to no others."""
        for name in self._subscriptions.keys() - wanted.keys():
            self._session.unsubscribe(self._subscriptions.pop(name))
        for name in wanted.keys() - self._subscriptions.keys():
            self._subscriptions[name] = self._session.subscribe(*wanted[name])
        self._wake.set()

    async def until(self, shows: Callable[[Mapping[str, Any]], bool]) -> None:
        """Waits until a view is like that."""
        while not shows(self.shown):
            self._seen.clear()
            await self._seen.wait()

    async def run(self) -> Never:
        """Is connected, again and again, until it is cancelled."""
        while True:
            try:
                async with connect(self._url, ping_interval=None, compression=None, close_timeout=1) as socket:
                    await self._talk(socket)
            except (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage, TimeoutError):
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _talk(self, socket: ClientConnection) -> None:
        messages = self._session.open(now_ms=int(time.time() * 1000))
        self.connections += 1
        writing = asyncio.create_task(self._write(socket, messages))
        try:
            async for text in socket:
                if not self._take(text):
                    socket.transport.abort()
                    return
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            self._session.closed("cut")

    async def _write(self, socket: ClientConnection, messages: list[Any]) -> None:
        while True:
            for message in messages:
                await socket.send(encode_client(message))
            await self._wake.wait()
            self._wake.clear()
            messages = self._session.messages_to_send()

    def _take(self, text: str | bytes) -> bool:
        """Takes in a message, and notes what it shows; or says that the connection is cut before it."""
        message = decode_server(text)
        if message is None:
            return True
        if isinstance(message, MutationResponse):
            if self._dice.random() < self._cut_share:
                self.cuts += 1
                return False
            if message.ts is not None:
                self._answers[message.request_id] = message.ts
        events = self._session.receive(message)
        now = time.monotonic_ns()
        if isinstance(message, Transition):
            self._view(message, now)
        for event in events:
            if isinstance(event, RequestResolved):
                self._resolve(event, now)
        return True

    def _view(self, transition: Transition, now: int) -> None:
        self.shown = shown(self._session, self._subscriptions)
        self.views += 1
        self._note(View(self.name, now, transition.end_version.ts, self.shown, self.connections - 1))
        self._seen.set()

    def _resolve(self, event: RequestResolved, now: int) -> None:
        function, args, called, answer = self._called.pop(event.request_id)
        ts = self._answers.pop(event.request_id, None)
        if isinstance(event.outcome, Success):
            operation = Operation(self.name, function, args, called, now, "ok", event.outcome.value, ts)
        else:
            operation = Operation(self.name, function, args, called, now, "failed", event.outcome.message, None)
        self._note(operation)
        if not answer.done():
            answer.set_result(operation)

    def abandon(self) -> None:
        """Notes what it was never told of, when it is about to be no more."""
        for function, args, called, answer in self._called.values():
            answer.cancel()
            self._note(Operation(self.name, function, args, called, None, "lost"))
        self._called.clear()


def wanted(*queries: tuple[str, dict[str, Any]]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Queries by their names, as `Client.watch` takes them."""
    return {subscription(function, args): (function, args) for function, args in queries}
