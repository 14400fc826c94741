"""Connections that are new: they are taken up in order, beside those that are served already.

What a new one asks for is run for it alone, where a commit makes those who are there run only what it concerns. When
thousands come at once, as after a restart, all they ask would stand before what others wait for. So few of them have
their first results made at once, and the others wait. How many wait has the bound of `connections`.
"""

from __future__ import annotations

from typing import Final, Protocol

AT_ONCE: Final = 32
"""Connections whose first results are made at once: enough to have all workers run."""


class Newcomer(Protocol):
    """A connection, as far as it matters here."""

    def admitted(self) -> None:
        """Its turn has come."""


class Newcomers:
    """Those whose first results are made, and those who wait for that.

    A place is for as long as the server works for it, never while it waits for a client: whoever says nothing, or reads
    nothing, keeps nobody waiting.
    """

    def __init__(self) -> None:
        self._admitted: set[Newcomer] = set()
        self._waiting: dict[Newcomer, None] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def admit(self, newcomer: Newcomer) -> bool:
        """Whether the first results of a connection may be made; if not, it is told when its turn has come."""
        if newcomer not in self._admitted:
            if len(self._admitted) >= AT_ONCE:
                self._waiting[newcomer] = None
                return False
            self._admitted.add(newcomer)
        return True

    def leave(self, newcomer: Newcomer) -> None:
        """Gives up its place, or waits no more: it has its first results, or wants none just now."""
        self._waiting.pop(newcomer, None)
        if newcomer in self._admitted:
            self._admitted.discard(newcomer)
            if self._waiting:
                following = next(iter(self._waiting))
                del self._waiting[following]
                self._admitted.add(following)
                following.admitted()
