"""What clients call with a token, called for those who come with a cookie, as forms do."""

from __future__ import annotations

from typing import Any

from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.declare import internal_mutation, internal_query
from yugen.functions.extensions import act_as
from yugen.identity import Identity


@internal_query
async def query_as(ctx: QueryCtx, user: str, session: str, function: str, args: dict[str, Any]) -> Any:
    """The result of a query as somebody sees it.

    Args:
        ctx: the context.
        user: who.
        session: by which session, as a token would say it.
        function: the path of the query.
        args: its arguments.
    """
    act_as(ctx, Identity.of(ctx.env["CONVEX_SITE_URL"], user, {"sid": session}))
    return await ctx.run_query(function, **args)


@internal_mutation
async def mutation_as(ctx: MutationCtx, user: str, session: str, function: str, args: dict[str, Any]) -> Any:
    """Runs a mutation as if somebody had called it; arguments as those of `query_as`."""
    act_as(ctx, Identity.of(ctx.env["CONVEX_SITE_URL"], user, {"sid": session}))
    return await ctx.run_mutation(function, **args)
