"""What clients call."""

from typing import Any

from yugen import (
    ActionCtx,
    Id,
    MutationCtx,
    PaginationOptions,
    PaginationResult,
    QueryCtx,
    action,
    internal_mutation,
    internal_query,
    mutation,
    query,
)

from .rules import role_in, roles
from .schema import Comment, Member, Note, Secret, Team


@query(name="list")
@roles.anybody
async def list_notes(ctx: QueryCtx) -> list[str]:
    return [note.text for note in await ctx.db.query(Note).collect()]


@query
@roles.anybody
async def look(ctx: QueryCtx, how: str, note: Id[Note] | None = None) -> Any:
    """All the ways there are to look at something."""
    notes = ctx.db.query(Note)
    match how:
        case "take":
            return [each.text for each in await notes.take(2)]
        case "first":
            found = await notes.order("desc").first()
            return found and found.text
        case "count":
            return await notes.count()
        case "counted":
            return await notes.with_index(Note.by_rank).count()
        case "rank":
            assert note is not None
            return await notes.with_index(Note.by_rank).rank(note)
        case "select":
            return [each.text for each in await notes.select("text").collect()]
        case "filter":
            return [each.text for each in await notes.filter(lambda each: each.rank > 1).collect()]
        case "each":
            return [each.text async for each in notes]
        case "get":
            assert note is not None
            found = await ctx.db.get(note)
            return found and found.text
        case "nested":
            return await ctx.run_query(everything)
        case "secrets":
            return [each.text for each in await ctx.db.query(Secret).collect()]
        case "open":
            return [each.text for each in await ctx.db.unrestricted.query(Note).collect()]
    raise AssertionError(how)


@query
@roles.anybody
async def pages(ctx: QueryCtx, page: PaginationOptions) -> PaginationResult[Note]:
    return await ctx.db.query(Note).paginate(page)


@internal_query
async def everything(ctx: QueryCtx) -> list[str]:
    return [note.text for note in await ctx.db.query(Note).collect()]


@mutation
@roles.anybody
async def change(ctx: MutationCtx, how: str, note: str = "", team: str = "", text: str = "") -> Any:
    """All the ways there are to change something."""
    match how:
        case "get":
            found = await ctx.db.get(note)
            return found and found.text
        case "system":
            return await ctx.db.system.query("_scheduled_functions").collect()
        case "insert":
            return await ctx.db.insert(Note(team=Id[Team](team), text=text))
        case "patch":
            await ctx.db.patch(note, text=text)
        case "move":
            await ctx.db.patch(note, team=team)
        case "replace":
            await ctx.db.replace(note, Note(team=Id[Team](team), text=text))
        case "delete":
            await ctx.db.delete(note)
        case "comment":
            return await ctx.db.insert(Comment(note=Id[Note](note), text=text))
        case "caught":
            try:
                await ctx.db.patch(note, text=text)
            except Exception as error:
                return str(error)
            return None
        case "nested":
            await ctx.run_mutation(trusted, note=note, text=text)
        case "open":
            await ctx.db.unrestricted.patch(note, text=text)
        case _:
            raise AssertionError(how)
    return None


@internal_query
async def may_read(ctx: QueryCtx, note: Id[Note]) -> bool:
    found = await ctx.db.get(note)
    return found is not None and await role_in(ctx, found.team) is not None


@query(name="comments")
@roles.anybody
async def all_comments(ctx: QueryCtx) -> list[str]:
    return [comment.text for comment in await ctx.db.query(Comment).collect()]


@mutation
@roles.anybody
async def later(ctx: MutationCtx, text: str) -> None:
    await ctx.scheduler.run_after(3600, trusted, note="", text=text)


@query
@roles.anybody
async def scheduled(ctx: QueryCtx) -> list[Any]:
    return [each["args"] for each in await ctx.db.system.query("_scheduled_functions").collect()]


@mutation
@roles.anybody
async def begin(ctx: MutationCtx, members: dict[str, str], texts: list[str]) -> None:
    """Has these be the members of the one team there is, after its notes."""
    db = ctx.db.unrestricted
    team = await db.query(Team).first()
    club = await db.insert(Team(name="one")) if team is None else team.id
    for text in texts:
        await db.insert(Note(team=club, text=text))
    for member in await db.query(Member).collect():
        await db.delete(member.id)
    for who, role in members.items():
        await db.insert(Member(team=club, who=who, role=role))


@internal_mutation
async def trusted(ctx: MutationCtx, note: str, text: str) -> None:
    await ctx.db.patch(note, text=text)


@action
@roles.anybody
async def act(ctx: ActionCtx, public: bool) -> Any:
    return await (ctx.run_query(list_notes) if public else ctx.run_query(everything))


@query
@roles.requires("notes:read")
async def for_readers(ctx: QueryCtx) -> str:
    return "read"


@mutation
@roles.requires("notes:write")
async def for_writers(ctx: MutationCtx, text: str) -> str:
    return text


@action
@roles.requires("notes:write")
async def acting_writers(ctx: ActionCtx) -> str:
    return "acted"
