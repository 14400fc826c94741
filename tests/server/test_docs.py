"""The description of the functions over HTTP, called as it says, and the page that shows it."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from playwright.async_api import expect
from starlette.applications import Starlette
from starlette.routing import Mount

from reliability.serving import Server, serving
from tests.apps import write_app
from tests.chromium import chromium, window
from tests.issuer import issuing
from yugen import Yugen

SHOP = '''
    from typing import Literal

    from pydantic import BaseModel

    from yugen import (
        Document, Id, Index, Int64, MutationCtx, QueryCtx, YugenError, action, internal_query, mutation, query,
    )


    class Item(Document, table="items"):
        """Something to sell."""

        name: str
        price: float
        kind: Literal["book", "toy"] = "book"
        stock: Int64 = Int64(0)
        picture: bytes = b""

        by_kind = Index("kind")


    class Line(BaseModel):
        item: Id[Item]
        count: int = 1


    @query(name="list")
    async def list_items(ctx: QueryCtx, kind: Literal["book", "toy"] = "book") -> list[Item]:
        """The items of a kind.

        Sold out ones, too: <b>all</b>.
        """
        return await ctx.db.query(Item).with_index(Item.by_kind, kind=kind).collect()


    @query
    async def get(ctx: QueryCtx, item: Id[Item]) -> Item | None:
        return await ctx.db.get(item)


    @mutation
    async def add(
        ctx: MutationCtx, name: str, price: float, kind: Literal["book", "toy"] = "book", stock: Int64 = Int64(0),
        picture: bytes = b"",
    ) -> Id[Item]:
        return await ctx.db.insert(Item(name=name, price=price, kind=kind, stock=stock, picture=picture))


    @mutation
    async def order(ctx: MutationCtx, lines: list[Line], urgent: bool = False) -> float:
        total = 0.0
        for line in lines:
            item = await ctx.db.get(line.item)
            if item is None or item.stock < line.count:
                raise YugenError({"code": "sold out", "item": line.item})
            await ctx.db.patch(line.item, stock=Int64(item.stock - line.count))
            total += item.price * line.count
        return total


    @action
    async def echo(ctx, **args: object):
        return args


    @internal_query
    async def hidden(ctx: QueryCtx) -> None:
        pass
'''


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(write_app(tmp_path, shop=SHOP), tmp_path / "data") as server:
        yield server


class Described:
    """A client that knows of a server only what its document says."""

    def __init__(self, url: str, document: dict[str, Any]) -> None:
        self.url = url
        self.document = document

    def schema(self, schema: dict[str, Any]) -> Draft202012Validator:
        return Draft202012Validator({**schema, "components": self.document["components"]})

    async def call(self, path: str, **args: Any) -> Any:
        """The answer to a request that fits the document, if the answer fits it too."""
        operation = self.document["paths"][path]["post"]
        body = {"args": args, "format": "json"}
        self.schema(operation["requestBody"]["content"]["application/json"]["schema"]).validate(body)
        return await self.send(path, body)

    async def send(self, path: str, body: Any) -> Any:
        async with httpx.AsyncClient() as http:
            response = await http.post(f"{self.url}{path}", json=body)
        responses = self.document["paths"][path]["post"]["responses"]
        described = responses.get(str(response.status_code), responses["default"])
        answer = response.json()
        self.schema(described["content"]["application/json"]["schema"]).validate(answer)
        return answer


async def described(url: str) -> Described:
    async with httpx.AsyncClient() as http:
        response = await http.get(f"{url}/openapi.json")
    assert response.headers["content-type"] == "application/json"
    return Described(url, response.json())


def int64(value: int) -> dict[str, str]:
    return {"$integer": base64.b64encode(struct.pack("<q", value)).decode()}


async def test_the_document_is_valid_and_lists_what_clients_may_call(server: Server) -> None:
    shop = await described(server.url)
    validate(shop.document)
    paths = [f"/api/run/shop/{name}" for name in ("add", "echo", "get", "list", "order")]
    assert sorted(shop.document["paths"]) == paths
    listing = shop.document["paths"]["/api/run/shop/list"]["post"]
    assert listing["summary"] == "The items of a kind."
    assert listing["x-function"] == {"path": "shop:list", "kind": "query"}
    assert "servers" not in shop.document


async def test_calls_are_as_the_document_says(server: Server) -> None:
    shop = await described(server.url)
    added = await shop.call("/api/run/shop/add", name="Ball", price=2.5, kind="toy", stock=int64(2**60))
    assert added["status"] == "success"
    assert (await shop.call("/api/run/shop/list"))["value"] == []
    (ball,) = (await shop.call("/api/run/shop/list", kind="toy"))["value"]
    assert (ball["_id"], ball["stock"], ball["picture"]) == (added["value"], str(2**60), "")
    assert (await shop.call("/api/run/shop/get", item=ball["_id"]))["value"] == ball
    assert (await shop.call("/api/run/shop/order", lines=[{"item": ball["_id"], "count": 2}]))["value"] == 5
    assert (await shop.call("/api/run/shop/echo", anything=[1, {"a": None}]))["value"] == {"anything": [1, {"a": None}]}
    picture = {"$bytes": base64.b64encode(b"\0\xff").decode()}
    book = await shop.call("/api/run/shop/add", name="Book", price=1, picture=picture)
    assert (await shop.call("/api/run/shop/get", item=book["value"]))["value"]["picture"] == picture["$bytes"]


async def test_failures_are_as_the_document_says(server: Server) -> None:
    shop = await described(server.url)
    added = await shop.call("/api/run/shop/add", name="Ball", price=2.5)
    sold_out = await shop.call("/api/run/shop/order", lines=[{"item": added["value"]}])
    assert sold_out["status"] == "error"
    assert sold_out["errorData"] == {"code": "sold out", "item": added["value"]}
    for wrong in ({"price": 2.5}, {"name": "x", "price": "2"}, {"name": "x", "price": 1, "size": 2}):
        schema = shop.document["paths"]["/api/run/shop/add"]["post"]["requestBody"]["content"]["application/json"]
        assert not shop.schema(schema["schema"]).is_valid({"args": wrong})
        assert (await shop.send("/api/run/shop/add", {"args": wrong}))["status"] == "error"
    assert (await shop.send("/api/run/shop/add", {"args": {"$x": 1, "b": 2}}))["code"] == "BadArgs"


async def test_below_another_app_it_says_where(tmp_path: Path) -> None:
    yugen = Yugen(write_app(tmp_path, shop=SHOP), database=tmp_path / "data")
    outer = Starlette(routes=[Mount("/backend", yugen.asgi())])
    async with yugen, httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://outer") as http:
        document = (await http.get("/backend/openapi.json")).json()
        assert document["servers"] == [{"url": "/backend"}]
        path = document["servers"][0]["url"] + "/api/run/shop/list"
        assert (await http.post(path, json={"args": {}})).json() == {"status": "success", "value": []}
        assert (await http.get("/backend/docs/")).headers["location"] == "/backend/docs"


async def test_it_can_be_left_out_and_the_app_may_have_its_own(tmp_path: Path) -> None:
    app = write_app(tmp_path, shop=SHOP)
    yugen = Yugen(app, database=tmp_path / "data", docs=False)
    async with yugen, httpx.AsyncClient(transport=httpx.ASGITransport(yugen.asgi()), base_url="http://a") as http:
        assert [(await http.get(path)).status_code for path in ("/openapi.json", "/docs")] == [404, 404]
    (tmp_path / "public/docs").mkdir(parents=True)
    (tmp_path / "public/docs/index.html").write_text("our own")
    (tmp_path / "public/openapi.json").write_text('"ours"')
    yugen = Yugen(app, database=tmp_path / "data")
    async with yugen, httpx.AsyncClient(transport=httpx.ASGITransport(yugen.asgi()), base_url="http://a") as http:
        assert (await http.get("/docs/")).text == "our own"
        assert (await http.get("/openapi.json")).json() == "ours"


async def test_the_page_lets_nothing_else_run_in_it(server: Server) -> None:
    async with httpx.AsyncClient() as http:
        page = await http.get(f"{server.url}/docs")
        parts = [await http.get(f"{server.url}/docs/page.{kind}") for kind in ("js", "css")]
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'self'" in policy
    assert page.headers["x-frame-options"] == "SAMEORIGIN"
    assert page.headers["referrer-policy"] == "same-origin"
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert [each.headers["content-type"].partition(";")[0] for each in (page, *parts)] == [
        "text/html",
        "text/javascript",
        "text/css",
    ]
    assert not any("://" in each.text for each in (page, *parts))


@pytest.mark.browser
async def test_the_page_runs_functions_and_shows_live_results(server: Server) -> None:
    async with chromium() as browser:
        shown = await window(browser, f"{server.url}/docs#shop:list")
        page = shown.page
        requested: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        await page.reload()
        await page.wait_for_selector("main[aria-busy=false]")
        assert await page.title() == "app"
        assert await page.locator(".path").all_inner_texts() == [
            f"shop:{name}" for name in ("add", "echo", "get", "list", "order")
        ]
        lines = page.locator(".type-view", has_text="Line").first
        await lines.locator("summary").click()
        assert await lines.locator("pre").inner_text() == 'item: Id<"items">\ncount?: integer'
        listing = page.locator('[id="shop:list"]')
        assert "Sold out ones, too: <b>all</b>." in await listing.locator(".description").inner_text()
        await listing.get_by_label("kind").select_option("toy")
        await listing.get_by_role("button", name="Watch").click()
        await listing.locator(".result", has_text="[]").wait_for()

        add = page.locator('[id="shop:add"]')
        await add.locator("summary").click()
        await add.get_by_label("name").fill("Ball")
        await add.get_by_label("price").fill("2.5")
        await add.get_by_label("kind").select_option("toy")
        await add.get_by_label("stock").fill("9007199254740993")
        await add.get_by_label("picture").fill('{"$bytes": "AP8="}')
        await add.get_by_role("button", name="Run").click()
        await listing.locator(".result", has_text='"stock": "9007199254740993"').wait_for()
        assert '"picture": "AP8="' in await listing.locator(".result").inner_text()
        assert "Live; result 2" in await listing.locator(".status").inner_text()

        await listing.get_by_role("button", name="Stop").click()
        await add.get_by_label("name").fill("Top")
        await add.get_by_role("button", name="Run").click()
        await add.locator(".status", has_text="Done").wait_for()

        order = page.locator('[id="shop:order"]')
        await order.locator("summary").click()
        await order.get_by_label("lines").fill("[{]")
        await order.get_by_role("button", name="Run").click()
        await order.locator(".failed", has_text="lines: ").wait_for()
        await order.get_by_label("lines").fill('[{"item": "x"}]')
        await order.get_by_role("button", name="Run").click()
        await order.locator(".failed", has_text="must be an id of table items").wait_for()
        assert "Top" not in await listing.locator(".result").inner_text()

        await add.get_by_label("stock").fill("9223372036854775808")
        await add.get_by_role("button", name="Run").click()
        await add.locator(".failed", has_text="At .stock: 9223372036854775808 does not fit in 64 bits").wait_for()
        assert {url for url in requested if not url.startswith((server.url, "data:"))} == set()
        assert shown.complaints == []


WHO = """
    from yugen import Document, MutationCtx, QueryCtx, mutation, query


    class Call(Document, table="calls"):
        user: str | None


    async def user_of(ctx) -> str | None:
        identity = await ctx.auth.get_user_identity()
        return identity and identity.subject


    @query
    async def calls(ctx: QueryCtx) -> tuple[str | None, list[str | None]]:
        return await user_of(ctx), [call.user async for call in ctx.db.query(Call)]


    @mutation
    async def call(ctx: MutationCtx) -> None:
        await ctx.db.insert(Call(user=await user_of(ctx)))
