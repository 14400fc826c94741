from yugen import QueryCtx, Roles, Rules, internal_query

from .schema import Club, Membership, Post

rules = Rules()  # what no rule allows is not allowed


async def membership(ctx: QueryCtx, club: str) -> Membership | None:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return None
    found = ctx.db.query(Membership).with_index(Membership.by_club, club=club, who=identity.subject)
    return await found.unique()


@rules.read(Membership)
async def sees_membership(ctx: QueryCtx, membership: Membership) -> bool:
    identity = await ctx.auth.get_user_identity()
    return identity is not None and membership.who == identity.subject


@rules.read(Club)
async def sees_club(ctx: QueryCtx, club: Club) -> bool:
    return await membership(ctx, club.id) is not None


@rules.read(Post)
async def sees_post(ctx: QueryCtx, post: Post) -> bool:
    return await membership(ctx, post.club) is not None


@rules.insert(Post)
async def may_post(ctx: QueryCtx, post: Post) -> bool:
    identity = await ctx.auth.get_user_identity()
    return identity is not None and post.author == identity.subject and await sees_post(ctx, post)


@rules.update(Post)
async def may_edit(ctx: QueryCtx, before: Post, after: Post) -> bool:
    return await may_post(ctx, before) and await may_post(ctx, after)


@rules.delete(Post)
async def may_delete(ctx: QueryCtx, post: Post) -> bool:
    own = await membership(ctx, post.club)
    return await may_post(ctx, post) or (own is not None and own.role == "host")


roles = Roles(
    {
        "member": ["posts:write"],
        "host": ["member", "clubs:close"],  # and all that a member may
    },
    functions="deny",
)


@roles.of
@internal_query
async def roles_of(ctx: QueryCtx) -> list[str]:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return []
    found = await ctx.db.query(Membership).with_index(Membership.by_who, who=identity.subject).collect()
    return [membership.role for membership in found]
