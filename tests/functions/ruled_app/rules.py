"""Who sees and changes what."""

from yugen import QueryCtx, Roles, Rules, internal_query

from .schema import Comment, Member, Note, Pin, Team

rules = Rules()


async def role_in(ctx: QueryCtx, team: str) -> str | None:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return None
    member = await ctx.db.query(Member).with_index(Member.by_team, team=team, who=identity.subject).unique()
    return None if member is None else member.role


@rules.read(Note)
async def sees_note(ctx: QueryCtx, note: Note) -> bool:
    return note.public or await role_in(ctx, note.team) is not None


@rules.write(Note)
async def writes_note(ctx: QueryCtx, note: Note) -> bool:
    return await role_in(ctx, note.team) == "editor"


@rules.read(Team)
async def sees_team(ctx: QueryCtx, team: Team) -> bool:
    return await role_in(ctx, team.id) is not None


@rules.read(Comment)
async def sees_comment(ctx: QueryCtx, comment: Comment) -> bool:
    return bool(await ctx.run_query("notes:may_read", note=comment.note))


@rules.read(Pin)
async def sees_pin(ctx: QueryCtx, pin: Pin) -> bool:
    return await role_in(ctx, pin.team) is not None


@rules.insert(Comment)
async def comments(ctx: QueryCtx, comment: Comment) -> bool:
    return await ctx.auth.get_user_identity() is not None


roles = Roles(
    {"reader": ["notes:read"], "writer": ["reader", "notes:write"], "chief": ["notes:*"], "root": ["*"]},
    functions="deny",
)


@roles.of
@internal_query
async def roles_of(ctx: QueryCtx) -> list[str]:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        return []
    found = await ctx.db.query(Member).with_index(Member.by_who, who=identity.subject).collect()
    return [member.role for member in found]
