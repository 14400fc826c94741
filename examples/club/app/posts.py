from yugen import Id, MutationCtx, QueryCtx, mutation, query

from .rules import membership, roles
from .schema import Club, Membership, Post


@query(name="list")
@roles.anybody
async def list_posts(ctx: QueryCtx, club: Id[Club]) -> list[Post]:
    return await ctx.db.query(Post).with_index(Post.by_club, club=club).order("desc").take(50)


@mutation
@roles.requires("posts:write")
async def write(ctx: MutationCtx, club: Id[Club], text: str) -> Id[Post]:
    identity = await ctx.auth.get_user_identity()
    assert identity is not None
    return await ctx.db.insert(Post(club=club, author=identity.subject, text=text))


@mutation
@roles.anybody
async def delete(ctx: MutationCtx, post: Id[Post]) -> None:
    await ctx.db.delete(post)


@mutation
@roles.requires("clubs:close")
async def close(ctx: MutationCtx, club: Id[Club]) -> None:
    own = await membership(ctx, club)
    if own is None or own.role != "host":
        return
    for table, index in ((Post, Post.by_club), (Membership, Membership.by_club)):
        for document in await ctx.db.unrestricted.query(table).with_index(index, club=club).collect():
            await ctx.db.unrestricted.delete(document.id)
