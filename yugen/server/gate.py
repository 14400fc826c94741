"""The edge as ASGI apps around those that answer."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from yugen.server.edge import Edge, Hosts, host_of
from yugen.server.http import error_response

PAGE_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "strict-origin-when-cross-origin"}
"""What goes with every page that is a file of the app, and with what is said in the place of one."""


def at_the_door(edge: Edge, app: ASGIApp) -> ASGIApp:
    """An app that is asked only under the allowed hosts, and whose browsers are told to come over HTTPS."""
    app = _Strict(app, edge.hsts_seconds) if edge.hsts_seconds else app
    return app if edge.hosts.any else _ByHost(app, edge.hosts)


def for_pages(edge: Edge, app: ASGIApp) -> ASGIApp:
    """An app that is asked only by pages of the origins that are named, if any are."""
    return _ByOrigin(app, edge) if edge.origins else app


# None of these is `async`: their frames would hold the scope of a connection for as long as that is open.


class _ByHost:
    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan" or self._hosts.allow(host := host_of(scope)):
            return self._app(scope, receive, send)
        text = (
            f"This server is not to be asked as {host[:100]!r}; use another address of it, or allow the name with "
            "--allowed-host."
        )
        return _refuse(400, "HostNotAllowed", text, scope, receive, send)


class _ByOrigin:
    def __init__(self, app: ASGIApp, edge: Edge) -> None:
        self._app = app
        self._edge = edge

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan" or self._edge.trusts(scope):
            return self._app(scope, receive, send)
        text = "Pages of this origin may not use this server; trust it with --origin."
        return _refuse(403, "OriginNotTrusted", text, scope, receive, send)


class _Strict:
    def __init__(self, app: ASGIApp, seconds: int) -> None:
        self._app = app
        self._value = f"max-age={seconds}"

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # Over HTTP it would mean nothing, and anybody on the way could have said it.
        if scope["type"] != "http" or scope.get("scheme") != "https":
            return self._app(scope, receive, send)

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("Strict-Transport-Security", self._value)
            await send(message)

        return self._app(scope, receive, send_strictly)


async def _refuse(status: int, code: str, text: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close"})  # before the handshake, so that it is answered with 403
        return
    response = error_response(status, code, text)
    response.headers["Vary"] = "Origin"
    await response(scope, receive, send)
