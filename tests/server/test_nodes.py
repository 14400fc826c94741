"""What nodes tell one another of clients that go from one to another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.apps import write_app
from tests.server.test_sessions import Line
from yugen.runtime.runner import Overloaded
from yugen.server import nodes
from yugen.server.connection import Disconnected
from yugen.server.mail import Mail
from yugen.server.nodes import CodeChanged, Node, NodeSessions
from yugen.server.yugen import Yugen
from yugen.storage.board import Board

SECONDS_MAX = 60.0
LIMITS = {"transaction_seconds": SECONDS_MAX}

APP = """
    import asyncio
    import time
    from pathlib import Path

    from yugen import Document, MutationCtx, QueryCtx, mutation, query


    class Entry(Document, table="entries"):
        text: str


    @query
    async def texts(ctx: QueryCtx) -> list[str]:
        return [entry.text async for entry in ctx.db.query(Entry)]


    @mutation
    async def add(ctx: MutationCtx, text: str) -> int:
        await ctx.db.insert(Entry(text=text))
        return len(await ctx.db.query(Entry).collect())


    @mutation
    async def slow(ctx: MutationCtx, text: str, begun: str, go: str) -> str:
        # Fails whenever it runs again.
        marker = Path(begun)
        if marker.exists():
            raise ValueError("this ran before")
        marker.touch()
        while not Path(go).exists():
            time.sleep(0.001)
        await ctx.db.insert(Entry(text=text))
        return text
"""


class Settling:
    """Stands for what runs on a node for its clients."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.called = asyncio.Event()

    async def __call__(self, session: str) -> None:
        self.called.set()
        await self.free.wait()


class Peer:
    """The sessions of one node, without its server."""

    def __init__(self, node: Node) -> None:
        self.settling = Settling()
        self.sessions = NodeSessions(node, self.settling)


def shared(stack: AsyncExitStack, count: int) -> tuple[Board, Mail, Path]:
    """What so many nodes share, until the stack is left."""
    folder = stack.enter_context(TemporaryDirectory())  # not pytest's, whose name is too long for sockets
    return stack.enter_context(closing(Board(count))), stack.enter_context(closing(Mail(count))), Path(folder)


@asynccontextmanager
async def peers(count: int = 2) -> AsyncIterator[tuple[Mail, list[Peer]]]:
    async with AsyncExitStack() as listening:
        board, mail, folder = shared(listening, count)
        started = [Peer(Node(number, board, mail, folder)) for number in range(count)]
        for peer in started:
            peer.sessions.listen()
            listening.push_async_callback(peer.sessions.close)
        yield mail, started


async def test_the_first_connection_of_a_client_waits_for_nobody() -> None:
    async with peers() as (_, (one, _)):
        assert one.sessions.enter("a", 0, Line()) is None


async def test_a_client_that_comes_back_elsewhere_has_left_its_older_connection() -> None:
    async with peers(3) as (_, (one, other, third)):
        older, newer, stale = Line(), Line(), Line()
        one.sessions.enter("a", 0, older)
        one.settling.free.clear()
        settling = other.sessions.enter("a", 1, newer)
        assert settling is not None
        await one.settling.called.wait()
        await third.settling.called.wait()
        assert older.hung_up
        assert not asyncio.ensure_future(settling).done()
        one.settling.free.set()
        async with asyncio.timeout(SECONDS_MAX):
            await settling
        # One that turns up late is known to be left already.
        assert third.sessions.enter("a", 0, stale) is None
        assert (stale.hung_up, newer.hung_up) == (True, False)


async def test_a_client_may_go_back_and_forth() -> None:
    async with peers() as (_, (one, other)):
        lines = [Line() for _ in range(4)]
        for count, line in enumerate(lines):
            settling = (one, other)[count % 2].sessions.enter("a", count, line)
            if settling is not None:
                async with asyncio.timeout(SECONDS_MAX):
                    await settling
        assert [line.hung_up for line in lines] == [True, True, True, False]


async def test_who_is_gone_holds_up_nobody() -> None:
    async with peers() as (mail, (one, other)):
        one.settling.free.clear()
        settling = other.sessions.enter("a", 1, Line())
        assert settling is not None
        await one.settling.called.wait()
        mail.post(1, {"gone": 0})
        async with asyncio.timeout(SECONDS_MAX):
            await settling
        one.settling.free.set()  # whose answer comes too late, and is nobody's


async def test_one_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "SETTLE_SECONDS_MAX", 0.0)
    async with peers() as (_, (one, other)):
        one.settling.free.clear()
        settling = other.sessions.enter("a", 1, Line())
        assert settling is not None
        with pytest.raises(Overloaded, match="another node"):
            await settling


