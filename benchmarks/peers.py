"""The raw limits: a server stack doing the same input and output with nothing of Yugen's engine in it.

Run as `python -m benchmarks.peers yugen|uvicorn PORT`: on the server as Yugen runs it, or on stock uvicorn. The
endpoints are bare ASGI, so that no framework is measured. It prints a line when it serves.
"""

import asyncio
import gc
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, TypeAlias, cast

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from yugen.server.limits import Limits
from yugen.server.listen import Server
from yugen.server.rounds import Rounds
from yugen.server.sockets import Sockets
from yugen.server.unread import Unread
from yugen.server.yugen import Yugen

Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]


class Peers:
    """WebSocket endpoints by path, and a Starlette app for what is not one."""

    def __init__(self) -> None:
        self.listeners: set[Send] = set()
        self.payload = ""
        self.answer = b""
        self.http = Starlette(
            routes=[
                Route("/answer", self.put_answer, methods=["PUT"]),
                Route("/answer", self.get_answer, methods=["POST"]),
            ]
        )
        self.endpoints = {"/echo": self.echo, "/publish": self.publish, "/listen": self.listen}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.http(scope, cast("Any", receive), cast("Any", send))
            return
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] == "/listen":
            self.listeners.add(send)
        endpoint = self.endpoints[scope["path"]]
        while (message := await receive())["type"] == "websocket.receive":
            await endpoint(message["text"], send)
        self.listeners.discard(send)

    async def echo(self, text: str, send: Send) -> None:
        """Sends back what comes: the round trip of the transport alone."""
        await send({"type": "websocket.send", "text": text})

    async def publish(self, text: str, send: Send) -> None:
        """Sends as many bytes as it is told to everyone who listens, and back what it was told."""
        if len(self.payload) != int(text):
            self.payload = "x" * int(text)
        for listener in list(self.listeners):
            await listener({"type": "websocket.send", "text": self.payload})
        await send({"type": "websocket.send", "text": text})

    async def listen(self, text: str, send: Send) -> None: ...

    async def put_answer(self, request: Request) -> Response:
        """What the route below is to answer."""
        self.answer = await request.body()
        return Response()

    async def get_answer(self, request: Request) -> Response:
        """A bare route that reads what it is asked and returns bytes."""
        await request.body()
        return Response(self.answer, media_type="application/json")

    # What the product's server asks of a backend besides:

    def asgi(self) -> "Peers":
        return self

    limits = Limits()

    @cached_property
    def sockets(self) -> Sockets:
        return Sockets(self.limits.server)

    @cached_property
    def handshakes(self) -> Rounds:
        return Rounds()

    @cached_property
    def unread(self) -> Unread:
        return Unread()

    @property
    def runs(self) -> "Peers":
        return self

    def close(self) -> None: ...

    async def drain(self) -> None: ...

    async def disconnect_all(self, reason: str) -> None: ...


async def serve(stack: str, port: int) -> None:
    peers = Peers()

    def ready() -> None:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)  # as in the product
        print("ready", flush=True)

    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    if stack == "yugen":
        await Server(cast("Yugen", peers), ready).serve(sockets=[listener])
    else:
        server = uvicorn.Server(uvicorn.Config(cast("Any", peers), log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 -- uvicorn has no event for it
            await asyncio.sleep(0.01)
        ready()
        await serving


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
