"""The list of Yugen's own functions, which administrators call as any other by these paths.

Most have the paths of the functions that the convex command line calls.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Final

from yugen.functions.arguments import Signature
from yugen.functions.declare import Function
from yugen.functions.registry import App, Registered
from yugen.system import (
    address,
    codegen,
    data,
    environment,
    exports,
    files,
    imports,
    migrations,
    modules,
    outbox,
    rate_limits,
    scheduler,
    schema,
    workflows,
)

FUNCTIONS: Final[dict[str, Function[Any, Any]]] = {
    "_system/cli/tables:default": data.tables,
    "_system/cli/tableData:default": data.table_data,
    "_system/cli/queryEnvironmentVariables:default": environment.list_variables,
    "_system/cli/queryEnvironmentVariables:get": environment.get,
    "_system/cli/convexUrl:cloudUrl": address.cloud_url,
    "_system/cli/convexUrl:siteUrl": address.site_url,
    "_system/cli/modules:apiSpec": modules.api_spec,
    "_system/cli/exports:getLatest": exports.get_latest,
    "_system/codegen:types": codegen.types,
    "_system/codegen:openapi": codegen.openapi,
    "_system/exports:request": exports.request,
    "_system/exports:write": exports.write,
    "_system/exports:finish": exports.finish,
    "_system/exports:recover": exports.recover,
    "_system/files:get": files.get,
    "_system/files:find": files.find,
    "_system/files:known": files.known,
    "_system/files:add": files.add,
    "_system/files:delete": files.delete,
    "_system/files:renew": files.renew,
    "_system/cli/queryImport:default": imports.query_import,
    "_system/cli/queryImport:list": imports.list_imports,
    "_system/imports:columns": imports.columns,
    "_system/imports:begin": imports.begin,
    "_system/imports:check": imports.check,
    "_system/imports:checked": imports.checked,
    "_system/imports:confirm": imports.confirm,
    "_system/imports:perform": imports.perform,
    "_system/imports:fail": imports.fail,
    "_system/imports:cancel": imports.cancel,
    "_system/imports:recover": imports.recover,
    "_system/imports:files": imports.files,
    "_system/environment:names": environment.names,
    "_system/environment:update": environment.update,
    "_system/migrations:pending": migrations.pending,
    "_system/migrations:step": migrations.step,
    "_system/schema:check": schema.check,
    "_system/scheduler:schedule": scheduler.schedule,
    "_system/scheduler:cancel": scheduler.cancel,
    "_system/scheduler:pending": scheduler.pending,
    "_system/scheduler:put_back": scheduler.put_back,
    "_system/scheduler:begin": scheduler.begin,
    "_system/scheduler:end": scheduler.end,
    "_system/scheduler:recover": scheduler.recover,
    "_system/scheduler:sweep": scheduler.sweep,
    "_system/scheduler:take_up_crons": scheduler.take_up_crons,
    "_system/workflows:start": workflows.start,
    "_system/workflows:cancel": workflows.cancel,
    "_system/workflows:send_event": workflows.send_event,
    "_system/outbox:send": outbox.send,
    "_system/rate_limits:take": rate_limits.take,
    "_system/rate_limits:check": rate_limits.check,
    "_system/rate_limits:reset": rate_limits.reset,
}


def with_system_functions(app: App) -> App:
    """The app with Yugen's own functions beside its own."""
    return replace(app, functions={**app.functions, **_registered()})


@cache
def _registered() -> dict[str, Registered]:
    return {path: Registered(path, function, Signature(path, function)) for path, function in FUNCTIONS.items()}
