"""Ready-made parts of an app: functions, tables and routes that it gets by naming one in a module of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from yugen.functions.declare import Function
from yugen.functions.http import HttpAction
from yugen.functions.providers import Provider
from yugen.functions.routing import Route
from yugen.identity import Identity
from yugen.schema import Document

if TYPE_CHECKING:
    from yugen.functions.context import ActionCtx, QueryCtx
    from yugen.functions.crons import Cron

E = TypeVar("E", bound="Extension")


@dataclass(kw_only=True)
class Extension:
    """What comes with an app that has one among the attributes of a module, as `auth = Auth(...)` in `auth.py`.

    Attributes:
        functions: its functions by path.
        documents: the classes of its tables.
        http: its HTTP actions by route. They are served on the origin of the API too, without `/http` before them.
        providers: whose tokens the app trusts because of it.
        crons: what runs again and again, by name.
        secrets: environment variables that hold a secret nobody needs to know; they are made where they are not set.
    """

    functions: Mapping[str, Function[Any, Any]] = field(default_factory=dict)
    documents: tuple[type[Document], ...] = ()
    http: Mapping[Route, HttpAction] = field(default_factory=dict)
    providers: tuple[Provider, ...] = ()
    crons: Mapping[str, Cron] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


def functions_in(module: ModuleType) -> Iterator[Function[Any, Any]]:
    """The functions that a module defines itself."""
    for member in vars(module).values():
        if isinstance(member, Function) and member.__module__ == module.__name__:
            yield member


def documents_in(module: ModuleType) -> Iterator[type[Document]]:
    """The classes of tables that a module defines itself."""
    for member in vars(module).values():
        of_table = isinstance(member, type) and issubclass(member, Document) and member.__table__
        if of_table and member.__module__ == module.__name__:
            yield member


def extension_of(ctx: QueryCtx | ActionCtx, kind: type[E]) -> E:
    """The extension of a kind that the app of a context has.

    Raises:
        LookupError: it has none.
    """
    found = ctx._surroundings.extensions.get(kind)
    if not isinstance(found, kind):
        raise LookupError(f"this app has no {kind.__name__}; write one into a module of it")
    return found


def act_as(ctx: QueryCtx, identity: Identity) -> None:
    """Has somebody else call this function, and those that it calls: whoever an extension knows to be asking.

    Args:
        ctx: the context of a mutation, or of a query whose arguments say who that is: its result is kept by them.
        identity: who.
    """
    from yugen.functions.context import Auth  # noqa: PLC0415 -- which takes in what extensions bring

    ctx._surroundings.auth = Auth(identity)
