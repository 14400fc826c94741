"""What a client says that does not care: a handshake and messages, written in one go."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any, Final

_HANDSHAKE: Final = (
    b"GET /api/sync HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def message(text: str) -> bytes:
    """The bytes of a text message of a client."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x81, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x81, 0xFE, size)
    else:
        head = struct.pack("!BBQ", 0x81, 0xFF, size)
    return head + bytes(4) + payload


async def one_who_never_reads(port: int, *queries: tuple[str, dict[str, Any]]) -> socket.socket:
    """Somebody who subscribes to functions with arguments, and reads nothing of what they are told."""
    loop = asyncio.get_running_loop()
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # or the system reads for it
    made.setblocking(False)
    await loop.sock_connect(made, ("127.0.0.1", port))
    await loop.sock_sendall(made, _HANDSHAKE)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await loop.sock_recv(made, 1)
    assert answer.startswith(b"HTTP/1.1 101 ")
    adds = [
        {"type": "Add", "queryId": number, "udfPath": path, "args": [args]}
        for number, (path, args) in enumerate(queries)
    ]
    query_set = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": adds}
    await loop.sock_sendall(made, message(json.dumps(query_set)))
    return made


async def closed(port: int, *texts: str) -> str:
    """Says all of it at once, and reads until the server closes; the code and the reason, or how else it ended."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
    except OSError as error:
        return type(error).__name__
    try:
        writer.write(_HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        saying = asyncio.create_task(_say(writer, texts))
        try:
            while True:
                head, size = await reader.readexactly(2)
                if size >= 126:
                    size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
                payload = await reader.readexactly(size)
                if head == 0x88:
                    return f"{int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}"
        finally:
            saying.cancel()
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        return type(error).__name__
    finally:
        writer.transport.abort()


async def _say(writer: asyncio.StreamWriter, texts: tuple[str, ...]) -> None:
    for text in texts:
        writer.write(message(text))
    await writer.drain()
