"""The README, done as it says: its commands in an empty folder with nothing installed, its page in Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import expect

from reliability.serving import ROOT, Process
from tests.chromium import chromium, window

README = (ROOT / "README.md").read_text()
FIVE_MINUTES = README[README.index("## Five minutes") : README.index("## A larger example")]
BUILD, INSTALL, *COMMANDS = "".join(
    re.findall(r"^```sh\n(.*?)^```$", FIVE_MINUTES, re.MULTILINE | re.DOTALL)
).splitlines()


def test_the_documentation_shows_the_files_as_they_are() -> None:
    subprocess.run([ROOT / "scripts/sync-readme", "--check"], check=True)


@pytest.mark.browser
@pytest.mark.timeout(600)
async def test_five_minutes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert BUILD == "make dist"
    await _done(BUILD, ROOT, os.environ)
    assert COMMANDS[:3] == ["yugen init todo", "cd todo", "yugen dev"]
    run_once, run_live = COMMANDS[3:]

    began = time.monotonic()
    await _done(f"{sys.executable} -m venv {tmp_path / 'venv'}", tmp_path, os.environ)
    env = {
        "PATH": f"{tmp_path / 'venv/bin'}:{os.environ['PATH']}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    await _done(INSTALL.replace("dist/", f"{ROOT / 'dist'}/"), tmp_path, os.environ | env)
    await _done(COMMANDS[0], tmp_path, os.environ | env)
    todo = tmp_path / "todo"
    async with _shell("yugen dev --port 0", todo, env) as server, chromium() as browser:
        url = (await server.printed(r"ready at (\S+)"))[1]
        one, two = [await window(browser, url) for _ in range(2)]
        await one.page.get_by_role("textbox").fill("Read on")
        await one.page.get_by_role("textbox").press("Enter")
        await expect(two.page.get_by_role("listitem")).to_have_text(["Read on"])
        with capsys.disabled():
            sys.stdout.write(f"\nFrom an empty folder to the first live update: {time.monotonic() - began:.0f} s\n")

        script = todo / "watch.py"
        script.write_text((ROOT / "examples/tasks/watch.py").read_text().replace("http://127.0.0.1:3210", url))
        async with _shell(run_live, todo, env) as live, _shell("python watch.py", todo, env) as program:
            await live.printed("Read on")
            await program.printed(r"^\['Read on'\]$")
            async with _shell(run_once, todo, env) as once:
                assert await once.ended() == 0
            assert isinstance(json.loads("\n".join(once.lines)), str)
            await live.printed("Buy tea")
            await program.printed(r"^\['Buy tea', 'Read on'\]$")
            for opened in (one, two):
                await expect(opened.page.get_by_role("listitem")).to_have_text(["Buy tea", "Read on"])

            tasks = todo / "app/tasks.py"
            assert '"desc"' in tasks.read_text()
            tasks.write_text(tasks.read_text().replace('"desc"', '"asc"'))
            for opened in (one, two):
                await expect(opened.page.get_by_role("listitem")).to_have_text(["Read on", "Buy tea"])
            await program.printed(r"^\['Read on', 'Buy tea'\]$")
            live.interrupt()
            assert await live.ended() == 130  # as shells report what Ctrl-C ended
        await one.page.goto(f"{url}/docs")
        await expect(one.page.get_by_text("tasks:list").first).to_be_visible()
        assert [*one.complaints, *two.complaints] == []
        server.interrupt()
        assert await server.ended() == 0
    assert not [line for line in server.lines if "Traceback" in line or "ERROR" in line]


async def _done(command: str, folder: Path, env: Mapping[str, str]) -> None:
    """Has a shell carry out a command, however long that takes."""
    # What make hands down to a make below it is about this run of it.
    kept = {name: value for name, value in env.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    process = await asyncio.create_subprocess_shell(
        command, cwd=folder, env=kept, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{command}:\n{output.decode()}"


@asynccontextmanager
async def _shell(command: str, folder: Path, env: dict[str, str]) -> AsyncIterator[Process]:
    async with Process("sh", "-c", f"exec {command}", cwd=folder, env=env) as process:
        yield process
