"""The list of Yugen's own functions, which administrators call as any other by these paths.

Most have the paths of the functions that the convex command line calls.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from yugen.functions.arguments import Signature
from yugen.functions.declare import Function
from yugen.functions.registry import App, Registered
from yugen.system import address, data, environment, exports, modules

FUNCTIONS: Final[dict[str, Function[Any, Any]]] = {
    "_system/cli/tables:default": data.tables,
    "_system/cli/tableData:default": data.table_data,
    "_system/cli/queryEnvironmentVariables:default": environment.list_variables,
    "_system/cli/queryEnvironmentVariables:get": environment.get,
    "_system/cli/convexUrl:cloudUrl": address.cloud_url,
    "_system/cli/modules:apiSpec": modules.api_spec,
    "_system/cli/exports:getLatest": exports.get_latest,
    "_system/exports:request": exports.request,
    "_system/exports:write": exports.write,
    "_system/exports:finish": exports.finish,
    "_system/exports:recover": exports.recover,
    "_system/environment:update": environment.update,
}


def with_system_functions(app: App) -> App:
    """The app with Yugen's own functions beside its own."""
    system = {path: Registered(path, function, Signature(path, function)) for path, function in FUNCTIONS.items()}
    return replace(app, functions={**app.functions, **system})
