"""The app whose clients are watched: lists to append to, counters, and a note of all that was done; and its model.

Keys of lists are `round/number`, so that a round has lists of its own, and the model can count up a range of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reliability.checkers.replay import Refused, State
from reliability.checkers.serializability import Append, Outcome, Read, Scan, Transaction
from reliability.checkers.serializability import Operation as Step
from reliability.records import Operation

APP: Final = """
from typing import Any

from yugen import Document, Index, MutationCtx, QueryCtx, YugenError, between, internal_mutation, mutation, query


class List(Document, table="lists"):
    key: str
    values: list[int]

    by_key = Index("key", unique=True)


class Counter(Document, table="counters"):
    name: str
    value: int

    by_name = Index("name", unique=True)


class Done(Document, table="done"):
    round: str
    token: str
    scheduled: bool

    by_round = Index("round", "token")


async def found(ctx: QueryCtx, low: str, high: str) -> dict[str, Any]:
    lists = await ctx.db.query(List).with_index(List.by_key, key=between(low, high)).collect()
    return {each.key: each.values for each in lists}


async def append(ctx: MutationCtx, key: str, value: int) -> list[int]:
    known = await ctx.db.query(List).with_index(List.by_key, key=key).unique()
    if known is None:
        await ctx.db.insert(List(key=key, values=[value]))
        return [value]
    await ctx.db.patch(known.id, values=[*known.values, value])
    return [*known.values, value]


@mutation
async def transact(ctx: MutationCtx, token: str, steps: list[list[Any]], ends: str = "") -> list[Any]:
    results: list[Any] = []
    for step in steps:
        match step:
            case ["append", key, value]:
                results.append(await append(ctx, key, int(value)))
            case ["read", key]:
                known = await ctx.db.query(List).with_index(List.by_key, key=key).unique()
                results.append([] if known is None else known.values)
            case ["scan", low, high]:
                results.append(await found(ctx, low, high))
    round, _, _ = token.partition("/")
    await ctx.db.insert(Done(round=round, token=token, scheduled=False))
    if ends == "refused":
        raise YugenError("refused")
    if ends == "scheduled":
        await ctx.scheduler.run_after(0, ran, token=token)
    return results


@internal_mutation
async def ran(ctx: MutationCtx, token: str) -> None:
    round, _, _ = token.partition("/")
    await ctx.db.insert(Done(round=round, token=token, scheduled=True))


@mutation
async def bump(ctx: MutationCtx, token: str, name: str) -> int:
    known = await ctx.db.query(Counter).with_index(Counter.by_name, name=name).unique()
    round, _, _ = token.partition("/")
    await ctx.db.insert(Done(round=round, token=token, scheduled=False))
    if known is None:
        await ctx.db.insert(Counter(name=name, value=1))
        return 1
    await ctx.db.patch(known.id, value=known.value + 1)
    return known.value + 1


@query
async def scan(ctx: QueryCtx, low: str, high: str) -> dict[str, Any]:
    return await found(ctx, low, high)


@query
async def counter(ctx: QueryCtx, name: str) -> int | None:
    known = await ctx.db.query(Counter).with_index(Counter.by_name, name=name).unique()
    return known and known.value


@query
async def done(ctx: QueryCtx, round: str, low: str, high: str) -> list[Any]:
    rows = await ctx.db.query(Done).with_index(Done.by_round, round=round, token=between(low, high)).collect()
    return [[row.token, row.scheduled] for row in rows]
"""


def key(round_: int, number: int) -> str:
    """The name of a list."""
    return f"{round_:05}/{number:05}"


def _range(low: str, high: str) -> list[str]:
    round_, number = low.split("/")
    return [key(int(round_), each) for each in range(int(number), int(high.split("/")[1]) + 1)]


def model(state: State, function: str, args: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The app in plain Python: what it stores is each list and each counter, by its name."""
    match function:
        case "f:transact":
            return _transact(state, args)
        case "f:bump":
            value = state.get(f"counter {args['name']}", 0) + 1
            return value, {f"counter {args['name']}": value}
        case "f:scan":
            return {each: state[each] for each in _range(args["low"], args["high"]) if each in state}, {}
        case "f:counter":
            return state.get(f"counter {args['name']}"), {}
        case _:
            raise ValueError(f"There is no {function}.")


def _transact(state: State, args: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    changes: dict[str, Any] = {"newest": args["token"]}  # it notes that it was here, whatever its steps are
    results: list[Any] = []

    def now(name: str) -> list[int]:
        values: list[int] = changes[name] if name in changes else state.get(name, [])
        return values

    for kind, low, *more in args["steps"]:
        if kind == "append":
            changes[low] = [*now(low), more[0]]
            results.append(changes[low])
        elif kind == "read":
            results.append(now(low))
        else:
            results.append({each: now(each) for each in _range(low, more[0]) if now(each)})
    if args.get("ends") == "refused":
        raise Refused("refused")
    return results, changes


_OUTCOMES: Final[dict[str, Outcome]] = {"ok": "committed", "failed": "failed", "lost": "unknown"}


def transaction(operation: Operation) -> Transaction | None:
    """What a mutation was for those who only look at lists; None if it has none to do with them."""
    if operation.function != "f:transact":
        return None
    steps: list[Step] = []
    results = operation.value if operation.outcome == "ok" else [None] * len(operation.args["steps"])
    for (kind, low, *more), result in zip(operation.args["steps"], results, strict=True):
        if kind == "append":
            steps.append(Append(low, more[0]))
        if result is None:
            continue
        if kind == "scan":
            steps.append(Scan(low, more[0], {each: tuple(map(int, values)) for each, values in result.items()}))
        else:
            steps.append(Read(low, tuple(map(int, result))))
    return Transaction(
        operation.client, operation.called, operation.answered, tuple(steps), _OUTCOMES[operation.outcome]
    )
