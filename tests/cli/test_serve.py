from __future__ import annotations

import json
import resource
import signal
import socket
import sys
from pathlib import Path

import httpx2 as httpx
import pytest
import websockets

from reliability.serving import YUGEN, Process, Server, serving
from tests.apps import ENTRIES, write_app
from tests.server.peers import NOTES
from yugen_client import AsyncClient

pytestmark = pytest.mark.usefixtures("started_as_people_do")

COUNT = {"path": "notes:count", "args": {"book": "a"}}
CRASH = {"path": "notes:crash", "args": {}}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path, notes=NOTES)


async def post(server: Server, place: str, body: object) -> dict[str, object]:
    async with httpx.AsyncClient() as client:
        answer: dict[str, object] = (await client.post(f"{server.url}/api/{place}", json=body)).json()
    return answer


async def refused(*arguments: str | Path) -> list[str]:
    """What a server that cannot start prints; it must end with status 1, and leave nothing behind."""
    async with Process(YUGEN, *arguments) as process:
        assert await process.ended() == 1
        return process.lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("development", [True, False])
async def test_signals_end_it_cleanly(app: Path, tmp_path: Path, number: signal.Signals, development: bool) -> None:
    async with serving(app, tmp_path / "data", development=development) as server:
        async with websockets.connect(f"{server.url.replace('http', 'ws')}/api/sync") as client:
            server._process.send_signal(number)
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            assert (client.close_code, client.close_reason) == (1001, "ServerShuttingDown")
        assert await server.ended() == 0
        assert not [line for line in server.lines if "Traceback" in line]


@pytest.mark.parametrize("command", ["serve", "dev"])
async def test_it_can_be_stopped_while_it_starts(tmp_path: Path, command: str) -> None:
    app = write_app(tmp_path, slow="import sys\nprint('loading', file=sys.stderr)\nimport time\ntime.sleep(0.5)\n")
    async with Process(YUGEN, command, app, "--port", "0", "--data", tmp_path / "data") as process:
        await process.printed("loading")
        process._process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert not [line for line in process.lines if "Traceback" in line]


async def test_the_admin_key_stays_in_its_file(app: Path, tmp_path: Path) -> None:
    async with serving(app, tmp_path / "data") as server:
        file = tmp_path / "data" / "admin_key"
        await server.printed(str(file))
        assert file.read_text().strip() not in "\n".join(server.lines)


async def test_development_logs_are_for_people(app: Path, tmp_path: Path) -> None:
    async with serving(app, tmp_path / "data") as server:
        await post(server, "query", COUNT)
        await server.printed(r"^\d\d:\d\d:\d\d INFO     query notes:count ran in [0-9.]+ ms, read 0 documents; called$")
        answer = await post(server, "mutation", CRASH)
        assert "the tea is cold" in str(answer["errorMessage"])
        failed = await server.printed(
            r"^\d\d:\d\d:\d\d WARNING  mutation notes:crash failed in [0-9.]+ ms, read 0 documents$"
        )
        below = server.lines[server.lines.index(failed.string) + 1 :]
        assert below[:2] == ["    [LOG] 'about to'", "    Traceback (most recent call last):"]
        assert below[2].endswith(", in crash")
        assert below[3:5] == ['        raise ValueError("the tea is cold")', "    ValueError: the tea is cold"]
        assert not [line for line in server.lines if "yugen/runtime" in line]


async def test_production_logs_are_for_machines(app: Path, tmp_path: Path) -> None:
    async with serving(app, tmp_path / "data", development=False) as server:
        answer = await post(server, "mutation", CRASH)
        assert "tea" not in str(answer)
        assert "logLines" not in answer
        found = await server.printed('"function": "notes:crash"')
        line = json.loads(found.string)
        assert line["level"] == "warning"
        assert line["lines"] == ["[LOG] 'about to'"]
        assert line["request_id"] in str(answer["errorMessage"])


async def test_saving_reloads_and_clients_come_back(app: Path, tmp_path: Path) -> None:
    async with (
        serving(app, tmp_path / "data", expected_errors=["Not reloaded"]) as server,
        AsyncClient(server.url) as client,
    ):
        counts = client.subscribe("notes:count", {"book": "a"})
        assert await anext(counts) == 0

        write_app(tmp_path, notes=NOTES.replace("return len(", "return 100 + len("))
        await server.printed("Reloaded")
        assert await anext(counts) == 100

        since = len(server.lines)
        write_app(tmp_path, notes="import yugen\n\ndef broken(:\n")
        await server.printed("Not reloaded: .*notes.py", since=since)
        assert "3" in "".join(server.lines[since:])
        await client.mutation("notes:add", {"book": "a", "text": "x"})
        assert await anext(counts) == 101

        since = len(server.lines)
        write_app(tmp_path, notes=NOTES)
        await server.printed("Reloaded", since=since)
        assert await anext(counts) == 1


