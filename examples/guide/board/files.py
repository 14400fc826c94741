from typing import Literal

from pydantic import BaseModel

from yugen import ActionCtx, Document, Id, MutationCtx, QueryCtx, StoredFile, YugenError, action, mutation, query

File = Id[Literal["_storage"]]


class Attachment(Document, table="attachments"):
    file: File
    name: str


class Shown(BaseModel):
    name: str
    url: str | None


@mutation
async def generate_upload_url(ctx: MutationCtx) -> str:
    return await ctx.storage.generate_upload_url()


@mutation
async def attach(ctx: MutationCtx, file: File, name: str) -> Id[Attachment]:
    metadata = await ctx.db.system.get(file)
    if metadata is None or metadata["size"] > 10_000_000:
        raise YugenError({"code": "too-large"})
    return await ctx.db.insert(Attachment(file=file, name=name))


@query
async def attachments(ctx: QueryCtx) -> list[Shown]:
    found = await ctx.db.query(Attachment).order("desc").take(50)
    return [Shown(name=each.name, url=await ctx.storage.get_url(each.file)) for each in found]


@query
async def invoice(ctx: QueryCtx, file: File) -> str | None:
    return await ctx.storage.get_url(file, expires_in=600)


@mutation
async def upload_invoice(ctx: MutationCtx) -> str:
    return await ctx.storage.generate_upload_url(once=True, max_bytes=5_000_000)


@mutation
async def detach(ctx: MutationCtx, attachment: Id[Attachment]) -> None:
    found = await ctx.db.get(attachment)
    if found is not None:
        await ctx.storage.delete(found.file)
        await ctx.db.delete(attachment)


@action
async def export_names(ctx: ActionCtx) -> File:
    shown = await ctx.run_query(attachments)
    lines = "\n".join(each.name for each in shown)
    return await ctx.storage.store(lines.encode(), content_type="text/plain")


@action
async def count_lines(ctx: ActionCtx, file: File) -> int:
    found: StoredFile | None = await ctx.storage.get(file)
    if found is None:
        return 0
    count = 0
    async for piece in found:
        count += piece.count(b"\n")
    return count


@query
async def largest(ctx: QueryCtx) -> list[str]:
    files = await ctx.db.system.query("_storage").collect()
    files.sort(key=lambda file: -file["size"])
    return [file["_id"] for file in files[:10]]
