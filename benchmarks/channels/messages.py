"""Channels of messages, and what people look at of them."""

from yugen import (
    Count,
    Document,
    Id,
    Index,
    MutationCtx,
    PaginationOptions,
    PaginationResult,
    QueryCtx,
    Sum,
    mutation,
    query,
)


class Message(Document, table="messages"):
    channel: str
    author: str
    body: str
    likes: int = 0
    pinned: bool = False

    by_channel = Index("channel")
    per_channel = Count("channel")
    likes_by_channel = Sum("likes", by="channel")


class Line(Document):
    author: str
    body: str


@mutation
async def send(ctx: MutationCtx, channel: str, author: str, body: str) -> Id[Message]:
    return await ctx.db.insert(Message(channel=channel, author=author, body=body))


@mutation
async def like(ctx: MutationCtx, message: Id[Message]) -> None:
    found = await ctx.db.get(message)
    if found:
        await ctx.db.patch(message, likes=found.likes + 1)


@mutation
async def edit(ctx: MutationCtx, message: Id[Message], body: str) -> None:
    await ctx.db.patch(message, body=body)


@mutation
async def pin(ctx: MutationCtx, message: Id[Message], pinned: bool) -> None:
    await ctx.db.patch(message, pinned=pinned)


@mutation
async def remove(ctx: MutationCtx, message: Id[Message]) -> None:
    await ctx.db.delete(message)


@query
async def everything(ctx: QueryCtx, channel: str) -> list[Message]:
    return await ctx.db.query(Message).with_index(Message.by_channel, channel=channel).collect()


@query
async def newest(ctx: QueryCtx, channel: str) -> list[Message]:
    return await ctx.db.query(Message).with_index(Message.by_channel, channel=channel).order("desc").take(20)


@query
async def last(ctx: QueryCtx, channel: str) -> Message | None:
    return await ctx.db.query(Message).with_index(Message.by_channel, channel=channel).order("desc").first()


@query
async def page(ctx: QueryCtx, channel: str, options: PaginationOptions) -> PaginationResult[Message]:
    return await ctx.db.query(Message).with_index(Message.by_channel, channel=channel).order("desc").paginate(options)


@query
async def pinned(ctx: QueryCtx, channel: str) -> list[Message]:
    messages = ctx.db.query(Message).with_index(Message.by_channel, channel=channel)
    return await messages.filter(lambda message: message.pinned).collect()


@query
async def by(ctx: QueryCtx, channel: str, author: str) -> list[Message]:
    messages = ctx.db.query(Message).with_index(Message.by_channel, channel=channel)
    return await messages.filter(lambda message: message.author == author).collect()


@query
async def outline(ctx: QueryCtx, channel: str) -> list[Line]:
    return await ctx.db.query(Message).with_index(Message.by_channel, channel=channel).select(Line).collect()


@query
async def recent_lines(ctx: QueryCtx, channel: str) -> list[Line]:
    messages = ctx.db.query(Message).with_index(Message.by_channel, channel=channel)
    return await messages.order("desc").select(Line).take(20)


@query
async def count(ctx: QueryCtx, channel: str) -> int:
    return await ctx.db.query(Message).with_index(Message.per_channel, channel=channel).count()


@query
async def likes(ctx: QueryCtx, channel: str) -> float:
    return await ctx.db.query(Message).with_index(Message.likes_by_channel, channel=channel).sum()