@pytest.mark.parametrize("given", [None, "https://yugen.example"])
async def test_the_address_for_clients_is_where_it_listens_or_what_it_is_told(
    app: Path, tmp_path: Path, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given:
        monkeypatch.setenv("YUGEN_URL", given)
    async with serving(app, tmp_path / "data") as server, httpx.AsyncClient() as client:
        key = (tmp_path / "data" / "admin_key").read_text().strip()
        call = {"path": "_system/cli/convexUrl:cloudUrl", "args": {}}
        headers = {"Authorization": f"Convex {key}"}
        answer = (await client.post(f"{server.url}/api/function", json=call, headers=headers)).json()
        assert answer == {"status": "success", "value": given or server.url}


async def test_a_port_that_is_taken(app: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        [line] = await refused("dev", app, "--port", str(port), "--data", tmp_path / "data")
    assert f"127.0.0.1:{port}" in line
    assert "--port" in line


async def test_a_host_that_is_not_here(app: Path) -> None:
    [line] = await refused("serve", app, "--host", "192.0.2.1")
    assert "192.0.2.1:3210" in line


async def test_an_app_that_is_not_there(tmp_path: Path) -> None:
    [line] = await refused("serve", tmp_path / "nowhere", "--port", "0")
    assert str(tmp_path / "nowhere") in line


async def test_an_app_that_does_not_load(tmp_path: Path) -> None:
    lines = await refused("serve", write_app(tmp_path, notes="import yugen\nx = 1 / 0\n"), "--port", "0")
    assert "notes.py" in "\n".join(lines)
    assert "division by zero" in "\n".join(lines)


@pytest.mark.parametrize("command", ["serve", "dev"])
async def test_data_that_is_in_use(app: Path, tmp_path: Path, command: str) -> None:
    async with serving(app, tmp_path / "data") as server:
        [line] = await refused(command, app, "--port", "0", "--data", tmp_path / "data")
        assert str(tmp_path / "data") in line
        assert (await post(server, "query", COUNT))["value"] == 0


async def test_a_stock_uvicorn_serves_it_too(app: Path, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(f"from yugen import Yugen\n\napp = Yugen({str(app)!r}).asgi()\n")
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(tmp_path), "--port", "0", "shop:app"]
    async with Process(*command) as process:
        running = await process.printed(r"running on (http://127.0.0.1:\d+)")
        async with AsyncClient(running[1]) as client:
            counts = client.subscribe("notes:count", {"book": "a"})
            assert await anext(counts) == 0
            await client.mutation("notes:add", {"book": "a", "text": "x"})
            assert await anext(counts) == 1
        process._process.send_signal(signal.SIGINT)
        await process.ended()
        assert not [line for line in process.lines if "Traceback" in line]


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one node", "two nodes"])
async def test_what_describes_the_functions_can_be_left_out(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    async def statuses(server: Server) -> list[int]:
        async with httpx.AsyncClient() as client:
            return [(await client.get(f"{server.url}{path}")).status_code for path in ("/openapi.json", "/docs")]

    async with serving(app, tmp_path / "data", *options, development=False) as server:
        assert await statuses(server) == [200, 200]
    monkeypatch.setenv("YUGEN_DOCS", "0")
    async with serving(app, tmp_path / "data", *options, development=False) as server:
        assert await statuses(server) == [404, 404]


@pytest.mark.parametrize(
    ("development", "options"),
    [(True, ()), (False, ()), (False, ("--workers", "2"))],
    ids=["dev", "one node", "two nodes"],
)
async def test_its_address_is_noted_while_it_serves(
    app: Path, tmp_path: Path, development: bool, options: tuple[str, ...]
) -> None:
    noted = tmp_path / "data" / "address"
    async with serving(app, tmp_path / "data", *options, development=development) as server:
        assert noted.read_text() == f"{server.url}\n"
        await server.stop()
        assert not noted.exists()


async def test_it_may_have_as_many_files_open_as_the_system_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 512), hard))
    try:
        async with serving(write_app(tmp_path, entries=ENTRIES), tmp_path / "data", development=False) as server:
            assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
