"""What tests of pages share: an app with a page beside it, and an ear on what the page and its server say."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.async_api import Page, WebSocket

from reliability.serving import ROOT, SECONDS_MAX, Process

HERE = Path(__file__).parent

Message = dict[str, Any]


def write_app(folder: Path, app: str, **modules: str) -> Path:
    """Puts an app into a folder, as users have theirs: a package `app`.

    Args:
        folder: where to.
        app: the app, a folder beside this file.
        modules: the text of modules that it gets on top.
    """
    shutil.copytree(HERE / app, folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in modules.items():
        (folder / "app" / f"{name}.py").write_text(text)
    return folder / "app"


def write_site(folder: Path, app: str, page: str, *, client: str = "official", **modules: str) -> Path:
    """Puts an app into a folder, and beside it a page, bundled as a user's tools would; returns the app.

    The page is there twice: as `/`, for production, and as `/development.html`, where React runs effects twice.

    Args:
        folder: where to.
        app: the app, a folder beside this file.
        page: the page, a file in `react/`.
        client: whose hooks it uses: the "official" ones of convex/react, or Yugen's "own".
        modules: the text of modules that the app gets on top.
    """
    package = write_app(folder, app, **modules)
    public = folder / "public"
    public.mkdir()
    html = (HERE / "react/index.html").read_text()
    hooks = [] if client == "official" else [f"--alias:convex/react={HERE}/react/own.jsx"]
    for name, script, mode in (("index", "page", "production"), ("development", "development", "development")):
        (public / f"{name}.html").write_text(html.replace("page.js", f"{script}.js"))
        subprocess.run(
            [
                ROOT / "node_modules/.bin/esbuild",
                HERE / "react" / page,
                "--bundle",
                "--format=esm",
                "--jsx=automatic",
                *hooks,
                f"--define:process.env.NODE_ENV='{mode}'",
                f"--outfile={public}/{script}.js",
                "--log-level=warning",
            ],
            check=True,
        )
    return package


class Wire:
    """What a page and its server say to each other over WebSockets, from before it is loaded.

    Attributes:
        sent: messages of the page, over all its connections.
        received: messages to the page.
    """

    def __init__(self, page: Page) -> None:
        self.sent: list[Message] = []
        self.received: list[Message] = []
        self._heard = asyncio.Event()
        page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framesent", lambda frame: self._hear(self.sent, frame))
        socket.on("framereceived", lambda frame: self._hear(self.received, frame))

    def _hear(self, messages: list[Message], frame: str | bytes) -> None:
        messages.append(json.loads(frame))
        self._heard.set()

    async def until(self, holds: Callable[[Wire], bool]) -> None:
        """Waits until what was said so far is as wanted."""
        async with asyncio.timeout(SECONDS_MAX):
            while not holds(self):
                self._heard.clear()
                await self._heard.wait()

    def added(self) -> list[Message]:
        """The queries that the page has asked for, those that it asked for again after a reconnect included."""
        changes = [change for message in self.sent for change in message.get("modifications", [])]
        return [change for change in changes if change["type"] == "Add"]

    def splits(self) -> int:
        """How many pages of paginated queries were replaced by two, which are asked for by their ends."""
        options = [query["args"][0].get("paginationOpts", {}) for query in self.added()]
        return sum("endCursor" in each for each in options) // 2

    def of_type(self, kind: str) -> list[Message]:
        """The messages of a type, first those of the page."""
        return [message for message in (*self.sent, *self.received) if message["type"] == kind]


def reports(node: Process) -> list[Any]:
    """What a scenario in Node has reported; whatever else is in its output, a client has logged."""
    return [json.loads(line) for line in node.lines if line.startswith('{"')]
