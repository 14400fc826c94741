"""A request and its response on their way between the server and the process that answers it.

What there is of a request when its action starts goes along with the run (`Head`), and a response that is small comes
back with the answer. All else is a call of the action, like those of its queries (`Wire`): one for each part of a body,
answered when there is more or when the client has taken it. So at most a part of each waits on either side.
"""

from __future__ import annotations

import marshal
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple

from yugen.functions.routing import Route

What = Literal["receive", "left", "begin", "send", "end"]
"""What an action asks of the server: the next part of the request's body; to be told when the client leaves; to send
the beginning of a response, or more of it; to end it."""

Wire = Callable[[What, bytes], Awaitable[bytes]]
"""Asks it. The answers are `MORE` or `LAST` and a part of the body, `LEFT`, or nothing."""

MORE: Final = b"+"
LAST: Final = b"."
LEFT: Final = b"-"
"""The client is not there any more."""


class Head(NamedTuple):
    """A request as far as it is there when its action starts.

    Attributes:
        route: what it has come by.
        method: its method; `HEAD` for the route of `GET`.
        path: its whole path, decoded.
        raw_path: the same as it came.
        root_path: what of the path leads to the app.
        query: what stands behind the `?`.
        headers: names in small letters, and values.
        scheme: `http` or `https`, as the client sees it.
        http_version: such as `1.1`.
        client: address and port of the client.
        server: address and port that it came to.
        body: the first part of its body.
        complete: whether that is all of it.
        rejected: what is wrong with its bearer token, if anything is.
    """

    route: Route
    method: str
    path: str
    raw_path: bytes
    root_path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    scheme: str
    http_version: str
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    body: bytes
    complete: bool
    rejected: str | None

    def to_data(self) -> tuple[Any, ...]:
        """The same as plain tuples, to be sent between processes."""
        return (tuple(self.route), *self[1:])

    @classmethod
    def from_data(cls, data: tuple[Any, ...]) -> Head:
        route, *rest = data
        return cls(Route._make(route), *rest)


class Begun(NamedTuple):
    """The beginning of a response, with the first part of its body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def pack(self) -> bytes:
        """The same as bytes."""
        return marshal.dumps(tuple(self))

    @classmethod
    def unpack(cls, data: bytes) -> Begun:
        status, headers, body = marshal.loads(data)
        return cls(status, headers, body)
