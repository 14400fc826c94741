"""Limits as settings, by name, and how much a server takes on at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from yugen.errors import Refused
from yugen.runtime.limits import RunLimits
from yugen.runtime.queries import LIVE_BYTES_MAX
from yugen.runtime.retention import LOG_SECONDS
from yugen.server.unread import UNREAD_BYTES_MAX
from yugen.sync.session import SessionLimits


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What all clients of a server together, and all at one address, may ask for. What is beyond it comes back later.

    Attributes:
        connections: sync connections; one more is closed with 1013 `TooManyConcurrentRequests:connections`.
        live_bytes: answers that somebody subscribes to, with what they have read. A client that has more than is left
            is closed with 1013 `TooManyConcurrentRequests`.
        unread_bytes: what clients are yet to read. One that leaves more than there is room for is cut off.
        requests: requests of the HTTP API under way; one more is answered 503 `TooManyConcurrentRequests`.
        address_requests: requests over HTTP in a minute from one address of the internet, or one /64 network of IPv6;
            one more is answered 429 `RateLimited`.
        address_connections: new sync connections, likewise; one more is closed with 1013
            `TooManyConcurrentRequests:address`.
        log_seconds: how long the log of changes is kept, and so how far back can be read; no less than a minute.
        sockets: open sockets, whatever for; one more is answered 503 `TooManySockets`. If the system allows fewer open
            files, it is those.
        address_sockets: open sockets of one address; one more is answered 429 `TooManySockets`.
        notice_seconds: how long a server that is told to stop goes on as before, apart from `/ready`, so that whoever
            balances load comes to send nobody here any more.
    """

    connections: int = 10_000
    live_bytes: int = LIVE_BYTES_MAX
    unread_bytes: int = UNREAD_BYTES_MAX
    requests: int = 1024
    address_requests: int = 12_000
    address_connections: int = 3_000
    log_seconds: float = LOG_SECONDS
    sockets: int = 12_000
    address_sockets: int = 3_000
    notice_seconds: float = 0.0


@dataclass(slots=True)
class Requests:
    """Requests of the HTTP API.

    Attributes:
        under_way: how many have no answer yet.
        refused: how many were refused, as there were too many.
    """

    under_way: int = 0
    refused: int = 0


class BadLimit(Refused):
    """A setting that is no limit."""

    code = "BadLimit"


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits of a deployment. No two of them have the same name.

    Attributes:
        run: how long and how much functions may run.
        session: what one connection may ask for at once.
        server: what all clients together may ask for at once.
    """

    run: RunLimits = field(default_factory=RunLimits)
    session: SessionLimits = field(default_factory=SessionLimits)
    server: ServerLimits = field(default_factory=ServerLimits)

    @classmethod
    def of(cls, settings: Mapping[str, float]) -> Limits:
        """The limits, some of which are given by name.

        Raises:
            BadLimit: there is none of that name, or it cannot be so.
        """
        unknown = dict(settings)
        parts: dict[str, Any] = {}
        defaults = cls()
        for part in fields(cls):
            default = getattr(defaults, part.name)
            given = {
                each.name: _checked(each.name, unknown.pop(each.name), getattr(default, each.name))
                for each in fields(default)
                if each.name in unknown
            }
            parts[part.name] = type(default)(**given)
        for name in unknown:
            names = ", ".join(name for part in asdict(cls()).values() for name in part)
            raise BadLimit(f"There is no limit {name!r}; there are {names}.")
        return cls(**parts)


def parse(settings: list[str]) -> dict[str, float]:
    """Limits by name from `name=value` each.

    Raises:
        BadLimit: one is written otherwise.
    """
    found: dict[str, float] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise BadLimit(f"{setting!r} sets no limit; write it like documents_read=64000.") from None
    return found


def _checked(name: str, value: float, default: float) -> float:
    if not 0 < value < math.inf or (isinstance(default, int) and value != int(value)):
        kind = "whole number" if isinstance(default, int) else "number"
        raise BadLimit(f"The limit {name} is a {kind} above 0, not {value:g}.")
    return int(value) if isinstance(default, int) else float(value)
