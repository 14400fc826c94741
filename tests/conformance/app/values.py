from typing import Any

from yugen import ActionCtx, MutationCtx, QueryCtx, action, mutation, query


@query
async def echo(ctx: QueryCtx, value: Any) -> Any:
    return value


@mutation
async def echo_mutation(ctx: MutationCtx, value: Any) -> Any:
    return value


@action
async def echo_action(ctx: ActionCtx, value: Any) -> Any:
    return value
