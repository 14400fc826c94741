"""Migrations: functions that bring stored documents into the form that the app's classes have now.

They stand in `migrations.py` and run in the order in which they are defined, each once in the life of a deployment,
before the app is served: over every document of their table, many in one commit, and on from where they were when they
are interrupted. Only after them the stored documents are held against the classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

from yugen.errors import Refused
from yugen.functions.context import MutationCtx
from yugen.functions.tables import table_name
from yugen.schema import Document


class MigrationError(Refused):
    """A migration that cannot be one as it is written, or that has given what cannot be stored."""

    code = "MigrationError"


class _Delete:
    """The type of `DELETE`."""

    def __repr__(self) -> str:
        return "DELETE"


DELETE: Final = _Delete()
"""What a migration returns for a document that is to go."""

Handler = Callable[[MutationCtx, dict[str, Any]], Awaitable[dict[str, Any] | _Delete | None]]


class Migration:
    """A declared migration.

    Args:
        table: the table whose documents it is given.
        handler: the coroutine function as written.

    Raises:
        MigrationError: the handler is no `async def` function of a context and a document.
    """

    def __init__(self, table: str, handler: Handler) -> None:
        if not inspect.iscoroutinefunction(handler) or len(inspect.signature(handler).parameters) != 2:
            raise MigrationError(
                f"{getattr(handler, '__qualname__', handler)} is no migration; write "
                f'`@migration("{table}")` over `async def {getattr(handler, "__name__", "name")}(ctx, document)`.'
            )
        self.table = table
        self.handler = handler
        self.name = handler.__name__
        self.__module__ = handler.__module__

    def __repr__(self) -> str:
        return f"<migration {self.name} of {self.table}>"


def migration(table: type[Document] | str, /) -> Callable[[Handler], Migration]:
    """Declares a migration of the documents of a table.

    The function is given each document as it is stored, a dict under the names of storage, and a context whose `ctx.db`
    reads and writes documents so too. It returns the document in its new form, None to leave it as it is, or `DELETE`.

        @migration("messages")
        async def text_becomes_body(ctx, message):
            message["body"] = message.pop("text")
            return message
    """
    if not isinstance(table, str | type):
        raise MigrationError(f'Write `@migration("table")` over {getattr(table, "__name__", table)}, with its table.')
    name = table_name(table)
    return lambda handler: Migration(name, handler)
