"""The protocol class, between a transport that takes down what happens to it and an app that does what a test says."""

from __future__ import annotations

import asyncio
import gc
import logging
import struct
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from tests.server.peers import SECONDS_MAX, LoopTime, until_blocked
from yugen.server.unread import Unread
from yugen.server.websocket import CLOSE_SECONDS_MAX, WebSocketProtocol

FIN_TEXT, TEXT, FIN_CLOSE, FIN_PING, FIN_PONG = 0x81, 0x01, 0x88, 0x89, 0x8A
PING_SECONDS, PONG_SECONDS = 20, 15

REQUEST = {
    "Host": "yugen",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def sent(head: int, payload: bytes = b"") -> bytes:
    """A small frame of a client."""
    return bytes((head, 0x80 | len(payload))) + b"\0\0\0\0" + payload


def closing(code: int, reason: str = "") -> bytes:
    """A close frame of the server."""
    return bytes((FIN_CLOSE, 2 + len(reason))) + struct.pack("!H", code) + reason.encode()


class Wire(asyncio.Transport):
    """Takes down what is written; each write stands for one system call."""

    def __init__(self) -> None:
        super().__init__({"peername": ["1.2.3.4", 5], "sockname": ["6.7.8.9", 10]})
        self.writes: list[bytes] = []
        self.unread = 0
        self._reading = True
        self._closed = False
        self._aborted = False

    def write(self, data: Any) -> None:
        assert not self._closed, "written after the end"
        self.writes.append(bytes(data) if type(data) is not bytes else data)

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        assert self._reading
        self._reading = False

    def resume_reading(self) -> None:
        assert not self._reading
        self._reading = True

    def is_reading(self) -> bool:
        return self._reading

    def was_aborted(self) -> bool:
        return self._aborted

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def abort(self) -> None:
        self._closed = self._aborted = True


class Peer:
    """A connection of an app, as its client sees it. The app has accepted it unless `app` says otherwise."""

    def __init__(
        self,
        app: Callable[..., Awaitable[None]] | None = None,
        headers: Mapping[str, str] | None = None,
        unread: Unread | None = None,
    ) -> None:
        self.scope: Scope = {}
        self.receive: Receive
        self.send: Send
        self.leave = asyncio.Event()
        config = uvicorn.Config(
            app or self._app,
            log_config=None,
            lifespan="off",
            interface="asgi3",
            ws_max_size=1000,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PONG_SECONDS,
        )
        config.load()
        self.server = ServerState()
        self.protocol = WebSocketProtocol(config, self.server, {"of the lifespan": 1}, unread=unread)
        self.wire = Wire()
        self.protocol.connection_made(self.wire)
        lines = [f"{name}: {value}\r\n" for name, value in {**REQUEST, **(headers or {})}.items()]
        self.protocol.data_received(f"GET /a%20b?c=d HTTP/1.1\r\n{''.join(lines)}\r\n".encode())

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept"})
        await self.leave.wait()

    async def open(self) -> Peer:
        await until_blocked()
        [answer] = self.written()
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
        return self

    def written(self) -> list[bytes]:
        """What was written since this was last asked."""
        written, self.wire.writes = self.wire.writes, []
        return written

    def say(self, *frames: bytes) -> None:
        self.protocol.data_received(b"".join(frames))

    async def text(self, text: str) -> None:
        await self.send({"type": "websocket.send", "text": text})

    async def finish(self) -> None:
        """Nothing may be left behind."""
        self.leave.set()
        self.protocol.connection_lost(None)
        async with asyncio.timeout(SECONDS_MAX):
            await asyncio.gather(*self.server.tasks)
        await until_blocked()
        assert not self.server.tasks
        assert not self.server.connections


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = await Peer().open()
    yield made
    await made.finish()


async def test_the_app_hears_who_asks_for_what(peer: Peer) -> None:
    headers = dict(peer.scope["headers"])
    assert headers[b"sec-websocket-version"] == b"13"
    assert (peer.scope["path"], peer.scope["raw_path"], peer.scope["query_string"]) == ("/a b", b"/a%20b", b"c=d")
    assert (peer.scope["client"], peer.scope["server"]) == (("1.2.3.4", 5), ("6.7.8.9", 10))
    assert (peer.scope["scheme"], peer.scope["state"]) == ("ws", {"of the lifespan": 1})


async def test_the_app_chooses_a_subprotocol_and_sets_headers() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["subprotocols"] == ["a", "b"]
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-a", b"1"), (b"x-a", b"2")]})
        await receive()

    peer = Peer(app, {"Sec-WebSocket-Protocol": "a, b", "Sec-WebSocket-Extensions": "permessage-deflate"})
    await until_blocked()
    [answer] = peer.written()
    assert b"\r\nSec-WebSocket-Protocol: b\r\n" in answer
    assert b"\r\nx-a: 1\r\nx-a: 2\r\n" in answer
    assert b"deflate" not in answer
    await peer.finish()


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Sec-WebSocket-Version", "12", 400),
        ("Sec-WebSocket-Key", "short", 400),
        ("Connection", "close", 426),
        ("Cookie", "x" * 10_000, 431),
    ],
)
async def test_what_is_no_handshake_is_refused(header: str, value: str, status: int) -> None:
    peer = Peer(headers={header: value})
    [answer] = peer.written()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert peer.wire.is_closing()
    await peer.finish()


