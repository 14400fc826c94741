"""The gallery example in Chromium: pictures are sent, seen by everybody, and removed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2 as httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, FilePayload, expect

from reliability.serving import ROOT, Server, serving
from tests.chromium import chromium, window
from yugen_client import AsyncClient

APP = ROOT / "examples/gallery/app"

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(APP, tmp_path / "data") as server:
        yield server


def png(width: int, height: int) -> bytes:
    """A black picture."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


async def test_a_picture_is_sent_and_seen_by_everybody(browser: Browser, server: Server) -> None:
    one, other = await window(browser, server.url), await window(browser, server.url)
    picture: FilePayload = {"name": "night.png", "mimeType": "image/png", "buffer": png(64, 32)}
    await one.page.locator("input").set_input_files(picture)
    for each in (one, other):
        image = each.page.get_by_alt_text("night.png")
        await expect(image).to_be_visible()
        await each.page.wait_for_function("document.querySelector('img').naturalWidth === 64")
    await expect(one.page.get_by_role("status")).to_have_text("")
    url = await other.page.get_by_alt_text("night.png").get_attribute("src")
    assert url is not None
    # What the page of another origin reads, as `fetch` does with a range, is let through.
    fetched = await other.page.evaluate(
        """async (url) => {
            const part = await fetch(url, { headers: { Range: "bytes=1-3" } });
            return [part.status, await part.text(), part.headers.get("Content-Range"), part.headers.get("ETag")];
        }""",
        url.replace("127.0.0.1", "localhost"),
    )
    assert fetched[:2] == [206, "PNG"]
    assert fetched[2].startswith("bytes 1-3/")
    assert fetched[3].startswith('"')
    await other.page.get_by_alt_text("night.png").click()
    await expect(one.page.locator("img")).to_have_count(0)
    assert one.complaints == other.complaints == []
    async with httpx.AsyncClient() as http:
        assert (await http.get(url)).status_code == 404


async def test_what_is_no_picture_is_refused_in_the_page(browser: Browser, server: Server, tmp_path: Path) -> None:
    opened = await window(browser, server.url)
    text: FilePayload = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    await opened.page.locator("input").set_input_files(text)
    await expect(opened.page.get_by_role("status")).to_have_text("That is no picture.")
    large = tmp_path / "large.png"
    large.write_bytes(bytes(10_000_001))
    await opened.page.locator("input").set_input_files(large)
    await expect(opened.page.get_by_role("status")).to_contain_text("at most 10000000 bytes")
    await expect(opened.page.locator("img")).to_have_count(0)


async def test_a_page_that_was_sent_runs_no_script(browser: Browser, server: Server) -> None:
    """What a browser may run is downloaded, and where it is looked at all the same, confined."""
    async with AsyncClient(server.url) as client:
        url = await client.mutation("pictures:upload_url")
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="32"><script>document.title="ran"</script></svg>'
        )
        file = await client.upload(url, svg.encode(), content_type="image/svg+xml")
        await client.mutation("pictures:add", {"file": file, "title": "drawing"})
        [shown] = await client.query("pictures:list")
    opened = await window(browser, server.url)
    # As an image it is shown, and its script does not run there.
    await opened.page.wait_for_function("document.querySelector('img')?.naturalWidth === 64")
    async with opened.page.expect_download() as download:
        await opened.page.evaluate("(url) => { location.href = url }", shown["url"])
    assert (await (await download.value).path()).read_text() == svg
    assert await opened.page.title() == "Gallery"
