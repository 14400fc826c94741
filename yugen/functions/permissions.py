"""Roles, what each of them may do, and who may call a function: `roles = Roles({...})` in a module of the app."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from yugen.errors import YugenError
from yugen.functions.declare import DeclarationError, Function, Query
from yugen.functions.rules import Forbidden

if TYPE_CHECKING:
    from yugen.functions.context import ActionCtx, QueryCtx

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

MARK: Final = "__yugen_permission__"
"""The attribute of a handler that says what it requires: a permission, or None of one that is open to anybody."""


class Unauthenticated(YugenError):
    """Nobody is signed in, where somebody has to be."""

    def __init__(self) -> None:
        super().__init__({"code": "Unauthenticated", "message": "Sign in first."})

    def __str__(self) -> str:
        return str(self.data["message"])


class Roles:
    """The roles of an app.

    Args:
        roles: permissions by role, `posts:write`, and other roles whose permissions it has too. `posts:*` is every
            permission that begins with `posts:`, and `*` is every one.
        functions: with `"deny"`, an app whose public functions do not all say whom they are for does not load.

    Raises:
        DeclarationError: roles contain one another, or what is neither a role nor a permission.
    """

    def __init__(self, roles: Mapping[str, Collection[str]], *, functions: str = "allow") -> None:
        if functions not in ("allow", "deny"):
            raise DeclarationError(f'Roles: `functions` is "allow" or "deny", not {functions!r}.')
        self._given = {role: tuple(grants) for role, grants in roles.items()}
        for role, grants in roles.items():
            if isinstance(grants, str):
                raise DeclarationError(f"Roles: the permissions of {role} are a list, not {grants!r}.")
        self._grants = {role: frozenset(self._resolved(role, ())) for role in self._given}
        self.denies = functions == "deny"
        self.is_used = False
        self._of: Query[..., Any] | None = None

    def of(self, query: Query[P, R]) -> Query[P, R]:
        """Has an internal query without arguments give the roles of who calls: above `@internal_query`.

        Raises:
            DeclarationError: it is something else.
        """
        if not isinstance(query, Query) or query.public:  # type: ignore[redundant-expr]  # whoever writes it may not check types
            raise DeclarationError("roles.of stands above @internal_query, over a function that gives a list of roles.")
        query.above_rules = True
        self._of = query
        return query

    def requires(self, permission: str) -> Callable[[F], F]:
        """Has the function below run only for those who have a permission; below `@query` and the like.

        Raises:
            DeclarationError: no role has it.
        """
        if not any(self._grant(grants - {"*"}, permission) for grants in self._grants.values()):
            known = ", ".join(sorted({each for grants in self._grants.values() for each in grants - {"*"}}))
            raise DeclarationError(f"requires: no role has the permission {permission!r}; there are {known or 'none'}.")

        self.is_used = True

        def guard(handler: F) -> F:
            if isinstance(handler, Function) or not inspect.iscoroutinefunction(handler):
                raise DeclarationError(f"requires({permission!r}) stands right above the `async def`, below @query.")

            @functools.wraps(handler)
            async def guarded(ctx: Any, *args: Any, **kwargs: Any) -> Any:
                await self.check(ctx, permission)
                return await handler(ctx, *args, **kwargs)

            setattr(guarded, MARK, permission)
            return guarded  # type: ignore[return-value]

        return guard

    @property
    def is_whole(self) -> bool:
        """Whether something says who has which role, where that is asked."""
        return self._of is not None or not self.is_used

    def anybody(self, handler: F) -> F:
        """Says of the function below that anybody may call it, in an app that denies where nothing is said."""
        setattr(handler, MARK, None)
        return handler

    async def check(self, ctx: QueryCtx | ActionCtx, permission: str) -> None:
        """Sees to it that who calls has a permission.

        Raises:
            Unauthenticated: nobody is signed in.
            Forbidden: they have not.
        """
        if not await self.allows(ctx, permission):
            if await ctx.auth.get_user_identity() is None:
                raise Unauthenticated
            raise Forbidden(f"You may not do this; it takes the permission {permission}.", permission=permission)

    async def allows(self, ctx: QueryCtx | ActionCtx, permission: str) -> bool:
        """Whether who calls has a permission, and the key that they show, if it is one, was made for it.

        What tells is read, so that a query runs again when it changes.
        """
        if self._of is None:
            raise DeclarationError("Nothing says who has which role; put @roles.of above an @internal_query.")
        identity = await ctx.auth.get_user_identity()
        scopes = None if identity is None else identity.scopes
        if scopes is not None and not self._grant(scopes, permission):
            return False
        held: Collection[str] = await ctx.run_query(self._of)
        return any(self._grant(self._grants.get(role, frozenset()), permission) for role in held)

    def grants(self, role: str, permission: str) -> bool:
        """Whether a role has a permission."""
        return self._grant(self._grants.get(role, frozenset()), permission)

    def _grant(self, grants: Collection[str], permission: str) -> bool:
        parts = permission.split(":")
        wide = (":".join([*parts[:size], "*"]) for size in range(len(parts)))
        return permission in grants or any(each in grants for each in wide)

    def _resolved(self, role: str, above: tuple[str, ...]) -> set[str]:
        if role in above:
            raise DeclarationError(f"Roles: {' contains '.join((*above, role))}; take one of them out.")
        found: set[str] = set()
        for grant in self._given[role]:
            if grant in self._given:
                found |= self._resolved(grant, (*above, role))
            elif grant == "*" or ":" in grant:
                found.add(grant)
            else:
                raise DeclarationError(
                    f"Roles: {role} has {grant!r}, which is no role; write permissions as thing:verb."
                )
        return found


def undecided(handler: Callable[..., Any]) -> bool:
    """Whether a function as it is written does not say whom it is for."""
    return not hasattr(handler, MARK)
