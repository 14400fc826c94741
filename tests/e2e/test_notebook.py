"""Both Python clients in a notebook: a real kernel of Jupyter, whose event loop runs already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import AsyncKernelManager

from reliability.serving import ROOT, SECONDS_MAX, Server, serving

APP = ROOT / "tests/conformance/app"


class Notebook:
    """A kernel that runs cells."""

    def __init__(self) -> None:
        self._manager = AsyncKernelManager()
        self._cell = ""

    async def start(self) -> None:
        await self._manager.start_kernel()
        self._client = self._manager.client()
        self._client.start_channels()
        await self._client.wait_for_ready(timeout=2 * SECONDS_MAX)

    async def stop(self) -> None:
        self._client.stop_channels()
        await self._manager.shutdown_kernel(now=True)

    async def run(self, cell: str) -> str:
        """What a cell shows until it is done. Fails if it raises."""
        self._cell = self._client.execute(cell)
        shown: list[str] = []
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                message = await self._client.get_iopub_msg(timeout=SECONDS_MAX)
                content: Any = message["content"]
                if message["parent_header"].get("msg_id") != self._cell:
                    continue
                match message["msg_type"]:
                    case "stream":
                        shown.append(content["text"])
                    case "execute_result" | "display_data" | "update_display_data":
                        shown.append(content["data"]["text/plain"])
                    case "error":
                        raise AssertionError("\n".join(content["traceback"]))
                    case "status" if content["execution_state"] == "idle":
                        return "".join(shown)

    async def shows_later(self, wanted: str) -> None:
        """Waits until something is shown that the last cell has left behind."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                message = await self._client.get_iopub_msg(timeout=SECONDS_MAX)
                content: Any = message["content"]
                text = content.get("text", "") or content.get("data", {}).get("text/plain", "")
                if wanted in text:
                    return


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(APP, tmp_path / "data") as server:
        yield server


@pytest.fixture
async def notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Notebook]:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    notebook = Notebook()
    await notebook.start()
    yield notebook
    await notebook.stop()


async def test_the_asynchronous_client_on_the_loop_of_the_notebook(notebook: Notebook, server: Server) -> None:
    await notebook.run(f"""
        from yugen_client import AsyncClient
        client = AsyncClient({server.url!r})
        channel = {{"channel": "notebook"}}
    """)
    assert await notebook.run("await client.query('messages:list', channel)") == "[]"
    await notebook.run("""
        from IPython.display import display
        shown = display([], display_id=True)
        live = client.subscribe("messages:list", channel, on_update=shown.update)
    """)
    await notebook.run("await client.mutation('messages:send', {**channel, 'body': 'one'}); None")
    assert await notebook.run("await client.query('messages:list', channel)") == "['one']"
    # While no cell runs, the subscription goes on.
    await notebook.run(f"""
        import asyncio
        async def write_later():
            async with AsyncClient({server.url!r}) as other:
                await other.mutation("messages:send", {{**channel, "body": "two"}})
        writing = asyncio.create_task(write_later())
    """)
    await notebook.shows_later("['one', 'two']")
    frame = await notebook.run("await client.query_pandas('messages:list', channel)")
    assert frame.split() == ["value", "0", "one", "1", "two"]
    assert (
        await notebook.run("""
        async for bodies in client.subscribe("messages:list", channel):
            print(len(bodies))
            break
    """)
        == "2\n"
    )
    assert await notebook.run("await client.close(); client.connection_state.connected") == "False"


async def test_the_blocking_client_beside_the_loop_of_the_notebook(notebook: Notebook, server: Server) -> None:
    await notebook.run(f"""
        from yugen_client import Client
        client = Client({server.url!r})
        channel = {{"channel": "blocking notebook"}}
        import queue
        updates = queue.Queue()
        client.subscribe("messages:list", channel, on_update=updates.put)
    """)
    assert await notebook.run("updates.get()") == "[]"
    await notebook.run("client.mutation('messages:send', {**channel, 'body': 'one'}); None")
    assert await notebook.run("updates.get()") == "['one']"
    assert await notebook.run("client.query('messages:list', channel)") == "['one']"
    shape = await notebook.run("client.query_polars('messages:list', channel).rows()")
    assert shape == "[('one',)]"
    taken = """
        for bodies in client.subscribe("messages:list", channel):
            print(bodies)
            break
    """
    assert await notebook.run(taken) == "['one']\n"
    assert await notebook.run("client.close()") == ""
