import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

from yugen import QueryCtx, UniqueError, YugenError

from .schema import Person, Role

Ctx = TypeVar("Ctx", bound=QueryCtx)
P = ParamSpec("P")
R = TypeVar("R")
Function: TypeAlias = Callable[Concatenate[Ctx, P], Awaitable[R]]


async def current_person(ctx: QueryCtx) -> Person:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        raise YugenError("Sign in first.")
    people = ctx.db.query(Person).with_index(Person.by_token, token=identity.token_identifier)
    person = await people.unique()
    if person is None:
        raise YugenError("Join first.")
    return person


def signed_in(function: Callable[Concatenate[Ctx, Person, P], Awaitable[R]]) -> Function[Ctx, P, R]:
    """Gives a function the person who calls, as its second parameter."""

    @wraps(function)
    async def wrapped(ctx: Ctx, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await function(ctx, await current_person(ctx), *args, **kwargs)

    # What clients give: all of it but the person.
    signature = inspect.signature(function)
    ctx, _, *arguments = signature.parameters.values()
    vars(wrapped)["__signature__"] = signature.replace(parameters=[ctx, *arguments])
    return wrapped


def only(role: Role) -> Callable[[Function[Ctx, P, R]], Function[Ctx, P, R]]:
    """Refuses everyone who has another role."""

    def decorate(function: Function[Ctx, P, R]) -> Function[Ctx, P, R]:
        @wraps(function)
        async def wrapped(ctx: Ctx, /, *args: P.args, **kwargs: P.kwargs) -> R:
            person = await current_person(ctx)
            if person.role != role:
                raise YugenError({"code": "forbidden", "needs": role})
            return await function(ctx, *args, **kwargs)

        return wrapped

    return decorate


@asynccontextmanager
async def saying_what_is_taken() -> AsyncIterator[None]:
    try:
        yield
    except UniqueError as error:
        raise YugenError({"code": "taken", "fields": list(error.fields)}) from error
