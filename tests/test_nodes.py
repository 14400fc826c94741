"""`yugen serve --workers`: real processes, sockets and kills. To clients, a server of several nodes is one server."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx2 as httpx
import pytest
import websockets

from reliability.checkers.serializability import anomalies
from reliability.serving import YUGEN, Process, Server, serving
from tests.apps import ENTRIES, write_app
from tests.company import company
from tests.runtime.test_serializability import LISTS, Lists, Step
from yugen import values
from yugen.runtime.outcome import Answer, Failure, MutationAnswer
from yugen.runtime.runtime import Runtime
from yugen_client import AsyncClient, FunctionError

NODES = 2
SECONDS_MAX = 60.0
DEATH = "another one takes its place"
"""What the supervisor says when a node ends that it has not told to."""

LISTENING = 16
"""Connections, of which the kernel gives none to a node once in thousands of runs."""


@asynccontextmanager
async def two_nodes(tmp_path: Path, **modules: str) -> AsyncIterator[Server]:
    app = write_app(tmp_path, **(modules or {"f": ENTRIES}))
    options = ("--workers", str(NODES))
    async with serving(app, tmp_path / "data", *options, development=False, expected_errors=[DEATH]) as server:
        yield server


async def kill_a_node(server: Server, dice: random.Random) -> None:
    """Kills one as `kill -9` does, and waits until another one serves in its place."""
    await end_node(server, dice.choice(server.children()), signal.SIGKILL)


async def end_node(server: Server, pid: int, number: signal.Signals) -> None:
    """Ends one by a signal, and waits until another one serves in its place."""
    seen = len(server.lines)
    os.kill(pid, number)
    await server.printed("serves again", since=seen)


class AnyClient:
    """What a runtime is asked, asked by any of several clients."""

    def __init__(self, clients: list[AsyncClient], seed: int) -> None:
        self._clients = clients
        self._dice = random.Random(seed)
        self._asking: defaultdict[tuple[AsyncClient, bytes], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def query(self, path: str, args: bytes) -> Answer:
        client = self._dice.choice(self._clients)
        # Who asks what the same client is asking already is given the same answer, to a question from before.
        async with self._asking[client, args]:
            return Answer(values.canonical(await client.query(path, json.loads(args))))

    async def mutate(self, path: str, args: bytes) -> MutationAnswer:
        try:
            result = await self._dice.choice(self._clients).mutation(path, json.loads(args))
        except FunctionError as error:
            return MutationAnswer(Answer(failure=Failure(str(error), detail="")), None)
        return MutationAnswer(Answer(values.canonical(result)), None)


class RemoteLists(Lists):
    """Clients of a server append to lists and read them."""

    async def _run_impatiently(self, name: str, steps: list[Step], fails: bool, patience: int, *, again: bool) -> None:
        await self._run(name, steps, fails)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kills", [0, 3])
async def test_clients_see_no_anomaly_whatever_node_they_come_to(kills: int, tmp_path: Path) -> None:
    dice = random.Random(kills)
    async with two_nodes(tmp_path, **LISTS) as server, AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(AsyncClient(server.url)) for _ in range(LISTENING)]
        lists = RemoteLists(cast("Runtime", AnyClient(clients, kills)))
        for part in range(kills + 1):
            work = [asyncio.create_task(lists.client(f"c{n}", 100 * part + n, 400 * (part + 1))) for n in range(12)]
            if part:
                await kill_a_node(server, dice)
            await asyncio.gather(*work)
        await lists.read_all()
    outcomes = Counter(transaction.outcome for transaction in lists.history)
    assert outcomes["committed"] > len(lists.history) / 2
    assert list(map(str, anomalies(lists.history)))[:10] == []


@pytest.mark.timeout(120)
async def test_acknowledged_mutations_survive_nodes_that_end_once_and_reach_all_who_listen(tmp_path: Path) -> None:
    dice = random.Random(1)
    async with (
        two_nodes(tmp_path) as server,
        company(server.url, writers=6, watchers=LISTENING) as clients,
    ):
        # Each is killed, and each is told to end, as all are in turn to be replaced.
        for number, node in ((signal.SIGKILL, 0), (signal.SIGTERM, 0), (signal.SIGTERM, 0), (signal.SIGKILL, 1)):
            await clients.more(dice.randint(20, 120))
            await end_node(server, server.children()[node], number)  # the longest there, or the newest


async def test_what_is_answered_over_http_is_never_older_than_what_was_acknowledged(tmp_path: Path) -> None:
    """Each request has a connection of its own, so that any node may get it."""
    async with two_nodes(tmp_path) as server:

        async def post(place: str, path: str, **args: object) -> object:
            async with httpx.AsyncClient() as client:
                answer = await client.post(f"{server.url}/api/{place}", json={"path": path, "args": args})
            return answer.json()["value"]

        for number in range(30):
            await post("mutation", "f:append", client="a", number=number)
            assert await post("query", "f:numbers", client="a") == list(range(number + 1))


async def test_when_a_node_dies_the_clients_of_others_stay_connected(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as server, AsyncExitStack() as opened:
        url = f"{server.url.replace('http', 'ws')}/api/sync"
        sockets = [await opened.enter_async_context(websockets.connect(url)) for _ in range(LISTENING)]
        await kill_a_node(server, random.Random(2))
        waiting = [asyncio.create_task(socket.recv()) for socket in sockets]
        async with asyncio.timeout(SECONDS_MAX):
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            alive = [await _answers(socket) for socket in sockets]
        assert True in alive
        assert False in alive
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def _answers(socket: websockets.ClientConnection) -> bool:
    try:
        await (await socket.ping())
    except websockets.ConnectionClosed:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_end_it_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as server:
        async with websockets.connect(f"{server.url.replace('http', 'ws')}/api/sync") as client:
            server._process.send_signal(number)
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            assert (client.close_code, client.close_reason) == (1001, "ServerShuttingDown")
        assert await server.ended() == 0
        assert len([line for line in server.lines if "is ready" in line]) == 1
        assert not [line for line in server.lines if "Traceback" in line]
    assert not (tmp_path / "data" / "data.sqlite3-wal").exists()


async def test_it_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    app = write_app(tmp_path, slow="import sys\nprint('loading', file=sys.stderr)\nimport time\ntime.sleep(0.5)\n")
    place = ("--port", "0", "--data", tmp_path / "data", "--workers", "2")
    async with Process(YUGEN, "serve", app, *place) as process:
        await process.printed("loading")
        process._process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert not [line for line in process.lines if "Traceback" in line]


async def test_nodes_end_with_their_supervisor(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as server:
        async with AsyncClient(server.url) as client:
            await client.mutation("f:append", {"client": "a", "number": 0})
        await server.kill()
        await server.start()
        async with AsyncClient(server.url) as client:
            assert await client.query("f:numbers", {"client": "a"}) == [0]


async def refused(*arguments: str | Path) -> str:
    """What a server that cannot start prints; it must end with status 1, and leave nothing behind."""
    async with Process(YUGEN, "serve", *arguments, "--workers", "2", "--host", "127.0.0.1") as process:
        assert await process.ended() == 1
        return "\n".join(process.lines)


async def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    app = write_app(tmp_path / "good", f=ENTRIES)
    broken = write_app(tmp_path / "broken", f="import nothing_of_that_name\n")
    assert "nothing_of_that_name" in await refused(broken, "--port", "0", "--data", tmp_path / "broken-data")
    assert "There is no folder" in await refused(tmp_path / "none", "--port", "0")
    async with two_nodes(tmp_path / "good") as server:
        port = str(server.port)
        assert "choose others" in await refused(app, "--port", port, "--data", tmp_path / "other")
        printed = await refused(app, "--port", "0", "--data", tmp_path / "good" / "data")
        assert f"in use by process {server._process.pid}" in printed


async def test_it_does_not_say_that_it_serves_when_a_node_dies_before_the_others_are_there(tmp_path: Path) -> None:
    app = write_app(
        tmp_path,
        killer="""
            import os, signal
            from pathlib import Path

            first = Path(__file__).with_name("first")
            if first.exists():
                os.kill(int(first.read_text()), signal.SIGKILL)
            else:
                first.write_text(str(os.getppid()))  # the node that has this loaded
        """,
    )
    assert "is ready" not in await refused(app, "--port", "0", "--data", tmp_path / "data")


async def test_a_node_that_is_told_to_end_before_it_is_one_ends(tmp_path: Path) -> None:
    app = write_app(tmp_path, f=ENTRIES)
    program = f"""if True:
        import os, signal, time
        from pathlib import Path
        from yugen.cli.main import main
        from yugen.cli.supervise import _Supervisor
        become = _Supervisor._become

        def become_when_told_to_end(*node):
            os.kill(os.getppid(), signal.SIGTERM)
            patience = time.monotonic() + 10
            while signal.SIGTERM not in signal.sigpending():
                if time.monotonic() > patience:
                    os._exit(3)
            become(*node)

        _Supervisor._become = become_when_told_to_end
        data = Path({str(tmp_path / "data")!r})
        main(["serve", {str(app)!r}, "--host", "127.0.0.1", "--port", "0", "--data", str(data), "--workers", "2"])
    """
    async with Process(sys.executable, "-c", program) as process:
        assert await process.ended() == 0, "\n".join(process.lines)


async def test_a_node_that_is_not_heard_of_is_replaced(tmp_path: Path) -> None:
    app = write_app(tmp_path, f=ENTRIES)
    program = f"""if True:
        from pathlib import Path
        from yugen.cli import supervise
        from yugen.cli.main import main
        supervise.SILENCE_SECONDS_MAX, supervise._BEAT_SECONDS = 3.0, 0.1
        data = Path({str(tmp_path / "data")!r})
        main(["serve", {str(app)!r}, "--host", "127.0.0.1", "--port", "0", "--data", str(data), "--workers", "2"])
    """
    async with Process(sys.executable, "-c", program) as process:
        await process.printed("is ready")
        os.kill(process.children()[0], signal.SIGSTOP)
        await process.printed("node 0 has not been heard of")
        await process.printed("node 0 serves again")
        process.interrupt()
        assert await process.ended() == 0, "\n".join(process.lines)


async def test_administrators_see_one_deployment(tmp_path: Path) -> None:
    """Each request has a connection of its own: uploads, exports, logs and reasons are found from any node."""
    async with two_nodes(tmp_path) as server:
        key = (tmp_path / "data" / "admin_key").read_text().strip()

        async def ask(method: str, place: str, **more: Any) -> Any:
            headers = {"Authorization": f"Convex {key}"}
            async with httpx.AsyncClient(timeout=SECONDS_MAX) as client:
                answer = await client.request(method, f"{server.url}/api/{place}", headers=headers, **more)
            assert answer.status_code == 200, answer.text
            return answer

        async def function(kind: str, path: str, **args: Any) -> Any:
            return (await ask("POST", kind, json={"path": path, "args": args})).json()["value"]

        async def until(state: str, path: str, **args: Any) -> Any:
            found = None
            async with asyncio.timeout(SECONDS_MAX):
                while not found or found["state"]["state"] != state:
                    found = await function("query", path, **args)
            return found

        # An upload, in parts that come to any node.
        lines = [json.dumps({"client": "imported", "number": n}) for n in range(8)]
        token = (await ask("POST", "import/start_upload")).json()["uploadToken"]
        params = {"uploadToken": token}
        parts = [
            (await ask("POST", "import/upload_part", params=params, content=f"{line}\n".encode())).json()
            for line in lines
        ]
        wanted = {"format": "jsonLines", "mode": "append", "tableName": "entries"}
        body = {"uploadToken": token, "partTokens": parts, "import": wanted}
        import_id = (await ask("POST", "import/finish_upload", json=body)).json()["importId"]
        await until("waiting_for_confirmation", "_system/cli/queryImport", importId=import_id)
        await ask("POST", "perform_import", json={"importId": import_id})
        await until("completed", "_system/cli/queryImport", importId=import_id)
        assert await function("query", "f:numbers", client="imported") == list(range(8))

        # The runs of all nodes, each once and in order.
        for number in range(20):
            await function("mutation", "f:append", client=f"logged {number}", number=number)
        entries: list[dict[str, Any]] = []
        cursor = 0.0
        while len([entry for entry in entries if entry["identifier"] == "f:append"]) < 20:
            answer = (await ask("GET", "stream_function_logs", params={"cursor": str(cursor)})).json()
            entries += answer["entries"]
            assert answer["newCursor"] >= cursor
            cursor = answer["newCursor"]
        assert len({entry["requestId"] for entry in entries}) == len(entries)
        assert [entry["timestamp"] for entry in entries] == sorted(entry["timestamp"] for entry in entries)

        # What made queries run again on any node.
        async with AsyncExitStack() as opened:
            clients = [await opened.enter_async_context(AsyncClient(server.url)) for _ in range(LISTENING)]
            watching = [aiter(client.subscribe("f:total")) for client in clients]
            for each in watching:
                await anext(each)
            await function("mutation", "f:append", client="a", number=1)
            for each in watching:
                await anext(each)
            reasons = (await ask("GET", "why", params={"function": "f:total"})).json()["occurrences"]
            assert len(reasons) == NODES, "one on each"

        # An export, made by the first node and sent by any.
        await ask("POST", "export/request/zip")
        export = None
        async with asyncio.timeout(SECONDS_MAX):
            while not export or export["state"] != "completed":
                export = await function("query", "_system/cli/exports:getLatest")
        for _ in range(6):
            assert (await ask("GET", f"export/zip/{int(export['start_ts'])}")).content[:2] == b"PK"


async def test_a_node_that_cannot_commit_any_more_is_replaced(tmp_path: Path) -> None:
    app = write_app(tmp_path, f=ENTRIES)
    program = f"""if True:
        from pathlib import Path
        from yugen.cli import supervise
        from yugen.cli.main import main
        from yugen.storage.sqlite_nodes import NodeWriter
        supervise._BEAT_SECONDS = 0.1
        def append(self, decide):
            self._stopped = "the disk has failed"
            self._check_not_stopped()
        kept = NodeWriter.append
        NodeWriter.append = lambda self, decide: (append if Path({str(tmp_path / "break")!r}).exists() else kept)(
            self, decide
        )
        data = Path({str(tmp_path / "data")!r})
        main(["serve", {str(app)!r}, "--host", "127.0.0.1", "--port", "0", "--data", str(data), "--workers", "2"])
    """
    async with Process(sys.executable, "-c", program) as process:
        ready = await process.printed(r"is ready at (\S+)")
        async with AsyncClient(ready[1]) as client:
            await client.mutation("f:append", {"client": "a", "number": 0})
            (tmp_path / "break").touch()
            acting = asyncio.create_task(client.mutation("f:append", {"client": "a", "number": 1}))
            await process.printed("cannot go on")
            (tmp_path / "break").unlink()
            await acting
            assert await client.query("f:numbers", {"client": "a"}) == [0, 1]
        await process.printed("serves again")
        process.interrupt()
        assert await process.ended() == 0, "\n".join(process.lines)
