from pydantic import BaseModel, Field

from yugen import Id, MutationCtx, QueryCtx, YugenError, mutation, query

from .schema import Channel, Message, Person

LENGTH_MAX = 2000
SHOWN = 100


class Author(BaseModel):
    id: Id[Person] = Field(alias="_id")
    name: str
    color: int


class Shown(BaseModel):
    id: Id[Message] = Field(alias="_id")
    creation_time: float = Field(alias="_creationTime")
    body: str
    author: Author


@query(name="list")
async def list_messages(ctx: QueryCtx, channel: str) -> list[Shown]:
    """The newest messages of a channel, oldest first."""
    place = await ctx.db.query(Channel).with_index(Channel.by_name, name=channel).unique()
    if place is None:
        return []
    newest = await ctx.db.query(Message).with_index(Message.by_channel, channel=place.id).order("desc").take(SHOWN)
    authors = {author: await ctx.db.get(author) for author in {message.author for message in newest}}
    return [
        Shown(
            _id=message.id,
            _creationTime=message.creation_time,
            body=message.body,
            author=Author(_id=message.author, name=author.name, color=author.color),
        )
        for message in reversed(newest)
        if (author := authors[message.author])
    ]


@mutation
async def send(ctx: MutationCtx, channel: str, author: Id[Person], body: str) -> Id[Message]:
    if not body.strip():
        raise YugenError({"code": "empty", "message": "Write something first."})
    if len(body) > LENGTH_MAX:
        raise YugenError({"code": "too_long", "message": f"A message has at most {LENGTH_MAX} characters."})
    place = await ctx.db.query(Channel).with_index(Channel.by_name, name=channel).unique()
    if place is None:
        raise YugenError({"code": "no_channel", "message": f"There is no channel called {channel}."})
    return await ctx.db.insert(Message(channel=place.id, author=author, body=body.strip()))
