"""New apps as `yugen init` makes them: each is run as its README says, with its page in Chromium."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from reliability.serving import ROOT, YUGEN, Process, serving
from tests.chromium import chromium, window

TASKS = "app/tasks.py"


def run(*command: str, cwd: Path) -> None:
    """Runs a program that takes its time."""
    subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def made(folder: Path, template: str) -> Path:
    subprocess.run([YUGEN, "init", folder / "notes", "--template", template], check=True, capture_output=True)
    return folder / "notes"


def commands(readme: Path) -> list[str]:
    """What a README says to type."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", readme.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def change_order(app: Path) -> None:
    """Saves another version of the app: the oldest first."""
    text = (app / TASKS).read_text()
    assert '.order("desc")' in text
    (app / TASKS).write_text(text.replace('.order("desc")', '.order("asc")'))


async def use(page: Page, app: Path) -> None:
    """Adds tasks, ticks one off, and sees the page follow a change of the app."""
    box = page.get_by_placeholder("What there is to do")
    for text in ("first", "<b>second</b>"):
        await box.fill(text)
        await page.get_by_role("button", name="Add").click()
        await expect(page.get_by_text(text, exact=True)).to_be_visible()
    await expect(page.locator("li")).to_have_text(["<b>second</b>", "first"])
    await page.get_by_role("checkbox").last.click()
    await expect(page.locator(".done")).to_have_text(["first"])
    await box.fill(" ")
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_role("alert")).to_have_text("Say what there is to do.")
    await expect(box).to_have_value(" ")
    change_order(app)
    await expect(page.locator("li")).to_have_text(["first", "<b>second</b>"])


async def test_minimal(tmp_path: Path) -> None:
    folder = made(tmp_path, "minimal")
    assert commands(folder / "README.md")[0] == "yugen dev"
    async with serving(folder / "app", folder / ".yugen") as server:

        def shell(command: str) -> Process:
            line = command.replace("yugen", str(YUGEN), 1)
            return Process("sh", "-c", f"exec {line}", cwd=folder, env={"YUGEN_URL": server.url})

        watch, add = commands(folder / "README.md")[1:]
        async with shell(watch) as watching:
            await watching.printed(r"^\[\]$")
            async with shell(add) as adding:
                assert await adding.ended() == 0, adding.lines
            await watching.printed("water the plants")


@pytest.mark.browser
async def test_page(tmp_path: Path) -> None:
    folder = made(tmp_path, "page")
    async with serving(folder / "app", folder / ".yugen") as server, chromium() as browser:
        await server.printed(rf"^  {server.url} .*public")
        one, two = [await window(browser, server.url) for _ in range(2)]
        await use(one.page, folder)
        await expect(two.page.locator("li")).to_have_text(["first", "<b>second</b>"])
        assert one.complaints == two.complaints == []


@pytest.mark.browser
async def test_react(tmp_path: Path) -> None:
    folder = made(tmp_path, "react")
    (folder / "node_modules").mkdir()  # `npm install`, from what is here
    for package in (ROOT / "node_modules").iterdir():
        (folder / "node_modules" / package.name).symlink_to(package)
    scripts = json.loads((folder / "package.json").read_text())["scripts"]
    assert commands(folder / "README.md") == ["npm install", "yugen dev", "npm run dev"]

    wrong = (folder / "src/App.tsx").read_text().replace("add({ text })", "add({ txt: text })")
    (folder / "src/Wrong.tsx").write_text(wrong)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        await asyncio.to_thread(run, "npm", "run", "build", cwd=folder)
    assert re.search(r"src/Wrong\.tsx\(\d+,\d+\): error TS\d+.*txt", refused.value.stdout)
    (folder / "src/Wrong.tsx").unlink()
    await asyncio.to_thread(run, "npm", "run", "build", cwd=folder)

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with (
        serving(folder / "app", folder / ".yugen") as server,
        Process(
            "sh",
            "-c",
            f"exec node_modules/.bin/{scripts['dev']} --host 127.0.0.1 --strictPort --port {port}",
            cwd=folder,
            env={"VITE_YUGEN_URL": server.url, "NO_COLOR": "1"},
        ) as vite,
        chromium() as browser,
    ):
        await vite.printed(rf"http://127\.0\.0\.1:{port}")
        served, developed = [await window(browser, url) for url in (server.url, f"http://127.0.0.1:{port}")]
        await use(developed.page, folder)
        await expect(served.page.locator("li")).to_have_text(["first", "<b>second</b>"])
        page = folder / "src/App.tsx"
        page.write_text(page.read_text().replace("<h1>Tasks</h1>", "<h1>Errands</h1>"))
        await expect(developed.page.get_by_role("heading")).to_have_text("Errands")
        assert served.complaints == []
        assert all("Say what there is to do." in text for text in developed.complaints)  # Convex's client logs that
