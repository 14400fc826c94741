from typing import Literal

from pydantic import BaseModel

from yugen import Id, MutationCtx, QueryCtx, YugenError, mutation, query

from .schema import Picture


class Shown(BaseModel):
    id: Id[Picture]
    title: str
    url: str | None


@mutation
async def upload_url(ctx: MutationCtx) -> str:
    return await ctx.storage.generate_upload_url(once=True, max_bytes=10_000_000)


@mutation
async def add(ctx: MutationCtx, file: Id[Literal["_storage"]], title: str) -> None:
    metadata = await ctx.db.system.get(file)
    if metadata is None or not metadata.get("contentType", "").startswith("image/"):
        raise YugenError("That is no picture.")
    await ctx.db.insert(Picture(file=file, title=title))


@query(name="list")
async def list_pictures(ctx: QueryCtx) -> list[Shown]:
    pictures = await ctx.db.query(Picture).order("desc").take(50)
    return [Shown(id=each.id, title=each.title, url=await ctx.storage.get_url(each.file)) for each in pictures]


@mutation
async def remove(ctx: MutationCtx, id: Id[Picture]) -> None:
    picture = await ctx.db.get(id)
    if picture is not None:
        await ctx.storage.delete(picture.file)
        await ctx.db.delete(id)
