"""The app of the simulation, and its model.

It has the lists of `reliability.history`, notes on shelves with totals, and documents that are imported under ids that
somebody knows already: a document can come to be where it was known not to be in no other way.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from reliability.checkers.replay import Refused, State
from reliability.checkers.serializability import Transaction
from reliability.history import lists
from reliability.records import Operation, Outcome
from reliability.simulation.jobs import CRONS, JOBS
from yugen.ids import INTERNAL_SIZE, encode_id

NOTES: Final = """
from typing import Any

from yugen import (
    Count, Document, Index, MutationCtx, PaginationOptions, PaginationResult, QueryCtx, Sum, YugenError, between,
    mutation, query,
)


class Note(Document, table="notes"):
    name: str
    shelf: str
    rank: int
    made: str  # by which call, so that all that are ever of one name have an order that the model knows

    by_name = Index("name", unique=True)
    by_shelf = Index("shelf", "rank", "name", "made")
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
async def page(ctx: QueryCtx, shelf: str, opts: PaginationOptions) -> PaginationResult[Note]:
    return await ctx.db.query(Note).with_index(Note.by_shelf, shelf=shelf).paginate(opts)


@query
async def totals(ctx: QueryCtx, shelf: str, low: int, high: int) -> list[Any]:
    count = await ctx.db.query(Note).with_index(Note.counted, shelf=shelf, rank=between(low, high)).count()
    ranks = ctx.db.query(Note).with_index(Note.ranks, shelf=shelf)
    return [count, int(await ranks.sum()), await ranks.min(), await ranks.max()]


@mutation
async def put(ctx: MutationCtx, token: str, name: str, shelf: str, rank: int) -> list[Any] | None:
    note = await ctx.db.query(Note).with_index(Note.by_name, name=name).unique()
    if note is None:
        await ctx.db.insert(Note(name=name, shelf=shelf, rank=rank, made=token))
        return None
    before = shown(note)
    await ctx.db.patch(note.id, shelf=shelf, rank=rank)
    return before


@mutation
async def claim(ctx: MutationCtx, token: str, name: str, shelf: str, rank: int) -> None:
    if await ctx.db.query(Note).with_index(Note.by_name, name=name).unique() is not None:
        raise YugenError("taken")
    await ctx.db.insert(Note(name=name, shelf=shelf, rank=rank, made=token))


@mutation
async def drop(ctx: MutationCtx, token: str, name: str) -> bool:
    note = await ctx.db.query(Note).with_index(Note.by_name, name=name).unique()
    if note is None:
        return False
    await ctx.db.delete(note.id)
    return True


@mutation
async def pop(ctx: MutationCtx, token: str, shelf: str) -> list[Any] | None:
    inside = ctx.db.query(Note).with_index(Note.by_shelf, shelf=shelf)
    note = await inside.first()
    if note is None:
        return None
    await ctx.db.delete(note.id)
    return [note.name, [shown(each) for each in await inside.take(3)]]


@mutation
async def swap(ctx: MutationCtx, token: str, one: str, other: str) -> bool:
    a = await ctx.db.query(Note).with_index(Note.by_name, name=one).unique()
    b = await ctx.db.query(Note).with_index(Note.by_name, name=other).unique()
    if a is None or b is None or a.id == b.id:
        return False
    await ctx.db.patch(a.id, rank=b.rank)
    await ctx.db.patch(b.id, rank=a.rank)
    return True


@mutation
async def nested(ctx: MutationCtx, token: str, parts: list[Any]) -> list[Any]:
    results: list[Any] = []
    for number, (steps, ends) in enumerate(parts):
        try:
            results.append(await ctx.run_mutation("f:transact", token=f"{token}.{number}", steps=steps, ends=ends))
        except YugenError:
            results.append(None)
    return results
"""

KEPT: Final = """
from yugen import Document, MutationCtx, QueryCtx, mutation, query


class Kept(Document, table="kept"):
    text: str


@query
async def get(ctx: QueryCtx, id: str) -> str | None:
    kept = await ctx.db.get(id)
    return kept and kept.text


@query(name="all")
async def all_(ctx: QueryCtx) -> dict[str, str]:
    return {kept.id: kept.text for kept in await ctx.db.query(Kept).collect()}


@mutation
async def write(ctx: MutationCtx, token: str, id: str, text: str) -> str | None:
    kept = await ctx.db.get(id)
    if kept is None:
        return None
    await ctx.db.patch(id, text=text)
    return kept.text


@mutation
async def drop(ctx: MutationCtx, token: str, id: str) -> bool:
    if await ctx.db.get(id) is None:
        return False
    await ctx.db.delete(id)
    return True
