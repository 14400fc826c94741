"""Putting together a Transition that came in parts."""

from __future__ import annotations

from typing import Final

from yugen_client.errors import ProtocolError
from yugen_client.messages import Transition, TransitionChunk, decode_server

CHARACTERS_MAX: Final = 256 * 1024 * 1024
"""Of the text of one Transition: twice what a server keeps of answers for one client."""


class ChunkBuffer:
    """The parts of one Transition so far. Between its parts nothing but a Ping may come."""

    def __init__(self) -> None:
        self._parts: list[TransitionChunk] = []
        self._characters = 0

    def add(self, chunk: TransitionChunk) -> Transition | None:
        """Takes the next part, and gives the Transition once it is whole.

        Raises:
            ProtocolError: It is not the next part, or the whole is too long, or not a Transition.
        """
        first = self._parts[0] if self._parts else chunk
        if (
            chunk.part_number != len(self._parts)
            or chunk.part_number >= chunk.total_parts
            or chunk.total_parts != first.total_parts
            or chunk.transition_id != first.transition_id
        ):
            raise ProtocolError(
                f"part {chunk.part_number} of {chunk.total_parts} of transition {chunk.transition_id!r} came after "
                f"{len(self._parts)} parts of transition {first.transition_id!r}"
            )
        self._characters += len(chunk.chunk)
        if self._characters > CHARACTERS_MAX:
            raise ProtocolError(f"a transition in parts is longer than {CHARACTERS_MAX} characters")
        self._parts.append(chunk)
        if len(self._parts) < chunk.total_parts:
            return None
        whole = decode_server("".join(part.chunk for part in self._parts))
        self.clear()
        if not isinstance(whole, Transition):
            raise ProtocolError("the parts of a transition make up another message")
        return whole

    def interrupt(self) -> None:
        """Says that another message came.

        Raises:
            ProtocolError: A Transition was still incomplete.
        """
        if self._parts:
            raise ProtocolError(f"a message came between the parts of transition {self._parts[0].transition_id!r}")

    def clear(self) -> None:
        """Forgets the parts."""
        self._parts.clear()
        self._characters = 0
