"""The README, done as it says: its files in an empty folder, its commands in a shell, its page in Chromium."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.chromium import chromium, window
from tests.serving import ROOT, Process, serving
from yugen_client import AsyncClient

README = (ROOT / "README.md").read_text()
SHOWN = re.compile(r"^<!-- file: examples/(\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with what `make setup` leaves, and then what the README says to put there."""
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    subprocess.run(command("mkdir "), shell=True, cwd=tmp_path, check=True)
    for file, text in SHOWN.findall(README):
        (tmp_path / file).write_text(text)
    return tmp_path


def command(start: str) -> str:
    """The command of the README that starts like this."""
    (found,) = re.findall(rf"^{re.escape(start)}.*$", README, re.MULTILINE)
    return str(found)


def test_the_documentation_shows_the_examples_as_they_are() -> None:
    subprocess.run([ROOT / "scripts/sync-readme", "--check"], check=True)


async def test_commands_and_script(folder: Path) -> None:
    assert command(".venv/bin/yugen dev ") == ".venv/bin/yugen dev guestbook/app"
    async with serving(folder / "guestbook/app", folder / "data") as server:

        def shell(line: str) -> Process:
            return Process("sh", "-c", f"exec {line}", cwd=folder, env={"YUGEN_URL": server.url})

        script = folder / "guestbook/watch.py"
        script.write_text(script.read_text().replace("http://127.0.0.1:3210", server.url))
        async with (
            shell(command(".venv/bin/yugen run guestbook:latest")) as watch,
            Process(sys.executable, script, cwd=folder) as program,
        ):
            await watch.printed(r"^\[\]$")
            await program.printed(r"^\[\]$")
            async with shell(command(".venv/bin/yugen run guestbook:sign")) as sign:
                assert await sign.ended() == 0
            assert isinstance(json.loads("\n".join(sign.lines)), str)
            await watch.printed('"text": "hello"')
            await program.printed(r"^\['hello'\]$")

            async with shell(""".venv/bin/yugen run guestbook:sign '{"name": "Shell", "text": " "}'""") as refused:
                assert await refused.ended() == 1
            assert "Write something first." in "\n".join(refused.lines)
            watch.interrupt()
            assert await watch.ended() == 130  # as shells report what Ctrl-C ended
    assert not any("Traceback" in line for line in watch.lines + refused.lines)


@pytest.mark.browser
async def test_page(folder: Path) -> None:
    async with serving(folder / "guestbook/app", folder / "data") as server, chromium() as browser:
        one, two = [await window(browser, server.url) for _ in range(2)]
        await one.page.get_by_placeholder("Name").fill("Ada")
        for text in ("first", "<b>second</b>"):
            await one.page.get_by_placeholder("Say something").fill(text)
            await one.page.get_by_role("button", name="Sign").click()
            await expect(one.page.get_by_placeholder("Say something")).to_have_value("")
        for opened in (one, two):
            await expect(opened.page.locator("li")).to_have_text(["Ada: <b>second</b>", "Ada: first"])
        async with AsyncClient(server.url) as client:
            await client.mutation("guestbook:sign", {"name": "Program", "text": "third"})
        await expect(two.page.locator("li").first).to_have_text("Program: third")
