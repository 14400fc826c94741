from yugen import ActionCtx, QueryCtx, action, query


@query
async def motto(ctx: QueryCtx) -> str:
    return ctx.env.get("MOTTO", "One thing at a time.")


@action
async def notify(ctx: ActionCtx, text: str) -> str:
    if ctx.env["YUGEN_ENVIRONMENT"] != "prod":
        return f"not sent: {text}"
    token = ctx.env["CHAT_TOKEN"]
    return f"sent with a token of {len(token)} characters: {text}"
