"""The functions of the app as tools see them, for `convex function-spec`."""

from __future__ import annotations

from typing import Any

from yugen.functions.http import HttpAction
from yugen.functions.registry import App, Registered
from yugen.functions.routing import METHODS, Route
from yugen.functions.validators import ANY, gives, takes
from yugen.system.context import SystemQueryCtx, system_query


@system_query
async def api_spec(ctx: SystemQueryCtx) -> list[dict[str, Any]]:
    """What each function of the app takes and gives, by path."""
    return spec(ctx.app)


def spec(app: App) -> list[dict[str, Any]]:
    """The same of an app that is loaded."""
    own = [function for function in app.functions.values() if not function.system]
    functions = [_described(function) for function in sorted(own, key=lambda function: function.path)]
    return functions + [_route(route, app.http[route]) for route in sorted(app.http, key=_place)]


def _described(registered: Registered) -> dict[str, Any]:
    module, _, export = registered.path.rpartition(":")
    signature = registered.signature
    return {
        "identifier": f"{module}.js:{export}",
        "functionType": registered.kind.capitalize(),
        "visibility": {"kind": "public" if registered.function.public else "internal"},
        "args": ANY if signature.takes is None else takes(signature.takes),
        "returns": gives(signature.gives),
    }


def _route(route: Route, action: HttpAction) -> dict[str, Any]:
    """A route as `convex function-spec` has it, and which function it leads to."""
    path = f"{route.path}*" if route.is_prefix else route.path
    module = action.__module__.partition(".")[2].replace(".", "/")
    return {"functionType": "HttpAction", "method": route.method, "path": path, "action": f"{module}:{action.__name__}"}


def _place(route: Route) -> tuple[str, int]:
    return route.path, METHODS.index(route.method)
