"""What the nodes of one machine share in memory: the newest commit that any of them knows, and a bell for each.

A node raises the newest timestamp after its commit is durable and before anybody hears of it. So whoever looks there
first, and takes in what it lacks before it answers, never answers with less than somebody has been told already.
"""

from __future__ import annotations

import mmap
import os
import time
from contextlib import suppress

from yugen.storage.interface import Timestamp


class Board:
    """Made by one process before it forks the nodes, which all inherit it.

    Args:
        nodes: how many there are.
    """

    def __init__(self, nodes: int) -> None:
        # An aligned word is written and read as a whole by every processor that Python has been brought to.
        self._words = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        self._nodes = nodes
        self._bells = [os.pipe() for _ in range(nodes)]
        for end in (end for bell in self._bells for end in bell):
            os.set_blocking(end, False)

    @property
    def newest(self) -> Timestamp:
        """The newest timestamp that a node has acknowledged, or shown to anybody."""
        return self._words[0]

    def raise_to(self, ts: Timestamp) -> None:
        """Notes a durable commit. Only whoever may append at that moment may call this."""
        self._words[0] = max(self._words[0], ts)

    def beat(self, node: int) -> None:
        """Notes that a node lives."""
        self._words[1 + node] = time.monotonic_ns()

    def silence(self, node: int) -> float:
        """Seconds since that was last noted."""
        return (time.monotonic_ns() - self._words[1 + node]) / 1e9

    def set_present(self, node: int, present: bool) -> None:
        """Notes that a node hears the others from now on, or does not."""
        self._words[1 + self._nodes + node] = present

    def is_present(self, node: int) -> bool:
        """Whether a node hears the others."""
        return bool(self._words[1 + self._nodes + node])

    def ring(self, *, but: int | None = None) -> None:
        """Tells all nodes but one that there may be something new in the store."""
        for node, (_, end) in enumerate(self._bells):
            if node != but:
                with suppress(BlockingIOError):  # it has been told thousands of times and will come to it
                    os.write(end, b"!")

    def bell(self, node: int) -> int:
        """The file that becomes readable when a node is told."""
        return self._bells[node][0]

    def hush(self, node: int) -> None:
        """Takes back what a node was told so far; called by the node before it looks."""
        with suppress(BlockingIOError):
            while len(os.read(self._bells[node][0], 65536)) == 65536:
                pass

    def close(self) -> None:
        """Gives up this process's part of it."""
        for end in (end for bell in self._bells for end in bell):
            os.close(end)
        self._bells.clear()
