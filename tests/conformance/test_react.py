"""convex/react, unmodified, and Yugen's own hooks, in a real Chromium against a real server."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from playwright.async_api import expect

from reliability.serving import serving
from tests.chromium import chromium, window
from tests.conformance.site import write_site
from yugen_client import AsyncClient


@pytest.fixture(params=["official", "own"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_site(tmp_path, "app", "page.jsx", client=request.param)


@pytest.mark.browser
async def test_two_pages_and_a_program_stay_in_step(app: Path, tmp_path: Path) -> None:
    async with serving(app, tmp_path / "data") as server, chromium() as browser:
        one, two = [await window(browser, server.url) for _ in range(2)]
        for opened in (one, two):
            await expect(opened.page.get_by_role("status")).to_have_text("connected")
            await expect(opened.page.locator("#skipped")).to_have_text("undefined")

        message = one.page.get_by_label("Message")
        for body in ("one", "two", "three"):
            await message.fill(body)
            await message.press("Enter")
        async with AsyncClient(server.url) as client:
            async for bodies in client.subscribe("messages:list", {"channel": "react"}):
                if len(bodies) == 3:
                    break
            await client.mutation("messages:send", {"channel": "react", "body": "four"})
        for opened in (one, two):
            await expect(opened.page.locator("li")).to_have_text(["one", "two", "three", "four"])
            await expect(opened.page.get_by_role("status")).to_have_text("connected")
            # Optimistic updates show what then comes, so that nothing on the screen ever goes away again.
            rendered: list[list[str]] = await opened.page.evaluate("rendered")
            assert all(after[: len(before)] == before for before, after in pairwise(rendered)), rendered

        await message.fill("")
        await message.press("Enter")
        await expect(one.page.get_by_role("alert")).to_have_text("empty")
        await expect(one.page.locator("li")).to_have_count(4)

        await one.page.get_by_role("button", name="Other channel").click()
        await expect(one.page.locator("li")).to_have_count(0)
        await message.fill("elsewhere")
        await message.press("Enter")
        await expect(one.page.locator("li")).to_have_text(["elsewhere"])
        await expect(two.page.locator("li")).to_have_count(4)
        assert two.complaints == []


@pytest.mark.browser
async def test_a_page_survives_a_killed_server(app: Path, tmp_path: Path) -> None:
    async with serving(app, tmp_path / "data") as server, chromium() as browser:
        one, two = [await window(browser, server.url) for _ in range(2)]
        for opened in (one, two):
            await expect(opened.page.get_by_role("status")).to_have_text("connected")
        await server.kill()
        await expect(one.page.get_by_role("status")).to_have_text("not connected")
        message = one.page.get_by_label("Message")
        for body in ("one", "two"):
            await message.fill(body)
            await message.press("Enter")
        await expect(one.page.locator("li")).to_have_text(["one", "two"])
        await expect(one.page.get_by_role("status")).to_have_text("not connected, waiting")
        await server.start()
        for opened in (one, two):
            await expect(opened.page.get_by_role("status")).to_have_text("connected")
            await expect(opened.page.locator("li")).to_have_text(["one", "two"])
