"""Functions of every kind, for those who mean harm."""

import hashlib

from yugen import (
    ActionCtx,
    Int64,
    MutationCtx,
    PaginationOptions,
    PaginationResult,
    QueryCtx,
    YugenError,
    action,
    internal_query,
    mutation,
    query,
)

from .schema import Note

KEPT = 20


@query(name="list")
async def list_notes(ctx: QueryCtx, topic: str, at_least: float = 0) -> list[Note]:
    """The notes of a topic."""
    found = await ctx.db.query(Note).with_index(Note.by_topic, topic=topic).take(KEPT)
    return [note for note in found if note.number >= at_least]


@query
async def pages(ctx: QueryCtx, topic: str, opts: PaginationOptions) -> PaginationResult[Note]:
    """The same in pages."""
    return await ctx.db.query(Note).with_index(Note.by_topic, topic=topic).paginate(opts)


@query
async def odd(ctx: QueryCtx, big: Int64 = Int64(0), raw: bytes = b"", any: object = None) -> dict[str, object]:  # noqa: B008
    """What it was given."""
    return {"big": big, "raw": raw, "any": any}


@query
async def fail(ctx: QueryCtx, how: str = "") -> None:
    """Fails, with what nobody is to see."""
    print(ctx.env["SECRET"])
    if how == "mine":
        raise YugenError({"code": "mine"})
    raise LookupError(ctx.env["SECRET"])


@mutation
async def add(ctx: MutationCtx, topic: str, text: str, number: float = 0) -> None:
    """Adds a note, and lets go of the oldest of too many."""
    await ctx.db.insert(Note(topic=topic, text=text[:100], number=number))
    for note in (await ctx.db.query(Note).order("desc").take(KEPT + 2))[KEPT:]:
        await ctx.db.delete(note.id)


@mutation
async def refuse(ctx: MutationCtx, text: str) -> None:
    """Writes and then fails: nothing of it may stay."""
    await ctx.db.insert(Note(topic="refused", text=text[:100]))
    raise YugenError("refused")


@action
async def act(ctx: ActionCtx, topic: str) -> int:
    """Counts the notes of a topic."""
    return len(await ctx.run_query("notes:list", topic=topic))


@mutation
async def upload_url(ctx: MutationCtx) -> str:
    """Where a file can be sent."""
    return await ctx.storage.generate_upload_url()


@query
async def file_url(ctx: QueryCtx, file: str, private: bool = False) -> str | None:
    """Where a file can be fetched."""
    return await ctx.storage.get_url(file, expires_in=600 if private else None)


@internal_query
async def digest(ctx: QueryCtx) -> str:
    """What tells whether anything that belongs to somebody has changed."""
    tables = ("notes", "users", "auth_accounts", "auth_api_keys")
    rows: list[object] = [await ctx.db.query(table).order("desc").take(KEPT + 2) for table in tables]
    rows.append([file["_id"] for file in await ctx.db.system.query("_storage").order("desc").take(KEPT)])
    return hashlib.sha256(repr(rows).encode("utf-8", "surrogatepass")).hexdigest()
