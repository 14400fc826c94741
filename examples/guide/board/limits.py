from datetime import timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from yugen import (
    ActionCtx,
    MutationCtx,
    QueryCtx,
    RateLimit,
    YugenError,
    action,
    internal_mutation,
    mutation,
    query,
)
from yugen.networks import address_key

suggestions = RateLimit("suggestions", rate=10, per=timedelta(minutes=1), burst=20)
exports = RateLimit.fixed("exports", rate=100, per=timedelta(days=1))
visits = RateLimit("visits", rate=1000, per=timedelta(seconds=1), shards=10)
tries = RateLimit("tries", rate=5, per=timedelta(minutes=15))
tries_from = RateLimit("tries from one address", rate=50, per=timedelta(minutes=15))


@mutation
async def suggest(ctx: MutationCtx, text: str) -> None:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        raise YugenError({"code": "SignIn"})
    await suggestions.take(ctx, identity)
    await ctx.db.insert("suggestions", {"text": text, "by": identity.subject})


@query
async def may_suggest(ctx: QueryCtx) -> dict[str, float]:
    identity = await ctx.auth.get_user_identity()
    allowance = await suggestions.check(ctx, identity)
    return {"left": allowance.remaining, "next_at": allowance.retry_at}


@mutation
async def visit(ctx: MutationCtx) -> bool:
    if not await visits.try_take(ctx):
        return False  # nothing is counted, and the mutation goes on
    await ctx.db.insert("visits", {})
    return True


@internal_mutation
async def redeem(ctx: MutationCtx, account: str, code: str) -> bool:
    found = await ctx.db.query("codes").filter(lambda each: each["account"] == account).first()
    if found is None or found["code"] != code:
        return False
    await tries.reset(ctx, account)
    await ctx.db.delete(found["_id"])
    return True


async def redeem_route(ctx: ActionCtx, request: Request) -> Response:
    given = await request.json()
    host = request.client.host if request.client else ""
    await tries_from.take(ctx, address_key(host))
    await tries.take(ctx, given["account"])
    if not await ctx.run_mutation(redeem, account=given["account"], code=given["code"]):
        return JSONResponse({"code": "WrongCode"}, 403)
    return JSONResponse({"code": "Redeemed"})


@action
async def export(ctx: ActionCtx, team: str, rows: int) -> str:
    await exports.take(ctx, ("rows", team), count=rows)
    return f"{rows} rows of {team}"
