"""Runs the README's programs against a server that knows their functions."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from scripted import Peer, scripted_server
from websockets.exceptions import ConnectionClosed

from yugen_client.messages import AddQuery, Authenticate, ModifyQuerySet, Mutation, MutationResponse, decode_client

PROGRAMS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text("utf-8"), re.DOTALL)


async def answer(peer: Peer) -> None:
    """A chat room where somebody always replies."""
    messages: list[Any] = []
    wanted: list[int] = []
    ts = 1
    async for text in peer.socket:
        ts += 1
        match decode_client(text):
            case Authenticate():
                await peer.send(peer.transition(identity=1))
            case ModifyQuerySet(modifications=modifications, new_version=version):
                added = [change.query_id for change in modifications if isinstance(change, AddQuery)]
                wanted += added
                await peer.send(peer.transition(dict.fromkeys(added, messages), query_set=version, ts=ts))
                messages.append("a reply")
                ts += 1
                await peer.send(peer.transition(dict.fromkeys(added, messages), ts=ts))
            case Mutation(request_id=request_id, args=({"body": ""},)):
                refusal = MutationResponse(
                    request_id=request_id, success=False, result="empty", error_data={"code": "empty"}
                )
                await peer.send(refusal, peer.transition())
            case Mutation(request_id=request_id, args=({"body": body},)):
                messages.append(body)
                await peer.send(MutationResponse(request_id=request_id, success=True, result=None, ts=ts))
                await peer.send(peer.transition(dict.fromkeys(wanted, messages), ts=ts))


@pytest.fixture
def url() -> Iterator[str]:
    started: Future[str] = Future()
    stop = threading.Event()

    async def main() -> None:
        async with scripted_server() as server:
            started.set_result(server.url)
            answering = asyncio.create_task(answer_all(server.peers))
            await asyncio.to_thread(stop.wait)
            answering.cancel()

    async def answer_all(peers: asyncio.Queue[Peer]) -> None:
        while True:
            peer = await peers.get()
            try:
                await answer(peer)
            except ConnectionClosed:
                continue

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    yield started.result()
    stop.set()
    thread.join()


NAMES = ["asyncio", "blocking", "errors", "group", "optimistic", "types", "auth"]


@pytest.mark.parametrize("program", PROGRAMS, ids=NAMES)
def test_program(program: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "http://localhost:3210" in program
    exec(compile(program.replace("http://localhost:3210", url), "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    assert printed
    if "FunctionError" in program:
        assert printed == "empty {'code': 'empty'}\n"
