"""Putting together a Transition that came in parts."""

from __future__ import annotations

from typing import Final

from yugen_client.errors import ProtocolError
from yugen_client.messages import Transition, TransitionChunk, decode_server

CHARACTERS_MAX: Final = 256 * 1024 * 1024
"""Of the text of one Transition: twice what a server keeps of answers for one client."""

PARTS_MAX: Final = 65_536
"""Parts that it may have: more than there would be if each had 4 KiB."""


class ChunkBuffer:
    """The parts of one Transition so far. Between its parts nothing but a Ping may come."""

    def __init__(self) -> None:
        self._first: TransitionChunk | None = None
        self._texts: list[str] = []
        self._characters = 0

    def add(self, chunk: TransitionChunk) -> Transition | None:
        """Takes the next part, and gives the Transition once it is whole.

        Raises:
            ProtocolError: It is not the next part, or the whole is too long, or not a Transition.
        """
        first = self._first = self._first or chunk
        if (
            chunk.part_number != len(self._texts)
            or chunk.part_number >= chunk.total_parts
            or chunk.total_parts != first.total_parts
            or chunk.transition_id != first.transition_id
        ):
            raise ProtocolError(
                f"part {chunk.part_number} of {chunk.total_parts} of transition {chunk.transition_id[:40]!r} came "
                f"after {len(self._texts)} parts of transition {first.transition_id[:40]!r}"
            )
        self._characters += len(chunk.chunk)
        if chunk.total_parts > PARTS_MAX:
            raise ProtocolError(f"a transition has {chunk.total_parts} parts, and {PARTS_MAX} at most are taken")
        if self._characters > CHARACTERS_MAX:
            raise ProtocolError(f"a transition in parts is longer than {CHARACTERS_MAX} characters")
        self._texts.append(chunk.chunk)
        if len(self._texts) < chunk.total_parts:
            return None
        whole = decode_server("".join(self._texts))
        self.clear()
        if not isinstance(whole, Transition):
            raise ProtocolError("the parts of a transition make up another message")
        return whole

    def interrupt(self) -> None:
        """Says that another message came.

        Raises:
            ProtocolError: A Transition was still incomplete.
        """
        if self._first is not None:
            raise ProtocolError(f"a message came between the parts of transition {self._first.transition_id[:40]!r}")

    def clear(self) -> None:
        """Forgets the parts."""
        self._first = None
        self._texts.clear()
        self._characters = 0
