"""How often one address may ask: requests and new sockets, counted in the memory of each node.

Addresses of networks of one's own are not counted. Behind one of those is a proxy that nobody has named, so that all
clients seem to be one, or a test that means it; an attacker from the internet has none, and cannot claim one.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from yugen.networks import address_key, is_public
from yugen.rates import Rate, State
from yugen.server.http import error_response
from yugen.server.limits import ServerLimits

ADDRESSES_MAX: Final = 100_000

MINUTE_MS: Final = 60_000

CLOSE_REASON: Final = "TooManyConcurrentRequests:address"
"""By how a reason begins, clients choose how long they wait (protocol.md 2.7): for this one, longest."""

logger = logging.getLogger(__name__)


class Buckets:
    """A token bucket for each key, of those that were used last.

    When there are too many keys, the one is forgotten that was not used for longest. Most likely its bucket is full by
    then, and nothing is lost. Whoever drives out one that is not has used as many other keys since, with a whole bucket
    each, and gains nothing by one more.

    Args:
        rate: of each.
        keys_max: how many keys are known at once.
    """

    def __init__(self, rate: Rate, keys_max: int = ADDRESSES_MAX) -> None:
        self._rate = rate
        self._keys_max = keys_max
        self._states: OrderedDict[str, State] = OrderedDict()

    def take(self, key: str, now: int) -> int:
        """Takes a token; returns 0, or after how many milliseconds there is one."""
        states = self._states
        taken = self._rate.take(states.get(key), now, 1)
        states[key] = taken.state
        states.move_to_end(key)
        if len(states) > self._keys_max:
            states.popitem(last=False)
        return taken.wait_ms

    def __len__(self) -> int:
        return len(self._states)


class AddressLimits:
    """What each address may ask for in a minute, at once if need be.

    Args:
        limits: how much that is.
        clock: seconds.
        is_counted: whether an address is counted at all.

    Attributes:
        refusals: how many were refused, of requests (`http`) and of sockets (`websocket`).
    """

    def __init__(
        self,
        limits: ServerLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        is_counted: Callable[[str], bool] = is_public,
    ) -> None:
        self._clock = clock
        self._is_counted = is_counted
        self._buckets = {"http": _per_minute(limits.address_requests)}
        self._buckets["websocket"] = _per_minute(limits.address_connections)
        self._quiet_until = 0
        self.refusals = dict.fromkeys(self._buckets, 0)

    @property
    def counted(self) -> dict[str, int]:
        """Of how many addresses there are buckets, for requests and for sockets."""
        return {surface: len(buckets) for surface, buckets in self._buckets.items()}

    def wait_ms(self, scope: Scope) -> int:
        """Counts a request or a socket; returns 0, or after how many milliseconds its client may try again."""
        client = scope.get("client")
        if not client or not self._is_counted(client[0]):
            return 0
        key, now = address_key(client[0]), int(self._clock() * 1000)
        wait_ms = self._buckets[scope["type"]].take(key, now)
        if wait_ms:
            self.refusals[scope["type"]] += 1
        if wait_ms and now >= self._quiet_until:
            self._quiet_until = now + MINUTE_MS
            logger.warning(
                "%s has made too many %s and is refused some; name it in FORWARDED_ALLOW_IPS if it is a proxy of yours",
                key,
                "requests" if scope["type"] == "http" else "connections",
            )
        return wait_ms


class LimitedByAddress:
    """An ASGI app whose clients are told to come later when one address asks for too much.

    Servers tell by its being `async` that it is one (ASGI 3), and not the makings of one (ASGI 2).

    Args:
        limits: what is too much.
        app: the app.
    """

    def __init__(self, limits: AddressLimits, app: ASGIApp) -> None:
        self._limits = limits
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and (wait_ms := self._limits.wait_ms(scope)):
            if scope["type"] == "websocket":
                await close_socket(receive, send)
            else:
                await _refuse(scope, receive, send, wait_ms)
            return
        serving = self._app(scope, receive, send)
        del scope  # the headers of an idle connection would be some KiB
        await serving


def _per_minute(count: int) -> Buckets:
    return Buckets(Rate("token bucket", count, MINUTE_MS, count))


async def close_socket(receive: Receive, send: Send) -> None:
    """Closes a WebSocket once it is open: of one that is refused before that, a browser tells its page nothing."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 1013, "reason": CLOSE_REASON})


async def _refuse(scope: Scope, receive: Receive, send: Send, wait_ms: int) -> None:
    seconds = -(-wait_ms // 1000)
    text = f"This address has made too many requests; try again in {seconds} s."
    response = error_response(429, "RateLimited", text)
    response.headers["Retry-After"] = str(seconds)
    # Whichever page asks may know: there is nothing of anybody in it.
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Expose-Headers"] = "Retry-After"
    await response(scope, receive, send)
