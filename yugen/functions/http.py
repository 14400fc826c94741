"""Declaring HTTP actions: functions that answer requests, and the router in `http.py` that says which."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from yugen.functions.declare import DeclarationError, Function
from yugen.functions.routing import METHODS, RESERVED, Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from yugen.functions.context import ActionCtx

    Handler = Callable[[ActionCtx, Request], Awaitable[Response]]


class HttpAction:
    """A function that answers requests, once a router has a route to it.

    Calling it runs the plain coroutine function with the context and the request given, for unit tests.

    Args:
        handler: the coroutine function as written, of a context and a request.

    Raises:
        DeclarationError: the handler is something else.
    """

    def __init__(self, handler: Handler) -> None:
        name = getattr(handler, "__qualname__", repr(handler))
        if isinstance(handler, Function):
            raise DeclarationError(
                f"{handler!r} cannot answer requests; take its decorator away, or call it from an HTTP action."
            )
        if not inspect.iscoroutinefunction(handler):
            raise DeclarationError(
                f"{name} is not an async function; put the route over an `async def` of a context and a request."
            )
        try:
            inspect.signature(handler).bind(None, None)
        except TypeError:
            raise DeclarationError(
                f"{name} must take a context and a request: `async def {handler.__name__}(ctx: ActionCtx, "
                "request: Request) -> Response`."
            ) from None
        self.handler = handler
        self.__doc__ = handler.__doc__
        self.__name__ = handler.__name__
        self.__module__ = handler.__module__
        self.__qualname__ = handler.__qualname__

    def __call__(self, ctx: ActionCtx, request: Request) -> Awaitable[Response]:
        return self.handler(ctx, request)

    def __repr__(self) -> str:
        return f"<HTTP action {self.__module__}.{self.__qualname__}>"


def http_action(handler: Handler, /) -> HttpAction:
    """Declares an HTTP action, for a router to have a route to it: `http.route("/hook")(hook)` in `http.py`."""
    return HttpAction(handler)


class HttpRouter:
    """Says which HTTP action answers which requests; `http.py` has one, as `http = HttpRouter()`."""

    def __init__(self) -> None:
        self._actions: dict[Route, HttpAction] = {}

    @property
    def actions(self) -> Mapping[Route, HttpAction]:
        """The HTTP actions by their routes."""
        return MappingProxyType(self._actions)

    def route(
        self, path: str | None = None, *, path_prefix: str | None = None, methods: Sequence[str] = ("GET",)
    ) -> Callable[[HttpAction | Handler], HttpAction]:
        """Has the function below it, or a function declared with `http_action`, answer requests.

        A request goes to the route with its exact path, or else to that with the longest prefix of it. `HEAD` is
        answered by the route of `GET`, without the body.

        Args:
            path: the path of the requests, as it reads decoded.
            path_prefix: or what their paths begin with; it ends with a `/`.
            methods: their methods, any of `GET`, `POST`, `PUT`, `PATCH`, `DELETE` and `OPTIONS`.

        Raises:
            DeclarationError: no request can come to such a route, or there is one like it already.
        """
        routes = _routes(path, path_prefix, methods)

        def add(action: HttpAction | Handler) -> HttpAction:
            answering = action if isinstance(action, HttpAction) else HttpAction(action)
            for route in routes:
                other = self._actions.setdefault(route, answering)
                if other is not answering:
                    raise DeclarationError(f"{route} is answered by {other!r} already; give {answering!r} another.")
            return answering

        return add


def _routes(path: Any, prefix: Any, methods: Any) -> list[Route]:
    if (path is None) == (prefix is None):
        raise DeclarationError('A route has a path or a prefix: route("/hook") or route(path_prefix="/files/").')
    where = path if prefix is None else prefix
    if not isinstance(where, str) or not where.startswith("/"):
        raise DeclarationError(f"The path of a route begins with a slash, like /hook; it is {where!r}.")
    if prefix is not None and not where.endswith("/"):
        raise DeclarationError(f"The prefix of a route ends with a slash: write path_prefix={where + '/'!r}.")
    if fault := _fault(where):
        raise DeclarationError(f"The path {where!r} of a route {fault}")
    if isinstance(methods, str) or not methods:
        raise DeclarationError(f'Give the methods of {where} as a list: methods=["POST"].')
    for method in methods:
        if method not in METHODS:
            instead = "it is answered by GET" if method == "HEAD" else f"there are {', '.join(METHODS)}"
            raise DeclarationError(f"{where} cannot have the method {method!r}; {instead}.")
    return [Route(method, where, prefix is not None) for method in methods]


def _fault(path: str) -> str | None:
    """Why no request can come to a path, or not to that which was meant; None if one can."""
    if path == RESERVED or path.startswith(f"{RESERVED}/"):
        return f"is reserved, as all below {RESERVED} are; choose another."
    if any(sign in path for sign in "?#\\\0"):
        return "is more than a path; look at `request.query_params` in the function."
    if "*" in path or "{" in path:
        return 'has a pattern, which would be taken as it is; write path_prefix="/..../" and look at the rest.'
    if "%" in path:
        return "is encoded; write it as it reads decoded."
    if "//" in path or {".", ".."} & set(path.split("/")):
        return "has parts that are taken out of requests before they are looked at; leave them out."
    return None
