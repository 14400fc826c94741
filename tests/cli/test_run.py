from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from reliability.serving import YUGEN, Process, Server, serving
from tests.apps import write_app
from tests.cli.calling import call, call_there, done, done_there
from tests.cli.chat import write_chat
from tests.server.peers import NOTES

FULL = """
    from yugen import Int64, YugenError, query


    @query
    async def f(ctx) -> None:
        raise YugenError({"code": "full", "seats": Int64(7)})
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(write_app(tmp_path, notes=NOTES, full=FULL), tmp_path / "data") as made:
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
    ("arguments", "status", "part"),
    [
        (["notes:nothing"], 1, "notes:nothing"),
        (["notes:count", "{}"], 1, "book"),
        (["../notes?x#y:count"], 1, "Could not find"),
        (["notes:count", "{"], 2, "not JSON"),
        (["notes:count", "[1]"], 2, "one JSON object"),
        (["notes:count", "NaN"], 2, "one JSON object"),
        (["notes:count", "--identity", "ada"], 2, "An identity is not JSON"),
    ],
)
async def test_mistakes_are_told_in_a_sentence(server: Server, arguments: list[str], status: int, part: str) -> None:
    ended, text = await run(server, *arguments)
    assert ended == status
    assert part in text
    assert "Traceback" not in text


@pytest.mark.parametrize("arguments", [["notes:count"], ["notes:count", "--watch"]])
async def test_without_a_server(arguments: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    status, text = await run(url, *arguments)
    assert status == 3
    assert text == f"There is no server at {url}; start one with `yugen dev`, or name another with --url."


@pytest.mark.parametrize("url", ["ftp://example.org", "nonsense", "http://", "http://[", "http://127.0.0.1:99999999"])
@pytest.mark.parametrize("arguments", [["notes:count"], ["notes:count", "--watch"]])
async def test_an_address_of_nothing(url: str, arguments: list[str]) -> None:
    status, text = await run(url, *arguments)
    assert status == 2
    assert len(text.splitlines()) == 1
    assert "--url" in text


async def test_a_server_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>hello</p>")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    async with Process(*command) as other:
        url = (await other.printed(r"(http://127\.0\.0\.1:\d+)/"))[1]
        status, text = await run(url, "notes:count")
    assert status == 3
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
        assert watch.lines == ["0", "1"]


async def test_watching_leaves_a_server_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no key is
    monkeypatch.setattr("yugen_client.connection.INACTIVITY_SECONDS", 0.1)
    connections = 0

    async def end_the_second_one(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        if connections > 1:
            await socket.send(json.dumps({"type": "FatalError", "error": "enough"}))
        await socket.wait_closed()

    def version(socket: ServerConnection, request: Request) -> Response | None:
        return socket.respond(200, "1.0.0\n") if request.path == "/version" else None

    async with asyncio.timeout(60), serve(end_the_second_one, "127.0.0.1", 0, process_request=version) as silent:
        port = silent.sockets[0].getsockname()[1]
        called = await call_there("run", "a:b", "--watch", "--url", f"http://127.0.0.1:{port}")
    assert (called.status, called.err) == (1, "enough\n")
    assert connections == 2


async def test_watching_tells_of_failures_and_goes_on(server: Server) -> None:
    async with watching(server, "notes:nothing") as watch:
        await watch.printed("FunctionNotFound")
        assert watch.running
    async with watching(server, "full:f") as watch:
        await watch.printed('^{"code": "full", "seats": {"[$]integer": "BwAAAAAAAAA="}}$')
        assert watch.running


async def test_a_reader_may_have_enough(server: Server) -> None:
    shell = f"'{YUGEN}' run notes:count '{{\"book\": \"a\"}}' --watch --url {server.url} | head -n 1"
    async with Process("bash", "-c", shell) as watch:
        await watch.printed("^0$")
        await run(server, "notes:add", '{"book": "a", "text": "x"}')
        assert await watch.ended() == 0
        assert watch.lines == ["0"]


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(write_chat(tmp_path), tmp_path / "data") as made:
        yield made


async def test_with_the_admin_key_one_is_whoever_one_says(chat: Server, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    assert await run(chat, "messages:hidden", *data) == (0, '"nothing"')
    status, text = await run(chat, "messages:hidden")
    assert (status, "Could not find" in text) == (1, True)
    assert await run(chat, "messages:whoami", *data) == (0, "null")
    for identity, shown in [
        ('{"name": "Ada"}', "Ada https://yugen.test|Ada"),
        ('{"name": "Ada", "subject": "1", "issuer": "x"}', "Ada x|1"),
        ('{"tokenIdentifier": "x|1"}', "None x|1"),
    ]:
        assert await run(chat, "messages:whoami", "--identity", identity, *data) == (0, json.dumps(shown))
    assert (await run(chat, "messages:whoami", "--identity", "{}"))[0] == 3
    status, text = await run(chat, "messages:whoami", "--identity", "{}", "--admin-key", "x")
    assert (status, "not the one of this deployment" in text) == (3, True)


async def test_watching_as_somebody(chat: Server, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    async with watching(chat, "messages:whoami", "--identity", '{"name": "Ada"}', "--json", *data) as watch:
        await watch.printed('^"Ada https://yugen.test.Ada"$')
    async with watching(chat, "messages:hidden", *data) as watch:
        await watch.printed('^"nothing"$')
        await done_there("env", "set", "GREETING", "hello", "--url", chat.url, *data)
        await watch.printed('^"hello"$')
    for who in (["--identity", "{}"], []):
        status, text = await run(chat, "messages:whoami", "--watch", *who, "--admin-key", "x")
        assert (status, "not the one of this deployment" in text) == (3, True)
    status, text = await run(chat, "messages:list", '{"a": {"$integer": "x"}}', "--watch")
    assert (status, "at .a: $integer" in text) == (2, True)


async def test_a_key_of_another_deployment_that_lies_here_is_in_nobodys_way(chat: Server, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    (folder / ".yugen").mkdir(parents=True)
    (folder / ".yugen" / "admin_key").write_text("yugen|other\n")
    for more in ("--json", "--watch"):
        async with Process(YUGEN, "run", "messages:list", "--url", chat.url, more, cwd=folder) as process:
            await process.printed(r"^\[\]$")


async def test_each_result_on_a_line(chat: Server) -> None:
    await run(chat, "messages:send", '{"author": "Ada", "body": "é"}')
    assert await run(chat, "messages:list", "--json") == (0, '["é"]')
    status, text = await run(chat, "messages:refuse", "--json")
    assert (status, text.splitlines()[-1]) == (1, '{"code":"full"}')


async def test_pushing_has_the_server_take_up_the_present_code(tmp_path: Path) -> None:
    async with serving(write_chat(tmp_path), tmp_path / "data", expected_errors=["Not reloaded"]) as chat:
        await push(chat, tmp_path)


async def push(chat: Server, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    write_app(tmp_path, late="from yugen import query\n\n@query\nasync def f(ctx) -> int:\n    return 7\n")
    assert await run(chat, "late:f", "--push", *data) == (0, "7")
    write_app(tmp_path, late="from yugen import query\n\nx = 1 / 0\n")
    status, text = await run(chat, "late:f", "--push", *data)
    assert status == 1
    assert "was not taken up" in text
    assert "late.py:3: ZeroDivisionError" in text
    assert await run(chat, "late:f") == (0, "7")


async def test_a_server_in_production_keeps_its_code(tmp_path: Path) -> None:
    async with serving(write_chat(tmp_path), tmp_path / "data", development=False) as server:
        status, text = await run(server, "messages:list", "--push", "--data", str(tmp_path / "data"))
        assert (status, "restart it" in text) == (1, True)


def test_without_a_server_it_opens_the_data(tmp_path: Path) -> None:
    here = ("--data", tmp_path / "data", "--app", write_chat(tmp_path))
    called = done("run", "messages:send", '{"author": "Ada", "body": "hi"}', *here)
    assert len(called.json[0]) == 32
    assert called.err == "[LOG] 'sending hi'\n"
    assert done("run", "messages:list", "--push", "--json", *here).json == [["hi"]]
    assert done("run", "messages:hidden", "--json", *here).json == ["nothing"]
    assert done(
        "run", "messages:shout", '{"kind": "loud", "count": {"$integer": "AQAAAAAAAAA="}}', "--json", *here
    ).json == ["LOUD"]
    assert done("run", "messages:whoami", "--identity", '{"email": "a@x"}', "--json", *here).json == [
        "None https://yugen.test|a@x"
    ]
    called = call("run", "messages:refuse", *here)
    assert (called.status, '"code": "full"' in called.err) == (1, True)
