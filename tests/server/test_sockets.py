"""Sockets have a number, and who has most of them is the first who gets no more."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
import websockets

from tests.apps import write_app
from tests.server.peers import SECONDS_MAX
from yugen.server import listen
from yugen.server import sockets as module
from yugen.server.limits import ServerLimits
from yugen.server.listen import Server, _HttpProtocol
from yugen.server.rounds import Rounds
from yugen.server.sockets import FILES_KEPT, SHARE_MIN, Sockets
from yugen.server.yugen import Yugen


def sockets(limits: ServerLimits, *, files: int = 1 << 20) -> Sockets:
    return Sockets(limits, files_max=files, clock=lambda: 0.0)


def test_an_address_has_so_many() -> None:
    counted = sockets(ServerLimits(sockets=100, address_sockets=3))
    assert [counted.enter("9.9.9.9") for _ in range(4)] == [None, None, None, "address"]
    assert counted.enter("1.1.1.1") is None
    counted.leave("9.9.9.9")
    assert [counted.enter("::ffff:9.9.9.9"), counted.enter("9.9.9.9")] == [None, "address"]
    assert len(counted) == 4
    assert counted.refused == {"address": 2, "all": 0, "handshakes": 0}


def test_there_are_so_many_in_all() -> None:
    counted = sockets(ServerLimits(sockets=4, address_sockets=3))
    assert [counted.enter(address) for address in ("1.1.1.1", None, "127.0.0.1", "1.1.1.1", "8.8.8.8", None)] == [
        *[None] * 4,
        *["all"] * 2,
    ]
    for address in ("1.1.1.1", None, "127.0.0.1", "1.1.1.1"):
        counted.leave(address)
    assert len(counted) == 0
    assert not counted._held


def test_where_it_is_crowded_who_has_most_gets_no_more() -> None:
    counted = sockets(ServerLimits(sockets=1000, address_sockets=900))
    entered = sum(counted.enter("9.9.9.9") is None for _ in range(1000))
    assert entered == 900  # nobody else is there
    assert counted.enter("1.1.1.1") is None
    counted.leave("9.9.9.9")
    assert counted.enter("9.9.9.9") == "address"  # it has more than half
    assert [counted.enter("1.1.1.1") for _ in range(98)] == [None] * 98


def test_whoever_has_few_gets_some_however_many_there_are() -> None:
    counted = sockets(ServerLimits(sockets=1000, address_sockets=900))
    for number in range(800):
        assert counted.enter(f"8.{number // 200}.{number % 200}.8") is None
    assert sum(counted.enter("9.9.9.9") is None for _ in range(100)) == SHARE_MIN


def test_addresses_of_ones_own_are_not_counted_for_themselves() -> None:
    counted = sockets(ServerLimits(sockets=100, address_sockets=1))
    assert [counted.enter("10.0.0.5") for _ in range(50)] == [None] * 50


def test_there_are_no_more_than_the_system_allows() -> None:
    assert sockets(ServerLimits(), files=FILES_KEPT + 5).most == 5
    assert sockets(ServerLimits(), files=resource.RLIM_INFINITY).most == ServerLimits().sockets


def test_it_is_said_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    counted = sockets(ServerLimits(sockets=100, address_sockets=1))
    for _ in range(5):
        counted.enter("9.9.9.9")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "1 sockets are open, of 100 at most; 9.9.9.9 is refused more"
    ]


@asynccontextmanager
async def serving(folder: Path, proxies: str = "", **limits: float) -> AsyncIterator[tuple[Yugen, str]]:
    import socket  # noqa: PLC0415 -- a name that is taken above

    async with Yugen(write_app(folder, notes=""), limits=limits) as yugen:
        yugen.sockets._is_counted = lambda host: True
        ready = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0))
        server = Server(yugen, ready.set, proxies=proxies)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        await ready.wait()
        yield yugen, f"127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        async with asyncio.timeout(SECONDS_MAX):
            await running


async def connected(host: str, **headers: str) -> websockets.ClientConnection:
    return await websockets.connect(f"ws://{host}/api/sync", additional_headers=headers, ping_interval=None)


async def test_one_more_is_told_why_whatever_it_asks(tmp_path: Path) -> None:
    async with serving(tmp_path, address_sockets=2) as (yugen, host), AsyncExitStack() as stack:
        first = await connected(host)
        silent = await asyncio.open_connection(*host.split(":"))
        with pytest.raises(websockets.InvalidStatus) as refused:
            await connected(host)
        assert refused.value.response.status_code == 429
        assert b"`address_sockets`" in refused.value.response.body
        client = await stack.enter_async_context(httpx.AsyncClient())
        answer = await client.post(f"http://{host}/api/query", content=b"x" * 1_000_000)
        assert (answer.status_code, answer.json()["code"]) == (429, "TooManySockets")
        assert yugen.sockets.refused == {"address": 2, "all": 0, "handshakes": 0}
        # When one goes, another one comes.
        await first.close()
        async with asyncio.timeout(SECONDS_MAX):
            while len(yugen.sockets) > 1:  # noqa: ASYNC110 -- the server notices in its own time
                await asyncio.sleep(0)
        second = await connected(host)
        await second.close()
        silent[1].close()


async def test_when_all_are_taken_that_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path, sockets=1) as (yugen, host):
        first = await connected(host)
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://{host}/version")
        assert (answer.status_code, answer.json()["code"]) == (503, "TooManySockets")
        # Of those that are told, there are not many at once.
        monkeypatch.setattr(module, "LINGERING_MAX", 0)
        reader, writer = await asyncio.open_connection(*host.split(":"))
        async with asyncio.timeout(SECONDS_MAX):
            assert await _all_of(reader) == b""
        writer.close()
        await first.close()
    assert len(yugen.sockets) == 0


async def test_handshakes_wait_in_order_and_not_too_many_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for each in (listen, module):
        monkeypatch.setattr(each, "HANDSHAKES_WAITING_MAX", 2)
    async with serving(tmp_path) as (yugen, host):
        with held_up(yugen.handshakes) as due:
            first, second = (asyncio.create_task(connected(host)) for _ in range(2))
            await until(lambda: due.waiting == 2)
            reader, writer = await asking(host)
            async with asyncio.timeout(SECONDS_MAX):
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")  # up to the end, which the server makes
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 5" in head
            assert b"wait to be taken up already" in body
            writer.close()
            assert yugen.sockets.refused == {"address": 0, "all": 0, "handshakes": 1}
            await until(lambda: len(yugen.sockets) == 2)
            # Who asks over HTTP does not stand in that line.
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"http://{host}/version")).status_code == 200
            assert not first.done()
        for socket in (await first, await second):
            await socket.close()
    assert len(yugen.sockets) == 0
    assert "2 new connections wait for their handshake; more are refused" in caplog.text


async def test_whoever_goes_or_speaks_before_its_handshake_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_up: list[object] = []
    async with serving(tmp_path) as (yugen, host):
        with held_up(yugen.handshakes) as due:
            for number, more in enumerate((b"", b"more"), 1):
                reader, writer = await asking(host)
                await until(lambda number=number: due.waiting == number)  # type: ignore[misc]
                if more:
                    writer.write(more)
                    async with asyncio.timeout(SECONDS_MAX):
                        assert await _all_of(reader) == b""
                writer.close()
                await until(lambda: len(yugen.sockets) == 0)
            with monkeypatch.context() as meanwhile:
                meanwhile.setattr(_HttpProtocol, "_upgrade", lambda protocol: taken_up.append(protocol))  # noqa: PLW0108
                due._serve(asyncio.get_running_loop())
        assert (due.waiting, taken_up) == (0, [])


async def asking(host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """One that has asked for a WebSocket."""
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(
        b"GET /api/sync HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return reader, writer


@contextmanager
def held_up(handshakes: Rounds) -> Iterator[Rounds]:
    """Has handshakes wait while the block lasts."""
    come, handshakes._come = handshakes._come, lambda loop: None  # type: ignore[method-assign]
    yield handshakes
    handshakes._come = come  # type: ignore[method-assign]
    handshakes._come(asyncio.get_running_loop())


async def until(holds: Callable[[], bool]) -> None:
    """Waits for what the server notices in its own time."""
    async with asyncio.timeout(SECONDS_MAX):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_whoever_says_nothing_and_stays_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.0)
    async with serving(tmp_path, sockets=1) as (_, host):
        first = await connected(host)
        reader, writer = await asyncio.open_connection(*host.split(":"))
        async with asyncio.timeout(SECONDS_MAX):
            await _all_of(reader)
        writer.close()
        await first.close()


async def test_behind_a_proxy_it_is_the_address_of_the_client(tmp_path: Path) -> None:
    async with serving(tmp_path, proxies="127.0.0.1", address_sockets=1) as (yugen, host):
        first = await connected(host, **{"X-Forwarded-For": "9.9.9.9"})
        other = await connected(host, **{"X-Forwarded-For": "1.1.1.1"})
        second = await connected(host, **{"X-Forwarded-For": "9.9.9.9"})
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await second.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "TooManyConcurrentRequests:address")
        await first.close()
        await other.close()
    assert len(yugen.sockets) == 0
    assert not yugen.sockets._held
