"""From the address of a deployment to the address of its sync socket."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit, urlunsplit

_SOCKET_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def sync_url(url: str) -> str:
    """The WebSocket address for a deployment, e.g. `wss://host/base/api/sync` for `https://host/base/`.

    Raises:
        ValueError: `url` is not the address of a deployment.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SOCKET_SCHEMES or not parts.hostname:
        raise ValueError(f"{url!r} is not an address of a deployment; write it like 'http://localhost:3210'")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} has a query or a fragment; give the address of the deployment alone")
    if parts.hostname.endswith(".convex.site"):
        raise ValueError(f"{url!r} serves HTTP actions; give the deployment's .convex.cloud address")
    return urlunsplit((_SOCKET_SCHEMES[parts.scheme], parts.netloc, parts.path.rstrip("/") + "/api/sync", "", ""))
