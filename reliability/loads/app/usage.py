"""Ordinary use: notes that come and go, work for later, actions and files."""

from yugen import ActionCtx, Document, Index, MutationCtx, QueryCtx, action, internal_mutation, mutation, query

KEPT = 50
"""How many notes a topic keeps: what the app itself stores does not grow."""


class Note(Document, table="notes"):
    """A note, with a number by which whoever wrote it knows it again."""

    topic: str
    number: int
    body: str

    by_topic = Index("topic", "number")


@mutation
async def add(ctx: MutationCtx, topic: str, number: int, body: str) -> int:
    """Adds a note, and lets go of the oldest beyond KEPT."""
    await ctx.db.insert(Note(topic=topic, number=number, body=body))
    newest = ctx.db.query(Note).with_index(Note.by_topic, topic=topic).order("desc")
    for note in (await newest.take(KEPT + 2))[KEPT:]:
        await ctx.db.delete(note.id)
    return number


@query
async def newest(ctx: QueryCtx, topic: str, count: int = 10, reader: int = 0) -> list[Note]:
    """The newest notes of a topic; for another reader it is another query."""
    return await ctx.db.query(Note).with_index(Note.by_topic, topic=topic).order("desc").take(count)


@mutation
async def later(ctx: MutationCtx, topic: str, number: int) -> None:
    """Has a note added a moment later."""
    await ctx.scheduler.run_after(0.5, add_later, topic=topic, number=number)


@internal_mutation
async def add_later(ctx: MutationCtx, topic: str, number: int) -> None:
    """What was to be later."""
    await add(ctx, topic=topic, number=number, body="later")


@action(name="through")
async def through_action(ctx: ActionCtx, topic: str, number: int, body: str) -> int:
    """Adds a note from an action, and counts what is there."""
    await ctx.run_mutation(add, topic=topic, number=number, body=body)
    return len(await ctx.run_query("usage:newest", topic=topic))


@mutation
async def upload_url(ctx: MutationCtx) -> str:
    """Where a file may be uploaded."""
    return await ctx.storage.generate_upload_url()


@mutation
async def drop(ctx: MutationCtx, file: str) -> None:
    """Deletes a file."""
    await ctx.storage.delete(file)
