"""The addresses of the deployment, for `convex function-spec` and `convex network-test`."""

from __future__ import annotations

from yugen.system.context import SystemQueryCtx, system_query


@system_query
async def cloud_url(ctx: SystemQueryCtx) -> str:
    """The address of the API, as clients should write it."""
    return ctx.deployment.url


@system_query
async def site_url(ctx: SystemQueryCtx) -> str:
    """The address of the HTTP actions, as others should write it."""
    return ctx.deployment.site_url
