from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.apps import write_app
from tests.server.peers import NOTES
from tests.serving import YUGEN, Process, Server, serving


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(write_app(tmp_path, notes=NOTES), tmp_path / "data") as made:
        yield made


async def run(server: Server | str, *arguments: str) -> tuple[int, str]:
    """The exit status of `yugen run`, and what it prints."""
    url = server if isinstance(server, str) else server.url
    async with Process(YUGEN, "run", *arguments, "--url", url) as process:
        status = await process.ended()
        return status, "\n".join(process.lines)


async def test_results_are_printed_as_json(server: Server) -> None:
    assert await run(server, "notes:add", '{"book": "a", "text": "é"}') == (0, "null")
    assert await run(server, "notes:texts", '{"book": "a"}') == (0, '[\n  "é"\n]')
    assert await run(server, "notes:count", '{"book": "a"}') == (0, "1")
    assert await run(server, "notes:post", '{"book": "a", "text": "x"}') == (0, "2")


async def test_values_beyond_json_are_printed_as_they_are_given(server: Server) -> None:
    status, text = await run(server, "notes:odd")
    assert status == 0
    assert json.loads(text) == {
        "big": {"$integer": "KgAAAAAAAAA="},
        "raw": {"$bytes": "AAE="},
        "not": {"$float": "AAAAAAAA+H8="},
        "whole": 3,
    }
    assert '"whole": 3\n' in text


async def test_failures_are_told_with_status_1(server: Server) -> None:
    status, text = await run(server, "notes:crash")
    assert status == 1
    assert text.startswith("[LOG] 'about to'\n[Request ID: ")
    assert "the tea is cold" in text
    status, text = await run(server, "notes:refuse", '{"book": "a"}')
    assert status == 1
    assert json.loads(text[text.index("\n{") :]) == {"code": "full", "book": "a"}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["notes:nothing"], "notes:nothing"),
        (["notes:count", "{}"], "book"),
        (["../notes?x#y:count"], "Could not find"),
        (["notes:count", "{"], "not JSON"),
        (["notes:count", "[1]"], "one JSON object"),
        (["notes:count", "NaN"], "one JSON object"),
    ],
)
async def test_mistakes_are_told_in_a_sentence(server: Server, arguments: list[str], part: str) -> None:
    status, text = await run(server, *arguments)
    assert status == 1
    assert part in text
    assert "Traceback" not in text


@pytest.mark.parametrize("arguments", [["notes:count"], ["notes:count", "--watch"]])
async def test_without_a_server(arguments: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    status, text = await run(url, *arguments)
    assert status == 1
    assert text == f"There is no server at {url}; start one with `yugen dev`, or name another with --url."


@pytest.mark.parametrize("url", ["ftp://example.org", "nonsense", "http://", "http://[", "http://127.0.0.1:99999999"])
@pytest.mark.parametrize("arguments", [["notes:count"], ["notes:count", "--watch"]])
async def test_an_address_of_nothing(url: str, arguments: list[str]) -> None:
    status, text = await run(url, *arguments)
    assert status == 1
    assert len(text.splitlines()) == 1
    assert "--url" in text


async def test_a_server_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>hello</p>")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    async with Process(*command) as other:
        url = (await other.printed(r"(http://127\.0\.0\.1:\d+)/"))[1]
        status, text = await run(url, "notes:count")
    assert status == 1
    assert "not a Yugen server" in text


@asynccontextmanager
async def watching(server: Server, *arguments: str) -> AsyncIterator[Process]:
    async with Process(YUGEN, "run", *arguments, "--watch", "--url", server.url) as process:
        yield process


async def test_watching_prints_each_result_until_interrupted(server: Server) -> None:
    async with watching(server, "notes:texts", '{"book": "a"}') as watch:
        await watch.printed(r"^\[\]$")
        await run(server, "notes:add", '{"book": "a", "text": "é"}')
        await watch.printed('^  "é"$')
        watch._process.send_signal(signal.SIGINT)
        assert await watch.ended() == 130
        assert watch.lines == ["[]", "[", '  "é"', "]"]


async def test_watching_goes_on_over_a_restart(server: Server) -> None:
    async with watching(server, "notes:count", '{"book": "a"}') as watch:
        await watch.printed("^0$")
        await server.stop()
        await server.start()
        await run(server, "notes:add", '{"book": "a", "text": "x"}')
        await watch.printed("^1$")


async def test_watching_tells_of_failures_and_goes_on(server: Server) -> None:
    async with watching(server, "notes:nothing") as watch:
        await watch.printed("FunctionNotFound")
        assert watch.running


async def test_a_reader_may_have_enough(server: Server) -> None:
    shell = f"'{YUGEN}' run notes:count '{{\"book\": \"a\"}}' --watch --url {server.url} | head -n 1"
    async with Process("bash", "-c", shell) as watch:
        await watch.printed("^0$")
        await run(server, "notes:add", '{"book": "a", "text": "x"}')
        assert await watch.ended() == 0
        assert watch.lines == ["0"]
