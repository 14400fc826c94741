"""HTTP actions as apps declare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.apps import write_app
from yugen.functions.declare import DeclarationError, query
from yugen.functions.http import HttpAction, HttpRouter, http_action
from yugen.functions.info import AppInfo
from yugen.functions.registry import AppError, describe, load
from yugen.functions.routing import Route


async def answers(ctx: Any, request: Any) -> Any:
    """Says hello."""
    return f"{ctx} {request}"


def test_a_router_knows_its_routes() -> None:
    http = HttpRouter()
    hook = http.route("/hook", methods=["POST", "PUT"])(answers)
    assert http.route(path_prefix="/files/")(hook) is hook
    assert http.actions == {
        Route("POST", "/hook", False): hook,
        Route("PUT", "/hook", False): hook,
        Route("GET", "/files/", True): hook,
    }
    assert isinstance(hook, HttpAction)
    assert (hook.__name__, hook.__doc__) == ("answers", "Says hello.")


async def test_calling_it_runs_the_plain_function() -> None:
    given: Any = "a context", "a request"
    assert str(await http_action(answers)(*given)) == "a context a request"


def test_the_same_route_twice_leads_to_one_function() -> None:
    http = HttpRouter()
    hook = http.route("/hook")(answers)
    http.route("/hook")(hook)
    with pytest.raises(DeclarationError, match=r"^GET /hook is answered by <HTTP action .*answers> already"):
        http.route("/hook")(http_action(answers))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "A route has a path or a prefix"),
        ({"path": "/a", "path_prefix": "/a/"}, "A route has a path or a prefix"),
        ({"path": "hook"}, "begins with a slash, like /hook; it is 'hook'"),
        ({"path": 3}, "begins with a slash, like /hook; it is 3"),
        ({"path_prefix": "/files"}, "write path_prefix='/files/'"),
        ({"path": "/a?b=1"}, "is more than a path"),
        ({"path": "/files/*"}, "has a pattern"),
        ({"path": "/files/{name}"}, "has a pattern"),
        ({"path": "/caf%C3%A9"}, "write it as it reads decoded"),
        ({"path": "/a//b"}, "has parts that are taken out"),
        ({"path_prefix": "/a/../"}, "has parts that are taken out"),
        ({"path": "/.files"}, "is reserved"),
        ({"path_prefix": "/.files/"}, "is reserved"),
        ({"path": "/a", "methods": "POST"}, r"as a list: methods=\[\"POST\"\]"),
        ({"path": "/a", "methods": []}, "as a list"),
        ({"path": "/a", "methods": ["HEAD"]}, "cannot have the method 'HEAD'; it is answered by GET"),
        ({"path": "/a", "methods": ["post"]}, "cannot have the method 'post'; there are GET, POST, PUT"),
    ],
)
def test_a_route_that_no_request_comes_to_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(DeclarationError, match=text):
        HttpRouter().route(**options)


def test_only_async_functions_of_a_context_and_a_request_answer() -> None:
    @query
    async def asked(ctx: Any) -> None: ...

    def plain(ctx: Any, request: Any) -> None: ...

    async def bare() -> None: ...

    for handler, text in (
        (asked, "cannot answer requests; take its decorator away"),
        (plain, "is not an async function"),
        (bare, "must take a context and a request: `async def bare"),
    ):
        with pytest.raises(DeclarationError, match=text):
            http_action(handler)  # type: ignore[arg-type]


HTTP = """
    from yugen import HttpRouter
    from .hooks import hook

    http = HttpRouter()
    http.route("/hook", methods=["POST"])(hook)


    @http.route(path_prefix="/files/")
    async def files(ctx, request): ...
"""

HOOKS = """
    from yugen import action, http_action


    @http_action
    async def hook(ctx, request): ...


    @action
    async def calls_it(ctx) -> None:
        await ctx.run_action(hook)
"""


def test_an_app_has_the_routes_of_its_router(tmp_path: Path) -> None:
    app = load(write_app(tmp_path, http=HTTP, hooks=HOOKS))
    assert [str(route) for route in app.http] == ["POST /hook", "GET /files/*"]
    assert list(app.functions) == ["hooks:calls_it"]
    info = describe(app)
    assert AppInfo.from_data(info.to_data()) == info
    assert info.routes == tuple(app.http)
    with pytest.raises(AppError, match=r"<HTTP action app.hooks.hook> answers requests and cannot be called"):
        app.path_of(next(iter(app.http.values())))  # type: ignore[arg-type]


def test_other_modules_may_import_the_router(tmp_path: Path) -> None:
    other = "from .http import http\n"
    assert len(load(write_app(tmp_path, http=HTTP, hooks=HOOKS, more=other)).http) == 2


@pytest.mark.parametrize(
    "modules",
    [
        {"routes": "from yugen import HttpRouter\nhttp = HttpRouter()\n"},
        {"http": "from yugen import HttpRouter\nrouter = HttpRouter()\n"},
        {"http": "from yugen import HttpRouter\nother = HttpRouter()\nhttp = HttpRouter()\n"},
        {
            "http": "from yugen import HttpRouter\nhttp = HttpRouter()\n",
            "more": "from yugen import HttpRouter\nx = HttpRouter()\n",
        },
    ],
)
def test_a_router_that_nobody_asks_is_refused(tmp_path: Path, modules: dict[str, str]) -> None:
    with pytest.raises(AppError, match=r"nobody asks this router; write `http = HttpRouter\(\)` in app/http.py"):
        load(write_app(tmp_path, **modules))


def test_a_mistake_is_shown_where_it_stands(tmp_path: Path) -> None:
    app = write_app(tmp_path, http=HTTP.replace('"/hook"', '"hook"'), hooks=HOOKS)
    with pytest.raises(AppError, match=r"http.py:5: The path of a route begins with a slash"):
        load(app)
