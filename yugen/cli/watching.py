"""One query kept live over the sync protocol, for whoever has the admin key and perhaps wants to be somebody.

The Python client does not take admin keys, and brings more than one query needs.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from yugen.cli.remote import Refusal

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024

_PAUSE_SECONDS: Final = 0.1
_PAUSE_SECONDS_MAX: Final = 5.0
"""How long it waits after connections that came to nothing, from the first one to the last."""


class KeyRefused(Exception):
    """The server does not take the admin key; the text is its own."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a query gives: a value in the encoded form, or the text of an error."""

    value: Any = None
    error: str | None = None


async def watch_query(
    url: str, path: str, args: dict[str, Any], *, key: str | None, user: str | None
) -> AsyncIterator[Result]:
    """Each new result of a query. When the connection is lost, it connects again until there is one.

    Args:
        url: the address of the server.
        path: the query.
        args: its arguments in the encoded form.
        key: the admin key, if it is to be asked for with that.
        user: the user to be, as base 64 of JSON; this takes the key.

    Raises:
        KeyRefused: the server refuses the key.
        Refusal: it refuses the query.
    """
    session = str(uuid.uuid4())
    last: Result | None = None
    seen: str | None = None
    pause = _PAUSE_SECONDS
    for connections in count():
        try:
            async with connect(_sync_url(url), max_size=MESSAGE_BYTES_MAX, ping_interval=None) as socket:
                for message in _opening(session, connections, seen, path, args, key, user):
                    await socket.send(json.dumps(message))
                async for text in socket:
                    pause = _PAUSE_SECONDS
                    message = json.loads(text)
                    seen = _reached(message) or seen
                    result = _result(message)
                    # The same again after another connection is no news.
                    if result is not None and result != last:
                        last = result
                        yield result
        except (OSError, WebSocketException):
            pass
        await asyncio.sleep(pause * random.uniform(0.5, 1))
        pause = min(2 * pause, _PAUSE_SECONDS_MAX)


def _opening(
    session: str, connections: int, seen: str | None, path: str, args: dict[str, Any], key: str | None, user: str | None
) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [
        {
            "type": "Connect",
            "sessionId": session,
            "connectionCount": connections,
            "lastCloseReason": "InitialConnect" if connections == 0 else "Reconnect",
            **({} if seen is None else {"maxObservedTimestamp": seen}),
        }
    ]
    if key is not None:
        acting = {} if user is None else {"impersonating": json.loads(base64.b64decode(user))}
        token = {"tokenType": "Admin", "value": key, **acting}
        messages.append({"type": "Authenticate", "baseVersion": 0, **token})
    query = {"type": "Add", "queryId": 0, "udfPath": path, "args": [args]}
    messages.append({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [query]})
    return messages


def _result(message: dict[str, Any]) -> Result | None:
    match message:
        case {"type": "Transition", "modifications": [*_, {"type": "QueryUpdated", "value": value}]}:
            return Result(value)
        case {"type": "Transition", "modifications": [*_, {"type": "QueryFailed", "errorMessage": str(error), **rest}]}:
            data = f"\n{json.dumps(rest['errorData'], ensure_ascii=False)}" if "errorData" in rest else ""
            return Result(error=f"{error}{data}")
        case {"type": "AuthError", "error": str(error)}:
            raise KeyRefused(error)
        case {"type": "FatalError", "error": str(error)}:
            raise Refusal("FatalError", error)
    return None


def _reached(message: dict[str, Any]) -> str | None:
    """The timestamp up to which a message brings a client."""
    match message:
        case {"type": "Transition", "endVersion": {"ts": str(ts)}}:
            return ts
    return None


def _sync_url(url: str) -> str:
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/api/sync", "", ""))
