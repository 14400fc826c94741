"""The action's side of a request, over a wire that the test holds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from yugen.functions.http import http_action
from yugen.functions.routing import Route
from yugen.runtime.budget import LimitExceeded
from yugen.runtime.exchange import LAST, LEFT, MORE, Begun, Head, What
from yugen.runtime.responding import PART_SIZE_MAX, Exchange, respond

MIB = 1024 * 1024


class Line:
    """The server's side: gives the parts of a body that the test adds, and keeps what it is sent."""

    def __init__(self) -> None:
        self.parts: deque[bytes] = deque()
        self.more = asyncio.Event()
        self.left = asyncio.Event()
        self.sent: list[tuple[What, bytes]] = []
        self.asked: list[What] = []

    def add(self, part: bytes) -> None:
        self.parts.append(part)
        self.more.set()

    async def __call__(self, what: What, data: bytes) -> bytes:
        self.asked.append(what)
        match what:
            case "receive":
                while not self.parts:
                    self.more.clear()
                    await self.more.wait()
                return self.parts.popleft()
            case "left":
                await self.left.wait()
                return LEFT
            case _:
                self.sent.append((what, data))
                return LEFT if self.left.is_set() else b""


def head(method: str = "GET", *, body: bytes = b"", complete: bool = True, path: str = "/a") -> Head:
    route = Route(
        "GET" if method == "HEAD" else method, "/files/" if path.startswith("/files/") else path, "files" in path
    )
    return Head(route, method, path, path.encode(), "", b"", (), "http", "1.1", None, None, body, complete, None)


def exchange(line: Line, request: Head, *, response_bytes: int = MIB) -> Exchange:
    return Exchange(request, line, response_bytes=response_bytes)


async def answered(line: Line, request: Head, response: Response, *, response_bytes: int = MIB) -> bytes:
    @http_action
    async def answer(ctx: Any, request: Any) -> Response:
        return response

    ctx: Any = None
    return await respond(answer, ctx, exchange(line, request, response_bytes=response_bytes))


async def test_a_small_response_goes_with_the_answer() -> None:
    line = Line()
    begun = Begun.unpack(await answered(line, head(), PlainTextResponse("hi", 201)))
    assert (begun.status, begun.body) == (201, b"hi")
    assert (b"content-length", b"2") in begun.headers
    assert line.asked == []


async def test_a_large_one_goes_in_parts_each_when_the_one_before_was_taken() -> None:
    line = Line()
    body = bytes(range(256)) * (MIB // 256)
    rest = await answered(line, head(), Response(body[:-1]))
    sizes = [len(Begun.unpack(data).body if what == "begin" else data) for what, data in line.sent]
    assert max(sizes) == PART_SIZE_MAX
    (_, first), *others = line.sent
    assert b"".join([Begun.unpack(first).body, *(data for _, data in others), rest]) == body[:-1]


async def test_a_response_beyond_its_limit_is_refused_before_anything_is_sent() -> None:
    for response in (Response(bytes(11)), Response(headers={"content-length": "11"})):
        line = Line()
        with pytest.raises(LimitExceeded, match=r"answers a request with more than 10 bytes.*`http_response_bytes`"):
            await answered(line, head(), response, response_bytes=10)
        assert line.sent == []


async def test_a_stream_beyond_its_limit_is_broken_off() -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(5)

    line = Line()
    with pytest.raises(LimitExceeded):
        await answered(line, head(), StreamingResponse(parts()), response_bytes=10)
    assert len(line.sent) == 2


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (Response(headers={"x": "a\r\nset-cookie: b=c"}), "a header b'x' that cannot be sent"),
        (Response(headers={"x y": "a"}), "a header b'x y' that cannot be sent"),
        (Response(status_code=700), "the status 700; there are those from 200 to 599"),
        (Response(status_code=101), "the status 101"),
    ],
)
async def test_what_would_pass_for_something_else_is_not_sent(response: Response, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        await answered(Line(), head(), response)


async def test_parts_of_a_body_are_asked_for_as_they_are_read() -> None:
    line = Line()
    ours = exchange(line, head("POST", body=b"one", complete=False))
    assert await ours.receive() == {"type": "http.request", "body": b"one", "more_body": True}
    line.add(MORE + b"two")
    line.add(LAST + b"three")
    assert line.asked == []
    assert (await ours.receive())["body"] == b"two"
    assert line.asked == ["receive"]
    assert await ours.receive() == {"type": "http.request", "body": b"three", "more_body": False}
    ours.close()


async def test_whoever_stops_waiting_loses_nothing_of_the_body() -> None:
    line = Line()
    ours = exchange(line, head("POST", complete=False))
    await ours.receive()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ours.receive(), 0)
    receiving = asyncio.create_task(ours.receive())
    line.add(LAST + b"all")
    assert (await receiving)["body"] == b"all"
    assert line.asked == ["receive"]
    ours.close()


async def test_a_client_that_leaves_cancels_its_stream_and_not_the_action() -> None:
    line, cleaned, done = Line(), asyncio.Event(), asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            line.left.set()
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    @http_action
    async def answer(ctx: Any, request: Any) -> Response:
        assert not await request.is_disconnected()
        done.set()
        return StreamingResponse(parts())

    ctx: Any = None
    assert await respond(answer, ctx, exchange(line, head())) == b""
    assert done.is_set()
    assert cleaned.is_set()


async def test_an_action_sees_that_its_client_has_left_without_reading_the_body() -> None:
    line = Line()

    @http_action
    async def answer(ctx: Any, request: Any) -> Response:
        assert not await request.is_disconnected()
        line.left.set()
        assert (await request.receive())["body"] == b"kept"
        await request.receive()
        assert await request.is_disconnected()
        return Response()

    ctx: Any = None
    assert await respond(answer, ctx, exchange(line, head("POST", body=b"kept"))) == b""


async def test_sending_to_a_client_that_has_left_is_no_failure() -> None:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"more"

    line = Line()
    line.left.set()
    assert await answered(line, head(), StreamingResponse(parts())) == b""


async def test_head_has_the_headers_and_ends_a_stream_that_would_not_end() -> None:
    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b"more"
            await asyncio.sleep(0)

    for response in (PlainTextResponse("four"), StreamingResponse(forever(), headers={"x": "y"})):
        line = Line()
        begun = Begun.unpack(await answered(line, head("HEAD"), response))
        assert (begun.status, begun.body, line.sent) == (200, b"", [])
        assert {(b"content-length", b"4"), (b"x", b"y")} & set(begun.headers)


async def test_what_goes_on_in_the_background_does_not_hold_up_the_response() -> None:
    line = Line()

    async def later() -> None:
        (_, first), (last, _) = line.sent
        assert (Begun.unpack(first).body, last) == (b"hi", "end")

    assert await answered(line, head(), PlainTextResponse("hi", background=BackgroundTask(later))) == b""
    assert [what for what, _ in line.sent] == ["begin", "end"]


async def test_the_rest_of_the_path_is_a_parameter() -> None:
    assert exchange(Line(), head(path="/files/a/b.txt")).scope["path_params"] == {"path": "a/b.txt"}
    assert exchange(Line(), head(path="/a")).scope["path_params"] == {}


async def test_a_response_that_does_not_end_is_a_failure() -> None:
    class Half(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})

    with pytest.raises(ValueError, match="ended before it was complete"):
        await answered(Line(), head(), Half())
