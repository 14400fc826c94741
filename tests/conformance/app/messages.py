from yugen import ActionCtx, Id, MutationCtx, QueryCtx, YugenError, action, mutation, query

from .schema import Message


@query(name="list")
async def list_messages(ctx: QueryCtx, channel: str) -> list[str]:
    """The bodies, oldest first."""
    return [m.body for m in await ctx.db.query(Message).with_index(Message.by_channel, channel=channel).collect()]


@query
async def newest(ctx: QueryCtx, channel: str) -> str:
    message = await ctx.db.query(Message).with_index(Message.by_channel, channel=channel).order("desc").first()
    if message is None:
        raise YugenError({"code": "silent", "channel": channel})
    return message.body


@mutation
async def send(ctx: MutationCtx, channel: str, body: str) -> Id[Message]:
    if body == "":
        raise YugenError({"code": "empty", "limits": [1, 2000]})
    return await ctx.db.insert(Message(channel=channel, body=body))


@mutation
async def crash(ctx: MutationCtx, channel: str) -> None:
    await ctx.db.insert(Message(channel=channel, body="never kept"))
    raise ValueError("the tea is cold")


@action
async def relay(ctx: ActionCtx, channel: str, body: str) -> list[str]:
    """Sends a message from outside of the database, and gives what the channel then holds."""
    await ctx.run_mutation(send, channel=channel, body=body)
    return await ctx.run_query(list_messages, channel=channel)
