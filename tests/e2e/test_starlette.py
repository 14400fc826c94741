"""examples/starlette under each server: a plain form, a thread, and a page in Chromium."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2 as httpx
import pytest
from playwright.async_api import expect

from reliability.serving import SECONDS_MAX
from tests.chromium import chromium, window
from tests.outer import SERVERS, example, outside
from yugen_client import AsyncClient


@pytest.mark.parametrize("server", SERVERS)
async def test_a_form_changes_what_a_socket_shows(tmp_path: Path, server: str) -> None:
    async with (
        outside(example("starlette", tmp_path), "server:app", server=server) as site,
        asyncio.timeout(SECONDS_MAX),
        AsyncClient(f"{site.url}/yugen") as live,
        httpx.AsyncClient(base_url=site.url) as http,
    ):
        tally = live.subscribe("votes:tally")
        assert await anext(tally) == {"tea": 0, "coffee": 0}
        assert (await http.post("/vote/tea")).status_code == 303
        assert await anext(tally) == {"tea": 1, "coffee": 0}
        assert (await http.get("/tally.csv")).text == "tea,1\ncoffee,0\n"


@pytest.mark.browser
async def test_the_page(tmp_path: Path) -> None:
    async with outside(example("starlette", tmp_path), "server:app") as site, chromium() as browser:
        one, two = [await window(browser, site.url) for _ in range(2)]
        for opened in (one, two):
            await expect(opened.page.locator("#tea")).to_have_text("0")
        await one.page.get_by_role("button", name="Tea").click()
        for opened in (one, two):
            await expect(opened.page.locator("#tea")).to_have_text("1")
        assert [*one.complaints, *two.complaints] == []
