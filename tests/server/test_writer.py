from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tests.server.peers import SECONDS_MAX, LoopTime, until_blocked
from yugen.server.unread import Unread
from yugen.server.writer import SEND_SECONDS_MAX, NothingRead, TooMuchUnread, Writer
from yugen.sync.session import Close

BYE = Close(1001, "Bye")


class Slow:
    """A sink that takes in nothing while it is stopped, and takes a few turns to notice that it is not."""

    def __init__(self) -> None:
        self.taken: list[bytes | Close] = []
        self.flows = asyncio.Event()
        self.flows.set()
        self.one_by_one = False
        self.error: Exception | None = None
        self.heard: list[BaseException | None] = []
        self.spoke = asyncio.Event()
        self.unread = Unread(10)
        self.writer = Writer(self, lambda: self._hear(None), self._hear, self.unread)

    def lags(self) -> bool:
        return self.writer.lags

    async def send(self, text: bytes) -> None:
        await self._take(text)

    async def close(self, code: int, reason: str) -> None:
        await self._take(Close(code, reason))

    def _hear(self, error: BaseException | None) -> None:
        self.heard.append(error)
        self.spoke.set()

    async def _take(self, what: bytes | Close) -> None:
        if not self.flows.is_set():
            await self.flows.wait()
            await asyncio.sleep(0)  # a bare yield, as of a server that polls
        if self.error is not None:
            raise self.error
        self.taken.append(what)
        if self.one_by_one:
            self.flows.clear()


async def test_what_a_client_reads_at_once_is_written_at_once() -> None:
    sink = Slow()
    sink.writer.write([b"a", b"b"])
    sink.writer.write([], BYE)
    assert sink.taken == [b"a", b"b", BYE]
    assert not sink.lags()
    await until_blocked()
    assert sink.heard == []


@pytest.mark.parametrize("read_at_once", [0, 1, 2])
async def test_what_a_client_does_not_read_is_written_when_it_does(read_at_once: int) -> None:
    sink = Slow()
    sink.writer.write([b"x"] * read_at_once)
    sink.flows.clear()
    sink.writer.write([b"a", b"b", b"c"], BYE)
    await until_blocked()
    assert sink.lags()
    assert sink.taken == [b"x"] * read_at_once
    sink.flows.set()
    await until_blocked()
    assert not sink.lags()
    assert sink.taken == [*[b"x"] * read_at_once, b"a", b"b", b"c", BYE]
    assert sink.heard == [None]


async def test_a_close_may_have_to_wait_too() -> None:
    sink = Slow()
    sink.flows.clear()
    sink.writer.write([], BYE)
    assert sink.lags()
    sink.flows.set()
    await until_blocked()
    assert sink.taken == [BYE]
    assert sink.heard == [None]


async def test_an_error_is_raised_or_told_and_nothing_is_written_after_it() -> None:
    sink = Slow()
    sink.error = ConnectionError("gone")
    with pytest.raises(ConnectionError, match="gone"):
        sink.writer.write([b"a", b"b"])
    sink.flows.clear()
    sink.writer.write([b"a", b"b"], BYE)
    sink.flows.set()
    await until_blocked()
    assert sink.taken == []
    assert sink.heard == [sink.error]
    assert sink.lags()


async def test_who_reads_nothing_is_given_up() -> None:
    sink = Slow()
    time = LoopTime()
    sink.flows.clear()
    sink.writer.write([b"a", b"b"])
    await until_blocked()
    time.forward(SEND_SECONDS_MAX + 1)
    async with asyncio.timeout(SECONDS_MAX):
        await sink.spoke.wait()
    [error] = sink.heard
    assert isinstance(error, NothingRead)


@pytest.mark.parametrize("begun", [False, True])
async def test_what_is_stopped_writes_nothing_and_says_nothing(begun: bool) -> None:
    sink = Slow()
    sink.flows.clear()
    sink.writer.write([b"a", b"b"])
    if begun:
        await until_blocked()
    sink.writer.stop()
    sink.flows.set()
    await until_blocked()
    assert sink.taken == []
    assert sink.heard == []


@pytest.mark.parametrize("ending", ["read", "failed", "stopped", "stopped at once"])
async def test_what_waits_is_counted_until_it_waits_no_more(ending: str) -> None:
    sink = Slow()
    sink.writer.write([b"xx"])
    sink.flows.clear()
    sink.writer.write([b"aa", b"bbb"], BYE)
    assert sink.unread.bytes == 5
    if ending != "stopped at once":
        await until_blocked()
    if ending == "failed":
        sink.error = ConnectionError("gone")
    if ending.startswith("stopped"):
        sink.writer.stop()
    else:
        sink.flows.set()
    await until_blocked()
    assert sink.unread.bytes == 0


class Part:
    """A message of one byte, by what is known before it is made."""

    def __init__(self, made: Callable[[], None]) -> None:
        self._made = made

    def __len__(self) -> int:
        return 1

    def __bytes__(self) -> bytes:
        self._made()
        return b"<part>"


async def test_others_have_their_turn_between_messages_that_are_made_late() -> None:
    sink = Slow()
    turns: list[str] = []
    parts: list[Any] = [Part(lambda: turns.append("made")) for _ in range(3)]
    sink.writer.write(parts, BYE)
    while sink.lags():
        turns.append("another's")
        await asyncio.sleep(0)
    assert sink.taken == [b"<part>"] * 3 + [BYE]
    assert "made made" not in " ".join(turns)
    assert (turns.count("made"), sink.unread.bytes, sink.heard) == (3, 0, [None])


async def test_the_last_message_is_sent_at_once_however_late_it_is_made() -> None:
    sink = Slow()
    parts: list[Any] = [b"a", Part(lambda: None)]
    sink.unread.bytes_max = 0  # nothing may wait
    sink.writer.write(parts, BYE)
    assert not sink.lags()
    assert sink.taken == [b"a", b"<part>", BYE]


async def test_what_was_sent_is_not_too_much_to_wait_but_what_follows_may_be() -> None:
    sink = Slow()
    parts: list[Any] = [Part(lambda: None) for _ in range(6)]
    with pytest.raises(TooMuchUnread):
        sink.writer.write(parts)
    assert sink.taken == [b"<part>"]
    assert (sink.unread.bytes, sink.unread.refused) == (0, 1)


async def test_each_message_is_made_when_it_is_sent_and_held_no_longer() -> None:
    made: list[int] = []
    sink = Slow()
    parts: list[Any] = [Part(lambda: made.append(len(sink.taken))) for _ in range(4)]
    held = weakref.WeakSet(parts)
    sink.one_by_one = True
    sink.flows.clear()
    sink.writer.write(parts)
    parts.clear()
    for number in range(4):
        assert (made, sink.unread.bytes, len(held)) == ([*range(number + 1)], 4 - number, 4 - number)
        sink.flows.set()
        await until_blocked()
    assert sink.taken == [b"<part>"] * 4
    assert (sink.unread.bytes, len(held)) == (0, 0)


async def test_what_there_is_no_room_for_does_not_wait() -> None:
    sink = Slow()
    sink.writer.write([b"any amount, as it is read"])
    sink.flows.clear()
    with pytest.raises(TooMuchUnread):
        sink.writer.write([b"aaa", b"bbb"])
    assert not sink.lags()
    sink.flows.set()
    await until_blocked()
    assert sink.taken == [b"any amount, as it is read"]
    assert (sink.unread.bytes, sink.unread.refused) == (0, 1)
