"""Requests as bytes: spoiled ones, those that can be read in two ways, and those that never come to their end."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from reliability.fuzzing import conversations, requests, spoil
from reliability.fuzzing.http import check
from reliability.fuzzing.surface import TAKEN, Attempt, Finding, Surface
from reliability.fuzzing.world import Reply, World, in_process

_HEAD_BYTES: Final = 1 << 18
"""Of what comes without a request getting anywhere, so much must have been refused."""

_INNER: Final = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
"""What must stay a part of the body of the request it is hidden in, or be refused with it."""

_FRAMINGS: Final = (
    "Content-Length: 0\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Content-Length: {size}\r\nContent-Length: 0",
    "Content-Length: 0\r\nContent-Length: {size}",
    "Content-Length: 0, {size}",
    "Content-Length: {size}, {size}",
    "Content-Length: +0",
    "Content-Length: -1",
    "Content-Length: 0x0",
    "Content-Length: 0 {size}",
    "Content-Length : 0",
    " Content-Length: 0",
    "Content-Length\x0b: 0",
    "Content-Length:\x0b0",
    "Content-Length: 99999999999999999999999",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked\r\nContent-Length: 0",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding: \x00chunked",
    "Transfer-Encoding: chunk\r\n ed",
    "Transfer-Encoding\r\n: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
)
"""Headers that say twice, or not at all clearly, where a body ends."""

_CHUNKS: Final = (
    *(
        "{size:x}\r\n{inner}\r\n0\r\n\r\n",
        "0\r\n\r\n{inner}",
        "0x0\r\n\r\n{inner}",
        "-1\r\n{inner}",
        "+0\r\n\r\n{inner}",
    ),
    *("0;\r\n\r\n{inner}", "00000000000000000000\r\n\r\n{inner}", "FFFFFFFFFFFFFFFFF\r\n{inner}", "0 \r\n\r\n{inner}"),
    *("1\r\nx\n{inner}", "1\nx\r\n0\r\n\r\n{inner}", "{inner}", "0\n\n{inner}", "0\r\nX: {inner}"),
)
_BOMBS: Final = ("url", "header", "headers", "trailer", "trailers", "extension", "lines", "requests", "chunks")


def made(dice: random.Random) -> Any:
    """Bytes, described or as they are."""
    match dice.randrange(10):
        case 0 | 1:
            chunks = dice.choice(_CHUNKS) if dice.random() < 0.7 else "{inner}"
            return {"framing": dice.choice(_FRAMINGS), "body": chunks}
        case 2 if dice.random() < 0.2:
            return {"bomb": dice.choice(_BOMBS)}
        case 2 | 3:
            return {"bytes": _socket(dice).decode("latin-1")}
        case _:
            sent = b"".join(_request(dice) for _ in range(dice.choice((1, 1, 1, 2, 3))))
            return {"bytes": (spoil.corrupt_bytes(dice, sent) if dice.random() < 0.8 else sent).decode("latin-1")}


def _request(dice: random.Random) -> bytes:
    made: Any = (
        requests.request(dice) if dice.random() < 0.3 else {"method": "POST", "target": "/api/query", "headers": []}
    )
    if "body" not in made:
        body = json.dumps({"path": "notes:list", "args": {"topic": "t"}})
        made |= {"headers": [["Content-Type", "application/json"]], "body": body}
        if dice.random() < 0.5:
            made["headers"].append(["Transfer-Encoding", "chunked"])
            made["body"] = f"{len(body):x}\r\n{body}\r\n0\r\n{dice.choice(('', 'X: y', 'Host: b'))}\r\n"
    return requests.rendered(made)


def _socket(dice: random.Random) -> bytes:
    """A handshake and what may follow it, spoiled."""
    headers = [["Upgrade", "websocket"], ["Connection", "Upgrade"], ["Sec-WebSocket-Version", "13"]]
    headers += [["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="], ["Sec-WebSocket-Extensions", "permessage-deflate"]]
    target = dice.choice(("/api/sync", "/api/1.2.3/sync", "/api/sync/x"))
    sent = requests.rendered({"method": "GET", "target": target, "headers": headers})
    return spoil.corrupt_bytes(dice, sent) if dice.random() < 0.7 else sent + conversations.frame(dice)


def _bomb(kind: str) -> bytes:
    """A request of which something is far too large."""
    size, post = 4 * _HEAD_BYTES, b"POST /api/query HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
    return {
        "url": b"GET /" + b"a" * size,
        "header": post + b"X: " + b"a" * size,
        "headers": post + b"X: y\r\n" * (size // 6),
        "trailer": chunked + b"0\r\nX: " + b"a" * size,
        "trailers": chunked + b"0\r\n" + b"X: y\r\n" * (size // 6),
        "extension": chunked + b"1;" + b"a" * size,
        "lines": b"\r\n" * (size // 2),
        "requests": b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n" * 3000,
        "chunks": chunked + b"1\r\n{\r\n" * 3000,
    }[kind]


async def attempt(world: World, given: Any) -> str:
    """Sends bytes, and judges what the server made of them."""
    if "framing" in given:
        return await _ambiguous(world, str(given["framing"]), str(given.get("body")))
    kind = given.get("bomb")
    sent = str(given.get("bytes")).encode("latin-1", "replace") if kind is None else _bomb(kind)
    reply = await world.send(sent)
    if complaints := world.complaints():
        raise Finding("it is logged: " + "\n".join(complaints))
    check(reply, None)
    if kind is not None and kind not in ("requests", "chunks", "lines") and not _refuses(reply):
        raise Finding(f"{len(sent)} bytes without an end are taken: {reply.statuses}")
    if any(status >= 500 for status in reply.statuses):
        raise Finding(f"{reply.statuses}: {reply.raw[:500]!r}")
    if not reply.statuses:
        return "closed" if reply.has_closed else "nothing"
    return TAKEN if reply.statuses[0] < 400 else str(reply.statuses[0])


def _refuses(reply: Reply) -> bool:
    """Whether the connection is over, or said to be."""
    return reply.has_closed or reply.raw.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))


async def _ambiguous(world: World, framing: str, body: str) -> str:
    body = body.replace("{inner}", _INNER).replace("{size:x}", f"{len(_INNER):x}")
    head = f"POST /echo HTTP/1.1\r\nHost: a\r\n{framing.replace('{size}', str(len(body)))}\r\n\r\n"
    reply = await world.send((head + body).encode("latin-1"))
    if complaints := world.complaints():
        raise Finding("it is logged: " + "\n".join(complaints))
    if "/smuggled" in reply.paths or len(reply.statuses) > 1:
        raise Finding(f"a request is hidden in the body of another: {reply.statuses}, {reply.paths}")
    if any(status >= 500 for status in reply.statuses):
        raise Finding(f"{reply.statuses}: {reply.raw[:500]!r}")
    return (
        TAKEN if reply.statuses and reply.statuses[0] < 400 else str(reply.statuses[0] if reply.statuses else "nothing")
    )


@asynccontextmanager
async def _opened() -> AsyncIterator[Attempt]:
    async with in_process() as world:
        yield partial(attempt, world)


SURFACES: Final = (
    Surface("raw", made, _opened, "Bytes of requests: none hides another, and none may go on for ever.", 15),
)
