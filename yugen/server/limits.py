"""How much a server takes on at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What all clients of a server together may ask for. What is beyond it is sent away for a while.

    Attributes:
        connections: sync connections; one more is closed with 1013 `TooManyConcurrentRequests:connections`.
        requests: requests of the HTTP API under way; one more is answered 503 `TooManyConcurrentRequests`.
    """

    connections: int = 10_000
    requests: int = 1024
