"""What Yugen's own functions can do: all that an app's can, with system tables, raw documents and the app itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.database import SystemDatabase
from yugen.functions.declare import Mutation, Query
from yugen.functions.registry import App
from yugen.system.deployment import Deployment

R = TypeVar("R")


class SystemQueryCtx(QueryCtx):
    """Reads of one of Yugen's own queries.

    Attributes:
        db: all documents, as they are stored.
        app: the app that is loaded.
        deployment: where it runs.
    """

    db: SystemDatabase
    app: App
    deployment: Deployment


class SystemMutationCtx(MutationCtx):
    """Reads and writes of one of Yugen's own mutations; attributes as in `SystemQueryCtx`."""

    db: SystemDatabase
    app: App
    deployment: Deployment


def system_query(handler: Callable[..., Awaitable[R]], *, long: bool = False) -> Query[..., R]:
    """Declares a query of Yugen's own, which may be one that takes long; its path is in `yugen.system.functions`."""
    query: Query[..., R] = Query(handler, public=False, name=None)
    query.long = long
    return query


def system_mutation(handler: Callable[..., Awaitable[R]], *, long: bool = False) -> Mutation[..., R]:
    """Declares a mutation of Yugen's own, as `system_query` does a query."""
    mutation: Mutation[..., R] = Mutation(handler, public=False, name=None)
    mutation.long = long
    return mutation
