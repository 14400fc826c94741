"""Who is in a room: each person says so every second or so, and everyone there sees it."""

from yugen import Document, Index, MutationCtx, QueryCtx, mutation, query


class Presence(Document, table="presence"):
    room: int
    person: int
    seen: float

    by_room = Index("room")
    by_person = Index("person")


@mutation
async def beat(ctx: MutationCtx, room: int, person: int, seen: float) -> None:
    found = await ctx.db.query(Presence).with_index(Presence.by_person, person=person).unique()
    if found is None:
        await ctx.db.insert(Presence(room=room, person=person, seen=seen))
    else:
        await ctx.db.patch(found.id, seen=seen)


@query(name="room")
async def in_room(ctx: QueryCtx, room: int) -> list[Presence]:
    return await ctx.db.query(Presence).with_index(Presence.by_room, room=room).collect()
