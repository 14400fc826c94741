from __future__ import annotations

import asyncio
from typing import Any

import pytest

from yugen.server.connection import Disconnected
from yugen.server.socket import AsgiSocket


class Transport:
    """What an ASGI server gives an app of one WebSocket; `gone` is what sending raises once nobody is there."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outgoing: list[Any] = []
        self.gone: Exception | None = None

    async def receive(self) -> dict[str, Any]:
        return await self.incoming.get()

    async def send(self, message: Any) -> None:
        if self.gone is not None:
            raise self.gone
        self.outgoing.append(message)

    def accepted(self) -> AsgiSocket:
        return AsgiSocket(self.receive, self.send)


async def test_messages_come_as_they_were_sent() -> None:
    transport = Transport()
    socket = transport.accepted()
    transport.incoming.put_nowait({"type": "websocket.receive", "text": "é"})
    transport.incoming.put_nowait({"type": "websocket.receive", "text": None, "bytes": b"\x00"})
    transport.incoming.put_nowait({"type": "websocket.receive", "text": ""})
    assert [await socket.receive() for _ in range(3)] == ["é", b"\x00", ""]


async def test_a_client_that_leaves_is_gone() -> None:
    transport = Transport()
    socket = transport.accepted()
    transport.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
    with pytest.raises(Disconnected):
        await socket.receive()
    await socket.close(1001, "ClientGone")


async def test_text_goes_out_as_text() -> None:
    transport = Transport()
    socket = transport.accepted()
    await socket.send('{"a":"é"}'.encode())
    await socket.close(1008, "NotJson")
    assert transport.outgoing == [
        {"type": "websocket.send", "text": '{"a":"é"}'},
        {"type": "websocket.close", "code": 1008, "reason": "NotJson"},
    ]


@pytest.mark.parametrize("gone", [OSError("reset"), RuntimeError("after websocket.close")])
async def test_nobody_to_send_to(gone: Exception) -> None:
    transport = Transport()
    socket = transport.accepted()
    transport.gone = gone
    with pytest.raises(Disconnected):
        await socket.send(b"{}")


@pytest.mark.parametrize("gone", [OSError("reset"), RuntimeError("after websocket.close")])
async def test_nobody_to_close(gone: Exception) -> None:
    transport = Transport()
    socket = transport.accepted()
    transport.gone = gone
    with pytest.raises(Disconnected):
        await socket.close(1001, "ServerShuttingDown")


async def test_closing_twice_is_closing_once() -> None:
    transport = Transport()
    socket = transport.accepted()
    await socket.close(1000, "")
    await socket.close(1011, "InternalServerError")
    assert [message["code"] for message in transport.outgoing] == [1000]