async def test_a_full_inbox_is_one_that_does_not_answer() -> None:
    async with AsyncExitStack() as stack:
        board, mail, folder = shared(stack, 2)
        sessions = NodeSessions(Node(0, board, mail, folder), Settling())
        nobody = sessions.enter("a", 1, Line())
        assert nobody is not None
        await nobody  # one that is not there is not asked
        board.set_present(1, True)
        while mail.post(1, {"gone": 7, "padding": "x" * 1000}):
            pass
        settling = sessions.enter("a", 2, Line())
        assert settling is not None
        with pytest.raises(Overloaded, match="another node"):
            await settling


async def test_clients_of_others_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_ELSEWHERE_MAX", 2)
    async with peers() as (_, (one, other)):
        for client in "abc":
            settling = other.sessions.enter(client, 1, Line())
            assert settling is not None
            await settling
        forgotten, known = Line(), Line()
        one.sessions.enter("a", 0, forgotten)
        one.sessions.enter("b", 0, known)
        assert (forgotten.hung_up, known.hung_up) == (False, True)


async def test_a_node_refuses_other_code_than_its_peers_run(tmp_path: Path) -> None:
    app = write_app(tmp_path, f=APP)
    async with AsyncExitStack() as stack:
        board, mail, folder = shared(stack, 2)
        first = Node(0, board, mail, folder)
        await stack.enter_async_context(Yugen(app, node=first))
        assert first.code is not None
        (app / "f.py").write_text((app / "f.py").read_text().replace("texts", "words"))
        second = Yugen(app, node=Node(1, board, mail, folder, deployed=True, code=first.code))
        with pytest.raises(CodeChanged, match="restart the server"):
            await second.start()
        await second.close()


class Socket:
    """The server's end of a connection, and what a client does with it."""

    def __init__(self, session: str, count: int) -> None:
        self._incoming: asyncio.Queue[str | None] = asyncio.Queue()
        self.sent: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self.tell(type="Connect", sessionId=session, connectionCount=count, lastCloseReason="x")
        self.tell(type="ModifyQuerySet", baseVersion=0, newVersion=1, modifications=[])

    def tell(self, **message: object) -> None:
        self._incoming.put_nowait(json.dumps(message))

    def mutate(self, request: int, path: str, **args: str) -> None:
        self.tell(type="Mutation", requestId=request, udfPath=path, args=[args])

    async def response(self) -> dict[str, object]:
        async with asyncio.timeout(SECONDS_MAX):
            while (message := await self.sent.get())["type"] != "MutationResponse":
                pass
        return message

    async def receive(self) -> str:
        text = await self._incoming.get()
        if text is None:
            raise Disconnected
        return text

    async def send(self, text: bytes) -> None:
        self.sent.put_nowait(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        self._incoming.put_nowait(None)

    def leave(self) -> None:
        self._incoming.put_nowait(None)


@asynccontextmanager
async def two_servers(tmp_path: Path) -> AsyncIterator[list[Yugen]]:
    """Two nodes in this process, with worker processes of their own."""
    app = write_app(tmp_path, f=APP)
    async with AsyncExitStack() as running:
        board, mail, folder = shared(running, 2)
        first = Node(0, board, mail, folder)
        servers = [await running.enter_async_context(Yugen(app, node=first, limits=LIMITS))]
        second = Node(1, board, mail, folder, deployed=True, code=first.code)
        servers.append(await running.enter_async_context(Yugen(app, node=second, limits=LIMITS)))
        yield servers


async def test_what_a_client_sends_again_elsewhere_waits_for_what_still_runs(tmp_path: Path) -> None:
    """It would fail there, and its client be told so, and then take effect."""
    session = "8a6f2ac9-8a0e-4a43-90f7-4d1a4f6c0d4e"
    slow = {"text": "slow", "begun": str(tmp_path / "begun"), "go": str(tmp_path / "go")}
    async with two_servers(tmp_path) as (one, other), asyncio.TaskGroup() as tasks:
        older = Socket(session, 0)
        tasks.create_task(one.serve_socket(older))
        older.mutate(0, "f:slow", **slow)
        older.mutate(1, "f:add", text="next")
        async with asyncio.timeout(SECONDS_MAX):
            while not (tmp_path / "begun").exists():  # noqa: ASYNC110 -- another process makes it
                await asyncio.sleep(0.001)
        newer = Socket(session, 1)
        tasks.create_task(other.serve_socket(newer))
        newer.mutate(0, "f:slow", **slow)
        newer.mutate(1, "f:add", text="next")
        backend = await other.backend()
        await backend.runtime.mutate("f:add", b'{"text":"beside"}')  # others need not wait
        (tmp_path / "go").touch()
        assert await newer.response() | {"ts": 0, "logLines": []} == {
            "type": "MutationResponse", "requestId": 0, "success": True, "result": "slow", "ts": 0, "logLines": [],
        }  # fmt: skip
        assert (await newer.response())["result"] == 3
        newer.leave()
        answer = await backend.runtime.query("f:texts", b"{}")
        assert answer.value is not None
        assert json.loads(answer.value) == ["slow", "beside", "next"]  # as they began
