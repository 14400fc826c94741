"""What the app is to clients, told by the process that has loaded it."""

from __future__ import annotations

from yugen.codegen.declarations import declarations
from yugen.codegen.openapi import openapi_json
from yugen.system.context import SystemQueryCtx, long_query


@long_query
async def types(ctx: SystemQueryCtx) -> dict[str, str]:
    """The text of each TypeScript file by its name, for `yugen.codegen.files.write_files`."""
    return declarations(ctx.app)


@long_query
async def openapi(ctx: SystemQueryCtx) -> str:
    """The description of the HTTP API as JSON text; a value of the wire has no names with a `$`."""
    return openapi_json(ctx.app)
