"""The way past routing and middleware, which take longer than a query whose answer is at hand."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Direct:
    """Hands requests for some paths straight to what answers them, and all others to another app.

    Browsers may read what is answered on the way whichever page asks; whether they may ask (`OPTIONS`) is for the
    other app to say.

    Args:
        endpoints: what answers GET and POST at a path.
        others: the app that has the same endpoints too, for whoever mounts it below another path.
    """

    def __init__(self, endpoints: Mapping[str, ASGIApp], others: ASGIApp) -> None:
        self._endpoints = endpoints
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope.get("path", ""))
        if endpoint is None or scope["type"] != "http" or scope["method"] not in ("GET", "POST"):
            await self._others(scope, receive, send)
            return

        async def send_to_any_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += _cross_origin(scope)
            await send(message)

        await endpoint(scope, receive, send_to_any_origin)


def _cross_origin(scope: Scope) -> list[tuple[bytes, bytes]]:
    """What Starlette's CORSMiddleware adds when all origins may come with credentials."""
    for name, value in scope["headers"]:
        if name == b"origin":
            return [
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-allow-origin", value),
                (b"vary", b"Origin"),
            ]
    return [(b"vary", b"Origin")]
