"""The other hooks of convex/react, and Yugen's own, in a real Chromium: queries, actions, errors, the connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from reliability.relay import relaying
from reliability.serving import Server, serving
from tests.chromium import window
from tests.conformance.site import write_site
from yugen_client import AsyncClient

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module", params=["official", "own"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(kind: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("site")
    async with serving(write_site(folder, "shelves_app", "hooks.jsx", client=kind), folder / "data") as server:
        yield server


async def test_several_queries_are_of_one_moment(browser: Browser, server: Server) -> None:
    async with AsyncClient(server.url) as client:
        page = (await window(browser, f"{server.url}/?shelf=several")).page
        both = page.locator("#both")
        missing = {"failed": {"code": "missing", "title": "a"}}
        await expect(both).to_have_text(json.dumps({"up": [], "down": [], "a": missing}, separators=(",", ":")))
        for position, title in enumerate("bca"):
            await client.mutation("books:insert", {"shelf": "several", "position": position, "title": title})
        await expect(both).to_have_text('{"up":["b","c","a"],"down":["a","c","b"],"a":"a"}')
        await page.evaluate("ask(['b'])")
        await expect(both).to_have_text('{"up":["b","c","a"],"down":["a","c","b"],"b":"b"}')
    rendered: list[dict[str, Any]] = await page.evaluate("rendered")
    for state in rendered:
        if state["up"] is not None and state["down"] is not None:
            assert state["down"] == state["up"][::-1]
            assert state.get("a") in (None, "a" if "a" in state["up"] else missing)


async def test_an_error_reaches_the_boundary_with_its_data(browser: Browser, server: Server, kind: str) -> None:
    page = (await window(browser, f"{server.url}/development.html?shelf=boundary")).page
    name = "ConvexError" if kind == "official" else "FunctionError"
    error = {"name": name, "data": {"code": "missing", "title": "wanted"}}
    await expect(page.get_by_role("alert")).to_have_text(json.dumps(error, separators=(",", ":")))
    async with AsyncClient(server.url) as client:
        await client.mutation("books:insert", {"shelf": "boundary", "position": 1, "title": "wanted"})
    await expect(page.locator("#both")).to_contain_text('"up":["wanted"]')
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator("#titled")).to_have_text("wanted")


async def test_actions_and_queries_on_demand(browser: Browser, server: Server, kind: str) -> None:
    async with AsyncClient(server.url) as client:
        await client.mutation("books:fill", {"shelf": "asked", "count": 3})
    page = (await window(browser, f"{server.url}/?shelf=asked")).page
    answer = page.locator("#answer")
    await page.evaluate("count('asked')")
    await expect(answer).to_have_text("3")
    await page.evaluate("askOnce()")
    await expect(answer).to_have_text('"b1"')
    await page.evaluate("count('nowhere')")
    where = "[CONVEX A(books:count)] " if kind == "official" else ""
    await expect(answer).to_contain_text(
        f'{{"data":{{"code":"empty","shelf":"nowhere"}},"message":"{where}[Request ID: '
    )


async def test_the_state_of_the_connection(browser: Browser, server: Server, kind: str) -> None:
    async with relaying(server.port) as relay:
        page = (await window(browser, f"{relay.url}/?shelf={quote('a state')}")).page
        status = page.get_by_role("status")
        await expect(status).to_have_text("connected, connection 1, 0 actions")
        relay.lose_answers()
        await page.evaluate("count('a state')")
        await expect(status).to_have_text("connected, connection 1, 1 actions, waiting")
        relay.cut()
        # An action may have done something, so that nobody knows whether to repeat it.
        lost = "Connection lost while action was in flight" if kind == "official" else "may have run or not"
        await expect(page.locator("#answer")).to_contain_text(lost)
        await expect(status).to_have_text("connected, connection 2, 0 actions")
