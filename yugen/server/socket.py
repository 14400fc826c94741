"""The sync endpoint: a WebSocket of Starlette as a connection's socket."""

from __future__ import annotations

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from yugen.server.connection import Disconnected


class StarletteSocket:
    """An accepted WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str | bytes:
        """As `Socket.receive`."""
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise Disconnected
        text: str | None = message.get("text")
        return message["bytes"] if text is None else text

    async def send(self, text: bytes) -> None:
        """As `Socket.send`."""
        try:
            await self._websocket.send_text(text.decode())
        except (WebSocketDisconnect, RuntimeError) as error:
            raise Disconnected from error

    async def close(self, code: int, reason: str) -> None:
        """As `Socket.close`."""
        if self._websocket.application_state is not WebSocketState.CONNECTED:
            return
        try:
            await self._websocket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError) as error:
            raise Disconnected from error
