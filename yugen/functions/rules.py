"""Rules that say which rows of a table a caller sees and changes, by row: `rules = Rules()` in a module of the app.

They hold for `ctx.db` in the functions that clients can call, and in what those call, since anybody may call them with
anything. Internal functions are the app's own, and are trusted; so is what a function reads and writes through
`ctx.db.unrestricted`, where it has checked by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from yugen.errors import YugenError
from yugen.functions.declare import DeclarationError, Function
from yugen.schema import Document

if TYPE_CHECKING:
    from yugen.functions.context import QueryCtx

Act = Literal["read", "insert", "update", "delete"]
Verdict = Literal["allow", "deny"]

F = TypeVar("F", bound=Callable[..., Awaitable[bool]])

_PARAMETERS: Final = {"read": 2, "insert": 2, "update": 3, "delete": 2, "write": 2}


class Forbidden(YugenError):
    """Something that a caller may not do.

    Args:
        what: what it is, as a sentence for people.
        more: what else a program needs to know.
    """

    def __init__(self, what: str, **more: Any) -> None:
        super().__init__({"code": "Forbidden", "message": what, **more})

    def __str__(self) -> str:
        return str(self.data["message"])


class Rules:
    """The rules of an app.

    Each is an `async def` that tells whether something may be done, from a context and the document: a `QueryCtx`
    whose `ctx.db` is without rules. What it reads counts as read by the function, so that a subscriber loses a row when
    what it was allowed by goes. An update is asked with the document before and after it.

    Args:
        default: what holds for tables that have no rule for something.

    Raises:
        DeclarationError: the default is neither.
    """

    def __init__(self, default: Verdict = "deny") -> None:
        if default not in ("allow", "deny"):
            raise DeclarationError(f'Rules: the default is "allow" or "deny", not {default!r}.')
        self.default = default
        self._rules: dict[tuple[str, Act], Callable[..., Awaitable[bool]]] = {}

    def read(self, table: type[Document] | str) -> Callable[[F], F]:
        """Has the function below say who sees a document: `async def may_read(ctx, message) -> bool`."""
        return self._declare(table, "read", ("read",))

    def insert(self, table: type[Document] | str) -> Callable[[F], F]:
        """Has it say who may add one. Of that, `id` is still empty."""
        return self._declare(table, "insert", ("insert",))

    def update(self, table: type[Document] | str) -> Callable[[F], F]:
        """Has it say who may change one: `async def may_update(ctx, before, after) -> bool`."""
        return self._declare(table, "update", ("update",))

    def delete(self, table: type[Document] | str) -> Callable[[F], F]:
        """Has it say who may remove one."""
        return self._declare(table, "delete", ("delete",))

    def write(self, table: type[Document] | str) -> Callable[[F], F]:
        """Has it say who may add, change and remove one. A change must be allowed before it and after it."""
        return self._declare(table, "write", ("insert", "update", "delete"))

    def rule(self, table: str, act: Act) -> Callable[..., Awaitable[bool]] | None:
        """What says whether something may be done; None if nothing does."""
        return self._rules.get((table, act))

    @property
    def tables(self) -> set[str]:
        """The tables that have a rule."""
        return {table for table, _ in self._rules}

    def hides(self, table: str) -> bool:
        """Whether some documents of a table may not be seen."""
        return self.default == "deny" or (table, "read") in self._rules

    async def allow(self, ctx: QueryCtx, act: Act, table: str, *documents: Any) -> bool:
        """Whether something may be done.

        Args:
            ctx: a context whose database is without rules.
            act: what is done.
            table: to a document of which table.
            documents: the document; of an update before and after.
        """
        rule = self._rules.get((table, act))
        return self.default == "allow" if rule is None else bool(await rule(ctx, *documents))

    def _declare(self, table: type[Document] | str, what: str, acts: tuple[Act, ...]) -> Callable[[F], F]:
        name = table if isinstance(table, str) else table.__table__
        if not name:
            raise DeclarationError(f"rules.{what}: {table!r} is of no table; give a class that has one, or its name.")

        def declare(rule: F) -> F:
            import inspect  # noqa: PLC0415 -- for apps that have rules

            is_coroutine = inspect.iscoroutinefunction(rule)
            if isinstance(rule, Function) or not is_coroutine:
                raise DeclarationError(f"rules.{what}({name}): put it over a plain `async def` that returns a bool.")
            try:
                inspect.signature(rule).bind(*[None] * _PARAMETERS[what])
            except TypeError:
                given = "before and after" if what == "update" else "the document"
                raise DeclarationError(f"rules.{what}({name}): {rule.__name__} takes a context and {given}.") from None
            for act in acts:
                if (name, act) in self._rules:
                    raise DeclarationError(f"rules.{what}({name}): there is a rule for that already; have one.")
                self._rules[name, act] = rule
            if what == "write":
                self._rules[name, "update"] = _twice(rule)
            return rule

        return declare


def _twice(rule: Callable[..., Awaitable[bool]]) -> Callable[..., Awaitable[bool]]:
    async def both(ctx: QueryCtx, before: Any, after: Any) -> bool:
        return bool(await rule(ctx, before) and await rule(ctx, after))

    return both
