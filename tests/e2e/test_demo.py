"""`make demo`: what a stranger runs first."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path
from urllib.request import urlopen

import pytest

from reliability.serving import ROOT, Process


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the demo needs of a checkout that is set up; the data of the real one is left alone."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/demo", tmp_path / "scripts")
    shutil.copytree(ROOT / "examples/chat", tmp_path / "examples/chat", ignore=shutil.ignore_patterns(".yugen"))
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def test_demo_says_where_to_look_and_ends_with_ctrl_c(checkout: Path) -> None:
    port = free_port()
    async with Process(checkout / "scripts/demo", cwd=checkout, env={"PORT": str(port)}) as demo:
        await demo.printed(f"Open in two browser windows +http://localhost:{port}/$")
        await demo.printed("Yugen is ready at ")

        def read(path: str) -> str:
            with urlopen(f"http://localhost:{port}/{path}") as response:
                return str(response.read().decode())

        assert "<title>Yugen chat</title>" in await asyncio.to_thread(read, "")
        assert "YugenClient" in await asyncio.to_thread(read, "client.js")
        demo.interrupt()
        assert await demo.ended() == 0
    assert not [line for line in demo.lines if "Traceback" in line or "KeyboardInterrupt" in line], demo.lines


async def test_demo_on_a_port_that_is_taken(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with Process(checkout / "scripts/demo", cwd=checkout, env={"PORT": str(port)}) as demo:
            assert await demo.ended() == 1
    assert demo.lines[-1].startswith(f"Cannot listen on 127.0.0.1:{port}")
    assert not any("Traceback" in line for line in demo.lines)
