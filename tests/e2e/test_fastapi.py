"""examples/fastapi under uvicorn: its requests, its page in Chromium, its task beside them, and its reload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2 as httpx
import pytest
from playwright.async_api import expect

from reliability.serving import SECONDS_MAX
from tests.chromium import chromium, window
from tests.outer import Outer, example, outside
from yugen_client import AsyncClient

SITE = "https://kitchen.example"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return example("fastapi", tmp_path)


@pytest.fixture
async def site(folder: Path) -> AsyncIterator[Outer]:
    async with outside(folder, "main:app") as server:
        yield server


async def test_a_request_changes_what_a_socket_shows(site: Outer) -> None:
    async with asyncio.timeout(SECONDS_MAX), AsyncClient(f"{site.url}/yugen") as live:
        waiting = live.subscribe("orders:waiting")
        assert await anext(waiting) == []
        await site.printed("^0 orders are waiting")
        async with httpx.AsyncClient(base_url=site.url) as http:
            placed = await http.post("/orders", json={"dish": "soup", "seat": 3})
            assert placed.status_code == 201
            [order] = await anext(waiting)
            assert (order["_id"], order["dish"], order["seat"]) == (placed.json(), "soup", 3)
            assert (await http.get("/orders")).json() == [order]
            await site.printed("^1 orders are waiting")
            since = len(site.lines)
            await live.mutation("orders:finish", {"order": order["_id"]})
            assert (await http.get("/orders")).json() == []
            await site.printed("^0 orders are waiting", since=since)

            refused = await http.post("/orders", json={"dish": "cake", "seat": 3})
            assert (refused.status_code, refused.json()) == (409, {"detail": "There is no cake today."})


async def test_cors_is_answered_once(site: Outer) -> None:
    async with httpx.AsyncClient(base_url=site.url) as http:
        asked = {"path": "orders:waiting", "args": {}}
        response = await http.post("/yugen/api/query", json=asked, headers={"Origin": SITE})
        assert response.headers.get_list("access-control-allow-origin") == [SITE]
        headers = {"Origin": SITE, "Access-Control-Request-Method": "POST"}
        headers["Access-Control-Request-Headers"] = "authorization,content-type,convex-client"
        preflight = await http.options("/yugen/api/query", headers=headers)
        assert preflight.status_code == 200
        assert preflight.headers.get_list("access-control-allow-origin") == [SITE]


@pytest.mark.browser
async def test_the_page(site: Outer) -> None:
    async with chromium() as browser:
        cook, guest = [await window(browser, site.url) for _ in range(2)]
        await guest.page.get_by_role("combobox").select_option("pancakes")
        await guest.page.get_by_role("button", name="Order").click()
        await expect(cook.page.locator("li")).to_have_text(["pancakes for seat 1 Done"])
        await cook.page.get_by_role("button", name="Done").click()
        await expect(guest.page.locator("li")).to_have_count(0)
        assert [*cook.complaints, *guest.complaints] == []


async def test_reload_by_the_outer_server(folder: Path) -> None:
    async with (
        outside(folder, "main:app", "--reload") as site,
        asyncio.timeout(3 * SECONDS_MAX),
        AsyncClient(f"{site.url}/yugen", backoff=lambda _: 0.05) as live,
    ):
        await site.printed("Application startup complete")
        waiting = live.subscribe("orders:waiting")
        assert await anext(waiting) == []
        await live.mutation("orders:place", {"dish": "soup", "seat": 1})
        assert [order["dish"] for order in await anext(waiting)] == ["soup"]

        since = len(site.lines)
        orders = folder / "kitchen/orders.py"
        orders.write_text(orders.read_text().replace("done=False)", "done=False).order('desc')"))
        await site.printed("Application startup complete", since=since)
        await live.mutation("orders:place", {"dish": "lentils", "seat": 1})
        async for orders_now in waiting:
            if len(orders_now) == 2:
                break
        assert [order["dish"] for order in orders_now] == ["lentils", "soup"]
