"""Whose word a server takes for the address of a client: that of proxies it trusts, and of nobody else.

Each proxy appends to `X-Forwarded-For` who has come to it. So what stands on the left is what the client has said, and
is believed by no one: from the right, the client is the first that is no trusted proxy.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from yugen.errors import Refused
from yugen.networks import UNKNOWN, canonical_address, parse_address
from yugen.server.rate_limits import close_socket
from yugen.server.sockets import Sockets

VARIABLE: Final = "FORWARDED_ALLOW_IPS"
"""Names the trusted proxies, as for uvicorn and gunicorn."""

THIS_MACHINE: Final = "127.0.0.1, ::1"

REQUEST_ID: Final = "yugen.request_id"
"""In a scope, the id that a trusted proxy has given the request."""

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")

_SCHEMES: Final = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}


class BadProxies(Refused):
    """A setting that names no proxies."""

    code = "BadProxies"


class Proxies:
    """Proxies that are trusted.

    Args:
        setting: their addresses and networks, separated by commas. `*` is whoever connects, and only they: for servers
            that nobody can reach but through one proxy whose address is not known.

    Raises:
        BadProxies: one is no address and no network.
    """

    def __init__(self, setting: str) -> None:
        names = [name.strip() for name in setting.split(",") if name.strip()]
        self._all = names == ["*"]
        self._networks = [] if self._all else [_network(name) for name in names]
        self._trusts = lru_cache(maxsize=4096)(self._look_up)

    def trusts(self, host: str | None) -> bool:
        """Whether it is one of them. One without an address, at a Unix socket, is only for `*`."""
        return self._all or (host is not None and self._trusts(host))

    def client(self, peer: str | None, forwarded: Iterable[bytes]) -> str | None:
        """The address of the client.

        Args:
            peer: who has connected.
            forwarded: the values of `X-Forwarded-For`, in the order of the headers.

        Returns:
            The last in the list whom no trusted proxy has named as coming from another, in its one spelling. Where the
            list has something that is no address, it is whoever passed that on.
        """
        host = peer
        for entry in reversed(b",".join(forwarded).decode("latin-1").split(",")):
            named = canonical_address(_without_port(entry.strip()))
            if named == UNKNOWN or not self.trusts(host):
                break
            host = named
            if self._all:
                break
        return host

    def _look_up(self, host: str) -> bool:
        address = parse_address(host)
        return address is not None and any(address in network for network in self._networks)


class BehindProxies:
    """Has an ASGI app see its clients instead of trusted proxies: `scope["client"]` and `scope["scheme"]`.

    And what id they have given a request, in `X-Request-Id`: see `yugen.server.access`.

    Args:
        proxies: those that are trusted.
        app: the app.
        sockets: counts WebSockets of those who come through one of them.
    """

    def __init__(self, proxies: Proxies, app: ASGIApp, sockets: Sockets | None = None) -> None:
        self._proxies = proxies
        self._app = app
        self._sockets = sockets

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # Not async: its frame would hold the scope of a connection for as long as that is open.
        if scope["type"] in ("http", "websocket"):
            peer = scope["client"][0] if scope.get("client") else None
            if self._proxies.trusts(peer):
                self._believe(scope, peer)
                if self._sockets is not None and scope["type"] == "websocket" and scope["client"]:
                    return self._counted(self._sockets, scope["client"][0], scope, receive, send)
        return self._app(scope, receive, send)

    async def _counted(self, sockets: Sockets, client: str, scope: Scope, receive: Receive, send: Send) -> None:
        if not sockets.hold(client):
            await close_socket(receive, send)
            return
        try:
            serving = self._app(scope, receive, send)
            del scope  # the headers of an idle connection would be some KiB
            await serving
        finally:
            sockets.let_go(client)

    def _believe(self, scope: Scope, peer: str | None) -> None:
        forwarded, scheme = [], None
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                forwarded.append(value)
            elif name == b"x-forwarded-proto":
                scheme = _SCHEMES.get(value.strip().lower())
            elif name == b"x-request-id" and (given := request_id(value)) is not None:
                scope[REQUEST_ID] = given
        if scheme is not None:
            scope["scheme"] = scheme.replace("http", "ws") if scope["type"] == "websocket" else scheme
        if forwarded and (client := self._proxies.client(peer, forwarded)) != peer:
            scope["client"] = (client, 0)


def request_id(value: bytes) -> str | None:
    """The id that a header gives a request, if it may stand in logs as it is: letters, digits, `-`, `_`, 64 of them."""
    return value.decode() if _REQUEST_ID.fullmatch(value) else None


def client_address(scope: Scope) -> str:
    """The one spelling of the address of a client: who has connected or, behind trusted proxies, whom those name.

    `yugen.networks.address_key` makes of it what to count by.
    """
    client = scope.get("client")
    return canonical_address(client[0]) if client else UNKNOWN


def _network(name: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(name)
    except ValueError:
        raise BadProxies(
            f"{VARIABLE}: {name!r} is no address and no network of proxies; write them like 10.0.0.5 and 10.0.0.0/8, "
            "or * for whoever connects."
        ) from None


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
