"""The description of the app's HTTP API, and a page that shows it and runs functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from yugen import values
from yugen.server.backend import Backend
from yugen.server.http import Endpoints, HttpError, JsonResponse

STATIC = Path(__file__).parent / "static"

# The page brings all it needs, so a browser need not let anything else run in it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}


def docs_routes(endpoints: Endpoints, public: Path) -> list[Route]:
    """The routes of `/openapi.json` and `/docs`. What the app has there in its folder `public` goes first."""
    return [
        _Unless(public / "openapi.json", "/openapi.json", endpoints.make(_openapi, "GET", "HEAD")),
        _Unless(public / "docs", "/docs", _page, methods=["GET"]),
        _Unless(public / "docs", "/docs/", _to_page, methods=["GET"]),
        _Unless(public / "docs", "/docs/page.js", _script, methods=["GET"]),
        _Unless(public / "docs", "/docs/page.css", _style, methods=["GET"]),
    ]


class _Unless(Route):
    """A route that is none while there is a certain file."""

    def __init__(self, file: Path, path: str, endpoint: Any, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._file = file

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is not Match.NONE and self._file.exists():
            return Match.NONE, {}
        return match, child


async def _openapi(request: Request, backend: Backend) -> Response:
    answer = await backend.runtime.query("_system/codegen:openapi", b"{}", public=False)
    if answer.failure is not None or answer.value is None:
        message = answer.failure.message if answer.failure else "there is no answer"
        raise HttpError(500, "InternalServerError", f"The functions cannot be described: {message}")
    described = orjson.loads(str(values.loads(answer.value)))
    if root := request.scope.get("root_path"):
        described["servers"] = [{"url": root}]
    response = JsonResponse(orjson.dumps(described))
    response.headers.update(_HEADERS)
    return response


async def _page(request: Request) -> Response:
    return _file("docs.html", "text/html", {"Content-Security-Policy": _POLICY, "X-Frame-Options": "SAMEORIGIN"})


async def _to_page(request: Request) -> Response:
    # By a path without the name of the host, which a proxy may know better.
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


async def _script(request: Request) -> Response:
    return _file("docs.js", "text/javascript")


async def _style(request: Request) -> Response:
    return _file("docs.css", "text/css")


def _file(name: str, media_type: str, headers: dict[str, str] | None = None) -> Response:
    return FileResponse(STATIC / name, media_type=media_type, headers=_HEADERS | (headers or {}))
