from yugen import Document, Id, Index, MutationCtx, QueryCtx, mutation, query
from yugen.auth import organizations

from .auth import roles


class Desk(Document, table="desks"):
    organization: str
    name: str

    by_organization = Index("organization")


@query(name="list")
async def list_desks(ctx: QueryCtx, organization: str) -> list[Desk]:
    member = await organizations.require(ctx, organization)
    return await ctx.db.query(Desk).with_index(Desk.by_organization, organization=member.organization).collect()


@mutation
async def add(ctx: MutationCtx, organization: str, name: str) -> Id[Desk]:
    member = await organizations.require(ctx, organization, "desks:write")
    return await ctx.db.insert(Desk(organization=member.organization, name=name))


@query
@roles.requires("reports:read")
async def count(ctx: QueryCtx) -> int:
    return await ctx.db.query(Desk).count()
