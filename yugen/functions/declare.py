"""The decorators that make a coroutine function a query, a mutation, an action or a workflow.

A decorator only marks: it keeps the function and what was said about it. `yugen.functions.registry` finds the marked
functions in an app's modules; nothing registers by being imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar, overload

from yugen.errors import Refused
from yugen.functions.info import FunctionKind
from yugen.functions.names import is_export

if TYPE_CHECKING:
    from yugen.functions.context import ActionCtx, MutationCtx, QueryCtx
    from yugen.functions.workflows import WorkflowCtx

__all__ = [
    "Action",
    "DeclarationError",
    "Function",
    "Mutation",
    "Query",
    "Workflow",
    "action",
    "internal_action",
    "internal_mutation",
    "internal_query",
    "mutation",
    "query",
    "workflow",
]

P = ParamSpec("P")
R = TypeVar("R")


class DeclarationError(Refused):
    """A function that cannot be what it is declared to be as it is written."""

    code = "DeclarationError"


class Function(Generic[P, R]):
    """A declared function: the reference by which other functions call it.

    Calling it runs the plain coroutine function with the context given, for unit tests.

    Args:
        handler: the coroutine function as written.
        public: whether clients may call it.
        name: the public name when it differs from the Python name.

    Raises:
        DeclarationError: the handler is no `async def` function, or the name cannot name a function.
    """

    kind: ClassVar[FunctionKind]
    long = False
    """Whether it may take as long as an action; only Yugen's own functions may."""

    above_rules = False
    """Whether the rules of the app do not hold for it, since it tells them who calls."""

    def __init__(self, handler: Callable[..., Awaitable[R]], *, public: bool, name: str | None) -> None:
        if not inspect.iscoroutinefunction(handler):
            raise DeclarationError(
                f"{getattr(handler, '__qualname__', repr(handler))} is not an async function; "
                f"put @{self.kind} or @{self.kind}(name=...) over an `async def`."
            )
        self.handler = handler
        self.public = public
        self.name = handler.__name__ if name is None else name
        if not is_export(self.name):
            raise DeclarationError(
                f"{handler.__qualname__}: {self.name[:100]!r} cannot be the public name of a function; "
                'give it another with name="...", of ASCII letters, digits and underscores, 64 at most.'
            )
        self.__doc__ = handler.__doc__
        self.__name__ = handler.__name__
        self.__module__ = handler.__module__
        self.__qualname__ = handler.__qualname__
        self.__wrapped__ = handler

    @cached_property
    def positional(self) -> tuple[str, ...]:
        """The names of the parameters after the context that may be given by position."""
        _, *parameters = inspect.signature(self.handler).parameters.values()
        return tuple(each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD)

    def __call__(self, ctx: Any, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        return self.handler(ctx, *args, **kwargs)

    def __repr__(self) -> str:
        internal = "" if self.public or self.kind == "workflow" else "internal "
        return f"<{internal}{self.kind} {self.__module__}.{self.__qualname__}>"


class Query(Function[P, R]):
    """A function that reads. Its result is kept up to date for everyone who subscribes to it."""

    kind = "query"


class Mutation(Function[P, R]):
    """A function that reads and writes in one serializable transaction."""

    kind = "mutation"


class Action(Function[P, R]):
    """A function that may reach the outside world; it reads and writes through queries and mutations."""

    kind = "action"


class Workflow(Function[P, R]):
    """A function whose steps are carried out one by one and never lost, however long it takes. Nobody calls it."""

    kind = "workflow"


@overload
def query(handler: Callable[Concatenate[QueryCtx, P], Awaitable[R]], /) -> Query[P, R]: ...
@overload
def query(*, name: str | None = None) -> Callable[[Callable[Concatenate[QueryCtx, P], Awaitable[R]]], Query[P, R]]: ...
def query(handler: Any = None, /, *, name: str | None = None) -> Any:
    """Declares a query that clients may call and subscribe to."""
    return _declare(Query, handler, public=True, name=name)


@overload
def mutation(handler: Callable[Concatenate[MutationCtx, P], Awaitable[R]], /) -> Mutation[P, R]: ...
@overload
def mutation(
    *, name: str | None = None
) -> Callable[[Callable[Concatenate[MutationCtx, P], Awaitable[R]]], Mutation[P, R]]: ...
def mutation(handler: Any = None, /, *, name: str | None = None) -> Any:
    """Declares a mutation that clients may call."""
    return _declare(Mutation, handler, public=True, name=name)


@overload
def action(handler: Callable[Concatenate[ActionCtx, P], Awaitable[R]], /) -> Action[P, R]: ...
@overload
def action(
    *, name: str | None = None
) -> Callable[[Callable[Concatenate[ActionCtx, P], Awaitable[R]]], Action[P, R]]: ...
def action(handler: Any = None, /, *, name: str | None = None) -> Any:
    """Declares an action that clients may call."""
    return _declare(Action, handler, public=True, name=name)


@overload
def internal_query(handler: Callable[Concatenate[QueryCtx, P], Awaitable[R]], /) -> Query[P, R]: ...
@overload
def internal_query(
    *, name: str | None = None
) -> Callable[[Callable[Concatenate[QueryCtx, P], Awaitable[R]]], Query[P, R]]: ...
def internal_query(handler: Any = None, /, *, name: str | None = None) -> Any:
    """Declares a query that only other functions may call; to clients it looks missing."""
    return _declare(Query, handler, public=False, name=name)


@overload
def internal_mutation(handler: Callable[Concatenate[MutationCtx, P], Awaitable[R]], /) -> Mutation[P, R]: ...
@overload
def internal_mutation(
    *, name: str | None = None
) -> Callable[[Callable[Concatenate[MutationCtx, P], Awaitable[R]]], Mutation[P, R]]: ...
def internal_mutation(handler: Any = None, /, *, name: str | None = None) -> Any:
    """Declares a mutation that only other functions may call; to clients it looks missing."""
    return _declare(Mutation, handler, public=False, name=name)


@overload
def internal_action(handler: Callable[Concatenate[ActionCtx, P], Awaitable[R]], /) -> Action[P, R]: ...
@overload
def internal_action(
    *, name: str | None = None
) -> Callable[[Callable[Concatenate[ActionCtx, P], Awaitable[R]]], Action[P, R]]: ...
def internal_action(handler: Any = None, /, *, name: str | None = None) -> Any:
    """Declares an action that only other functions may call; to clients it looks missing."""
    return _declare(Action, handler, public=False, name=name)


@overload
def workflow(handler: Callable[Concatenate[WorkflowCtx, P], Awaitable[R]], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *, name: str | None = None
) -> Callable[[Callable[Concatenate[WorkflowCtx, P], Awaitable[R]]], Workflow[P, R]]: ...
def workflow(handler: Any = None, /, *, name: str | None = None) -> Any:
    """Declares a workflow, which mutations and actions start; to clients it looks missing."""
    return _declare(Workflow, handler, public=False, name=name)


def by_name(reference: Function[Any, Any] | str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, also those that a typed call gave by position."""
    if not args:
        return dict(kwargs)
    if isinstance(reference, str):
        raise TypeError(f"{reference}: give the arguments by name.")
    positional = dict(zip(reference.positional, args, strict=False))
    if len(positional) < len(args):
        raise TypeError(f"{reference!r} takes {len(positional)} arguments by position, {len(args)} were given.")
    if twice := positional.keys() & kwargs.keys():
        raise TypeError(f"{reference!r}: `{min(twice)}` was given by position and by name.")
    return {**positional, **kwargs}


def _declare(kind: type[Function[Any, Any]], handler: Any, *, public: bool, name: str | None) -> Any:
    if handler is None:
        return lambda handler: kind(handler, public=public, name=name)
    return kind(handler, public=public, name=name)
