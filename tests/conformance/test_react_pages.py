"""usePaginatedQuery of convex/react, and Yugen's own, in a real Chromium: lists that stay right."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from reliability.relay import Relay, relaying
from reliability.serving import Server, serving
from tests.chromium import Window, empty_window
from tests.conformance.shelves import check_states, scribble, shown
from tests.conformance.site import Wire, write_site
from yugen_client import AsyncClient

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module", params=["official", "own"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(tmp_path_factory.mktemp("site"), "shelves_app", "shelf.jsx", client=request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(app: Path) -> AsyncIterator[Server]:
    async with serving(app, app.parent / "data") as server:
        yield server


class ShelfPage:
    """A window on one shelf."""

    def __init__(self, opened: Window) -> None:
        self.page = opened.page
        self.complaints = opened.complaints
        self.wire = Wire(opened.page)
        self.rows = self.page.locator("li")
        self.status = self.page.get_by_role("status")
        self.all = self.page.locator("#all")

    async def more(self) -> None:
        """Loads another page and waits until it is there."""
        await self.page.get_by_role("button", name="More").click()
        await self.settled()

    async def to_the_end(self) -> None:
        """Loads all pages there are."""
        while await self.status.text_content() != "Exhausted":
            await self.more()

    async def settled(self) -> None:
        await expect(self.status).to_have_text(re.compile("^(CanLoadMore|Exhausted)$"))

    async def states(self) -> list[dict[str, Any]]:
        """Every state that was on the screen."""
        states: list[dict[str, Any]] = await self.page.evaluate("rendered")
        return states

    async def right_states(self) -> list[dict[str, Any]]:
        """Every state that was on the screen, of which none showed anything wrong."""
        return check_states(await self.states())


async def visit(browser: Browser, to: Server | Relay, shelf: str, *, page: str = "", **options: object) -> ShelfPage:
    opened = ShelfPage(await empty_window(browser))
    await opened.page.goto(f"{to.url}/{page}?{urlencode({'shelf': shelf, **options})}")
    await opened.settled()
    await expect(opened.all).not_to_be_empty()
    return opened


@pytest.mark.parametrize(("order", "page"), [("asc", ""), ("desc", "development.html")])
async def test_no_gap_ever_shows_while_others_write(browser: Browser, server: Server, order: str, page: str) -> None:
    shelf = f"busy {order}"
    async with AsyncClient(server.url) as client:
        books = await client.mutation("books:fill", {"shelf": shelf, "count": 30})
        opened = await visit(browser, server, shelf, page=page, order=order)
        await opened.more()

        async def read_on() -> None:
            for _ in range(3):
                await opened.more()

        await asyncio.gather(*(scribble(server.url, shelf, books, seed) for seed in (1, 2)), read_on())
        there = await shown(client, shelf, order)
    await expect(opened.all).to_have_text(" ".join(there))
    await opened.to_the_end()
    await expect(opened.rows).to_have_text(there)
    states = await opened.right_states()
    assert len(states) > 30
    assert opened.wire.splits() > 0
    assert opened.complaints == []


async def test_a_page_that_has_grown_splits(browser: Browser, server: Server) -> None:
    async with AsyncClient(server.url) as client:
        await client.mutation("books:fill", {"shelf": "growing", "count": 8})
        opened = await visit(browser, server, "growing")
        for number in range(1, 7):
            await client.mutation("books:insert", {"shelf": "growing", "position": 10 + number, "title": "new"})
        new = [f"new@{10 + number}" for number in range(1, 7)]
        await expect(opened.rows).to_have_text(["b1@10", *new, *(f"b{n}@{n}0" for n in range(2, 6))])
        # 11 books are more than twice the 5 that were asked for: the one page becomes two, which it makes way for.
        await opened.wire.until(lambda wire: any("Remove" in str(m.get("modifications")) for m in wire.sent))
        assert opened.wire.splits() == 1

        # Both halves are alive, and so is their seam, to both sides of which a book goes at once.
        seam = opened.rows.nth(5)
        await expect(seam).to_have_text("new@15")
        for position in (14.5, 15.5):
            await client.mutation("books:insert", {"shelf": "growing", "position": position, "title": "seam"})
        await expect(opened.rows).to_have_count(13)
        await opened.more()
        await expect(opened.rows).to_have_text(await shown(client, "growing"))
    await opened.right_states()


async def test_ends_of_pages_outlive_connections_and_servers(browser: Browser, server: Server) -> None:
    async with relaying(server.port) as relay, AsyncClient(server.url) as client:
        books = await client.mutation("books:fill", {"shelf": "lasting", "count": 20})
        opened = await visit(browser, relay, "lasting")
        await opened.more()
        # A page of 8 and one of 3, by their ends; 5 and 5, by what was asked for.
        for position in (11, 12, 13):
            await client.mutation("books:insert", {"shelf": "lasting", "position": position, "title": "new"})
        for book in books[7:9]:
            await client.mutation("books:remove", {"book": book})
        await expect(opened.rows).to_have_count(11)

        relay.cut()
        await client.mutation("books:insert", {"shelf": "lasting", "position": 55, "title": "cut"})
        await client.mutation("books:insert", {"shelf": "lasting", "position": 105, "title": "unseen"})
        await expect(opened.rows).to_have_text((await shown(client, "lasting"))[:12])
        await server.kill()
        await server.start()
        await opened.page.evaluate("window.dispatchEvent(new Event('online'))")
        await client.mutation("books:insert", {"shelf": "lasting", "position": 14, "title": "after"})
        await client.mutation("books:insert", {"shelf": "lasting", "position": 99, "title": "after"})
        await expect(opened.rows).to_have_text((await shown(client, "lasting"))[:14])

        connects = opened.wire.of_type("Connect")
        assert len(connects) >= 3
        # The two pages were asked for anew with what the server had said of their ends, and by nothing else.
        again = [query for query in opened.wire.added() if query["udfPath"] == "books:page"][-2:]
        assert all(query["journal"] for query in again)
    states = await opened.right_states()
    assert {state["status"] for state in states[-3:]} == {"CanLoadMore"}


async def test_other_arguments_begin_anew(browser: Browser, server: Server) -> None:
    async with AsyncClient(server.url) as client:
        await client.mutation("books:fill", {"shelf": "first", "count": 12})
        await client.mutation("books:insert", {"shelf": "other", "position": 1, "title": "alone"})
    opened = await visit(browser, server, "first")
    await opened.more()
    change = opened.page.get_by_role("button", name="Other shelf")
    await change.click()
    await expect(opened.rows).to_have_text(["alone@1"])
    await expect(opened.status).to_have_text("Exhausted")
    await change.click()
    await expect(opened.rows).to_have_text([f"b{n}@{n}0" for n in range(1, 6)])
    states = await opened.right_states()
    assert all(state["results"] in ([], ["alone@1"]) for state in states if state["shelf"] == "other")


async def test_cursors_of_other_data_begin_anew(browser: Browser, app: Path, tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    async with serving(app, data) as server:
        async with AsyncClient(server.url) as client:
            await client.mutation("books:fill", {"shelf": "swapped", "count": 4})
        await server.stop()
        data.rename(other)
        await server.start()
        async with AsyncClient(server.url) as client:
            await client.mutation("books:fill", {"shelf": "swapped", "count": 20})
            opened = await visit(browser, server, "swapped", initial=3)
            await opened.more()
            await opened.more()
            await expect(opened.rows).to_have_count(9)
        await server.kill()
        data.rename(tmp_path / "gone")
        other.rename(data)
        await server.start()
        async with AsyncClient(server.url) as client:
            # A commit of its own takes this server beyond the moment that the page has seen on the other.
            await client.mutation("books:insert", {"shelf": "swapped", "position": 15, "title": "late"})
        await opened.page.evaluate("window.dispatchEvent(new Event('online'))")
        await expect(opened.rows).to_have_text(["b1@10", "late@15", "b2@20"])
        await opened.more()
        await expect(opened.rows).to_have_text(["b1@10", "late@15", "b2@20", "b3@30", "b4@40"])
        await expect(opened.status).to_have_text("Exhausted")


def check_optimistic(states: list[dict[str, Any]], order: str) -> None:
    """Asserts that what was shown before it was certain never went away again, and always was where it belongs."""
    for before, after in pairwise(states):
        shown = [label.split("@") for label in after["results"]]
        positions = [float(position) for _, position in shown]
        assert positions == sorted(set(positions), reverse=order == "desc"), states
        assert {label.split("@")[1] for label in before["results"]} <= {position for _, position in shown}, states
    titles = [dict(reversed(label.split("@")) for label in state["results"]) for state in states]
    for position in titles[-1]:
        renamed = [each[position].startswith("renamed") for each in titles if position in each]
        assert renamed == sorted(renamed), states


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_optimistic_updates_never_step_back(browser: Browser, server: Server, order: str) -> None:
    shelf = f"optimistic {order}"
    up = 1 if order == "asc" else -1
    async with relaying(server.port) as relay, AsyncClient(server.url) as client:
        books = await client.mutation("books:fill", {"shelf": shelf, "count": 30})
        # No page here grows so far that it splits: the helpers might take one that is about to go for the shown one.
        opened = await visit(browser, relay, shelf, order=order, initial=10)
        await opened.more()

        def change(number: int) -> str:
            """Inserts at the top, at the seam of two pages, in a page and at the end, and renames."""
            top, seam, inside, bottom = (155 + up * offset for offset in (-150, -50, -83, 150))
            return f"""Promise.all([
                change.top({top - up * number}, "top{number}"),
                change.inPlace({seam + number / 10}, "seam{number}"),
                change.inPlace({inside + number / 10}, "inside{number}"),
                change.rename("{books[number if up > 0 else -number]}", "renamed{number}"),
                change.bottom({bottom + up * number}, "bottom{number}"),
            ])"""

        # Where the end is not loaded, what goes there does not show.
        await opened.page.evaluate(change(1))
        await expect(opened.rows).to_have_text((await shown(client, shelf, order))[:23])
        await opened.to_the_end()
        await expect(opened.rows).to_have_text(await shown(client, shelf, order))

        # As fast as can be.
        await opened.page.evaluate(f"Promise.all([{change(2)}, {change(3)}])")
        await expect(opened.rows).to_have_text(await shown(client, shelf, order))

        # What shows when no answers come back is what was made up, and what then comes is the same.
        relay.lose_answers()
        await opened.page.evaluate(f"void (window.changing = {change(4)})")
        await expect(opened.rows).to_have_count(30 + 4 * 4)
        async for books in client.subscribe("books:everything", {"shelf": shelf, "order": order}):
            if len(books) == 30 + 4 * 4:
                break
        relay.cut()
        await opened.page.evaluate("changing")
        await expect(opened.rows).to_have_text(await shown(client, shelf, order))
    check_optimistic(await opened.states(), order)
