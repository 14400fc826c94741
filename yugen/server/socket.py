"""The sync endpoint: a WebSocket of an ASGI server as a connection's socket."""

from __future__ import annotations

from starlette.types import Receive, Send

from yugen.server.connection import Disconnected

_last: tuple[bytes, str] = (b"", "")


class AsgiSocket:
    """An accepted WebSocket."""

    __slots__ = ("_closed", "_receive", "_send")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._closed = False

    async def receive(self) -> str | bytes:
        """As `Socket.receive`."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._closed = True
            raise Disconnected
        text: str | None = message.get("text")
        return message["bytes"] if text is None else text

    async def send(self, text: bytes) -> None:
        """As `Socket.send`. Where the server has room for the text, this does not suspend."""
        if self._closed:
            raise Disconnected
        try:
            await self._send({"type": "websocket.send", "text": _decoded(text)})
        except (OSError, RuntimeError) as error:
            raise Disconnected from error

    async def close(self, code: int, reason: str) -> None:
        """As `Socket.close`."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except (OSError, RuntimeError) as error:
            raise Disconnected from error


def _decoded(text: bytes) -> str:
    """A text as ASGI wants it: one object for all clients that get it in a row, which a server can see is the same."""
    global _last  # noqa: PLW0603 -- one for all connections
    known, decoded = _last
    if text is not known:
        decoded = text.decode()
        _last = text, decoded
    return decoded
