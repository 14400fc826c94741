"""Whole servers that are killed at a step of their disk, or whose disk is full or cannot sync."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from reliability import crash
from reliability.dying import FAILS, FILLS
from reliability.verify import verify
from reliability.zygote import Zygote
from yugen_client import AsyncClient, FunctionError

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODES = pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one", "two"])


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as made:
        yield made


def dying(zygote: Zygote, folder: Path, *options: str, **env: str) -> crash.DyingServer:
    app = folder / "app"
    app.mkdir()
    (app / "f.py").write_text(textwrap.dedent(crash.APP))
    server = crash.DyingServer(zygote, app, folder / "data", *options)
    server._env |= env
    return server


@NODES
async def test_a_server_killed_at_its_steps_loses_nothing(
    options: tuple[str, ...], zygote: Zygote, tmp_path: Path
) -> None:
    figures = await crash.servers(zygote, tmp_path, 1, 1, *options)
    assert figures["acknowledged"] > 0
    assert figures["scheduled mutations"] > 0


@NODES
async def test_a_full_disk_refuses_mutations_and_nothing_else(
    options: tuple[str, ...], zygote: Zygote, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    async with (
        dying(zygote, tmp_path, *options, **{FILLS: str(full)}) as server,
        AsyncClient(server.url) as client,
        AsyncClient(server.url) as other,
    ):
        shown = aiter(client.subscribe("f:total"))
        async with asyncio.timeout(60):
            assert await client.mutation("f:write", {"client": "a", "number": 1}) == 1
            while await anext(shown) != 1:
                pass
            full.touch()
            for each in (client, other):
                with pytest.raises(FunctionError, match="The disk of the server is full and nothing was written"):
                    await each.mutation("f:write", {"client": "a", "number": 2})
                assert await each.query("f:numbers", {"kind": "written", "client": "a"}) == [1]
            full.unlink()
            assert await other.mutation("f:write", {"client": "a", "number": 3}) == 3
            assert await anext(shown) == 2  # by the subscription of before
        await server.stop()
    assert verify(tmp_path / "data" / "data.sqlite3", whole_log=False).documents > 2


async def test_a_server_that_cannot_sync_ends_with_status_1_and_has_all_that_it_acknowledged(
    zygote: Zygote, tmp_path: Path
) -> None:
    async with dying(zygote, tmp_path, **{FAILS: "sync:-wal:40"}) as server:
        acknowledged = 0
        async with asyncio.timeout(60), AsyncClient(server.url, backoff=lambda _: 0.05) as client:

            async def write() -> None:
                nonlocal acknowledged
                while True:
                    await client.mutation("f:write", {"client": "a", "number": 5 * acknowledged + 1})
                    acknowledged += 1

            writing = asyncio.create_task(write())
            assert await server.ended() == 1
            writing.cancel()
            assert acknowledged > 0
            assert any("nothing can be committed any more" in line for line in server.lines)
            assert server.lines[-1] == "The server has ended because it could not write any more: see its log."
            del server._env[FAILS]
            await server.start()
            numbers = await client.query("f:numbers", {"kind": "written", "client": "a"})
            assert numbers == [5 * number + 1 for number in range(len(numbers))]
            assert len(numbers) - acknowledged in (0, 1)
        await server.stop()
