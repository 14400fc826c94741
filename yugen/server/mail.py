"""Messages between the nodes of one machine."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]

_SIZE_MAX = 65536
_KIND = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM


class Mail:
    """An inbox for each node, which outlives it: what has come for a node is found by the one that takes its place.

    Made by one process before it forks the nodes, which all inherit it.

    Args:
        nodes: how many there are.
    """

    def __init__(self, nodes: int) -> None:
        self._boxes = [socket.socketpair(socket.AF_UNIX, _KIND) for _ in range(nodes)]
        for end in (end for box in self._boxes for end in box):
            end.setblocking(False)

    def __len__(self) -> int:
        return len(self._boxes)

    def others(self, node: int) -> list[int]:
        """All nodes but this one."""
        return [other for other in range(len(self._boxes)) if other != node]

    def post(self, node: int, message: Message) -> bool:
        """Sends a message to a node; False if its inbox is full."""
        try:
            self._boxes[node][1].send(json.dumps(message).encode())
        except BlockingIOError:
            return False
        return True

    def inbox(self, node: int) -> socket.socket:
        """What becomes readable when something has come for a node."""
        return self._boxes[node][0]

    def take(self, node: int) -> Iterator[Message]:
        """What has come for a node."""
        while True:
            try:
                content = self._boxes[node][0].recv(_SIZE_MAX)
            except BlockingIOError:
                return
            yield json.loads(content)

    def close(self) -> None:
        """Gives up this process's part of it."""
        for end in (end for box in self._boxes for end in box):
            end.close()
