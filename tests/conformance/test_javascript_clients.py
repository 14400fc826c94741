"""The official JavaScript client, unmodified, and Yugen's own, in Node against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from reliability.relay import Relay, relaying
from reliability.serving import Process, Server, serving
from tests.conformance.site import reports
from yugen_client import AsyncClient

HERE = Path(__file__).parent
APP = HERE / "app"
REQUEST_ID = r"\[Request ID: [0-9a-f]{16}\] Server Error\n"

pytestmark = pytest.mark.asyncio(loop_scope="module")
either_client = pytest.mark.parametrize("client", ["official", "own"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with serving(APP, tmp_path_factory.mktemp("data")) as server:
        yield server


def scenario(name: str, client: str, server: Server | Relay) -> Process:
    return Process("node", HERE / f"{name}.mjs", client, server.url, f"{name}-{client}")


async def play(name: str, client: str, server: Server) -> list[Any]:
    """Runs a scenario to its end and returns what it reports."""
    async with scenario(name, client, server) as node:
        assert await node.ended() == 0, "\n".join(node.lines)
    return reports(node)


@either_client
async def test_every_subscriber_sees_each_mutation(client: str, server: Server) -> None:
    seen = await play("updates", client, server)
    assert seen[:3] == [
        {"sent": "string", "own": ["one"]},
        {"sent": "string", "own": ["one", "two"]},
        {"sent": "string", "own": ["one", "two", "three"]},
    ]
    for report in seen[3:6]:
        lists = report["results"]
        assert lists[-1] == ["one", "two", "three"]
        assert all(len(before) < len(after) for before, after in pairwise(lists))
    assert seen[6:] == [{"other": [[]]}, {"query": ["one", "two", "three"]}]


@either_client
async def test_errors_reach_the_caller_with_their_data(client: str, server: Server) -> None:
    empty, crash, wrong, missing, silent, *subscription = await play("failures", client, server)
    assert empty["data"] == {"code": "empty", "limits": [1, 2000]}
    assert "Uncaught ValueError: the tea is cold" in crash["message"]
    assert crash["data"] is None
    assert "The argument `body` of messages:send must be a string, got the number 5." in wrong["message"]
    assert "Could not find public function for `messages:none`" in missing["message"]
    assert silent["data"] == {"code": "silent", "channel": f"failures-{client}"}
    assert subscription == [
        {"failed": {"code": "silent", "channel": f"failures-{client}"}},
        {"recovered": "hello"},
        {"kept": [["hello"]]},
    ]


@either_client
async def test_values_and_actions(client: str, server: Server) -> None:
    values, relayed = await play("values", client, server)
    assert "NaN, Infinity, -Infinity, -0" in values["sent"]
    assert values["came"] == [values["sent"]] * 3
    assert relayed == {"relayed": ["by an action"]}


@either_client
async def test_optimistic_updates_give_way_without_a_step_back(client: str, server: Server) -> None:
    (seen,) = await play("optimistic", client, server)
    results = seen["results"]
    assert results[:4] == [
        [],
        ["one, perhaps"],
        ["one, perhaps", "two, perhaps"],
        ["one, perhaps", "two, perhaps", "three, perhaps"],
    ]
    # From then on all three stay, and each turns from perhaps to certain, once.
    settled = [[not body.endswith(", perhaps") for body in bodies] for bodies in results[3:]]
    assert settled == sorted(settled)
    assert results[-1] == ["one", "two", "three"]
    assert {len(bodies) for bodies in results[3:]} == {3}


async def test_official_http_client(server: Server) -> None:
    *answers, empty, crash, missing = await play("http", "official", server)
    assert answers == [
        {"sent": "string"},
        {"relayed": ["one", "two"]},
        {"query": ["one", "two"]},
        {"echoed": "[1, 5n, bytes 0102, NaN]"},
    ]
    assert empty["data"] == {"code": "empty", "limits": [1, 2000]}
    assert "Uncaught ValueError: the tea is cold" in crash["message"]
    assert "Could not find public function" in missing["message"]


@either_client
async def test_kill_during_a_stream_of_mutations(client: str, tmp_path: Path) -> None:
    async with serving(APP, tmp_path) as server, scenario("reconnect", client, server) as node:
        await node.printed('"acknowledged":50')
        await server.kill()
        await server.start()
        assert await node.ended() == 0, "\n".join(node.lines)

    *stream, backwards, end = reports(node)
    acknowledged = [report["acknowledged"] for report in stream]
    everything = [str(number) for number in range(len(acknowledged))]
    assert sorted(acknowledged) == list(range(len(everything)))
    assert backwards == {"backwards": False}
    assert end == {"final": everything, "newcomer": everything}


@either_client
async def test_mutations_whose_answers_are_lost_run_once(client: str, server: Server) -> None:
    channel, everything = f"lost-{client}", ["first", "one", "two", "three"]
    async with (
        relaying(server.port) as relay,
        scenario("lost", client, relay) as node,
        AsyncClient(server.url) as direct,
    ):
        await node.printed('"ready":true')
        relay.lose_answers()
        await direct.mutation("messages:send", {"channel": f"{channel} go", "body": "go"})
        async for bodies in direct.subscribe("messages:list", {"channel": channel}):
            if len(bodies) == 4:
                break
        assert reports(node) == [{"ready": True}]
        relay.cut()
        assert await node.ended() == 0, "\n".join(node.lines)
        assert await direct.query("messages:list", {"channel": channel}) == everything
    _, *acknowledged, end = reports(node)
    assert acknowledged == [{"acknowledged": body} for body in everything[1:]]
    assert end == {"list": everything, "connections": 2}