"""

KEPT_TABLE: Final = 10_008
"""The number of the table `kept`, which is in the ids of its documents."""

MODULES: Final = {"f": lists.APP, "g": NOTES, "j": JOBS, "k": KEPT, "crons": CRONS}
"""The modules of the app, by name."""


def kept_id(number: int) -> str:
    """The id of a document that is imported, deleted, and imported again."""
    return encode_id(KEPT_TABLE, number.to_bytes(INTERNAL_SIZE, "big"))


_Notes = dict[str, tuple[str, int, str]]


def model(state: State, function: str, args: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The app in plain Python."""
    if function.startswith("j:"):
        return None, {"newest": args["token"]}  # nothing that others see changes, but something does
    if function.startswith("f:"):
        return lists.model(state, function, args)
    if function.startswith("k:"):
        return _kept(state.get("kept", {}), function, args)
    notes: _Notes = state.get("notes", {})
    match function:
        case "g:put":
            before = _shown(notes, args["name"])
            made = notes[args["name"]][2] if before else args["token"]
            return before, {"notes": {**notes, args["name"]: (args["shelf"], args["rank"], made)}}
        case "g:claim":
            if args["name"] in notes:
                raise Refused("taken")
            return None, {"notes": {**notes, args["name"]: (args["shelf"], args["rank"], args["token"])}}
        case "g:drop":
            return args["name"] in notes, _without(notes, args["name"])
        case "g:pop":
            name, *rest = [*_shelf(notes, args["shelf"]), ""]
            if not name:
                return None, {}
            return [name, [_shown(notes, each) for each in rest[:-1][:3]]], _without(notes, name)
        case "g:swap":
            one, other = args["one"], args["other"]
            if one not in notes or other not in notes or one == other:
                return False, {}
            a, b = notes[one], notes[other]
            return True, {"notes": {**notes, one: (a[0], b[1], a[2]), other: (b[0], a[1], b[2])}}
        case "g:nested":
            return _nested(state, args)
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
        case "g:between":  # which is what a page shows that has kept its ends
            low, high = (None if end is None else tuple(end) for end in (args["low"], args["high"]))
            return [
                _shown(notes, key[1])
                for key in ((notes[each][1], each, notes[each][2]) for each in _shelf(notes, args["shelf"]))
                if (low is None or key > low) and (high is None or key <= high)
            ], {}
        case "g:totals":
            ranks = [notes[each][1] for each in _shelf(notes, args["shelf"])]
            count = sum(args["low"] <= rank <= args["high"] for rank in ranks)
            return [count, sum(ranks), min(ranks, default=None), max(ranks, default=None)], {}
        case _:
            raise ValueError(f"There is no {function}.")


def _kept(kept: Mapping[str, str], function: str, args: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    match function:
        case "k:import":
            return None, {"kept": args["documents"]}
        case "k:get":
            return kept.get(args["id"]), {}
        case "k:all":
            return kept, {}
        case "k:write" if args["id"] in kept:
            return kept[args["id"]], {"kept": {**kept, args["id"]: args["text"]}}
        case "k:write":
            return None, {}
        case "k:drop" if args["id"] in kept:
            return True, {"kept": {each: text for each, text in kept.items() if each != args["id"]}}
        case "k:drop":
            return False, {}
        case _:
            raise ValueError(f"There is no {function}.")


def _nested(state: State, args: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    changed: dict[str, Any] = {"newest": args["token"]}
    results: list[Any] = []
    for number, (steps, ends) in enumerate(args["parts"]):
        inner = {"token": f"{args['token']}.{number}", "steps": steps, "ends": ends}
        try:
            value, changes = lists.model(ChainMap(changed, dict(state)), "f:transact", inner)
        except Refused:
            results.append(None)
        else:
            results.append(value)
            changed.update(changes)
    return results, changed


def parts(operation: Operation) -> list[Operation]:
    """The transactions of lists that a mutation was: itself, or those it has called."""
    if operation.function == "f:transact":
        return [operation]
    if operation.function != "g:nested":
        return []
    inner = []
    for number, (steps, ends) in enumerate(operation.args["parts"]):
        token = f"{operation.args['token']}.{number}"
        value = operation.value[number] if operation.outcome == "ok" else None
        outcome: Outcome = "failed" if ends == "refused" else operation.outcome
        args = {"token": token, "steps": steps, "ends": ends}
        inner.append(replace(operation, function="f:transact", args=args, value=value, outcome=outcome))
    return inner


def transaction(operation: Operation) -> Transaction | None:
    """What a mutation was for those who only look at lists: what it has called belongs to it, but for what failed."""
    whole = [each for each in parts(operation) if each.outcome != "failed" or operation.outcome == "failed"]
    if not whole:
        return None
    steps = [step for each in whole for step in each.args["steps"]]
    value = [result for each in whole for result in each.value] if operation.outcome == "ok" else None
    return lists.transaction(replace(operation, function="f:transact", args={"steps": steps}, value=value))


def _shelf(notes: _Notes, shelf: str) -> list[str]:
    return sorted((each for each in notes if notes[each][0] == shelf), key=lambda each: (notes[each][1], each))


def _shown(notes: _Notes, name: str) -> list[Any] | None:
    return [name, *notes[name][:2]] if name in notes else None


def _without(notes: _Notes, name: str) -> dict[str, Any]:
    return {"notes": {each: notes[each] for each in notes if each != name}} if name in notes else {}
