"""The app of the simulation, and its model: the lists of `reliability.history`, and notes on shelves with totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reliability.checkers.replay import State
from reliability.history import lists

NOTES: Final = """
from typing import Any

from yugen import Count, Document, Index, MutationCtx, QueryCtx, Sum, between, mutation, query


class Note(Document, table="notes"):
    name: str
    shelf: str
    rank: int

    by_name = Index("name", unique=True)
    by_shelf = Index("shelf", "rank", "name")
    counted = Count("shelf", "rank")
    ranks = Sum("rank", by=("shelf",))


def shown(note: Note) -> list[Any]:
    return [note.name, note.shelf, note.rank]


@query(name="range")
async def range_(ctx: QueryCtx, shelf: str, low: int, high: int) -> list[Any]:
    notes = ctx.db.query(Note).with_index(Note.by_shelf, shelf=shelf, rank=between(low, high))
    return [shown(note) for note in await notes.collect()]


@query
async def first(ctx: QueryCtx, shelf: str, count: int, order: str) -> list[Any]:
    notes = ctx.db.query(Note).with_index(Note.by_shelf, shelf=shelf).order(order)
    return [shown(note) for note in await notes.take(count)]


@query
async def filtered(ctx: QueryCtx, shelf: str, rank: int) -> list[Any]:
    notes = ctx.db.query(Note).with_index(Note.by_shelf, shelf=shelf).filter(lambda note: note.rank == rank)
    return [note.name for note in await notes.collect()]


@query
async def get(ctx: QueryCtx, name: str) -> list[Any] | None:
    note = await ctx.db.query(Note).with_index(Note.by_name, name=name).unique()
    return note and shown(note)


@query
async def totals(ctx: QueryCtx, shelf: str, low: int, high: int) -> list[Any]:
    count = await ctx.db.query(Note).with_index(Note.counted, shelf=shelf, rank=between(low, high)).count()
    ranks = ctx.db.query(Note).with_index(Note.ranks, shelf=shelf)
    return [count, int(await ranks.sum()), await ranks.min(), await ranks.max()]


@mutation
async def put(ctx: MutationCtx, token: str, name: str, shelf: str, rank: int) -> list[Any] | None:
    note = await ctx.db.query(Note).with_index(Note.by_name, name=name).unique()
    if note is None:
        await ctx.db.insert(Note(name=name, shelf=shelf, rank=rank))
        return None
    before = shown(note)
    await ctx.db.patch(note.id, shelf=shelf, rank=rank)
    return before


@mutation
async def drop(ctx: MutationCtx, token: str, name: str) -> bool:
    note = await ctx.db.query(Note).with_index(Note.by_name, name=name).unique()
    if note is None:
        return False
    await ctx.db.delete(note.id)
    return True


@mutation
async def pop(ctx: MutationCtx, token: str, shelf: str) -> str | None:
    note = await ctx.db.query(Note).with_index(Note.by_shelf, shelf=shelf).first()
    if note is None:
        return None
    await ctx.db.delete(note.id)
    return note.name


@mutation
async def swap(ctx: MutationCtx, token: str, one: str, other: str) -> bool:
    a = await ctx.db.query(Note).with_index(Note.by_name, name=one).unique()
    b = await ctx.db.query(Note).with_index(Note.by_name, name=other).unique()
    if a is None or b is None or a.id == b.id:
        return False
    await ctx.db.patch(a.id, rank=b.rank)
    await ctx.db.patch(b.id, rank=a.rank)
    return True
"""

MODULES: Final = {"f": lists.APP, "g": NOTES}
"""The modules of the app, by name."""

_Notes = dict[str, tuple[str, int]]


def model(state: State, function: str, args: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The app in plain Python."""
    if function.startswith("f:"):
        return lists.model(state, function, args)
    notes: _Notes = state.get("notes", {})
    match function:
        case "g:put":
            before = _shown(notes, args["name"])
            return before, {"notes": {**notes, args["name"]: (args["shelf"], args["rank"])}}
        case "g:drop":
            return args["name"] in notes, _without(notes, args["name"])
        case "g:pop":
            name = next(iter(_shelf(notes, args["shelf"])), None)
            return name, {} if name is None else _without(notes, name)
        case "g:swap":
            one, other = args["one"], args["other"]
            if one not in notes or other not in notes or one == other:
                return False, {}
            a, b = notes[one], notes[other]
            return True, {"notes": {**notes, one: (a[0], b[1]), other: (b[0], a[1])}}
        case "g:range":
            inside = _shelf(notes, args["shelf"])
            return [_shown(notes, each) for each in inside if args["low"] <= notes[each][1] <= args["high"]], {}
        case "g:first":
            inside = _shelf(notes, args["shelf"])[:: -1 if args["order"] == "desc" else 1]
            return [_shown(notes, each) for each in inside[: int(args["count"])]], {}
        case "g:filtered":
            return [each for each in _shelf(notes, args["shelf"]) if notes[each][1] == args["rank"]], {}
        case "g:get":
            return _shown(notes, args["name"]), {}
        case "g:totals":
            ranks = [notes[each][1] for each in _shelf(notes, args["shelf"])]
            count = sum(args["low"] <= rank <= args["high"] for rank in ranks)
            return [count, sum(ranks), min(ranks, default=None), max(ranks, default=None)], {}
        case _:
            raise ValueError(f"There is no {function}.")


def _shelf(notes: _Notes, shelf: str) -> list[str]:
    return sorted((each for each in notes if notes[each][0] == shelf), key=lambda each: (notes[each][1], each))


def _shown(notes: _Notes, name: str) -> list[Any] | None:
    return [name, *notes[name]] if name in notes else None


def _without(notes: _Notes, name: str) -> dict[str, Any]:
    return {"notes": {each: notes[each] for each in notes if each != name}} if name in notes else {}
