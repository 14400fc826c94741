"""What the benchmarks call: one insert, and queries that an insert touches or does not."""

from yugen import Document, Id, Index, MutationCtx, QueryCtx, mutation, query


class Note(Document, table="notes"):
    topic: str
    body: str

    by_topic = Index("topic")


@mutation
async def add(ctx: MutationCtx, topic: str, body: str) -> Id[Note]:
    return await ctx.db.insert(Note(topic=topic, body=body))


@query
async def newest(ctx: QueryCtx, topic: str, reader: int = 0) -> list[Note]:
    """The newest note of a topic; for another reader it is another query."""
    return await ctx.db.query(Note).with_index(Note.by_topic, topic=topic).order("desc").take(1)


@query(name="topic")
async def of_topic(ctx: QueryCtx, topic: str, count: int) -> list[Note]:
    """The newest notes of a topic."""
    return await ctx.db.query(Note).with_index(Note.by_topic, topic=topic).order("desc").take(count)


@query
async def filtered(ctx: QueryCtx, topic: str) -> list[Note]:
    """All notes of a topic, found by a filter over the whole table."""
    return await ctx.db.query(Note).filter(lambda note: note.topic == topic).collect()
