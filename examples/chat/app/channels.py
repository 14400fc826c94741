import re

from yugen import Id, MutationCtx, QueryCtx, YugenError, mutation, query

from .schema import Channel


@query(name="list")
async def list_channels(ctx: QueryCtx) -> list[Channel]:
    return await ctx.db.query(Channel).with_index(Channel.by_name).collect()


@mutation
async def create(ctx: MutationCtx, name: str, topic: str = "") -> Id[Channel]:
    name = name.strip().lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", name):
        raise YugenError(
            {"code": "bad_name", "message": "Use up to 32 lowercase letters, digits and hyphens, like design-reviews."}
        )
    if await ctx.db.query(Channel).with_index(Channel.by_name, name=name).unique():
        raise YugenError({"code": "name_taken", "message": f"There is a channel called {name} already."})
    return await ctx.db.insert(Channel(name=name, topic=topic.strip()[:200]))
