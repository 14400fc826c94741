"""The functions of the app as tools see them, for `convex function-spec`."""

from __future__ import annotations

from typing import Any

from yugen.functions.registry import App, Registered
from yugen.functions.validators import ANY, gives, takes
from yugen.system.context import SystemQueryCtx, system_query


@system_query
async def api_spec(ctx: SystemQueryCtx) -> list[dict[str, Any]]:
    """What each function of the app takes and gives, by path."""
    return spec(ctx.app)


def spec(app: App) -> list[dict[str, Any]]:
    """The same of an app that is loaded."""
    own = [function for function in app.functions.values() if not function.system]
    return [_described(function) for function in sorted(own, key=lambda function: function.path)]


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
