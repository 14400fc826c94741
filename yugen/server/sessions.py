"""Which connection a client is on."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol


class HangsUp(Protocol):
    """A connection, as far as it matters here."""

    def hang_up(self) -> None:
        """Takes nothing more from the client, and begins nothing more of what it has asked for."""


class Sessions:
    """The newest connection of each client.

    A client that has lost its connection comes back on another one, often long before the server notices the loss. What
    waits its turn on the earlier one must not run beside what the client asks for again: the client might hear of one
    that fails after another one has taken effect.
    """

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, HangsUp]] = {}

    def __len__(self) -> int:
        return len(self._newest)

    @property
    def elsewhere(self) -> int:
        """How many clients are known to be on other nodes."""
        return 0

    def enter(self, session_id: str, connection_count: int, connection: HangsUp) -> Awaitable[None] | None:
        """Takes in a connection, and hangs up the one of the same client that it comes after or before.

        Returns:
            What the mutations of the connection have to wait for, if anything.
        """
        count, other = self._newest.get(session_id, (-1, None))
        if connection_count >= count:
            self._newest[session_id] = connection_count, connection
        if other is not None and connection_count > count:
            other.hang_up()
        elif connection_count < count:
            connection.hang_up()
        return None

    def leave(self, session_id: str, connection: HangsUp) -> None:
        """Forgets a connection that has ended."""
        if self._newest.get(session_id, (0, None))[1] is connection:
            del self._newest[session_id]
