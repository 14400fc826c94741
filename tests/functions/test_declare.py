"""Decorators mark functions and change nothing about them."""

from __future__ import annotations

from typing import Any

import pytest

from yugen.functions import declare
from yugen.functions.declare import DeclarationError, Function

DECORATORS = ["query", "mutation", "action", "internal_query", "internal_mutation", "internal_action"]


async def greet(ctx: Any, name: str, *, loud: bool = False) -> str:
    """Greets."""
    return f"{ctx} {name}{'!' if loud else ''}"


@pytest.mark.parametrize("name", DECORATORS)
def test_each_decorator_says_kind_and_visibility(name: str) -> None:
    decorator = getattr(declare, name)
    bare, called, named = decorator(greet), decorator()(greet), decorator(name="list")(greet)
    for function in (bare, called, named):
        assert isinstance(function, Function)
        assert function.kind == name.removeprefix("internal_")
        assert function.public is not name.startswith("internal_")
        assert function.handler is greet
    assert (bare.name, called.name, named.name) == ("greet", "greet", "list")


def test_a_workflow_is_for_other_functions_only() -> None:
    for function in (declare.workflow(greet), declare.workflow(name="greet")(greet)):
        assert (function.kind, function.public, function.name) == ("workflow", False, "greet")
        assert repr(function) == f"<workflow {__name__}.greet>"
    with pytest.raises(DeclarationError, match=r"int is not an async function; put @workflow or @workflow\(name"):
        declare.workflow(int)  # type: ignore[arg-type]


async def test_calling_it_runs_the_plain_function() -> None:
    function: Any = declare.query(greet)
    assert await function("hi", "you", loud=True) == "hi you!"
    assert await function.handler("hi", "you") == "hi you"


def test_it_looks_like_the_function_it_was() -> None:
    function = declare.internal_mutation(greet)
    assert (function.__name__, function.__doc__, function.__module__) == ("greet", "Greets.", __name__)
    assert repr(function) == f"<internal mutation {__name__}.greet>"
    assert repr(declare.action(greet)) == f"<action {__name__}.greet>"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda ctx: 1, r"<lambda> is not an async function; put @query or @query\(name=\.\.\.\) over an `async def`"),
        ("list", r"'list' is not an async function"),
        (int, r"int is not an async function"),
    ],
)
def test_only_async_functions_can_be_declared(wrong: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        declare.query(wrong)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "größe", "__", "a" * 65, "1a", "a\n"])
def test_a_public_name_is_one_that_clients_can_write(name: str) -> None:
    with pytest.raises(DeclarationError, match=r"greet: .* cannot be the public name of a function; give it another"):
        declare.query(name=name)(greet)