async def test_the_app_refuses() -> None:
    ends: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})
        ends.append(await receive())

    peer = Peer(app)
    await until_blocked()
    [answer] = peer.written()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert peer.wire.is_closing()
    assert ends == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    await peer.finish()


@pytest.mark.parametrize("fails", [False, True])
async def test_an_app_that_answers_nothing(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if fails:
            raise ValueError("the tea is cold")

    peer = Peer(app)
    await until_blocked()
    [answer] = peer.written()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert ("the tea is cold" in caplog.text) is fails
    await peer.finish()


async def test_who_speaks_before_the_answer_is_cut_off() -> None:
    held = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await held.wait()
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.accept"})

    peer = Peer(app)
    await until_blocked()
    peer.say(sent(FIN_TEXT, b"hello"))
    assert peer.wire.was_aborted()
    held.set()
    await peer.finish()


async def test_messages_both_ways(peer: Peer) -> None:
    peer.say(sent(FIN_TEXT, "é".encode()), sent(0x82, b"\x00"), sent(TEXT, b"a"), sent(0x80, b"b"))
    assert await peer.receive() == {"type": "websocket.receive", "text": "é"}
    assert await peer.receive() == {"type": "websocket.receive", "bytes": b"\x00"}
    assert await peer.receive() == {"type": "websocket.receive", "text": "ab"}
    await peer.text("é")
    await peer.send({"type": "websocket.send", "bytes": b"\x00"})
    await until_blocked()
    assert b"".join(peer.written()) == b"\x81\x02\xc3\xa9" + b"\x82\x01\x00"


async def test_receiving_waits_and_may_be_given_up(peer: Peer) -> None:
    waiting = asyncio.ensure_future(peer.receive())
    await until_blocked()
    waiting.cancel()
    await asyncio.wait([waiting])
    waiting = asyncio.ensure_future(peer.receive())
    await until_blocked()
    peer.say(sent(FIN_TEXT, b"a"))
    peer.say(sent(FIN_TEXT, b"b"))
    assert (await waiting)["text"] == "a"
    assert (await peer.receive())["text"] == "b"


async def test_sending_does_not_suspend_while_there_is_room(peer: Peer) -> None:
    for _ in range(3):
        with pytest.raises(StopIteration):
            peer.send({"type": "websocket.send", "text": "a"}).__await__().send(None)
    assert peer.written() == [b"\x81\x01a"] * 3


async def test_one_text_to_many_is_one_frame(peer: Peer) -> None:
    other = await Peer().open()
    text = "".join(["a", "b"])
    await peer.text(text)
    await other.text(text)
    assert peer.written()[0] is other.written()[0]
    await other.finish()


async def test_the_answers_of_one_turn_are_one_write(peer: Peer) -> None:
    peer.say(sent(FIN_TEXT, b"?"))
    await peer.text("a")
    await peer.text("b")
    assert peer.written() == []
    await asyncio.sleep(0)
    assert peer.written() == [b"\x81\x01a\x81\x01b"]
    await peer.text("c")
    assert peer.written() == [b"\x81\x01c"]


async def test_a_great_deal_is_written_at_once(peer: Peer) -> None:
    peer.say(sent(FIN_TEXT, b"?"))
    await peer.text("a")
    await peer.text("x" * 10_000)
    await peer.text("b")
    written = peer.written()
    assert [len(write) for write in written] == [3 + 10_004, 3]
    peer.say(sent(FIN_TEXT, b"?"))
    for _ in range(40):
        await peer.text("a")
    assert len(peer.written()) > 1
    await asyncio.sleep(0)
    assert peer.written() == []


async def test_reading_pauses_when_more_comes_than_the_app_takes(peer: Peer) -> None:
    peer.say(sent(FIN_TEXT, b"a"))
    assert peer.wire.is_reading()
    peer.say(sent(FIN_TEXT, b"b"))
    assert not peer.wire.is_reading()
    peer.say(sent(FIN_TEXT, b"c"))  # what the loop had read by then
    for text in "abc":
        assert not peer.wire.is_reading()
        assert (await peer.receive())["text"] == text
    assert peer.wire.is_reading()


async def test_sending_waits_for_a_client_that_does_not_read(peer: Peer) -> None:
    peer.protocol.pause_writing()
    sending = [asyncio.create_task(peer.text(text)) for text in "abc"]
    await until_blocked()
    assert peer.written() == []
    sending[0].cancel()
    await until_blocked()
    assert not sending[1].done()
    peer.protocol.resume_writing()
    await asyncio.wait(sending)
    assert b"".join(peer.written()) == b"\x81\x01b\x81\x01c"


async def test_who_is_gone_is_not_waited_for(peer: Peer) -> None:
    peer.protocol.pause_writing()
    sending = asyncio.create_task(peer.text("a"))
    await until_blocked()
    peer.protocol.connection_lost(OSError("reset"))
    with pytest.raises(ClientDisconnected):
        await sending
    for _ in range(2):
        assert await peer.receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


async def test_what_the_transport_holds_for_who_does_not_read_is_counted() -> None:
    unread = Unread(1000)
    reads, leaves, goes = peers = [Peer(unread=unread) for _ in range(3)]
    for peer, size in zip(peers, (300, 200, 100), strict=True):
        peer.wire.unread = size
        peer.protocol.pause_writing()
    assert unread.bytes == 600
    reads.protocol.resume_writing()
    leaves.protocol.connection_lost(OSError("reset"))
    goes.protocol.resume_writing()
    goes.protocol.connection_lost(None)
    assert unread.bytes == 0


async def test_who_leaves_more_unread_than_there_is_room_for_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    unread = Unread(1000)
    peer = await Peer(unread=unread).open()
    peer.wire.unread = 501
    peer.protocol.pause_writing()
    sending = asyncio.create_task(peer.text("a"))
    await until_blocked()
    assert peer.wire.was_aborted()
    assert "reads too slowly" in caplog.text
    peer.protocol.connection_lost(None)
    with pytest.raises(ClientDisconnected):
        await sending
    assert (unread.bytes, unread.refused) == (0, 1)


async def test_half_a_connection_is_none(peer: Peer) -> None:
    peer.say(sent(FIN_TEXT, b"a"))
    peer.protocol.eof_received()
    assert (await peer.receive())["text"] == "a"
    assert (await peer.receive())["type"] == "websocket.disconnect"
    assert peer.wire.is_closing()
    with pytest.raises(ClientDisconnected):
        await peer.text("a")


async def test_pings_are_answered(peer: Peer) -> None:
    peer.say(sent(FIN_PING, b"1"), sent(FIN_PONG, b"unasked"), sent(FIN_PING, b"2"))
    assert peer.written() == [b"\x8a\x011", b"\x8a\x012"]


async def test_pings_of_who_reads_nothing_are_not_answered(peer: Peer) -> None:
    peer.protocol.pause_writing()
    peer.say(sent(FIN_PING, b"1"))
    assert peer.written() == []


async def test_a_client_is_pinged_as_long_as_it_answers(peer: Peer) -> None:
    time = LoopTime()
    for _ in range(3):
        time.forward(PING_SECONDS + 1)
        await until_blocked()
        [ping] = peer.written()
        assert ping[:2] == bytes((FIN_PING, 4))
        peer.say(sent(FIN_PONG, b"else"), sent(FIN_PONG, ping[2:]))
        time.forward(PONG_SECONDS + 1)
        await until_blocked()
        assert peer.written() == []
    time.forward(PING_SECONDS)
    await until_blocked()
    assert len(peer.written()) == 1
    time.forward(PONG_SECONDS + 1)
    await until_blocked()
    assert peer.written() == [closing(1011, "no pong")]
    assert peer.wire.is_closing()
    assert (await peer.receive())["code"] == 1011


async def test_a_client_that_is_not_read_is_not_blamed_for_it(peer: Peer) -> None:
    peer.say(sent(FIN_TEXT, b"a"))
    peer.say(sent(FIN_TEXT, b"b"))
    time = LoopTime()
    for _ in range(3):
        time.forward(PING_SECONDS + 1)
        await until_blocked()
        assert [write[:1] for write in peer.written()] == [bytes((FIN_PING,))]
        time.forward(PONG_SECONDS + 1)
        await until_blocked()
    assert not peer.wire.is_closing()


async def test_the_client_closes(peer: Peer) -> None:
    peer.say(sent(FIN_TEXT, b"a"), sent(FIN_CLOSE, b"\x03\xe9bye"), sent(FIN_TEXT, b"after"))
    assert peer.written() == [closing(1001, "bye")]
    assert peer.wire.is_closing()
    assert (await peer.receive())["text"] == "a"
    assert await peer.receive() == {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}
    with pytest.raises(ClientDisconnected):
        await peer.text("a")
    peer.say(b"whatever")


async def test_the_client_closes_without_a_code(peer: Peer) -> None:
    peer.say(sent(FIN_CLOSE))
    assert peer.written() == [bytes((FIN_CLOSE, 0))]
    assert (await peer.receive())["code"] == 1005


async def test_what_was_sent_goes_out_before_the_close(peer: Peer) -> None:
    peer.say(sent(FIN_TEXT, b"a"))
    await peer.text("b")
    peer.say(sent(FIN_CLOSE, b"\x03\xe8"))
    assert peer.written() == [b"\x81\x01b" + closing(1000)]
    assert peer.wire.is_closing()


async def test_the_app_closes(peer: Peer) -> None:
    peer.say(sent(FIN_TEXT, b"a"))
    peer.say(sent(FIN_TEXT, b"b"))
    await peer.text("c")
    await peer.send({"type": "websocket.close", "code": 1008, "reason": "NotJson"})
    await until_blocked()
    assert peer.written() == [b"\x81\x01c" + closing(1008, "NotJson")]
    assert peer.wire.is_reading()
    assert not peer.wire.is_closing()
    with pytest.raises(RuntimeError, match=r"websocket\.send"):
        await peer.text("d")
    peer.say(sent(FIN_TEXT, b"not heard any more"))
    assert peer.wire.is_reading()
    peer.say(sent(FIN_CLOSE, b"\x03\xf0"))
    assert peer.wire.is_closing()
    assert peer.written() == []
    assert [(await peer.receive()).get("text") for _ in range(3)] == ["a", "b", None]
    assert (await peer.receive())["code"] == 1008


async def test_a_close_is_not_waited_for_for_ever(peer: Peer) -> None:
    await peer.send({"type": "websocket.close"})
    peer.leave.set()
    await until_blocked()
    assert peer.written() == [closing(1000)]
    assert not peer.wire.was_aborted()
    LoopTime().forward(CLOSE_SECONDS_MAX + 1)
    await until_blocked()
    assert peer.wire.was_aborted()


async def test_a_pong_does_not_put_off_the_end(peer: Peer) -> None:
    time = LoopTime()
    time.forward(PING_SECONDS + 1)
    await until_blocked()
    [ping] = peer.written()
    await peer.send({"type": "websocket.close"})
    peer.say(sent(FIN_PONG, ping[2:]))
    time.forward(CLOSE_SECONDS_MAX + 1)
    await until_blocked()
    assert peer.wire.was_aborted()


async def test_an_app_that_leaves_takes_the_connection_along(peer: Peer) -> None:
    peer.leave.set()
    await until_blocked()
    assert peer.wire.is_closing()
    assert peer.written() == []
    assert not peer.wire.was_aborted()
    LoopTime().forward(CLOSE_SECONDS_MAX + 1)
    await until_blocked()
    assert peer.wire.was_aborted()


async def test_an_app_that_fails_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        raise ValueError("the tea is cold")

    peer = Peer(app)
    await until_blocked()
    assert peer.written()[1:] == [closing(1011)]
    assert "the tea is cold" in caplog.text
    await peer.finish()


@pytest.mark.parametrize(
    ("frame", "code"),
    [(b"\x81\x01a", 1002), (sent(FIN_TEXT, b"\xff"), 1007), (b"\x81\xfe\xff\xff\0\0\0\0", 1009), (sent(0xC1), 1002)],
)
async def test_a_violation_ends_the_connection(peer: Peer, frame: bytes, code: int) -> None:
    peer.say(sent(FIN_TEXT, b"a"), frame)
    [close] = peer.written()
    assert close[0] == FIN_CLOSE
    assert struct.unpack("!H", close[2:4]) == (code,)
    assert peer.wire.is_closing()
    assert (await peer.receive())["text"] == "a"
    assert (await peer.receive())["code"] == code


async def test_the_server_leaves(peer: Peer) -> None:
    peer.protocol.shutdown()
    assert peer.written() == [closing(1012)]
    assert peer.wire.is_closing()
    assert (await peer.receive())["code"] == 1012


async def test_the_server_leaves_before_the_answer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "websocket.disconnect"

    peer = Peer(app)
    await until_blocked()
    peer.protocol.shutdown()
    [answer] = peer.written()
    assert answer.startswith(b"HTTP/1.1 503 ")
    await peer.finish()


async def test_messages_that_make_no_sense(peer: Peer) -> None:
    for kind in ("websocket.accept", "websocket.http.response.start", "http.response.start"):
        with pytest.raises(RuntimeError, match="cannot be sent"):
            await peer.send({"type": kind})


async def test_a_connection_that_has_ended_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    peer = await Peer().open()
    wire = weakref.ref(peer.wire)
    await peer.finish()
    del peer
    gc.collect()
    assert wire() is None
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
