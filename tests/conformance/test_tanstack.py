"""TanStack Query with Convex's adapter, in a real Chromium."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from reliability.serving import Server, serving
from tests.chromium import empty_window
from tests.conformance.site import Wire, write_site
from yugen_client import AsyncClient

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("site")
    async with serving(write_site(folder, "shelves_app", "tanstack.jsx"), folder / "data") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: Server) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url) as client:
        yield client


async def visit(browser: Browser, url: str) -> tuple[Page, Wire]:
    opened = await empty_window(browser)
    wire = Wire(opened.page)
    await opened.page.goto(url)
    return opened.page, wire


async def rendered(page: Page, name: str) -> list[dict[str, Any]]:
    states: list[dict[str, Any]] = await page.evaluate("rendered")
    return [state for state in states if state["name"] == name]


@pytest.mark.parametrize("html", ["", "development.html"])
async def test_queries_are_live_and_mutations_are_seen(
    browser: Browser, server: Server, client: AsyncClient, html: str
) -> None:
    shelf = f"live{html[:3]}"
    await client.mutation("books:fill", {"shelf": shelf, "count": 2})
    page, _ = await visit(browser, f"{server.url}/{html}?shelf={shelf}")
    shown = page.locator(f"#{shelf}")
    await expect(shown).to_have_text("b1 b2")
    await client.mutation("books:insert", {"shelf": shelf, "position": 15, "title": "between"})
    await expect(shown).to_have_text("b1 between b2")
    await page.evaluate("insert(30, 'mine')")
    await expect(shown).to_have_text("b1 between b2 mine")
    await expect(page.locator("#insert")).to_have_text("success string")
    await expect(page.locator("#skipped")).to_have_text("pending idle")

    states = await rendered(page, shelf)
    assert [status for status, _ in itertools.groupby(state["status"] for state in states)] == ["pending", "success"]
    lists = [state["titles"] for state in states if state["titles"] is not None]
    assert all(set(before) <= set(after) for before, after in pairwise(lists))
    # Nothing is fetched again: what changes comes by itself.
    assert [fetching for fetching, _ in itertools.groupby(state["isFetching"] for state in states)] == [True, False]
    changes = [status for status, _ in itertools.groupby(state["status"] for state in await rendered(page, "insert"))]
    assert changes == ["idle", "pending", "success"]


async def test_suspense_waits_and_then_follows(browser: Browser, server: Server, client: AsyncClient) -> None:
    books = await client.mutation("books:fill", {"shelf": "suspense", "count": 2})
    page, _ = await visit(browser, f"{server.url}/?shelf=suspense")
    await expect(page.locator("#titled")).to_have_text("b2@20")
    await client.mutation("books:move", {"book": books[1], "position": 25})
    await expect(page.locator("#titled")).to_have_text("b2@25")
    assert [state["position"] for state in await rendered(page, "titled")] == [20, 25]
    await expect(page.get_by_role("alert")).to_have_text('{"code":"missing","title":"nowhere"}')


async def test_a_query_that_fails_and_recovers(browser: Browser, server: Server, client: AsyncClient) -> None:
    book, _ = await client.mutation("books:fill", {"shelf": "failing", "count": 2})
    page, _ = await visit(browser, f"{server.url}/?shelf=failing")
    maybe = page.locator("#maybe")
    await expect(maybe).to_have_text("success b1 undefined")
    await client.mutation("books:rename", {"book": book, "title": "gone"})
    await expect(maybe).to_have_text('error b1 {"code":"missing","title":"b1"}')
    await client.mutation("books:rename", {"book": book, "title": "b1"})
    await expect(maybe).to_have_text("success b1 undefined")
    await expect(page.locator("#count")).to_have_text("2")


async def test_what_is_prefetched_is_there_at_once_and_live(
    browser: Browser, server: Server, client: AsyncClient
) -> None:
    for shelf in ("near", "far"):
        await client.mutation("books:fill", {"shelf": shelf, "count": 2})
    page, wire = await visit(browser, f"{server.url}/?shelf=near")
    await page.evaluate("prefetch('far')")
    await client.mutation("books:insert", {"shelf": "far", "position": 15, "title": "later"})
    await wire.until(lambda wire: '"later"' in str(wire.received).replace("'", '"'))
    await page.evaluate("show(['far'])")
    await expect(page.locator("#far")).to_have_text("b1 later b2")
    states = await rendered(page, "far")
    assert [(state["status"], state["titles"]) for state in states] == [("success", ["b1", "later", "b2"])]
    assert len([query for query in wire.added() if query["args"] == [{"shelf": "far", "order": "asc"}]]) == 1


async def test_what_nobody_shows_any_more_is_let_go(browser: Browser, server: Server, client: AsyncClient) -> None:
    for shelf in ("kept", "left"):
        await client.mutation("books:fill", {"shelf": shelf, "count": 2})
    page, wire = await visit(browser, f"{server.url}/?shelf=kept")
    await page.evaluate("show(['left'])")
    await expect(page.locator("#left")).to_have_text("b1 b2")
    await page.evaluate("show([])")
    (added,) = [query for query in wire.added() if query["args"] == [{"shelf": "left", "order": "asc"}]]
    removal = {"type": "Remove", "queryId": added["queryId"]}
    await wire.until(lambda wire: any(removal in message.get("modifications", []) for message in wire.sent))
    [left] = [message["newVersion"] for message in wire.sent if removal in message.get("modifications", [])]
    await wire.until(lambda wire: any(m.get("endVersion", {}).get("querySet", 0) >= left for m in wire.received))
    page_of = {"shelf": "kept", "order": "asc"}
    await client.query("books:page", page_of | {"paginationOpts": {"numItems": 2, "cursor": None}})
    await server.printed("query books:page ran")  # and so what ran before stands in the log
    since = len(server.lines)
    await client.mutation("books:insert", {"shelf": "left", "position": 15, "title": "unseen"})
    await client.mutation("books:insert", {"shelf": "kept", "position": 15, "title": "seen"})
    await expect(page.locator("#kept")).to_have_text("b1 seen b2")
    # It ran once, for the shelf that is shown. The last line before which that stands in the log is of another query.
    await client.query("books:page", page_of | {"paginationOpts": {"numItems": 1, "cursor": None}})
    await server.printed("query books:page ran", since=since)
    assert sum("query books:everything ran" in line for line in server.lines[since:]) == 1
