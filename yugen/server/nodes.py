"""Several server processes over the same data: what a node knows of the others.

Each node has connections, a query cache and worker processes of its own. Commits reach it through the store
(`yugen.storage.interface.Peers`); what is here concerns the clients that go from one node to another.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from yugen.errors import Refused
from yugen.functions.info import AppInfo
from yugen.runtime.runner import Overloaded
from yugen.server.mail import Mail, Message
from yugen.server.sessions import HangsUp, Sessions
from yugen.storage.board import Board

SETTLE_SECONDS_MAX = 10.0
"""How long another node may take over what a client has left there; what a function may run is less."""

_ELSEWHERE_MAX = 10_000
"""Clients of other nodes that are remembered, so that a connection they have left is known when it turns up late."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Node:
    """One of several server processes.

    Attributes:
        number: which of them, from 0. The first one does what there is one of.
        board: what they share in memory.
        mail: how they tell one another.
        folder: where they call one another.
        deployed: whether another one has brought the data to what the app declares.
        code: 32 bytes that tell what the app declares from anything else; None until the first one has loaded it.
    """

    number: int
    board: Board
    mail: Mail
    folder: Path
    deployed: bool = False
    code: bytes | None = None

    @property
    def cores(self) -> int:
        """How many cores of the machine are for this node."""
        return max(1, (os.cpu_count() or 1) // len(self.mail))

    def check_code(self, info: AppInfo) -> None:
        """Notes what the code of the app declares.

        Raises:
            CodeChanged: it is not what the other nodes run.
        """
        code = hashlib.sha256(repr(info.to_data()).encode(errors="surrogatepass")).digest()
        self.code = self.code or code
        if self.code != code:
            raise CodeChanged("The app's code is not what it was when the server started; restart the server.")

    @property
    def first(self) -> bool:
        """Whether this is the one that does what there is one of."""
        return self.number == 0


class CodeChanged(Refused):
    """A node that would run other code than its peers."""

    code = "CodeChanged"


class NodeSessions(Sessions):
    """The newest connections of clients, also of those that come from other nodes.

    Of a client that comes back, each other node hangs up the older connection, waits until nothing runs that was begun
    there, and says so. Only then is anything begun here: a mutation that is sent again might fail, and its client be
    told so, and the first one take effect after that.

    Args:
        node: which node this is.
        settled: waits until no mutation of a client runs here.
    """

    def __init__(self, node: Node, settled: Callable[[str], Awaitable[None]]) -> None:
        super().__init__()
        self._node = node
        self._settled = settled
        self._elsewhere: OrderedDict[str, int] = OrderedDict()  # to the counts of their connections
        # By the numbers of questions: the nodes that have not answered, and what waits for them. A node that takes the
        # place of another must not take answers to that one for its own.
        self._asked: dict[int, tuple[set[int], asyncio.Future[None]]] = {}
        self._last_number = secrets.randbits(48)
        self._answering: set[asyncio.Task[None]] = set()

    @property
    def elsewhere(self) -> int:
        return len(self._elsewhere)

    def listen(self) -> None:
        """Hears what other nodes ask from now on."""
        asyncio.get_running_loop().add_reader(self._node.mail.inbox(self._node.number), self._read)
        self._node.board.set_present(self._node.number, True)

    async def close(self) -> None:
        """Hears nothing more. Who has asked hears from the system when this process is gone."""
        self._node.board.set_present(self._node.number, False)
        asyncio.get_running_loop().remove_reader(self._node.mail.inbox(self._node.number))
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def enter(self, session_id: str, connection_count: int, connection: HangsUp) -> Awaitable[None] | None:
        """As `Sessions.enter`.

        Raises, where what is returned is awaited:
            Overloaded: another node does not answer.
        """
        if connection_count < self._elsewhere.get(session_id, 0):
            connection.hang_up()
            return None
        super().enter(session_id, connection_count, connection)
        # The first connection of a client has none before it.
        return self._ask(session_id, connection_count) if connection_count else None

    def _ask(self, session_id: str, connection_count: int) -> asyncio.Future[None]:
        self._elsewhere.pop(session_id, None)
        loop = asyncio.get_running_loop()
        self._last_number += 1
        number, settled = self._last_number, loop.create_future()
        # Of one that is gone nothing runs any more, and one that comes in its place has heard of no client yet.
        others = [each for each in self._node.mail.others(self._node.number) if self._node.board.is_present(each)]
        if not others:
            settled.set_result(None)
            return settled
        self._asked[number] = set(others), settled
        patience = loop.call_later(SETTLE_SECONDS_MAX, self._give_up, number)
        settled.add_done_callback(lambda _: patience.cancel())
        question = {"from": self._node.number, "ask": number, "session": session_id, "count": connection_count}
        for other in others:
            if not self._node.mail.post(other, question):
                self._give_up(number)
                break
        return settled

    def _give_up(self, number: int) -> None:
        asked = self._asked.pop(number, None)
        if asked is not None and not asked[1].done():
            asked[1].set_exception(Overloaded("another node does not say that it is done with a client."))
            asked[1].exception()  # nobody may be waiting

    def _read(self) -> None:
        for message in self._node.mail.take(self._node.number):
            match message:
                case {"from": sender, "ask": number, "session": session_id, "count": count}:
                    self._leave_to(session_id, count)
                    answering = asyncio.get_running_loop().create_task(self._answer(sender, number, session_id))
                    self._answering.add(answering)
                    answering.add_done_callback(self._answering.discard)
                case {"from": sender, "settled": number}:
                    self._answered(number, sender)
                case {"gone": node}:
                    for number in list(self._asked):
                        self._answered(number, node)
                case _:
                    raise AssertionError(message)

    def _leave_to(self, session_id: str, count: int) -> None:
        """Notes that a client is on another node."""
        own_count, connection = self._newest.get(session_id, (-1, None))
        if own_count < count:
            self._elsewhere[session_id] = count
            self._elsewhere.move_to_end(session_id)
            if len(self._elsewhere) > _ELSEWHERE_MAX:
                self._elsewhere.popitem(last=False)
            if connection is not None:
                connection.hang_up()

    async def _answer(self, sender: int, number: int, session_id: str) -> None:
        await asyncio.sleep(0)  # what has been handed out by now begins first
        await self._settled(session_id)
        answer: Message = {"from": self._node.number, "settled": number}
        if not self._node.mail.post(sender, answer):
            logger.warning("node %d does not read its mail", sender)

    def _answered(self, number: int, node: int) -> None:
        waiting, settled = self._asked.get(number, (None, None))
        if waiting is None or settled is None:
            return
        waiting.discard(node)
        if not waiting:
            del self._asked[number]
            if not settled.done():
                settled.set_result(None)
