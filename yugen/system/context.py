"""What Yugen's own functions can do: all that an app's can, with system tables, raw documents and the app itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from yugen.files.store import FileStore
from yugen.functions.context import MutationCtx, QueryCtx
from yugen.functions.database import SystemDatabase
from yugen.functions.declare import Mutation, Query
from yugen.functions.registry import App
from yugen.functions.tables import Tables
from yugen.system.deployment import Deployment

R = TypeVar("R")


class SystemQueryCtx(QueryCtx):
    """Reads of one of Yugen's own queries.

    Attributes:
        db: all documents, as they are stored.
        app: the app that is loaded.
        tables: how its documents look.
        deployment: where it runs.
    """

    db: SystemDatabase
    app: App
    tables: Tables
    deployment: Deployment

    @property
    def files(self) -> FileStore:
        """What has the bytes of files."""
        return self._surroundings.files.store


class SystemMutationCtx(MutationCtx):
    """Reads and writes of one of Yugen's own mutations; attributes as in `SystemQueryCtx`."""

    db: SystemDatabase
    app: App
    tables: Tables
    deployment: Deployment

    @property
    def files(self) -> FileStore:
        """What has the bytes of files."""
        return self._surroundings.files.store


def system_query(handler: Callable[..., Awaitable[R]]) -> Query[..., R]:
    """Declares a query of Yugen's own; its path is in `yugen.system.functions`."""
    return Query(handler, public=False, name=None)


def system_mutation(handler: Callable[..., Awaitable[R]]) -> Mutation[..., R]:
    """Declares a mutation of Yugen's own; its path is in `yugen.system.functions`."""
    return Mutation(handler, public=False, name=None)


def long_query(handler: Callable[..., Awaitable[R]]) -> Query[..., R]:
    """Declares a query of Yugen's own that may take as long as an action."""
    query = system_query(handler)
    query.long = True
    return query


def long_mutation(handler: Callable[..., Awaitable[R]]) -> Mutation[..., R]:
    """Declares a mutation of Yugen's own that may take as long as an action."""
    mutation = system_mutation(handler)
    mutation.long = True
    return mutation
