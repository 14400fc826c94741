"""What the benchmarks call: one insert, and one query that an insert touches."""

from yugen import Document, Id, Index, MutationCtx, QueryCtx, mutation, query


class Note(Document, table="notes"):
    topic: str
    body: str

    by_topic = Index("topic")


@mutation
async def add(ctx: MutationCtx, topic: str, body: str) -> Id[Note]:
    return await ctx.db.insert(Note(topic=topic, body=body))


@query
async def newest(ctx: QueryCtx, topic: str) -> list[Note]:
    return await ctx.db.query(Note).with_index(Note.by_topic, topic=topic).order("desc").take(1)
