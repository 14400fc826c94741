"""What was said to clients and they are yet to read: how much that may be for all of them together."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

UNREAD_BYTES_MAX: Final = 1024 * 1024 * 1024
"""How much the clients of a server may leave unread, unless it is told otherwise."""


logger = logging.getLogger(__name__)


class Unread:
    """Counts what all clients of a server are yet to read.

    One client may leave as much as there is left for the others, so that those are refused first who leave the most.

    Attributes:
        bytes: how much there is.
        bytes_max: how much there may be.
        refused: how many clients were cut off, as there was too much.
    """

    def __init__(self, bytes_max: int = UNREAD_BYTES_MAX) -> None:
        self.bytes = 0
        self.bytes_max = bytes_max
        self.refused = 0

    def add(self, size: int) -> bool:
        """Counts what one client is yet to read. If it may not be so much, nothing is, and the client is to go."""
        if self.bytes + 2 * size > self.bytes_max:
            self.refused += 1
            logger.warning("a client reads too slowly, and others do as well; it is cut off")
            return False
        self.bytes += size
        return True

    def hold(self, transport: asyncio.WriteTransport) -> int:
        """Counts what a transport holds whose client does not read; how much it is. Too much, and it is aborted."""
        size = transport.get_write_buffer_size()
        if self.add(size):
            return size
        asyncio.get_running_loop().call_soon(transport.abort)
        return 0

    def remove(self, size: int) -> None:
        """Counts it no more: it was read, or will not be."""
        self.bytes -= size