"""


@pytest.mark.browser
async def test_with_a_token_the_page_calls_and_watches_as_its_user(tmp_path: Path) -> None:
    async with issuing() as issuer, chromium() as browser:
        app = write_app(tmp_path, who=WHO, auth=issuer.auth_py())
        async with serving(app, tmp_path / "data") as server:
            shown = await window(browser, f"{server.url}/docs#who:calls")
            page = shown.page
            tried: list[str | bytes] = []

            def look(message: str | bytes) -> None:
                if "x.y.z" in str(message):
                    tried.append(message)

            page.on("websocket", lambda socket: socket.on("framesent", look))
            calls = page.locator('[id="who:calls"]')
            call = page.locator('[id="who:call"]')
            await call.locator("summary").click()

            async def shows(*result: Any) -> None:
                await expect(calls.locator(".result")).to_have_text(json.dumps(result, indent=2))

            await page.get_by_label("Token").fill(issuer.token(sub="ada"))
            await calls.get_by_role("button", name="Watch").click()
            await shows("ada", [])
            await call.get_by_role("button", name="Run").click()
            await shows("ada", ["ada"])
            # With a token that nobody has issued nothing is called, not even as nobody; each time it is tried.
            await page.get_by_label("Token").fill("x.y.z")
            for times in (1, 2):
                await call.get_by_role("button", name="Run").click()
                await expect(call.locator(".status")).to_contain_text("Failed")
                await expect(call.locator(".failed")).to_have_text("The server does not take this token.")
                assert len(tried) == times
            await shows(None, ["ada"])
            await page.get_by_label("Token").fill(issuer.token(sub="bob"))
            await call.get_by_role("button", name="Run").click()
            await shows("bob", ["ada", "bob"])
            await page.get_by_label("Token").fill("")
            await call.get_by_role("button", name="Run").click()
            await shows(None, ["ada", "bob", None])
            assert shown.complaints == []


async def test_it_tells_of_the_functions_that_there_are_now(server: Server, tmp_path: Path) -> None:
    assert "/api/run/more/one" not in (await described(server.url)).document["paths"]
    since = len(server.lines)
    write_app(tmp_path, more="from yugen import query\n@query\nasync def one(ctx) -> int:\n    return 1\n")
    await server.printed("Reloaded", since=since)
    shop = await described(server.url)
    assert await shop.call("/api/run/more/one") == {"status": "success", "value": 1}
