"""Contexts: who calls, and how functions call one another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from typing import Any

import pytest

from yugen.functions.context import ActionCtx, Auth, MutationCtx, QueryCtx, Surroundings
from yugen.functions.declare import action, by_name, mutation, query
from yugen.identity import Identity


@query
async def read(ctx: QueryCtx, author: str, since: float = 0) -> int:
    return 1


@mutation
async def write(ctx: MutationCtx, body: str) -> None: ...


def checked(handler: Any) -> Any:
    @wraps(handler)
    async def wrapped(ctx: QueryCtx, /, *args: Any, **kwargs: Any) -> Any:
        return await handler(ctx, *args, **kwargs)

    return wrapped


@query
@checked
async def wrapped(ctx: QueryCtx, author: str, since: float = 0) -> int:
    return 1


@action
async def work(ctx: ActionCtx, /, **args: Any) -> None: ...


SURROUNDINGS = Surroundings(Auth(None), 5.0, b"seed", {}, lambda reference, given: (str(reference), dict(given)))


class Calls:
    """Records calls in place of a runtime."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Any, Mapping[str, Any]]] = []

    async def __call__(self, kind: str, reference: Any, args: Mapping[str, Any]) -> Any:
        self.made.append((kind, reference, args))
        return len(self.made)


async def test_an_action_calls_each_kind_by_reference_or_name() -> None:
    calls = Calls()
    ctx = ActionCtx(SURROUNDINGS, calls)
    assert await ctx.run_query(read, "a", since=2) == 1
    await ctx.run_mutation(write, body="b")
    await ctx.run_action(work, x=1)
    await ctx.run_query("messages:list", author="a")
    assert calls.made == [
        ("query", read, {"author": "a", "since": 2}),
        ("mutation", write, {"body": "b"}),
        ("action", work, {"x": 1}),
        ("query", "messages:list", {"author": "a"}),
    ]


async def test_queries_call_queries_and_mutations_both() -> None:
    calls = Calls()
    db: Any = object()
    await QueryCtx(db, SURROUNDINGS, calls).run_query(read, "a")
    ctx = MutationCtx(db, SURROUNDINGS, calls)
    await ctx.run_query(read, "a")
    await ctx.run_mutation(write, "b")
    assert [kind for kind, _, _ in calls.made] == ["query", "query", "mutation"]
    assert not hasattr(QueryCtx, "run_mutation")
    assert not hasattr(MutationCtx, "run_action")


def test_arguments_by_position_get_their_names() -> None:
    assert by_name(read, ("a", 2), {}) == {"author": "a", "since": 2}
    assert by_name(read, ("a",), {"since": 2}) == {"author": "a", "since": 2}
    assert by_name(wrapped, ("a",), {"since": 2}) == {"author": "a", "since": 2}
    assert by_name("messages:list", (), {"author": "a"}) == {"author": "a"}


@pytest.mark.parametrize(
    ("reference", "args", "kwargs", "words"),
    [
        (read, ("a", 2, 3), {}, "takes 2 arguments by position, 3 were given"),
        (read, ("a",), {"author": "b"}, "`author` was given by position and by name"),
        (work, (1,), {}, "takes 0 arguments by position, 1 were given"),
        ("messages:list", ("a",), {}, "messages:list: give the arguments by name"),
    ],
)
def test_arguments_by_position_must_fit(
    reference: Any, args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        by_name(reference, args, kwargs)


async def test_asking_who_calls_is_noticed() -> None:
    identity = Identity("issuer|subject", "subject", "issuer")
    auth = Auth(identity)
    assert not auth.was_read
    assert await auth.get_user_identity() is identity
    assert auth.was_read
