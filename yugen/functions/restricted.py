"""`ctx.db` under rules: it has the rows that the caller may see, and takes the changes that they may make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from yugen import keys
from yugen.catalog import TableSpec
from yugen.functions.database import DatabaseReader, DatabaseWriter, not_there
from yugen.functions.pagination import Pages
from yugen.functions.rules import Act, Forbidden, Rules
from yugen.functions.table_query import Source
from yugen.functions.tables import Tables, decoded
from yugen.functions.transaction import Transaction
from yugen.storage.interface import Row

if TYPE_CHECKING:
    from yugen.functions.context import QueryCtx


class Ruling(NamedTuple):
    """What decides for one function.

    Attributes:
        rules: the rules of the app.
        ctx: the context that they are given, whose database is without them.
    """

    rules: Rules
    ctx: QueryCtx


class RestrictedReader(DatabaseReader):
    """Reads of one transaction, as far as rules allow.

    Args:
        transaction: as of `DatabaseReader`, and so are:
        tables: as there.
        pages: as there.
        ruling: decides.
    """

    def __init__(self, transaction: Transaction, tables: Tables, pages: Pages, ruling: Ruling) -> None:
        super().__init__(transaction, tables, pages)
        self._ruling = ruling

    @property
    def unrestricted(self) -> DatabaseReader:
        """The same without rules, for what has checked by itself who calls."""
        return self._ruling.ctx.db

    async def get(self, id: str, /) -> Any:
        found = await super().get(id)
        if found is None:
            return None
        table = await self._locate(id)
        assert table is not None
        rules, ctx = self._ruling
        return found if await rules.allow(ctx, "read", table[0].name, found) else None

    def _source(self, table: str) -> Source:
        return _source(self._transaction, self._tables, self._pages, self._ruling, table)


class RestrictedWriter(DatabaseWriter):
    """Reads and writes of one transaction, as far as rules allow; otherwise as `RestrictedReader`.

    Of a document that one may not see, nothing tells that it is there, and neither does a reference to it.
    """

    def __init__(self, transaction: Transaction, tables: Tables, pages: Pages, ruling: Ruling) -> None:
        super().__init__(transaction, tables, pages)
        self._ruling = ruling
        self._open = DatabaseWriter(transaction, tables, pages)
        self._open.turn = self.turn

    @property
    def unrestricted(self) -> DatabaseWriter:
        """The same without rules, for what has checked by itself who calls."""
        return self._open

    get = RestrictedReader.get
    _source = RestrictedReader._source

    async def _permit(
        self, act: Act, table: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> None:
        documents = [self._tables.load(table, dict(each)) for each in (before, after) if each is not None]
        if not await self._ruling.rules.allow(self._ruling.ctx, act, table, *documents):
            raise Forbidden(f"You may not {act} this document of {table}.", act=act, table=table)

    async def _existing(self, id: str, what: str) -> tuple[TableSpec, bytes, dict[str, Any]]:
        table, internal, stored = await super()._existing(id, what)
        if not await self._sees(table, stored):
            raise not_there(what, id)
        return table, internal, stored

    async def _is_there(self, id: str) -> bool:
        found = await self._locate(id)
        document = found and await self._transaction.document(keys.document_key(found[0].number, found[1]))
        return bool(found and document is not None and await self._sees(found[0], document))

    async def _sees(self, table: TableSpec, stored: Mapping[str, Any]) -> bool:
        document = self._tables.load(table.name, dict(stored))
        return await self._ruling.rules.allow(self._ruling.ctx, "read", table.name, document)


def _source(transaction: Transaction, tables: Tables, pages: Pages, ruling: Ruling, table: str) -> Source:
    rules, ctx = ruling
    if not rules.hides(table):
        return Source(transaction, tables, pages)

    async def visible(rows: list[Row]) -> list[Row]:
        return [row for row in rows if await rules.allow(ctx, "read", table, tables.load(table, decoded(row.value)))]

    return Source(transaction, tables, pages, visible)
