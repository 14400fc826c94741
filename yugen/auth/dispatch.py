"""The one HTTP action of sign-in: which endpoint answers, and what all of them have in common."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from yugen.auth.errors import AuthError
from yugen.auth.origins import is_from_trusted_page
from yugen.auth.requests import AuthRequest, fields_of
from yugen.errors import YugenError
from yugen.functions.context import ActionCtx
from yugen.functions.extensions import extension_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PREFIX: Final = "/auth/"

HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
"""Of every answer. No other site is told from which address somebody came. Our own forms are, or they would come with
`Origin: null`."""

_FROM_ELSEWHERE: Final = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "content-type, authorization, yugen-client",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Max-Age": "7200",
}

logger = logging.getLogger("yugen.auth")


async def answer(ctx: ActionCtx, http: Request) -> Response:
    """Answers a request below `/auth/`."""
    from starlette.responses import Response  # noqa: PLC0415 -- of those who have routes

    from yugen.auth.component import Auth  # noqa: PLC0415 -- which takes in this module

    auth = extension_of(ctx, Auth)
    request = AuthRequest(auth, ctx, http, {}, is_form=False)
    origin = http.headers.get("origin")
    trusted = is_from_trusted_page(request)
    response: Response
    if http.method == "OPTIONS":
        response = Response(status_code=204 if trusted else 403)
    else:
        try:
            response = await _answered(request, trusted=trusted)
        except AuthError as error:
            response = await failed(request, error)
        except YugenError as error:
            known = AuthError.of(error)
            if known is None:
                raise
            response = await failed(request, known)
        request.finish(response)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.add_vary_header("Origin")
    if trusted and origin is not None:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers.update(_FROM_ELSEWHERE)
    return response


async def _answered(request: AuthRequest, *, trusted: bool) -> Response:
    from starlette.responses import JSONResponse, Response  # noqa: PLC0415 -- as above

    http, auth = request.http, request.auth
    path = "/" + http.path_params["path"]
    endpoint = auth.endpoint(http.method, path)
    if endpoint is None:
        raise AuthError("NoSuchEndpoint", "There is nothing at this address.", 404)
    if http.method == "POST" and not trusted and not endpoint.cross_site:
        # Another site's page would act as whoever sits before it (faults.md 31).
        raise AuthError("UntrustedOrigin", "This page may not do that here; its origin is not trusted.", 403)
    request.fields, request.is_form = await fields_of(http)
    given = await endpoint.handler(request)
    if isinstance(given, Response):
        return given
    if request.is_form and auth.pages is not None:
        return auth.pages.done(request, path, given or {})
    return JSONResponse(dict(given or {}))


async def failed(request: AuthRequest, error: AuthError) -> Response:
    """Says what has gone wrong: on a page to those who look at it, as JSON to others."""
    from starlette.responses import JSONResponse  # noqa: PLC0415 -- as above

    data: dict[str, Any] = dict(error.data)
    status = int(data.pop("status", 400))
    if request.wants_page and request.auth.pages is not None:
        response: Response = await request.auth.pages.failed(request, "/" + request.http.path_params["path"], error)
    else:
        response = JSONResponse(data, status)
    if status == 413:
        response.headers["Connection"] = "close"  # what is still to come of the request is not read
    retry_after = data.get("retryAfter")
    if isinstance(retry_after, int | float):
        response.headers["Retry-After"] = str(max(1, int(-(-retry_after // 1000))))
    return response
