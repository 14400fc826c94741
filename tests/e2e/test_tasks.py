"""The browser client in pages, a script, a worker, React and Node: `examples/tasks`, as the guide shows it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from reliability.relay import relaying
from reliability.serving import ROOT, Process, Server, serving
from tests.chromium import chromium, sleepy_page, window
from yugen_client import AsyncClient

TASKS = ROOT / "examples/tasks"
BIN = ROOT / "node_modules/.bin"

in_module = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def browser(running_browser: Browser) -> AsyncIterator[Browser]:
    yield running_browser
    for context in running_browser.contexts:
        await context.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, with the page of React beside the others, bundled as a user's tools would."""
    folder = tmp_path_factory.mktemp("tasks")
    for part in ("app", "public"):
        shutil.copytree(TASKS / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    html = (TASKS / "react/index.html").read_text()
    for source, name in (("main", "react"), ("official", "official")):
        (folder / f"public/{name}.html").write_text(html.replace("/react.js", f"/{name}.js"))
        bundle = (BIN / "esbuild", TASKS / f"react/{source}.tsx", "--bundle", "--format=esm", "--jsx=automatic")
        subprocess.run([*bundle, f"--outfile={folder}/public/{name}.js", "--log-level=warning"], check=True)
    return folder


@pytest_asyncio.fixture(loop_scope="module")
async def server(folder: Path, tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(folder / "app", tmp_path / "data") as server:
        yield server


async def add(server: Server, *texts: str) -> None:
    async with AsyncClient(server.url) as client:
        for text in texts:
            await client.mutation("tasks:add", {"text": text})


async def write(page: Page, text: str) -> None:
    await page.get_by_placeholder("What is to be done?").fill(text)
    await page.get_by_placeholder("What is to be done?").press("Enter")


@pytest.mark.browser
@in_module
async def test_two_pages(browser: Browser, server: Server) -> None:
    one, two = [await window(browser, server.url) for _ in range(2)]
    await write(one.page, "tea")
    await write(two.page, "milk")
    for opened in (one, two):
        await expect(opened.page.locator("li")).to_have_count(2)
        await expect(opened.page.locator("#open")).to_have_text("2 of 2 open")
    await one.page.locator("li input").first.check()
    await expect(two.page.locator("#open")).to_have_text("1 of 2 open")

    told: list[str] = []

    async def dismiss(dialog: Any) -> None:
        told.append(dialog.message)
        await dialog.dismiss()

    one.page.on("dialog", dismiss)
    # Shown at once, refused, and gone again.
    await one.page.evaluate("""() => {
        const list = document.querySelector("ul");
        const look = () => (window.most = Math.max(window.most ?? 0, list.children.length));
        new MutationObserver(look).observe(list, { childList: true });
    }""")
    await write(one.page, " ")
    await one.page.wait_for_function("client.connectionState().pendingRequests === 0")
    await expect(one.page.locator("li")).to_have_count(2)
    assert await one.page.evaluate("most") == 3
    assert told == ["empty"]
    # What has no data of the app's is told of as well.
    await write(one.page, "x" * 2**20)
    await one.page.wait_for_function("client.connectionState().pendingRequests === 0")
    await expect(one.page.locator("li")).to_have_count(2)
    assert "Server Error" in told[-1]
    assert one.complaints == two.complaints == []


@pytest.mark.browser
@in_module
@pytest.mark.parametrize("page", ["script.html", "worker.html"])
async def test_a_script_and_a_worker(browser: Browser, server: Server, page: str) -> None:
    opened = await window(browser, f"{server.url}/{page}")
    await expect(opened.page.locator("#open")).to_have_text("0 open")
    await add(server, "tea", "milk")
    await expect(opened.page.locator("#open")).to_have_text("2 open")
    await server.kill()
    await server.start()
    await add(server, "sugar")
    await expect(opened.page.locator("#open")).to_have_text("3 open")


@pytest.mark.browser
@in_module
async def test_react(browser: Browser, server: Server) -> None:
    await add(server, *(f"task {number}" for number in range(1, 5)))
    opened = await window(browser, f"{server.url}/react.html")
    page = opened.page
    await expect(page.get_by_role("status")).to_have_text("connected")
    await expect(page.locator("li")).to_have_text(["task 1", "task 2", "task 3"])
    await page.get_by_role("button", name="More").click()
    await expect(page.locator("li")).to_have_count(4)
    await page.get_by_role("button", name="Add").click()
    await expect(page.locator("li").last).to_have_text("Task 5")
    await page.get_by_label("task 2").check()
    await expect(page.locator("#open")).to_have_text("4 open")
    await add(server, "the longest of all")
    await page.get_by_role("button", name="Longest").click()
    await expect(page.locator("#longest")).to_have_text("the longest of all")
    assert opened.complaints == []


@pytest.mark.browser
@in_module
async def test_the_official_hooks(browser: Browser, server: Server) -> None:
    await add(server, "tea")
    opened = await window(browser, f"{server.url}/official.html")
    await opened.page.get_by_role("button", name="Add").click()
    await expect(opened.page.locator("li")).to_have_text(["tea", "Another"])
    assert opened.complaints == []


def test_a_wrong_argument_does_not_compile(tmp_path: Path) -> None:
    shutil.copytree(TASKS / "react", tmp_path / "react")
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    options = (
        "--noEmit --strict --jsx react-jsx --module esnext --moduleResolution bundler --target es2022 --skipLibCheck"
    )
    command = [str(BIN / "tsc"), *options.split(), "--lib", "es2022,dom", "react/main.tsx", "react/official.tsx"]
    right = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert right.returncode == 0, right.stdout
    for file, right_call, wrong_call in (
        ("main", "setDone({ task: task._id,", "setDone({ task: 7,"),
        ("official", 'add({ text: "Another" })', "add({ text: 7 })"),
    ):
        source = tmp_path / f"react/{file}.tsx"
        source.write_text(source.read_text().replace(right_call, wrong_call))
        wrong = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert f"react/{file}.tsx" in wrong.stdout
        assert "Type 'number' is not assignable to type 'string'" in wrong.stdout


@in_module
async def test_node(server: Server) -> None:
    async with Process("node", TASKS / "watch.mjs", env={"YUGEN_URL": server.url}) as node:
        await node.printed("^1 open$")
        await add(server, "tea")
        await node.printed("^2 open$")
        async with AsyncClient(server.url) as client:
            for task in await client.query("tasks:list"):
                await client.mutation("tasks:set_done", {"task": task["_id"], "done": True})
        assert await node.ended() == 0, "\n".join(node.lines)
    assert node.lines[-1] == "0 open"


@in_module
async def test_the_tour_of_the_guide(server: Server) -> None:
    async with Process("node", TASKS / "tour.mjs", env={"YUGEN_URL": server.url}) as node:
        assert await node.ended() == 0, "\n".join(node.lines)
    shown = iter(node.lines)
    # Each of these, in this order; in between is what a faster or slower machine shows as well.
    for line in (
        "1 tea",
        "tea",
        "empty",
        "1 open",
        "2 of 3 open",
        "2 open, perhaps",
        "3 open, perhaps",
        "tea, milk, sugar, bread",
        "connected, 1 to save",
        "connected, 0 to save",
    ):
        assert line in shown, "\n".join(node.lines)
    assert not [line for line in node.lines if "4 open" in line]


@pytest.mark.browser
@in_module
async def test_offline(browser: Browser, server: Server) -> None:
    """What is done without a network shows at once, and is done as soon as the network is back."""
    async with relaying(server.port) as relay:
        opened = await window(browser, relay.url)
        page = opened.page
        await write(page, "tea")
        await expect(page.locator("#status")).to_have_text("connected")
        await page.context.set_offline(True)
        relay.cut()
        await expect(page.locator("#status")).to_have_text("disconnected")
        await write(page, "milk")
        await expect(page.locator("li")).to_have_text(["tea", "milk"])
        await expect(page.locator("#status")).to_have_text("disconnected, saving")
        # Attempts that fail make the client wait ever longer; here the next such wait has no end.
        await page.evaluate("""() => {
            const wait = setTimeout;
            window.setTimeout = (then, ms) => ms < 500 ? wait(then, ms) : (window.waits = true, 0);
        }""")
        await page.wait_for_function("window.waits")
        await add(server, "from elsewhere")
        await page.context.set_offline(False)
        await expect(page.locator("#status")).to_have_text("connected")
        await expect(page.locator("#open")).to_have_text("3 of 3 open")
        async with AsyncClient(server.url) as client:
            texts = [task["text"] for task in await client.query("tasks:list")]
        assert texts == ["tea", "from elsewhere", "milk"]


@pytest.mark.browser
@in_module
async def test_a_frozen_page(server: Server, tmp_path: Path) -> None:
    """A page that the browser has put to sleep shows all it has missed as soon as it wakes.

    Chromium closes the connections of such a page by itself; another browser may not notice that one was cut.
    """
    async with relaying(server.port) as relay, sleepy_page(relay.url, tmp_path / "profile") as page:
        await page.evaluate("client.mutation('tasks:add', { text: 'tea' })")
        await page.shows("#open", "1 of 1 open")
        await page.evaluate(
            "void document.addEventListener('freeze', () => (window.frozen = (window.frozen ?? 0) + 1))"
        )
        for cut, count in ((False, 2), (True, 3)):
            await page.freeze()
            await add(server, "while frozen")
            if cut:
                relay.cut()
            await page.wake()
            await page.shows("#open", f"{count} of {count} open")
            await page.shows("#status", "connected")
            assert await page.evaluate("frozen") == count - 1


@pytest.mark.browser
@in_module
async def test_a_connection_that_died_in_sleep_is_replaced_on_waking(browser: Browser, server: Server) -> None:
    """A connection that is gone without a word, as after hours in a bag, while the page's timers did not run."""
    async with relaying(server.port) as relay:
        page = (await window(browser, relay.url)).page
        await write(page, "tea")
        await expect(page.locator("#open")).to_have_text("1 of 1 open")
        relay.lose_answers()
        await write(page, "milk")
        async with AsyncClient(server.url) as client:
            async for tasks in client.subscribe("tasks:list"):
                if len(tasks) == 2:
                    break
        # The connection is open to the eye, and nothing comes through; the clock says that hours have passed.
        await page.evaluate("""() => {
            const now = Date.now;
            Date.now = () => now() + 8 * 3_600_000;
            document.dispatchEvent(new Event("resume"));
        }""")
        await expect(page.locator("#status")).not_to_have_text("connected, saving")
        relay.cut()
        await page.evaluate("document.dispatchEvent(new Event('resume'))")
        await expect(page.locator("#status")).to_have_text("connected")
        await expect(page.locator("#open")).to_have_text("2 of 2 open")
        async with asyncio.timeout(60):
            await page.wait_for_function("client.connectionState().connections >= 2")
