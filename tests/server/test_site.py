"""HTTP actions as clients meet them: which one answers, and what is said where none does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apps import write_app
from yugen.testing import TestApp

APP = """
    import asyncio
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

    from yugen import ActionCtx, HttpRouter, YugenError, http_action

    http = HttpRouter()


    @http.route("/hello")
    async def hello(ctx: ActionCtx, request: Request) -> Response:
        return PlainTextResponse(f"hello from {request.method} {request.url.path}")


    @http.route("/echo", methods=["POST"])
    async def echo(ctx: ActionCtx, request: Request) -> Response:
        return Response(await request.body(), 201, {"X-Type": request.headers["content-type"]})


    @http.route("/stream", methods=["POST"])
    async def stream(ctx: ActionCtx, request: Request) -> Response:
        async def shouted() -> AsyncIterator[bytes]:
            async for part in request.stream():
                yield part.upper()

        return StreamingResponse(shouted(), media_type="text/plain")


    @http.route(path_prefix="/files/")
    async def files(ctx: ActionCtx, request: Request) -> Response:
        return JSONResponse({"by": "files", **request.path_params})


    @http.route(path_prefix="/files/deep/")
    async def deep(ctx: ActionCtx, request: Request) -> Response:
        return JSONResponse({"by": "deep", **request.path_params})


    @http.route("/files/exact")
    async def exact(ctx: ActionCtx, request: Request) -> Response:
        return JSONResponse({"by": "exact", **request.path_params})


    @http.route("/fails")
    async def fails(ctx: ActionCtx, request: Request) -> Response:
        raise ValueError("the tea is cold")


    @http.route("/refuses")
    async def refuses(ctx: ActionCtx, request: Request) -> Response:
        raise YugenError({"code": "full"})


    @http.route("/forgets")
    async def forgets(ctx: ActionCtx, request: Request) -> Response:
        return {"not": "a response"}


    @http.route("/me")
    async def me(ctx: ActionCtx, request: Request) -> Response:
        who = await ctx.auth.get_user_identity()
        return PlainTextResponse(who.subject if who else "nobody")
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path, http=APP)


async def test_small(app: Path) -> None:
    async with TestApp(app) as t:
        response = await t.fetch("/hello?x=1")
        assert (response.status_code, response.text) == (200, "hello from GET /hello")
        response = await t.fetch("/echo", method="POST", content=b"abc" * 500000, headers={"content-type": "a/b"})
        assert response.status_code == 201
        assert response.content == b"abc" * 500000
        assert (await t.as_user(subject="ada").fetch("/me")).text == "ada"
        for path in ("/fails", "/refuses", "/forgets", "/nope", "/echo"):
            response = await t.fetch(path)
            print(response.status_code, response.text, response.headers)
