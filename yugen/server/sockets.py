"""How many sockets may be open at once, and who gets no more when there are many.

Other limits are of what is asked. A client that asks nothing and stays costs a socket and an open file all the same, of
which a process may have so many; when they are used up, nobody gets in.

Addresses of networks of one's own count in all and not for themselves, as in `yugen.server.rate_limits`.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Callable
from typing import Final, Literal, cast

import orjson

from yugen.networks import address_key, is_public
from yugen.server.limits import ServerLimits

FILES_KEPT: Final = 256
"""Open files that are not for clients: the database, processes that run functions, files that are sent."""

CROWDED: Final = 0.75
"""From this share of all sockets on, an address that has more than an equal share gets none any more."""

SHARE_MIN: Final = 32
"""Sockets that an address gets in any case while there are some: a browser opens a handful for one page."""

LINGER_SECONDS: Final = 2.0
"""How long a client has to read why it is turned away."""

LINGERING_MAX: Final = 128
"""How many are told why at once; others are cut off."""

HANDSHAKES_WAITING_MAX: Final = 4096
"""WebSockets that may wait for their handshake: so many take a few seconds, and clients give up after half a minute."""

_QUIET_SECONDS: Final = 60.0

Reason = Literal["address", "all", "handshakes"]

logger = logging.getLogger(__name__)


class Sockets:
    """Counts open sockets.

    Args:
        limits: how many there may be.
        files_max: how many files this process may have open.
        is_counted: whether an address is counted for itself.
        clock: seconds.

    Attributes:
        most: how many there may be in all: as the limit says, or as many as the process may have open.
        refused: how many were, because an address had too many, because there were too many in all, and because too
            many waited for their handshake.
    """

    def __init__(
        self,
        limits: ServerLimits,
        *,
        files_max: int | None = None,
        is_counted: Callable[[str], bool] = is_public,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if files_max is None else files_max
        allowed = limits.sockets if files == resource.RLIM_INFINITY else max(1, files - FILES_KEPT)
        self.most = min(limits.sockets, allowed)
        self._address_most = limits.address_sockets
        self._is_counted = is_counted
        self._clock = clock
        self._quiet_until = -_QUIET_SECONDS
        self._open = 0
        self._held: dict[str, int] = {}
        self.refused: dict[Reason, int] = {"address": 0, "all": 0, "handshakes": 0}

    def __len__(self) -> int:
        return self._open

    def enter(self, address: str | None) -> Reason | None:
        """Counts one more, which is to `leave`; or says why there can be none.

        Args:
            address: of the client; None where that is not known, and another is.
        """
        if self._open >= self.most:
            return self._refuse("all", address)
        if address is not None and not self.hold(address):
            return "address"
        self._open += 1
        return None

    def refuse_handshake(self) -> None:
        """Counts one that gets no handshake, since too many wait for theirs. It still is to `leave`."""
        self.refused["handshakes"] += 1
        self._say("%d new connections wait for their handshake; more are refused", HANDSHAKES_WAITING_MAX)

    def leave(self, address: str | None) -> None:
        """Counts one less."""
        self._open -= 1
        if address is not None:
            self.let_go(address)

    def hold(self, address: str) -> bool:
        """Counts one for its address alone, which is to be `let_go`; False if there can be none."""
        key = self._key(address)
        if key is None:
            return True
        held = self._held.get(key, 0)
        if held >= self._most_of_one():
            self._refuse("address", address)
            return False
        self._held[key] = held + 1
        return True

    def let_go(self, address: str) -> None:
        """Counts one less for an address."""
        key = self._key(address)
        if key is None:
            return
        if self._held[key] == 1:
            del self._held[key]
        else:
            self._held[key] -= 1

    def _key(self, address: str) -> str | None:
        return address_key(address) if self._is_counted(address) else None

    def _most_of_one(self) -> int:
        if self._open < self.most * CROWDED:
            return self._address_most
        return min(self._address_most, max(SHARE_MIN, self.most // max(1, len(self._held))))

    def _refuse(self, reason: Reason, address: str | None) -> Reason:
        self.refused[reason] += 1
        who = "somebody behind a proxy" if address is None else address_key(address)
        self._say("%d sockets are open, of %d at most; %s is refused more", self._open, self.most, who)
        return reason

    def _say(self, text: str, *words: object) -> None:
        if (now := self._clock()) >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            logger.warning(text, *words)


def refusal(reason: Reason, limits: ServerLimits) -> bytes:
    """The answer over HTTP to whoever is refused a socket."""
    if reason == "address":
        status = b"429 Too Many Requests"
        text = (
            f"This address has too many sockets open: at most {limits.address_sockets:,} (`address_sockets`), and "
            "fewer while there are many in all; close some and try again."
        )
    elif reason == "handshakes":
        status = b"503 Service Unavailable"
        text = f"{HANDSHAKES_WAITING_MAX:,} new connections wait to be taken up already; try again."
    else:
        status = b"503 Service Unavailable"
        text = "The server has as many sockets open as it may have (`sockets`); try again."
    body = orjson.dumps({"code": "TooManySockets", "message": text})
    return (
        b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (status, len(body), body)
    )


class TurnedAway(asyncio.Protocol):
    """A connection of which nothing is read: its client is told why, whatever it was about to say.

    Args:
        reason: why.
        limits: what they are.
    """

    lingering = 0

    def __init__(self, reason: Reason, limits: ServerLimits) -> None:
        self._answer = refusal(reason, limits)
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        if TurnedAway.lingering >= LINGERING_MAX:
            transport.abort()
            return
        TurnedAway.lingering += 1
        self._end = asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)
        transport.write(self._answer)
        # Closed while something arrives, the connection would be reset, and the answer might be lost.
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()
            TurnedAway.lingering -= 1
